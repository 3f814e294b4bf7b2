"""The options of generation: how images are made from seeds, and what the options resolve to."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypedDict, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.classes import class_number, needs_class
from segan.runtime.bundle.layout import noise_sizes
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.sliders import Sliders, as_slider, check_layers, fault_of, slider_offsets
from segan.runtime.errors import ConfigError
from segan.runtime.latents.draws import psi_row, sample_coords, sample_noise, sample_z
from segan.runtime.latents.inputs import GraphInputs
from segan.runtime.latents.seeds import check_seed

if TYPE_CHECKING:
    # Importing it needs zipfile, which a generation without latents does without.
    from segan.runtime.latents.files import Latents

_Value = TypeVar("_Value")
_Function = TypeVar("_Function", bound=Callable[..., Any])

Array = NDArray[np.float32]

Coords = Literal["sampled", "zero"]

Noise = Literal["const", "random", "none"]

#: Values by a layer's number, or by several layers as text: ``0-1,3``.
PsiLayers = Mapping[str, float] | Mapping[int, float] | Mapping[str | int, float]

MixedLayers = Mapping[str, int] | Mapping[int, int] | Mapping[str | int, int]


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How images are made from seeds; every way of generating takes these options.

    A new option is added here, to ``Options`` below and where it is used. ``generation.json``
    records it, and a command-line option of the same name sets it.

    Attributes:
        psi: truncation strength, 0 (the mean image) to 1 (off). It scales the seeds' coordinates
            too, but not ``sliders``.
        cutoff: last resolution (16) or site (``b16.conv0``) that psi applies to; None: all.
        coords: ``sampled`` from each seed, or ``zero``.
        sliders: value to add by slider: a Slider, its notation (``L3N0D5``) or its name
            (``smile``). Values beyond the slider's range extrapolate.
        noise: ``const``, the bundle's own; ``random``, drawn from each seed; or ``none``.
        class_index: the class, by name or number from 0; None for an unconditional bundle.
        batch_size: images computed at once.
        latents: latents such as ``segan.runtime.latents.files.read_latents`` reads; seeds are then
            positions in them. psi scales their w, and not their coordinates.
        psi_layers: truncation strength of single layers, ``{"0-1": 0.5, 3: 1}``; overrides psi
            and cutoff there.
        mix: seeds that single layers take their styles and coordinates from, ``{"0-1": 17}``;
            ``sliders`` are added to those coordinates.

    Raises:
        ConfigError: coords, noise or batch_size is not one of its values. The other options are
            checked against a manifest, by ``resolve_options``.
    """

    psi: float = 1.0
    cutoff: int | str | None = None
    coords: Coords = "sampled"
    sliders: Sliders | None = None
    noise: Noise = "const"
    class_index: int | str | None = None
    batch_size: int = 16
    latents: Latents | None = None
    psi_layers: PsiLayers | None = None
    mix: MixedLayers | None = None

    def __post_init__(self) -> None:
        if self.coords not in get_args(Coords):
            raise ConfigError(field="coords", value=self.coords, expected="sampled or zero")
        if self.noise not in get_args(Noise):
            raise ConfigError(field="noise", value=self.noise, expected="const, random or none")
        check_count("batch_size", self.batch_size)


class Options(TypedDict, total=False):
    """The fields of ``GenerationOptions`` as keyword arguments."""

    psi: float
    cutoff: int | str | None
    coords: Coords
    sliders: Sliders | None
    noise: Noise
    class_index: int | str | None
    batch_size: int
    latents: Latents | None
    psi_layers: PsiLayers | None
    mix: MixedLayers | None


#: Options that ``generation.json`` leaves out, since they change an image by rounding at most.
_UNRECORDED = ("batch_size",)


