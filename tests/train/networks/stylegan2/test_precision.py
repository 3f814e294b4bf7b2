from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
import torch

from segan.runtime.errors import ConfigError
from segan.train.data.dataset import ImageDataset
from segan.train.loop.step import TrainingState
from segan.train.networks.config import ComputeConfig, Precision
from segan.train.networks.stylegan2.layers import modulated_conv2d
from segan.train.networks.stylegan2.precision import DTYPES, fastest_precision, set_precision
from segan.train.networks.stylegan2.resample import downsample2d, fir_kernel
from segan.train.runs.config import TrainConfig

CPU = torch.device("cpu")
Config = Callable[..., TrainConfig]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_blocks_compute_in_the_chosen_format_from_the_chosen_resolution(
    precision: Precision, small_config: Config
) -> None:
    config = small_config(compute=ComputeConfig(precision=precision, reduced_from=16))
    network = msgspec.structs.replace(config.network, resolution=32)
    state = TrainingState(msgspec.structs.replace(config, network=network), CPU)
    formats = {b.resolution: b.reduced for b in state.generator.synthesis.block_list()}
    reduced = DTYPES[precision]
    assert formats == {4: None, 8: None, 16: reduced, 32: reduced}
    assert {b.resolution: b.reduced for b in state.discriminator.block_list()} == {
        32: reduced,
        16: reduced,
        8: None,
    }
    assert all(b.reduced is None for b in state.ema.synthesis.block_list())
    seen = list[torch.dtype]()
    block = state.generator.synthesis.block_list()[-1]
    block.conv1.register_forward_hook(lambda _m, _a, out: seen.append(out.dtype))
    assert state.generator(torch.randn(2, 8)).dtype == torch.float32
    assert seen == [reduced]
    assert {p.dtype for p in state.generator.parameters()} == {torch.float32}


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 0.03), ("fp16", 0.004)])
def test_gradients_are_those_of_fp32_but_for_rounding(
    precision: Precision, bound: float, small_config: Config
) -> None:
    """Relative to fp32; 8 bits of mantissa round by 2^-9 = 0.002 each time, 11 by 2^-12."""
    state = TrainingState(small_config(), CPU)
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(2))  # no kink of a ReLU is near
    gradients = []
    for chosen in ("fp32", precision):
        set_precision(state.generator, state.discriminator, ComputeConfig(precision=chosen))
        state.generator.zero_grad()
        state.discriminator.zero_grad()
        state.discriminator(state.generator(z)).score.sum().backward()
        flat = [p.grad.flatten() for p in state.generator.parameters() if p.grad is not None]
        gradients.append(torch.cat(flat).double())
    error = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert 0 < error < bound


def test_fp16_modulation_survives_styles_that_would_overflow() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 8, 6, 6), torch.randn(4, 8, 3, 3)
    styles = torch.rand(2, 8) * 1e5
    exact = modulated_conv2d(x.double(), weight.double(), styles.double())
    half = modulated_conv2d(x.half(), weight, styles)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), exact, atol=0.01, rtol=0.01)


def test_bf16_downsampling_equals_the_strided_filter() -> None:
    x = torch.randn(2, 3, 8, 8)
    exact = downsample2d(x.bfloat16().double(), fir_kernel().double())
    got = downsample2d(x.bfloat16(), fir_kernel())
    torch.testing.assert_close(got.double(), exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("mode", [1, 2])
def test_steps_in_reduced_precision_stay_finite(
    precision: Precision, mode: int, small_config: Config, small_data: ImageDataset
) -> None:
    config = small_config(mode=mode, compute=ComputeConfig(precision=precision))
    network = msgspec.structs.replace(config.network, conv_clamp=256.0)
    state = TrainingState(msgspec.structs.replace(config, network=network), CPU)
    real = torch.from_numpy(small_data.images[:4]).float() / 127.5 - 1
    for _ in range(2):
        stats = state.train_step(real, None, None, state.step_random())
        assert all(torch.isfinite(value) for value in stats.values())


def test_the_clamp_bounds_the_layers(small_config: Config) -> None:
    config = small_config()
    network = msgspec.structs.replace(config.network, conv_clamp=1e-3)
    state = TrainingState(msgspec.structs.replace(config, network=network), CPU)
    image = state.generator(torch.randn(2, 8))
    rgb_layers = 2
    assert float(image.detach().abs().max()) <= rgb_layers * 1e-3 * 1.001


@pytest.mark.parametrize("bad", [{"reduced_from": 4}, {"micro_batch": -1}, {"precision": "int8"}])
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        ComputeConfig(**bad)  # type: ignore[arg-type]


def test_the_fastest_precision_of_a_cpu_is_one_it_has() -> None:
    assert fastest_precision(CPU) in ("bf16", "fp32")
