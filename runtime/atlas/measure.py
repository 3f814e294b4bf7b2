"""Renders every slider of a bundle over fixed seeds, and measures, ranks and groups them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segan.runtime.atlas.duplicates import Nearest, group, nearest, similarities
from segan.runtime.atlas.figures import Measured, measure, reduce_side
from segan.runtime.atlas.record import Atlas, AtlasConfig, AtlasSlider
from segan.runtime.bundle.attributes import Attribute, read_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ConfigError
from segan.runtime.latents.options import Settings

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator

Images = NDArray[np.uint8]

#: Images are reduced to this side before they are measured and drawn.
MEASURED_SIDE = 256
#: Seeds of the quick look that chooses among too many sliders.
_QUICK_SEEDS = 2


class _Place(NamedTuple):
    """A slider before it is measured."""

    slider: Slider
    row: int
    attribute: Attribute | None
    low: float
    high: float

    @property
    def sign(self) -> int:
        return 1 if self.attribute is None else self.attribute.sign


def measure_atlas(
    generator: Generator,
    config: AtlasConfig | None = None,
    *,
    on_total: Callable[[int], None] = lambda total: None,
    on_images: Callable[[int], None] = lambda images: None,
) -> Atlas:
    """Measures a bundle's sliders. Each one's value replaces the seeds' own, as in a sweep.

    Args:
        generator: of the bundle.
        config: seeds, strengths and limits; None takes the defaults.
        on_total: is told, first, how many images will be made.
        on_images: is told how many more were made.

    Raises:
        ConfigError: the bundle has no sliders, all are hidden, or a setting is out of its range.
        BundleError: its attributes are damaged.
        BackendError: the backend failed.
    """
    config = config or AtlasConfig()
    manifest = generator.manifest
    config.check(manifest)
    places, hidden = _places(generator, config)
    render = _Renderer(generator, config, on_images)
    quick = 2 * min(_QUICK_SEEDS, len(config.seeds)) if len(places) > config.max_sliders else 0
    kept = min(len(places), config.max_sliders)
    on_total(len(places) * quick + kept * len(config.seeds) * config.steps + render.count)
    samples = render.samples()
    if quick:
        places = _most_effective(places, render, config.max_sliders)
    found = []
    for place in places:
        values = np.linspace(place.low, place.high, config.steps)
        images = render.moved(place, values, len(config.seeds))
        shown = images[: config.shown].copy()
        found.append((place, tuple(float(v) for v in values), measure(images), shown))
    return Atlas(
        manifest=manifest,
        config=config,
        sliders=_ranked(found),
        total=sum(subspace.dims for subspace in manifest.subspaces),
        hidden=hidden,
        samples=samples,
        labels=render.labels,
    )


def _places(generator: Generator, config: AtlasConfig) -> tuple[list[_Place], int]:
    """All sliders in the order of the tables, and how many hidden ones were left out."""
    named: dict[Slider, Attribute] = {}
    for attribute in read_attributes(generator.bundle):
        named.setdefault(attribute.slider, attribute)
    found, hidden = [], 0
    for row, subspace in enumerate(generator.manifest.subspaces):
        for dim in range(subspace.dims):
            slider = Slider(subspace.layer, subspace.index, dim)
            entry = named.get(slider)
            if entry is not None and entry.hidden and not config.hidden:
                hidden += 1
                continue
            low, high = (subspace.low, subspace.high) if entry is None else entry.range
            found.append(_Place(slider, row, entry, low, high))
    if not found:
        raise ConfigError(
            f"all {hidden} sliders of this bundle are hidden; expected one that is shown. "
            "Pass --hidden, or show one: segan name SLIDER --show"
        )
    return found, hidden


class _Renderer:
    """Images of the atlas's seeds with one slider moved."""

    def __init__(
        self, generator: Generator, config: AtlasConfig, on_images: Callable[[int], None]
    ) -> None:
        self._generator, self._config, self._on_images = generator, config, on_images
        self._seeds = [int(seed) for seed in config.seeds]
        manifest = generator.manifest
        classes: list[int | str | None] = [config.class_index] * len(self._seeds)
        if manifest.c_dim and config.class_index is None:
            classes = [number % manifest.c_dim for number in range(len(self._seeds))]
        self._settings: Settings | None = None
        self._w = np.empty((len(self._seeds), manifest.w_dim), np.float32)
        self.labels = tuple(_class_text(manifest, label) for label in classes if label is not None)
        for label in dict.fromkeys(classes):
            own = [place for place, other in enumerate(classes) if other == label]
            settings = generator.settings(
                psi=config.psi, class_index=label, batch_size=config.batch_size
            )
            self._settings = settings
            self._w[own] = generator.map_seeds([self._seeds[place] for place in own], settings)
        assert self._settings is not None
        self._coords = self._settings.coords_of(self._seeds)

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self._seeds)

    def samples(self) -> Images:
        """Nothing moved, uint8 [S, H, W, C]."""
        return self._render(np.arange(len(self._seeds)), self._coords)

    def moved(self, place: _Place, values: NDArray[np.float64], seeds: int) -> Images:
        """The first seeds with a slider at each value, uint8 [seeds, values, H, W, C]."""
        rows = np.repeat(np.arange(seeds), len(values))
        coords = self._coords[rows]
        coords[:, place.row, place.slider.dim] = np.tile(place.sign * values, seeds)
        images = self._render(rows, coords)
        return images.reshape(seeds, len(values), *images.shape[1:])

    def _render(self, rows: NDArray[np.intp], coords: NDArray[np.float32]) -> Images:
        assert self._settings is not None
        parts = []
        for start in range(0, len(rows), self._config.batch_size):
            part = slice(start, start + self._config.batch_size)
            noise_seeds = [self._seeds[row] for row in rows[part]]
            images = self._generator.render(
                self._w[rows[part]], coords[part], noise_seeds, self._settings
            )
            parts.append(_reduced(images))
            self._on_images(len(images))
        return np.concatenate(parts)