def show_options(function: _Function) -> _Function:
    """List the options one by one in the signature of a function that takes ``**options``."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = inspect.signature(GenerationOptions).parameters.values()
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *options]
    )
    return function


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """Options resolved against a manifest: what images are computed from.

    Attributes:
        manifest: sizes and tables of the generator.
        options: the options.
        psi: [num_sites] float32, truncation strength of each site.
        offsets: [num_subspaces, coords_dim] float32, the values added by ``sliders``.
        label: [c_dim] float32 one-hot class; None for an unconditional bundle, and for latents
            without a class.
        mixed: seed by the number of a layer whose styles and coordinates are that seed's.
    """

    manifest: Manifest
    options: GenerationOptions
    psi: Array
    offsets: Array
    label: Array | None
    mixed: Mapping[int, int] = field(default_factory=dict)

    @property
    def latents(self) -> Latents | None:
        """Latents that seeds are positions in; None: seeds are drawn from."""
        return self.options.latents

    @property
    def seed_word(self) -> str:
        """What a seed is called in labels: ``seed``, or ``latent`` for a position in latents."""
        return "seed" if self.latents is None else "latent"

    def without_latents(self) -> Settings:
        """The same for seeds that are not positions in latents."""
        return replace(self, options=replace(self.options, latents=None))

    def unmixed(self) -> Settings:
        """The same for seeds that give mixed layers: without latents and without mixed layers."""
        return replace(self.without_latents(), mixed={})

    def coords_of(self, seeds: Sequence[int]) -> Array:
        """ψ times the seeds' coordinates, plus the user's sliders.

        Latents have their own coordinates, or zeros, which ψ does not scale. Mixed layers have
        those of their seed.

        Returns:
            [N, num_subspaces, coords_dim] float32.
        """
        coords = self._unmixed_coords(seeds)
        for layer, seed in self.mixed.items():
            rows = [number for number, s in enumerate(self.manifest.subspaces) if s.layer == layer]
            if rows:
                coords[:, rows] = self.unmixed().coords_of([seed])[:, rows]
        return coords

    def _unmixed_coords(self, seeds: Sequence[int]) -> Array:
        manifest, latents = self.manifest, self.latents
        sampled = self.options.coords == "sampled"
        if latents is not None and latents.coords is not None and sampled:
            return latents.coords[latents.rows(seeds)] + self.offsets
        if latents is not None or not sampled:
            return np.repeat(self.offsets[None], len(seeds), axis=0)
        drawn = sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
        psi = self.psi[[subspace.site for subspace in manifest.subspaces]]
        return psi[:, None] * drawn + self.offsets

    def inputs_of(self, seeds: Sequence[int], constant: Array | None) -> GraphInputs:
        """The inputs of the graphs for seeds, or for positions in latents.

        Mixed layers need the mapping network, so ``Renderer.map_seeds`` computes their w.

        Args:
            seeds: one for each image.
            constant: the bundle's noise, [1, size] float32, or None without noise.

        Raises:
            ConfigError: a position that the latents do not have.
        """
        w = z = labels = None
        if self.latents is not None:
            w = self.latents.w[self.latents.rows(seeds)]
        else:
            z = sample_z(seeds, self.manifest.z_dim)
            labels = self.labels_of(len(z))
        return GraphInputs(
            z=z,
            labels=labels,
            w=w,
            psi=self.psi,
            coords=self.coords_of(seeds) if self.manifest.num_subspaces else None,
            noise=self.noise_of(seeds, constant),
        )

    def noise_of(self, seeds: Sequence[int], constant: Array | None) -> Array | None:
        """The noise input for images of seeds; None for the constant noise, or without noise.

        Args:
            seeds: one for each image.
            constant: the bundle's noise, [1, size] float32, or None without noise.

        Returns:
            [N, size] or, where it is zero for all, [1, size] float32.
        """
        if constant is None or self.options.noise == "const":
            return None
        if self.options.noise == "none":
            return np.zeros_like(constant)
        return sample_noise(seeds, sum(noise_sizes(self.manifest.sites)))

    def labels_of(self, count: int) -> Array | None:
        """The label repeated, [count, c_dim] float32, or None for an unconditional bundle.

        Raises:
            ConfigError: seeds are mapped in addition to latents, and no class is given.
        """
        if self.manifest.c_dim and self.label is None:
            raise needs_class(self.manifest.class_names, self.manifest.c_dim)
        return None if self.label is None else np.repeat(self.label[None], count, axis=0)


def resolve_options(manifest: Manifest, options: GenerationOptions) -> Settings:
    """Check options against a manifest, and compute what does not depend on seeds.

    Raises:
        ConfigError: an option does not fit the manifest or is out of its range.
    """
    if options.noise == "random" and manifest.noise is None:
        raise ConfigError(
            "`noise random` has no effect, since the generator has no noise",
            field="noise",
            value=options.noise,
            expected="const or none",
        )
    if options.latents is not None:
        options.latents.check(manifest)
    psi = psi_row(manifest.sites, options.psi, options.cutoff)
    for layer, value in psi_by_layer(manifest, options.psi_layers).items():
        psi[[site.layer == layer for site in manifest.sites]] = value
    # Latents are outputs of the mapping network, which is where the class comes in.
    classless = options.latents is not None and options.class_index is None
    return Settings(
        manifest=manifest,
        options=options,
        psi=psi,
        offsets=slider_offsets(manifest, options.sliders),
        label=None if classless else _one_hot(manifest, options.class_index),
        mixed=seed_by_layer(manifest, options.mix),
    )


def options_to_json(manifest: Manifest, options: GenerationOptions) -> dict[str, Any]:
    """The options as ``generation.json`` states them.

    Args:
        manifest: resolves classes and layers.
        options: with sliders by Slider or notation; names are resolved before.

    Raises:
        ConfigError: a class, layer or slider does not exist.
    """
    layers = psi_by_layer(manifest, options.psi_layers)
    resolved = {
        "psi": float(options.psi),
        "sliders": {str(as_slider(k)): float(v) for k, v in (options.sliders or {}).items()},
        "class_index": class_number(options.class_index, manifest.class_names, manifest.c_dim),
        "latents": None if options.latents is None else options.latents.sha256(),
        "psi_layers": {str(layer): psi for layer, psi in layers.items()},
        "mix": {str(n): seed for n, seed in seed_by_layer(manifest, options.mix).items()},
    }
    names = [entry.name for entry in fields(options) if entry.name not in _UNRECORDED]
    return {name: resolved.get(name, getattr(options, name)) for name in names}


def psi_by_layer(manifest: Manifest, given: PsiLayers | None) -> dict[int, float]:
    """Truncation strength of single layers.

    Raises:
        ConfigError: a layer does not exist or is given twice, or psi is outside 0 to 1.
    """
    found = _by_layer(manifest, "psi_layers", given, "{'0-1': 0.5}")
    for layer, psi in found.items():
        if isinstance(psi, bool | str) or not hasattr(psi, "__float__") or not 0 <= psi <= 1:
            raise ConfigError(
                f"`psi_layers` sets layer {layer} to {psi!r}",
                field="psi_layers",
                value=psi,
                expected="0 to 1, such as 0.7",
            )
    return {layer: float(psi) for layer, psi in sorted(found.items())}


def seed_by_layer(manifest: Manifest, given: MixedLayers | None) -> dict[int, int]:
    """Seeds whose styles single layers take.

    Raises:
        ConfigError: a layer does not exist or is given twice, or a seed is out of its range.
    """
    found = _by_layer(manifest, "mix", given, "{'0-1': 17}")
    return {layer: check_seed(seed) for layer, seed in sorted(found.items())}


def _by_layer(
    manifest: Manifest, name: str, given: Mapping[Any, _Value] | None, example: str
) -> dict[int, _Value]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(field=name, value=given, expected=f"values by layers, such as {example}")
    found: dict[int, _Value] = {}
    for layers, value in (given or {}).items():
        with fault_of(name, layers):
            numbers = check_layers(manifest, layers)
        for layer in numbers:
            if layer in found:
                raise ConfigError(
                    f"`{name}` gives layer {layer} twice",
                    field=name,
                    value=layer,
                    expected="each layer once",
                )
            found[layer] = value
    return found


def check_count(name: str, value: object, least: int = 1) -> int:
    """A count as an int. Raises: ConfigError unless it is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise ConfigError(field=name, value=value, expected=f"an integer of {least} or more")
    count = operator.index(value)
    if count < least:
        raise ConfigError(field=name, value=count, expected=f"{least} or more")
    return count


def one_hot_rows(manifest: Manifest, classes: Sequence[int | str]) -> Array:
    """Labels of several classes, [len(classes), c_dim] float32. Raises: ConfigError."""
    rows = [_one_hot(manifest, given) for given in classes]
    return np.array([row for row in rows if row is not None], np.float32)


def _one_hot(manifest: Manifest, given: int | str | None) -> Array | None:
    names, count = manifest.class_names, manifest.c_dim
    number = class_number(given, names, count)
    if number is None:
        if count:
            raise needs_class(names, count)
        return None
    label = np.zeros(count, np.float32)
    label[number] = 1
    return label
