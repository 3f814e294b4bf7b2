"""Everything that a training run depends on, as frozen records that are stored with it.

``TrainConfig`` is written to ``config.json`` in the run's folder and read back without loss; a
checkpoint carries the same record, so that nothing about it has to be guessed.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin

import msgspec

from segan.runtime.errors import ConfigError
from segan.runtime.json_record import encode_record
from segan.runtime.layout import Architecture, Prior, Site, Subspace, build_sites

Mode = Literal[0, 1, 2, 3]
SubspaceKind = Literal["eigen", "diagonal"]
Precision = Literal["fp32", "bf16", "fp16"]

#: Most numbers in mode 1's bases: 4 GB of weights, four times that with Adam and gradients.
MAX_FEATURE_BASES = 10**9

#: Ends of the uniform prior: variance 1.
UNIFORM_END = math.sqrt(3.0)
#: Range of a sweep over a normal coordinate, and over the factor of a diagonal one.
NORMAL_END, DIAGONAL_END = 3.0, 3.0


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Common behaviour of the records: a field of the wrong type is a ConfigError.

    msgspec checks types when it decodes, not when a record is constructed.
    """

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if get_origin(field.type) is Literal:
                choices = ", ".join(str(choice) for choice in get_args(field.type))
                expected = f"one of {choices}"
            else:
                expected = f"type {field.type.__name__}"
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError:
                raise ConfigError(f"{field.name} is {value!r}; expected {expected}.") from None


