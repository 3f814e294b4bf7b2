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

    ``tiny``: a laptop's two cores learn something visible within minutes at 32².
    ``paper``: the published SEGAN's setting: 64 latent dimensions, at most 128 channels, batch 16.
    ``auto``: scales with the resolution as StyleGAN2-ADA's "auto" does (Karras et al. 2020a,
    train.py), for one device.

    Raises:
        ConfigError: unknown name, or a resolution outside 8 to 1024.
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
            # Of the same minutes, small batches learn more: twice the steps, a fifth fewer images.
            batch_size=8,
            learning_rate=0.004,
            r1_gamma=2.0,
            # In minutes, noise only stands in for detail that is not learned yet.
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
    raise ConfigError(f"preset is {name!r}; expected one of {', '.join(PRESETS)}.")
