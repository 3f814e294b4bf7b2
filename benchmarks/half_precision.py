"""Error of the fp16 and bf16 synthesis graphs against PyTorch, with even and hostile weights.

Each result of the half-precision graphs is rounded (``segan.export.precisions.rounding``).
"hostile" has rows and columns of every convolution scaled by 1e-4 to 1e4, with the styles scaled
the other way. Run from the repository root: ``python benchmarks/half_precision.py --resolution
1024``.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch

from segan.export.exporter import ExportConfig
from segan.export.graphs.stylegan2.half import DTYPES
from segan.export.precisions import HalfPrecision
from segan.export.precisions.add import half_file
from segan.export.precisions.rounding import with_explicit_rounding
from segan.runtime.backends.choose import open_session
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator, SynthesisSite


def build(resolution: int, *, hostile: bool) -> Generator:
    """A random generator of the usual width, in which every parameter matters."""
    torch.manual_seed(0)
    wide = resolution > 64
    network = NetworkConfig(
        resolution=resolution,
        channel_base=32768 if resolution > 256 else 16384,
        channel_max=512 if wide else 128,
        w_dim=512 if wide else 128,
        z_dim=512 if wide else 128,
    )
    generator = Generator(network, SubspaceConfig(mode=2)).eval().requires_grad_(False)
    for value in generator.parameters():
        value.add_(torch.randn_like(value) * 0.1)
    for block in generator.synthesis.block_list():
        for _, site in block.site_modules():
            # Images with a standard deviation near 0.5, as trained generators make.
            if not isinstance(site, SynthesisSite):
                site.weight.mul_(0.2)
            if hostile:
                rows, columns = (10 ** (torch.rand(n) * 8 - 4) for n in site.weight.shape[:2])
                if isinstance(site, SynthesisSite):
                    site.weight.mul_(rows[:, None, None, None])
                site.weight.mul_(columns[:, None, None])
                site.affine.weight.div_(columns[:, None])
                site.affine.bias.div_(columns)
    return generator


def measure(generator: Generator, images: int) -> list[dict[str, Any]]:
    """A row for each precision."""
    network = generator.network
    w = generator.mapping(torch.randn(images, network.z_dim))
    coords = (torch.rand(images, *generator.coords_shape) * 2 - 1) * 3**0.5
    ws, _ = generator.offsets(generator.broadcast(w), coords)
    noise = generator.synthesis.noise_const()
    expected = np.concatenate([generator.synthesis(row[None], None, noise).numpy() for row in ws])
    rows = []
    for precision in DTYPES:
        kind: HalfPrecision = "fp16" if precision == "fp16" else "bf16"
        _, model = half_file(generator, ExportConfig().table(generator), kind, lambda _: None)
        feeds = [{"ws": row[None].numpy(), "noise": noise.numpy()} for row in ws]
        with open_session(with_explicit_rounding(model), "cpu", name=precision) as session:
            found = np.concatenate([session.run(feed)["image"] for feed in feeds])
        difference = found.astype(np.float64) - expected
        each = 10 * np.log10(4 / np.square(difference).mean((1, 2, 3)))
        rows.append(
            {
                "precision": precision,
                "psnr_db": round(float(10 * np.log10(4 / np.square(difference).mean())), 1),
                "worst_psnr_db": round(float(each.min()), 1),
                "max_error": round(float(np.abs(difference).max()), 5),
                "largest_shift": round(float(np.abs(difference.mean((2, 3))).max()), 5),
                "std": round(float(expected.std()), 3),
                "megabytes": round(len(model) / 1e6, 1),
            }
        )
    return rows


def main() -> None:
    """Prints a row for each precision and kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args()
    for hostile in (False, True):
        generator = build(options.resolution, hostile=hostile)
        for row in measure(generator, options.images):
            weights = "hostile" if hostile else "even"
            where = {"resolution": options.resolution, "weights": weights}
            print(json.dumps(where | row), flush=True)


if __name__ == "__main__":
    main()
