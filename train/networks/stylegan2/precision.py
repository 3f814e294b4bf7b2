"""Number formats of a network's blocks in training; weights are always float32.

The blocks from ``reduced_from`` up compute their activations in bfloat16 or float16. The mapping
network, the subspaces, styles, demodulation, images and the discriminator's last layers stay in
float32, as do weights, gradients and optimisers. Source: Karras et al. 2020a's code, which computes
the highest four resolutions in float16.
"""

from __future__ import annotations

import torch

from segan.train.networks.config import ComputeConfig, Precision
from segan.train.networks.stylegan2.discriminator import Discriminator, DiscriminatorBlock
from segan.train.networks.stylegan2.generator import Generator, SynthesisBlock

#: Formats by name; None = everything in float32.
DTYPES: dict[Precision, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def set_precision(
    generator: Generator, discriminator: Discriminator, config: ComputeConfig
) -> None:
    """Set the number format of every block of both networks."""
    dtype = DTYPES[config.precision]
    blocks: list[SynthesisBlock | DiscriminatorBlock] = [
        *generator.synthesis.block_list(),
        *discriminator.block_list(),
    ]
    for block in blocks:
        block.reduced = dtype if block.resolution >= config.reduced_from else None


def fastest_precision(device: torch.device) -> Precision:
    """Return bf16 where the device computes in it natively, else fp32.

    CPUs show it in /proc/cpuinfo (avx512_bf16, amx_bf16); GPUs have it from compute capability 8.0.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    supported: bool = torch.cpu._is_avx512_bf16_supported()
    return "bf16" if supported else "fp32"


def allow_tf32(allowed: bool) -> None:
    """Set whether CUDA may round the factors of float32 products to 10 bits of mantissa."""
    precision = "tf32" if allowed else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
