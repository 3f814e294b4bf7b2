"""Measuring an atlas: renders every slider over fixed seeds, ranks the sliders, groups them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segan.runtime.atlas.duplicates import Nearest, group, nearest, similarities
from segan.runtime.atlas.figures import Measured, measure, reduce_side
from segan.runtime.atlas.record import Atlas, AtlasConfig, AtlasSlider
from segan.runtime.bundle.attributes import Attribute, read_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.commands import command
from segan.runtime.errors import ConfigError
from segan.runtime.generate.generator import Generator
from segan.runtime.generate.probe import Probe

Images = NDArray[np.uint8]

#: Images are reduced to this side before they are measured and drawn.
MEASURED_SIDE = 256
#: Seeds of the quick measurement that chooses among too many sliders.
_QUICK_SEEDS = 2


class _Place(NamedTuple):
    """A slider that is to be measured, with the range that it is swept over."""

    slider: Slider
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
    """Measure a bundle's sliders. A slider's value replaces the seeds' own, as in a sweep.

    Args:
        generator: of the bundle.
        config: seeds, strengths and limits; None takes the defaults.
        on_total: called first with the total number of images.
        on_images: called with the number of images made since the last call.

    Raises:
        ConfigError: the bundle has no sliders, all are hidden, or a setting is out of its range.
        BundleError: the bundle's attributes are damaged.
        BackendError: the backend failed.
    """
    config = config or AtlasConfig()
    manifest = generator.manifest
    config.check(manifest)
    places, hidden = _places(generator, config)
    samples = _Samples(generator, config, on_images)
    quick = 2 * min(_QUICK_SEEDS, len(config.seeds)) if len(places) > config.max_sliders else 0
    kept = min(len(places), config.max_sliders)
    on_total(len(places) * quick + kept * len(config.seeds) * config.steps + samples.count)
    unchanged = samples.unchanged()
    if quick:
        places = _most_effective(places, samples, config.max_sliders)
    found = []
    for place in places:
        values = np.linspace(place.low, place.high, config.steps)
        images = samples.swept(place, values, len(config.seeds))
        shown = images[: config.shown].copy()
        found.append((place, tuple(float(v) for v in values), measure(images), shown))
    return Atlas(
        manifest=manifest,
        config=config,
        sliders=_ranked(found),
        total=sum(subspace.dims for subspace in manifest.subspaces),
        hidden=hidden,
        samples=unchanged,
        labels=samples.labels,
    )


def _places(generator: Generator, config: AtlasConfig) -> tuple[list[_Place], int]:
    """All sliders in table order, and the number of hidden sliders left out."""
    named: dict[Slider, Attribute] = {}
    for attribute in read_attributes(generator.bundle):
        if attribute.slider is not None:
            named.setdefault(attribute.slider, attribute)
    found, hidden = [], 0
    for subspace in generator.manifest.subspaces:
        for dim in range(subspace.dims):
            slider = Slider(subspace.layer, subspace.index, dim)
            entry = named.get(slider)
            if entry is not None and entry.hidden and not config.hidden:
                hidden += 1
                continue
            low, high = (subspace.low, subspace.high) if entry is None else entry.range
            found.append(_Place(slider, entry, low, high))
    if not found:
        first, path = next(iter(named)), generator.bundle.path
        raise ConfigError(
            f"all {hidden} sliders of this bundle are hidden",
            field="hidden",
            value=config.hidden,
            remedy=f"Pass `hidden`, or show one: {command('name', path, first, '--show')}",
        )
    return found, hidden


class _Samples:
    """Images of the atlas's seeds with one slider set, reduced to the side that is measured."""

    def __init__(
        self, generator: Generator, config: AtlasConfig, on_images: Callable[[int], None]
    ) -> None:
        self._probe = Probe.in_turn(
            generator,
            config.seeds,
            on_images=on_images,
            psi=config.psi,
            class_index=config.class_index,
            batch_size=config.batch_size,
        )
        classes = self._probe.classes
        if config.class_index is not None:
            classes = [config.class_index] * len(config.seeds)
        self.labels = tuple(_class_text(generator.manifest, label) for label in classes or ())

    @property
    def count(self) -> int:
        """The number of seeds."""
        return len(self._probe.seeds)

    def unchanged(self) -> Images:
        """The seeds with no slider set, uint8 [S, H, W, C]."""
        return np.concatenate([_reduced(images) for images in self._probe.batches()])

    def swept(self, place: _Place, values: NDArray[np.float64], seeds: int) -> Images:
        """The first seeds with a slider at each value, uint8 [seeds, values, H, W, C]."""
        rows = np.repeat(np.arange(seeds), len(values))
        sliders = {place.slider: np.tile(place.sign * values, seeds)}
        batches = self._probe.batches(sliders, rows.tolist())
        images = np.concatenate([_reduced(batch) for batch in batches])
        return images.reshape(seeds, len(values), *images.shape[1:])


def _reduced(images: Images) -> Images:
    if images.shape[1] <= MEASURED_SIDE:
        return images
    means = reduce_side(images.astype(np.float32), MEASURED_SIDE)
    return np.asarray(np.rint(means), np.uint8)


def _class_text(manifest: Manifest, label: int | str) -> str:
    names = manifest.class_names
    return names[label] if isinstance(label, int) and label < len(names) else str(label)


def _most_effective(places: list[_Place], samples: _Samples, kept: int) -> list[_Place]:
    """The sliders that change the first seeds most from end to end, in table order."""
    strength = []
    for place in places:
        ends = np.array([place.low, place.high])
        found = measure(samples.swept(place, ends, min(_QUICK_SEEDS, samples.count)))
        strength.append(found.figures.effect)
    best = sorted(range(len(places)), key=lambda number: strength[number], reverse=True)[:kept]
    return [places[number] for number in sorted(best)]


def _ranked(
    found: Sequence[tuple[_Place, tuple[float, ...], Measured, Images]],
) -> tuple[AtlasSlider, ...]:
    """Rank and group the measured sliders."""
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
