"""How images are made from latents: the arguments that every way of generating shares."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle.classes import class_number, needs_class
from segan.runtime.bundle.layout import noise_sizes
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.sliders import Sliders, check_layers, slider_offsets
from segan.runtime.errors import ConfigError
from segan.runtime.latents.draws import psi_row, sample_coords, sample_noise, sample_z
from segan.runtime.latents.inputs import GraphInputs
from segan.runtime.latents.seeds import check_seed

if TYPE_CHECKING:
    from segan.runtime.latents.files import Latents

_Value = TypeVar("_Value")

#: Values by a layer's number, or by several layers as text: ``0-1,3``.
PsiLayers = Mapping[str, float] | Mapping[int, float] | Mapping[str | int, float]

MixedLayers = Mapping[str, int] | Mapping[int, int] | Mapping[str | int, int]


def psi_by_layer(manifest: Manifest, given: PsiLayers | None) -> dict[int, float]:
    """Truncation strength of single layers.

    Raises:
        ConfigError: a layer that does not exist or is given twice, or psi outside 0 to 1.
    """
    found = _by_layer(manifest, "psi_layers", given, "{'0-1': 0.5}")
    for layer, psi in found.items():
        if isinstance(psi, bool | str) or not hasattr(psi, "__float__") or not 0 <= psi <= 1:
            raise ConfigError(f"psi of layer {layer} is {psi!r}; expected 0 to 1, such as 0.7.")
    return {layer: float(psi) for layer, psi in sorted(found.items())}


def seed_by_layer(manifest: Manifest, given: MixedLayers | None) -> dict[int, int]:
    """Seeds whose styles single layers take.

    Raises:
        ConfigError: a layer that does not exist or is given twice, or what is no seed.
    """
    found = _by_layer(manifest, "mix", given, "{'0-1': 17}")
    return {layer: check_seed(seed) for layer, seed in sorted(found.items())}


def _by_layer(
    manifest: Manifest, what: str, given: Mapping[Any, _Value] | None, example: str
) -> dict[int, _Value]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{what} is {given!r}; expected values by layers, such as {example}.")
    found: dict[int, _Value] = {}
    for layers, value in (given or {}).items():
        for layer in check_layers(manifest, layers):
            if layer in found:
                raise ConfigError(f"{what}: layer {layer} is given twice; expected it once.")
            found[layer] = value
    return found


Array = NDArray[np.float32]

Coords = Literal["sampled", "zero"]

Noise = Literal["const", "random", "none"]


class Options(TypedDict, total=False):
    """Keyword arguments of sweep, mix and interpolate, as those of ``Generator.generate``."""

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """Checked arguments, resolved against a bundle.

    Attributes:
        manifest: the bundle's.
        psi: [num_sites] float32, truncation strength for each site.
        sampled: whether coordinates are drawn from the seeds.
        offsets: [num_subspaces, coords_dim] float32, what the user's sliders add.
        noise: ``const``, ``random`` or ``none``.
        label: [c_dim] float32 one-hot class, None for an unconditional bundle.
        batch_size: images computed at once.
        latents: where given, seeds are positions in them.
        mixed: layers whose styles and coordinates are another seed's, with that seed.
    """

    manifest: Manifest
    psi: Array
    sampled: bool
    offsets: Array
    noise: Noise
    label: Array | None
    batch_size: int
    latents: Latents | None = None
    mixed: Mapping[int, int] = field(default_factory=dict)

    def coords_of(self, seeds: Sequence[int]) -> Array:
        """ψ times the seeds' coordinates, plus the user's sliders.

        Latents have their own coordinates, or zeros, which ψ leaves alone. Mixed layers have their
        seed's.

        Returns:
            [N, num_subspaces, coords_dim] float32.
        """
        coords = self._unmixed_coords(seeds)
        unmixed = replace(self, latents=None, mixed={})
        for layer, seed in self.mixed.items():
            rows = [number for number, s in enumerate(self.manifest.subspaces) if s.layer == layer]
            if rows:
                coords[:, rows] = unmixed.coords_of([seed])[:, rows]
        return coords

    def _unmixed_coords(self, seeds: Sequence[int]) -> Array:
        manifest = self.manifest
        if self.latents is not None and self.latents.coords is not None and self.sampled:
            return self.latents.coords[self.latents.rows(seeds)] + self.offsets
        if self.latents is not None or not self.sampled:
            return np.repeat(self.offsets[None], len(seeds), axis=0)
        sampled = sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
        psi = self.psi[[subspace.site for subspace in manifest.subspaces]]
        return psi[:, None] * sampled + self.offsets

    def inputs_of(self, seeds: Sequence[int], constant: Array | None) -> GraphInputs:
        """What the images of seeds, or of positions in latents, are computed from.

        Mixing styles takes the mapping network, so w of mixed layers is left to the generator.

        Args:
            seeds: one for each image.
            constant: the bundle's noise, [1, size] float32, or None when it has none.

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
        """Noise for images of these seeds; None stands for the constant noise, or for none at all.

        Args:
            seeds: one for each image.
            constant: the bundle's noise, [1, size] float32, or None when it has none.

        Returns:
            [N, size] or, where it is zero for all, [1, size] float32.
        """
        if constant is None or self.noise == "const":
            return None
        if self.noise == "none":
            return np.zeros_like(constant)
        return sample_noise(seeds, sum(noise_sizes(self.manifest.sites)))

    def labels_of(self, count: int) -> Array | None:
        """The label repeated, [count, c_dim] float32, or None for an unconditional bundle.

        Raises:
            ConfigError: seeds are mapped beside latents, and no class was given.
        """
        if self.manifest.c_dim and self.label is None:
            raise needs_class(self.manifest.class_names, self.manifest.c_dim)
        return None if self.label is None else np.repeat(self.label[None], count, axis=0)


