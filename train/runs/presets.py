"""The presets: configurations that training starts from."""

from __future__ import annotations

from typing import Any

from segan.runtime.errors import ConfigError
from segan.train.networks.config import Mode, NetworkConfig, SubspaceConfig
from segan.train.runs.config import AugmentConfig, TrainConfig

#: Names that ``preset`` knows.
PRESETS = ("tiny", "paper", "auto")


def preset(
    name: str, *, resolution: int, img_channels: int = 3, c_dim: int = 0, mode: Mode = 2
) -> TrainConfig:
    """The configuration of a preset for data of the given shape.

    Args:
        name: ``tiny`` learns something visible within minutes at 32² on two cores of a laptop.
            ``paper`` is the published SEGAN's setting: 64 latent dimensions, at most 128 channels,
            batches of 16. ``auto`` scales with the resolution as "auto" of StyleGAN2-ADA does for
            one GPU (Karras et al. 2020a, train.py).
        resolution: height and width, a power of two from 8 to 1024.
        img_channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
        c_dim: number of classes, 0 for none.
        mode: where the subspaces act, 0 to 3.

    Raises:
        ConfigError: unknown name, or a value out of its range.
    """
    subspace = SubspaceConfig(mode=mode)
    shape: dict[str, Any] = {
        "resolution": resolution,
        "img_channels": img_channels,
        "c_dim": c_dim,
    }
    if name == "paper":
        return TrainConfig(preset=name, network=NetworkConfig(**shape), subspace=subspace)
    if name == "tiny":
        return TrainConfig(
            preset=name,
            network=NetworkConfig(**shape, mapping_layers=4, channel_base=1024, channel_max=64),
            subspace=subspace,
            total_kimg=50.0,
            # In the same time, small batches learn more: twice the steps, a fifth fewer images.
            batch_size=8,
            learning_rate=0.004,
            r1_gamma=2.0,
            # Within minutes, noise only imitates detail that is not learned yet.
            noise=False,
            ema_kimg=5.0,
            kimg_per_tick=1.0,
            snapshot_kimg=10.0,
        )
    if name == "auto":
        batch_size = max(min(min(4096 // resolution, 32), 64), 1)
        return TrainConfig(
            preset=name,
            network=NetworkConfig(
                **shape,
                z_dim=512,
                w_dim=512,
                mapping_layers=2,
                channel_base=32768 if resolution >= 512 else 16384,
                channel_max=512,
                mbstd_group=min(batch_size, 4),
            ),
            subspace=subspace,
            augment=AugmentConfig(mode="ada"),
            batch_size=batch_size,
            learning_rate=0.002 if resolution >= 1024 else 0.0025,
            r1_gamma=0.0002 * resolution**2 / batch_size,
            ema_kimg=batch_size * 10 / 32,
        )
    raise ConfigError(field="preset", value=name, expected=f"one of {', '.join(PRESETS)}")
