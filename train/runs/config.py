"""Every setting of a training run, as frozen records that are stored with the run.

``TrainConfig`` is written to ``config.json`` in the run's folder and read back without loss. Every
checkpoint holds the same record. The records of the networks are in ``train/networks/config.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from segan.runtime.errors import ConfigError, show_value
from segan.runtime.files.json_record import encode_record
from segan.train.networks.config import (
    ComputeConfig,
    NetworkConfig,
    SettingsRecord,
    SubspaceConfig,
    errors_placed,
)

#: Most numbers in mode 1's bases: 4 GB of weights, and 16 GB with Adam and gradients.
MAX_FEATURE_BASES = 10**9


class AugmentConfig(SettingsRecord, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Augmentation of what the discriminator sees, real and generated (Karras et al. 2020a).

    Attributes:
        mode: ``off``, ``fixed`` probability, or ``ada``, which adapts it to D's overfitting.
        probability: p of each transformation and image; with ``ada`` the first value.
        target: mean sign of D on real images that ``ada`` steers to.
        speed_kimg: kimg in which ``ada`` raises p from 0 to 1 at the fastest.
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
        self.require(0 <= p <= 1, "probability", "0 to 1")
        self.require(-1 < self.target < 1, "target", "between -1 and 1")
        self.require_positive("speed_kimg")
        self.require_at_least(1, "interval")
        if self.mode == "off":
            self.require(
                p == 0,
                "probability",
                "0 with augmentation off",
                remedy="Leave it out, or give `augment.mode fixed` or `augment.mode ada`.",
            )
            return
        if self.mode == "fixed":
            self.require(
                p > 0,
                "probability",
                "more than 0 with fixed augmentation",
                remedy="Give `augment.probability 0.2`, for example, or `augment.mode ada`.",
            )
        self.require(
            self.pixel or self.geometric or self.color,
            "mode",
            "off without pixel, geometric and color",
            remedy="Give one of the three, or mode off.",
        )


class TrainConfig(SettingsRecord, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting that the result of a run depends on, except the data.

    Attributes:
        preset: name of the preset that the values started from.
        network: shapes.
        subspace: subspaces.
        augment: augmentation of the discriminator's input.
        initial_sha256: of the checkpoint that the weights are from; empty = drawn from the seed.
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
        noise: whether training adds per-pixel noise. Without noise its strengths stay 0, and the
            noise modes of a bundle have no effect.
        ema_kimg: half-life of the generator's moving average.
        ema_rampup: bound of the half-life, as a share of the images shown so far; 0 = no bound.
        w_avg_beta: decay of the tracked mean of w.
        kimg_per_tick: kimg between lines of the log.
        snapshot_kimg: kimg between checkpoints and sample sheets.
        keep_checkpoints: how many of the newest checkpoints are kept besides the best; 0 = all.
        metric_images: images for the sliced Wasserstein distance of every checkpoint, at most the
            number in the data; 0 = no distance.
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
        self.require(0 <= self.seed < 2**32, "seed", f"0 to {2**32 - 1}")
        self.require_at_least(1, "batch_size", "r1_interval", "pl_batch_shrink")
        self.require_positive(
            "total_kimg", "learning_rate", "ema_kimg", "kimg_per_tick", "snapshot_kimg"
        )
        self.require(
            self.total_kimg * 1000 >= self.batch_size,
            "total_kimg",
            f"at least one batch, {self.batch_size / 1000}",
        )
        self.require_at_least(
            0, "r1_gamma", "pl_weight", "pl_interval", "ema_rampup", "keep_checkpoints"
        )
        self.require_at_least(0, "metric_images")
        for name in ("beta1", "beta2", "w_avg_beta"):
            self.require(0 <= getattr(self, name) < 1, name, "0 to less than 1")
        self.require(0 <= self.style_mixing <= 1, "style_mixing", "0 to 1")
        self.require(0 < self.pl_decay <= 1, "pl_decay", "0 to 1, not 0")
        with errors_placed("subspace"):
            size = feature_basis_size(self.network, self.subspace)
            kind, resolution = self.subspace.kind, self.network.resolution
            self.subspace.require(
                size <= MAX_FEATURE_BASES,
                "mode",
                f"at most {MAX_FEATURE_BASES:.0g}",
                problem=f"mode 1 ({kind}) at {resolution}² needs {size:.2g} numbers in its feature "
                "bases",
                remedy="Use mode 2, the eigen kind, fewer dims, or a lower resolution.",
            )


def compares_coordinates(config: TrainConfig) -> bool:
    """Whether training compares the effects of two or more coordinates (the Jacobian penalty)."""
    subspace = config.subspace
    if not subspace.sampled or subspace.jacobian_weight == 0:
        return False
    return sum(row.dims for row in subspace.table(config.network)) > 1


def feature_basis_size(network: NetworkConfig, subspace: SubspaceConfig) -> int:
    """Return how many numbers the bases U [C r², K] of mode 1 hold; 0 in the other modes."""
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
    """Return the configuration as indented JSON."""
    return encode_record(config)


def decode_config(data: bytes) -> TrainConfig:
    """Read what ``encode_config`` wrote. Raises: ConfigError naming the field."""
    try:
        return msgspec.json.decode(data, type=TrainConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem, cause = "the training configuration cannot be read", error.__cause__
        if not isinstance(cause, ConfigError):
            raise ConfigError(f"{problem}: {error}") from error
        raise ConfigError(
            f"{problem}: {cause.problem or f'{cause.field} is {show_value(cause.value)}'}",
            field=cause.field,
            value=cause.value,
            expected=cause.expected,
            remedy=cause.remedy,
        ) from error


def flat_settings(config: TrainConfig) -> dict[str, Any]:
    """Return every setting by its place, such as ``subspace.dims``, in the records' order."""

    def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
        if isinstance(value, dict):
            return {
                key: leaf
                for name, inner in value.items()
                for key, leaf in flatten(inner, f"{prefix}{name}.").items()
            }
        return {prefix[:-1]: value}

    return flatten(msgspec.to_builtins(config))


def config_differences(old: TrainConfig, new: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, by place: values in ``old`` and in ``new``."""
    before, after = flat_settings(old), flat_settings(new)
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def show_differences(differences: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return differences as clauses of a message: ``subspace.dims: 6, now 4``."""
    return [f"{place}: {old}, now {new}" for place, (old, new) in differences.items()]
