"""Settings of the networks: architecture, subspaces and number formats, as frozen records."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

import msgspec

from segan.runtime.bundle.layout import Architecture, Prior, Site, Subspace, build_sites
from segan.runtime.errors import ConfigError

Mode = Literal[0, 1, 2, 3]

SubspaceKind = Literal["eigen", "diagonal"]

Precision = Literal["fp32", "bf16", "fp16"]

#: End of the uniform prior, whose variance is 1.
UNIFORM_END = math.sqrt(3.0)

#: End of a sweep over a normal coordinate, and over a coordinate of the diagonal kind.
NORMAL_END, DIAGONAL_END = 3.0, 3.0


class SettingsRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the records of settings: a field of the wrong type is a ConfigError.

    msgspec checks types when it decodes a record, but not when one is constructed.
    """

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            if get_origin(field.type) is Literal:
                choices = ", ".join(str(choice) for choice in get_args(field.type))
                expected = f"one of {choices}"
            else:
                expected = f"type {field.type.__name__}"
            value = getattr(self, field.name)
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError:
                raise ConfigError(field=field.name, value=value, expected=expected) from None

    def require(
        self, holds: bool, field: str, expected: str, *, problem: str = "", remedy: str = ""
    ) -> None:
        """Raise ConfigError about ``field``, with its value, unless ``holds``."""
        if not holds:
            value = getattr(self, field)
            raise ConfigError(problem, field=field, value=value, expected=expected, remedy=remedy)

    def require_at_least(self, least: int, *fields: str) -> None:
        """Raise ConfigError for the first field that is not finite or less than ``least``."""
        for field in fields:
            value = getattr(self, field)
            self.require(math.isfinite(value) and value >= least, field, f"{least} or more")

    def require_positive(self, *fields: str) -> None:
        """Raise ConfigError for the first field that is not finite or not more than 0."""
        for field in fields:
            value = getattr(self, field)
            self.require(math.isfinite(value) and value > 0, field, "more than 0")


@contextlib.contextmanager
def errors_placed(place: str) -> Iterator[None]:
    """Name the field of a ConfigError by its place: ``dims`` becomes ``subspace.dims``.

    Args:
        place: the field that holds the record whose settings are checked inside.
    """
    try:
        yield
    except ConfigError as error:
        if error.field is not None:
            error.field = f"{place}.{error.field}"
        raise


class NetworkConfig(SettingsRecord, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
        self.require(1 <= self.img_channels <= 4, "img_channels", "1 to 4")
        self.require_at_least(1, "z_dim", "w_dim", "mapping_layers", "channel_base", "channel_max")
        self.require_at_least(0, "c_dim", "conv_clamp")
        self.require_at_least(1, "mbstd_group")

    @property
    def family(self) -> str:
        """Name of the family of networks; see ``segan.train.networks.family``."""
        return "stylegan2"

    @property
    def sites(self) -> tuple[Site, ...]:
        """The modulated convolutions in synthesis order."""
        return build_sites(self.resolution, self.architecture)

    def channels(self, resolution: int) -> int:
        """Return the channels of the feature maps at ``resolution``."""
        return max(1, min(self.channel_base // resolution, self.channel_max))


class SubspaceConfig(SettingsRecord, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the linear subspaces act, and how.

    Attributes:
        mode: 0 nowhere, 1 on feature maps, 2 on w, 3 on w by importance only.
        kind: ``eigen`` adds coordinates along a basis; ``diagonal``, as published, multiplies each
            dimension of w by a factor, at every site.
        dims: coordinates K of a subspace in modes 1 and 2 eigen; elsewhere K = w_dim.
        placement: at the ``first`` convolution of each layer, or at ``all`` sites; the diagonal
            kind is always at all sites.
        prior: distribution of an eigen coordinate: ``uniform`` on [-√3, √3] or ``normal``.
        importance_init: initial importance L of an eigen coordinate in modes 1 and 2. In mode 3,
            w_dim coordinates share the same total variance, so L starts at importance_init ·
            √(dims / w_dim).
        orthonormality_weight: λ of the penalty λ Σ ‖UᵀU - I‖²_F on eigen bases.
        information_weight: weight of the information term, for each coordinate.
        shared_coords: probability that a group of the minibatch standard deviation shares its
            coordinates, so that D compares images that differ by z alone.
        jacobian_weight: weight of the penalty that keeps the changes which different coordinates
            make to the image orthogonal, pixel by pixel; 0 = none.
        jacobian_interval: steps between applications of that penalty.
        jacobian_coords: coordinates that one application compares, drawn for every image.
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
        self.require_at_least(1, "dims", "jacobian_interval")
        self.require_at_least(2, "jacobian_coords")
        self.require_at_least(
            0, "importance_init", "orthonormality_weight", "information_weight", "jacobian_weight"
        )
        self.require(0 <= self.shared_coords <= 1, "shared_coords", "0 to 1")

    @property
    def sampled(self) -> bool:
        """Whether training draws coordinates (eigen) or keeps them at 0."""
        return self.mode != 0 and self.kind == "eigen"

    @property
    def has_basis(self) -> bool:
        """Whether each subspace has ``dims`` coordinates, and not w_dim or none."""
        return self.mode in (1, 2) and self.kind == "eigen"

    def table(self, network: NetworkConfig) -> tuple[Subspace, ...]:
        """Return the subspaces in site order: the rows of ``coords``.

        Raises:
            ConfigError: an eigen basis would have more coordinates than w has dimensions.
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
                self.require(dims <= network.w_dim, "dims", f"at most w_dim, {network.w_dim}")
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


class ComputeConfig(SettingsRecord, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the arithmetic is done. The equations are the same for all values.

    Attributes:
        precision: number format of the blocks from ``reduced_from`` up.
        reduced_from: lowest resolution that computes in ``precision``; the rest is fp32.
        tf32: whether CUDA may round the factors of fp32 products.
        compile: whether torch.compile builds the phases without second derivatives.
        micro_batch: most images that one process computes at once; 0 = its share of the batch.
    """

    precision: Precision = "fp32"
    reduced_from: int = 8
    tf32: bool = False
    compile: bool = False
    micro_batch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(8, "reduced_from")
        self.require_at_least(0, "micro_batch")