class NetworkConfig(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shapes of the generator and the discriminator.

    Attributes:
        resolution: height and width of an image, a power of two from 8 to 1024.
        img_channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
        z_dim: width of the input latent.
        w_dim: width of the intermediate latent.
        c_dim: number of classes, 0 for none.
        mapping_layers: dense layers of the mapping network.
        channel_base: channels at resolution r are channel_base / r, at most channel_max.
        channel_max: most channels of a layer.
        architecture: of the synthesis network: skip, residual or original.
        mbstd_group: group size of the minibatch standard deviation.
        conv_clamp: bound on the magnitude of a convolution's output in both networks, so that fp16
            cannot overflow; 0 = none.
    """

    resolution: int = 64
    img_channels: int = 3
    z_dim: int = 64
    w_dim: int = 64
    c_dim: int = 0
    mapping_layers: int = 8
    channel_base: int = 16384
    channel_max: int = 128
    architecture: Architecture = "skip"
    mbstd_group: int = 4
    conv_clamp: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        build_sites(self.resolution, self.architecture)
        _require(
            1 <= self.img_channels <= 4,
            f"img_channels is {self.img_channels}; expected 1 to 4.",
        )
        for name in ("z_dim", "w_dim", "mapping_layers", "channel_base", "channel_max"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} is {value}; expected 1 or more.")
        _require(self.c_dim >= 0, f"c_dim is {self.c_dim}; expected 0 or more.")
        _require(
            math.isfinite(self.conv_clamp) and self.conv_clamp >= 0,
            f"conv_clamp is {self.conv_clamp}; expected 0 or more.",
        )
        _require(self.mbstd_group >= 1, f"mbstd_group is {self.mbstd_group}; expected 1 or more.")

    @property
    def sites(self) -> tuple[Site, ...]:
        """The modulated convolutions in synthesis order."""
        return build_sites(self.resolution, self.architecture)

    def channels(self, resolution: int) -> int:
        """Channels of the feature maps at ``resolution``."""
        return max(1, min(self.channel_base // resolution, self.channel_max))


class SubspaceConfig(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how the linear subspaces act.

    Attributes:
        mode: 0 nowhere, 1 on feature maps, 2 on w, 3 on w by importance only.
        kind: ``eigen`` (coordinates added along a basis) or ``diagonal`` (as published: a factor
            for each dimension of w, at every site).
        dims: coordinates K of a subspace in modes 1 and 2 eigen; elsewhere K = w_dim.
        placement: ``first`` convolution of each layer, or ``all`` sites; diagonal is always all.
        prior: distribution of an eigen coordinate: ``uniform`` on [-√3, √3] or ``normal``.
        importance_init: initial importance L of an eigen coordinate where there is a basis of
            ``dims``. Mode 3's w_dim coordinates share the same total variance: there L starts at
            importance_init · √(dims / w_dim).
        orthonormality_weight: λ of the penalty λ Σ ‖UᵀU - I‖²_F on eigen bases.
        information_weight: weight of the information term, for each coordinate.
        shared_coords: probability that a group of the minibatch standard deviation shares its
            coordinates, so that D sees what z alone makes vary.
        jacobian_weight: weight of the penalty that keeps what different coordinates do to the
            image orthogonal, pixel by pixel; 0 = none.
        jacobian_interval: steps between applications of that penalty.
        jacobian_coords: coordinates that are compared in one application, drawn for every image.
    """

    mode: Mode = 2
    kind: SubspaceKind = "eigen"
    dims: int = 6
    placement: Literal["first", "all"] = "first"
    prior: Literal["uniform", "normal"] = "uniform"
    importance_init: float = 3.0
    orthonormality_weight: float = 1.0
    information_weight: float = 0.1
    shared_coords: float = 0.0
    jacobian_weight: float = 0.0
    jacobian_interval: int = 4
    jacobian_coords: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("dims", 1), ("jacobian_interval", 1), ("jacobian_coords", 2)):
            value = getattr(self, name)
            _require(value >= least, f"{name} is {value}; expected {least} or more.")
        for name in (
            "importance_init",
            "orthonormality_weight",
            "information_weight",
            "jacobian_weight",
        ):
            value = getattr(self, name)
            _require(math.isfinite(value) and value >= 0, f"{name} is {value}; expected 0 or more.")
        shared = self.shared_coords
        _require(0 <= shared <= 1, f"shared_coords is {shared}; expected 0 to 1.")

    @property
    def sampled(self) -> bool:
        """Whether training draws coordinates (eigen) or keeps them at 0."""
        return self.mode != 0 and self.kind == "eigen"

    @property
    def has_basis(self) -> bool:
        """Whether a subspace has ``dims`` coordinates; elsewhere it has w_dim, or is none."""
        return self.mode in (1, 2) and self.kind == "eigen"

    def table(self, network: NetworkConfig) -> tuple[Subspace, ...]:
        """The subspaces in site order: the rows of ``coords``.

        Raises:
            ConfigError: when an eigen basis would have more coordinates than dimensions.
        """
        if self.mode == 0:
            return ()
        everywhere = self.kind == "diagonal" or self.placement == "all"
        dims = self.dims if self.has_basis else network.w_dim
        rows, count = [], dict[int, int]()
        prior: Prior = self.prior if self.kind == "eigen" else "zero"
        end = {"uniform": UNIFORM_END, "normal": NORMAL_END, "zero": DIAGONAL_END}[prior]
        for number, site in enumerate(network.sites):
            if not everywhere and site.layer in count:
                continue
            index = count.get(site.layer, 0)
            count[site.layer] = index + 1
            if self.has_basis and self.mode == 2:
                _require(
                    dims <= network.w_dim,
                    f"dims is {dims}; expected at most w_dim, {network.w_dim}.",
                )
            rows.append(
                Subspace(
                    site=number,
                    layer=site.layer,
                    index=index,
                    dims=dims,
                    prior=prior,
                    low=-end,
                    high=end,
                )
            )
        return tuple(rows)


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


class ComputeConfig(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the arithmetic is done; the equations are the same whatever stands here.

    Attributes:
        precision: number format of the blocks from ``reduced_from`` up.
        reduced_from: lowest resolution that computes in ``precision``; the rest is fp32.
        tf32: whether CUDA may round the factors of fp32 products.
        compile: whether torch.compile builds the phases without second derivatives.
        micro_batch: most images that one process computes at once; 0 = all of its share.
    """

    precision: Precision = "fp32"
    reduced_from: int = 8
    tf32: bool = False
    compile: bool = False
    micro_batch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            self.reduced_from >= 8, f"reduced_from is {self.reduced_from}; expected 8 or more."
        )
        _require(self.micro_batch >= 0, f"micro_batch is {self.micro_batch}; expected 0 or more.")


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