def _reduced(images: Images) -> Images:
    if images.shape[1] <= MEASURED_SIDE:
        return images
    means = reduce_side(images.astype(np.float32), MEASURED_SIDE)
    return np.asarray(np.rint(means), np.uint8)


def _class_text(manifest: Manifest, label: int | str) -> str:
    names = manifest.class_names
    return names[label] if isinstance(label, int) and label < len(names) else str(label)


def _most_effective(places: list[_Place], render: _Renderer, kept: int) -> list[_Place]:
    """Those that change the first seeds most from end to end, in the tables' order."""
    strength = []
    for place in places:
        ends = np.array([place.low, place.high])
        found = measure(render.moved(place, ends, min(_QUICK_SEEDS, render.count)))
        strength.append(found.figures.effect)
    best = sorted(range(len(places)), key=lambda number: strength[number], reverse=True)[:kept]
    return [places[number] for number in sorted(best)]


def _ranked(
    found: Sequence[tuple[_Place, tuple[float, ...], Measured, Images]],
) -> tuple[AtlasSlider, ...]:
    """Ranks and groups the sliders."""
    sliders = [place.slider for place, *_ in found]
    figures = [measured.figures for _, _, measured, _ in found]
    alive = [not each.dead for each in figures]
    order = sorted(range(len(found)), key=lambda n: (alive[n], figures[n].score), reverse=True)
    alike = similarities([measured.change for _, _, measured, _ in found])
    near: list[Nearest | None] = nearest(alike, alive)
    mates: dict[int, list[int]] = {}
    leaders = set(order)
    for members in group(alike, [n for n in order if alive[n]]):
        for member in members:
            mates[member] = [other for other in members if other != member]
        leaders -= set(members[1:])
    entries = []
    for rank, number in enumerate(order, 1):
        place, values, measured, images = found[number]
        own = near[number]
        entry = AtlasSlider(
            slider=place.slider,
            name=None if place.attribute is None else place.attribute.name,
            hidden=place.attribute is not None and place.attribute.hidden,
            values=values,
            measured=measured,
            images=images,
            rank=rank,
            nearest=None if own is None else (sliders[own.position], round(own.similarity, 4)),
            mates=tuple(
                (sliders[other], round(float(alike[number, other]), 4))
                for other in mates.get(number, [])
            ),
            leads=number in leaders,
        )
        entries.append(entry)
    return tuple(entries)
