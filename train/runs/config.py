"""Everything that a training run depends on, as frozen records that are stored with it.

``TrainConfig`` is written to ``config.json`` in the run's folder and read back without loss; a
checkpoint carries the same record, so that nothing about it has to be guessed.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from segan.runtime.errors import ConfigError
from segan.runtime.files.json_record import encode_record
from segan.train.networks.config import (
    ComputeConfig,
    NetworkConfig,
    SubspaceConfig,
    _Record,
    _require,
)

#: Most numbers in mode 1's bases: 4 GB of weights, four times that with Adam and gradients.
MAX_FEATURE_BASES = 10**9


class AugmentConfig(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Augmentation of what the discriminator sees, real and generated (Karras et al. 2020a).

    Attributes:
        mode: ``off``, ``fixed`` probability, or ``ada``: it follows how far D overfits.
        probability: p of each transformation and image; with ``ada`` the value to start from.
        target: mean sign of D on real images that ``ada`` steers to.
        speed_kimg: kimg in which ``ada`` takes p from 0 to 1 at the fastest.
        interval: steps between adjustments of p.
        pixel: mirroring, quarter turns and translation by whole pixels.
        geometric: scale, rotation, anisotropic scale and translation.
        color: brightness, contrast, luma flip, hue and saturation.
    """

    mode: Literal["off", "fixed", "ada"] = "off"
    probability: float = 0.0
    target: float = 0.6
    speed_kimg: float = 500.0
    interval: int = 4
    pixel: bool = True
    geometric: bool = True
    color: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        p = self.probability
        _require(0 <= p <= 1, f"probability is {p}; expected 0 to 1.")
        _require(-1 < self.target < 1, f"target is {self.target}; expected between -1 and 1.")
        speed = self.speed_kimg
        _require(
            math.isfinite(speed) and speed > 0, f"speed_kimg is {speed}; expected more than 0."
        )
        _require(self.interval >= 1, f"interval is {self.interval}; expected 1 or more.")
        if self.mode == "off":
            _require(p == 0, f"probability is {p} with augmentation off; give mode fixed or ada.")
            return
        if self.mode == "fixed":
            _require(
                p > 0, "probability is 0 with fixed augmentation; give 0.2, for example, or ada."
            )
        _require(
            self.pixel or self.geometric or self.color,
            f"mode is {self.mode} without pixel, geometric or color; give one, or mode off.",
        )