def resolve_settings(
    manifest: Manifest,
    *,
    psi: float = 1.0,
    cutoff: int | str | None = None,
    coords: Coords = "sampled",
    sliders: Sliders | None = None,
    noise: Noise = "const",
    class_index: int | str | None = None,
    batch_size: int = 16,
    latents: Latents | None = None,
    psi_layers: PsiLayers | None = None,
    mix: MixedLayers | None = None,
) -> Settings:
    """Checks the arguments of ``Generator.generate`` against a bundle.

    Raises:
        ConfigError: an argument is out of its range, which the message names.
    """
    if coords not in ("sampled", "zero"):
        raise ConfigError(f"coords is {coords!r}; expected sampled or zero.")
    if noise not in ("const", "random", "none"):
        raise ConfigError(f"noise is {noise!r}; expected const, random or none.")
    if noise == "random" and manifest.noise is None:
        raise ConfigError(
            "noise is 'random', but this bundle's generator has no noise; expected const or none."
        )
    if latents is not None:
        latents.check(manifest)
    psi_sites = psi_row(manifest.sites, psi, cutoff)
    for layer, value in psi_by_layer(manifest, psi_layers).items():
        psi_sites[[site.layer == layer for site in manifest.sites]] = value
    return Settings(
        manifest=manifest,
        psi=psi_sites,
        sampled=coords == "sampled",
        offsets=slider_offsets(manifest, sliders),
        noise=noise,
        # Latents are past the mapping network, where the class comes in.
        label=None
        if latents is not None and class_index is None
        else _one_hot(manifest, class_index),
        batch_size=check_count("batch_size", batch_size),
        latents=latents,
        mixed=seed_by_layer(manifest, mix),
    )


def check_count(name: str, value: object, least: int = 1) -> int:
    """A count as an int. Raises: ConfigError unless it is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise ConfigError(f"{name} is {value!r}; expected an integer of {least} or more.")
    count = operator.index(value)
    if count < least:
        raise ConfigError(f"{name} is {count}; expected {least} or more.")
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