class TrainConfig(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the result of a run depends on, but the data itself.

    Attributes:
        preset: name of the preset that the values started from.
        network: shapes.
        subspace: subspaces.
        augment: augmentation of the discriminator's input.
        initial_sha256: of the checkpoint that the weights began from; empty = drawn from the seed.
        seed: of weights, latents, noise and data order.
        total_kimg: length of the run, in thousand real images shown.
        batch_size: images per step.
        learning_rate: Adam's, for both networks.
        beta1: Adam's first decay.
        beta2: Adam's second decay.
        r1_gamma: weight of R1, γ in γ/2 · E‖∇D‖².
        r1_interval: steps between applications of R1.
        pl_weight: weight of the path length penalty.
        pl_interval: steps between applications of the path length penalty; 0 = never.
        pl_decay: decay of the running mean path length.
        pl_batch_shrink: the penalty uses batch_size / this many images.
        style_mixing: probability that two latents share an image.
        mirror: whether real images are mirrored at random.
        noise: whether training adds per-pixel noise. Without it the noise strengths stay 0 and the
            noise modes of a bundle make no difference.
        ema_kimg: half-life of the generator's moving average.
        ema_rampup: half-life at most this share of the images shown so far; 0 = no ramp.
        w_avg_beta: decay of the tracked mean of w.
        kimg_per_tick: kimg between lines of the log.
        snapshot_kimg: kimg between checkpoints and sample sheets.
        keep_checkpoints: how many of the newest checkpoints stay, beside the best; 0 = all.
        metric_images: images that every checkpoint's sliced Wasserstein distance is taken on, at
            most those that there are; 0 = none.
    """

    preset: str = "paper"
    network: NetworkConfig = NetworkConfig()
    subspace: SubspaceConfig = SubspaceConfig()
    augment: AugmentConfig = AugmentConfig()
    compute: ComputeConfig = ComputeConfig()
    initial_sha256: str = ""
    seed: int = 0
    total_kimg: float = 25000.0
    batch_size: int = 16
    learning_rate: float = 0.002
    beta1: float = 0.0
    beta2: float = 0.99
    r1_gamma: float = 10.0
    r1_interval: int = 16
    pl_weight: float = 2.0
    pl_interval: int = 4
    pl_decay: float = 0.01
    pl_batch_shrink: int = 2
    style_mixing: float = 0.9
    mirror: bool = False
    noise: bool = True
    ema_kimg: float = 10.0
    ema_rampup: float = 0.05
    w_avg_beta: float = 0.995
    kimg_per_tick: float = 4.0
    snapshot_kimg: float = 200.0
    keep_checkpoints: int = 3
    metric_images: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.seed < 2**32, f"seed is {self.seed}; expected 0 to {2**32 - 1}.")
        for name in ("batch_size", "r1_interval", "pl_batch_shrink"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} is {value}; expected 1 or more.")
        for name in ("total_kimg", "learning_rate", "ema_kimg", "kimg_per_tick", "snapshot_kimg"):
            value = getattr(self, name)
            _require(
                math.isfinite(value) and value > 0, f"{name} is {value}; expected more than 0."
            )
        _require(
            self.total_kimg * 1000 >= self.batch_size,
            f"total_kimg is {self.total_kimg}; expected at least one batch, "
            f"{self.batch_size / 1000}.",
        )
        for name in ("r1_gamma", "pl_weight", "pl_interval", "ema_rampup", "keep_checkpoints"):
            value = getattr(self, name)
            _require(math.isfinite(value) and value >= 0, f"{name} is {value}; expected 0 or more.")
        for name in ("beta1", "beta2", "w_avg_beta"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name} is {value}; expected 0 to less than 1.")
        _require(
            0 <= self.style_mixing <= 1, f"style_mixing is {self.style_mixing}; expected 0 to 1."
        )
        _require(0 < self.pl_decay <= 1, f"pl_decay is {self.pl_decay}; expected 0 to 1, not 0.")
        size = feature_basis_size(self.network, self.subspace)
        _require(
            size <= MAX_FEATURE_BASES,
            f"mode 1 ({self.subspace.kind}) at {self.network.resolution}² needs {size:.2g} numbers "
            f"in its feature bases; expected at most {MAX_FEATURE_BASES:.0g}. Use mode 2, the "
            "eigen kind, fewer dims, or a lower resolution.",
        )
        _require(
            self.metric_images >= 0, f"metric_images is {self.metric_images}; expected 0 or more."
        )


def compares_coordinates(config: TrainConfig) -> bool:
    """Whether training keeps what two or more coordinates do to the image apart."""
    subspace = config.subspace
    if not subspace.sampled or subspace.jacobian_weight == 0:
        return False
    return sum(row.dims for row in subspace.table(config.network)) > 1


def feature_basis_size(network: NetworkConfig, subspace: SubspaceConfig) -> int:
    """Numbers in the bases U [C r², K] of mode 1; 0 in the other modes."""
    table = subspace.table(network)
    if subspace.mode != 1:
        return 0
    size = 0
    for row in table:
        site = network.sites[row.site]
        is_rgb = site.kind == "rgb"
        channels = network.img_channels if is_rgb else network.channels(site.resolution)
        size += channels * site.resolution**2 * row.dims
    return size


def encode_config(config: TrainConfig) -> bytes:
    """The configuration as indented JSON."""
    return encode_record(config)


def decode_config(data: bytes) -> TrainConfig:
    """Reads what ``encode_config`` wrote. Raises: ConfigError naming the field."""
    try:
        return msgspec.json.decode(data, type=TrainConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error).rstrip(".")
        raise ConfigError(f"the training configuration cannot be read: {reason}.") from None


def flat_settings(config: TrainConfig) -> dict[str, Any]:
    """Every setting by its place, such as ``subspace.dims``, in the records' order."""

    def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
        if isinstance(value, dict):
            return {
                key: leaf
                for name, inner in value.items()
                for key, leaf in flatten(inner, f"{prefix}{name}.").items()
            }
        return {prefix[:-1]: value}

    return flatten(msgspec.to_builtins(config))


def config_differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Settings that differ, as ``subspace.dims: 6, now 4``."""
    before, after = flat_settings(old), flat_settings(new)
    return [
        f"{key}: {before[key]}, now {after[key]}" for key in before if before[key] != after[key]
    ]
