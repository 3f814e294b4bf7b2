"""``segan directions --method attributes``: least-leakage directions as names of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segan.export.directions.addition import (
    DirectionsResult,
    added_subspaces,
    check_addition,
    write_added,
)
from segan.export.directions.attributes.moves import MovedSeeds, MoveSpace
from segan.export.directions.attributes.search import (
    FoundDirection,
    as_json,
    calibrated,
    find_directions,
)
from segan.export.directions.rows import DirectionRow
from segan.export.directions.statistics import WStatistics, sample_w_statistics
from segan.runtime.bundle.attributes import check_name, read_attributes
from segan.runtime.bundle.layout import Slider, Subspace
from segan.runtime.bundle.reader import Bundle
from segan.runtime.bundle.sliders import num_layers
from segan.runtime.errors import ConfigError
from segan.runtime.generate.generator import Generator
from segan.runtime.readings.reading import Array, Reader, find_reading

#: First seed of those that directions are fitted on.
_FIT_FROM = 100_000
#: Weights of sliders below this share of the largest are left out.
_SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True, kw_only=True)
class AttributesConfig:
    """How least-leakage directions are searched.

    Attributes:
        attributes: names of the readings that get a direction; None takes all.
        fit_seeds: number of seeds that directions are fitted on, from seed 100,000 on.
        seeds: number of seeds that they are measured on, from seed 0 on.
        components: principal components of w for each layer that may be moved where coordinates do
            not suffice, 0 to w_dim; 0 keeps to coordinates. None takes 16, or w_dim if that is
            smaller.
        samples: number of w for mean and components.
        class_index: class of all images; None takes all classes in turn.

    Raises:
        ConfigError: a number out of its range.
    """

    attributes: tuple[str, ...] | None = None
    fit_seeds: int = 64
    seeds: int = 128
    components: int | None = None
    samples: int = 10_000
    class_index: int | None = None

    def __post_init__(self) -> None:
        for name, least, most in (("fit_seeds", 8, 10_000), ("seeds", 8, 10_000)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(field=name, value=value, expected=f"{least} to {most}")
        if self.components is not None and self.components < 0:
            raise ConfigError(field="components", value=self.components, expected="0 or more")


@dataclass(frozen=True, eq=False, kw_only=True)
class AttributesResult:
    """Named directions, and those that were refused.

    Attributes:
        written: the bundle; None where no direction passed, and nothing was written.
        found: a direction for each reading, in order.
        names: names of those that were written, by reading.
    """

    written: DirectionsResult | None
    found: tuple[FoundDirection, ...]
    names: dict[str, str] = field(default_factory=dict)


def write_attribute_directions(
    generator: Generator,
    out: Path | str,
    reader: Reader,
    config: AttributesConfig | None = None,
    *,
    source: dict[str, Any] | None = None,
    overwrite: bool = True,
    on_step: Callable[[str], None] = lambda text: None,
    on_images: Callable[[int], None] = lambda images: None,
    on_attribute: Callable[[FoundDirection], None] = lambda found: None,
) -> AttributesResult:
    """Find a direction for each attribute that a reader reads, and write those that control it.

    Each name combines sliders with weights; where coordinates do not reach an attribute, a row
    that moves w is added to the bundle. A value of 1 is one standard deviation of the reading.
    Directions that move their attribute by less than one standard deviation over their range, or
    that leak more than 30 %, are not written.

    Args:
        generator: the open bundle, of RGB images.
        out: the new bundle's folder, NAME.segan.
        reader: reads the attributes.
        config: how directions are searched.
        source: what the reader is, for the manifest's provenance.
        overwrite: whether another existing bundle may be replaced.
        on_step: called with a few words before each step.
        on_images: called with the number of images of each batch.
        on_attribute: called with each direction once it is measured.

    Raises:
        ConfigError: a setting out of its range, an unknown attribute, or images without colour.
        OutputError: ``out`` is not a bundle, or cannot be written.
    """
    config, out = config or AttributesConfig(), Path(out)
    check_addition(generator, out, overwrite=overwrite)
    manifest = generator.manifest
    if manifest.img_channels != 3:
        raise ConfigError(
            f"images have {manifest.img_channels} channels",
            field="img_channels",
            value=manifest.img_channels,
            expected="3: readers read RGB",
        )
    for name in config.attributes or ():
        find_reading(reader.readings, name)
    components = min(16, manifest.w_dim) if config.components is None else config.components
    if components > manifest.w_dim:
        raise ConfigError(
            field="components", value=components, expected=f"0 to w_dim ({manifest.w_dim})"
        )
    on_step(f"mapping {config.samples} latents")
    statistics = sample_w_statistics(generator, config.samples, class_index=config.class_index)
    space = MoveSpace(generator, statistics, components)
    if not space.size:
        raise ConfigError(
            "this bundle has no sliders, and `components` is 0",
            field="components",
            value=0,
            expected="1 or more",
        )
    fit, measured = (
        MovedSeeds(
            generator, space, reader, seeds, class_index=config.class_index, on_images=on_images
        )
        for seeds in (range(_FIT_FROM, _FIT_FROM + config.fit_seeds), range(config.seeds))
    )
    on_step(f"searching directions of {len(config.attributes or reader.readings)} attributes")
    readings = calibrated(reader.readings, measured)
    found = find_directions(
        space,
        fit,
        measured,
        readings,
        names=config.attributes,
        on_attribute=on_attribute,
    )
    kept = [each for each in found if each.refusal is None]
    if not kept:
        return AttributesResult(written=None, found=tuple(found))
    row = _row(space, statistics, kept)
    rows = [] if row is None else [row]
    limit = max([1.0, *(each.half_range for each in kept)])
    added = added_subspaces(manifest, rows, (-limit, limit))
    names: dict[str, str] = {}

    def entries(bundle: Bundle) -> list[dict[str, Any]]:
        names.update(_names(bundle, kept))
        return _entries(space, kept, names, added)

    record = {
        "method": "attributes",
        "samples": statistics.samples,
        "class": config.class_index,
        "unit": "one standard deviation of the reading",
        "reader": source or {},
        "fit_seeds": [_FIT_FROM, config.fit_seeds],
        "measured_seeds": [0, config.seeds],
        "components": components,
    }
    written = write_added(
        generator, out, rows, added, entries, record, overwrite=overwrite, on_step=on_step
    )
    return AttributesResult(written=written, found=tuple(found), names=names)


def attributes_json(result: AttributesResult) -> list[dict[str, Any]]:
    """Return what was found for each attribute as JSON values; ``name`` is None where refused."""
    return [
        {
            "attribute": each.reading.name,
            "name": result.names.get(each.reading.name),
            "range": [-each.half_range, each.half_range],
            "refusal": each.refusal,
            **as_json(each),
            "single": None if each.single is None else each.single._asdict(),
        }
        for each in result.found
    ]


def _row(
    space: MoveSpace, statistics: WStatistics, kept: Sequence[FoundDirection]
) -> DirectionRow | None:
    """Return the parts of directions that move w, as one row; None where none does."""
    vectors = np.array([space.of_w(each.move) for each in kept])
    moving = np.flatnonzero(vectors.any(axis=(1, 2))).tolist()
    if not moving:
        return None
    vectors = vectors[moving]
    sigma = np.sqrt(np.square(statistics.deviation(_units(vectors))).mean(axis=1))
    return DirectionRow(
        site=0,
        layers=tuple(range(num_layers(space.manifest))),
        vectors=vectors,
        sigma=sigma,
        explained=np.square(sigma) / statistics.total_variance,
        names=tuple(kept[number].reading.name for number in moving),
    )


def _units(vectors: Array) -> Array:
    norms = np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), np.float64)


def _weights(space: MoveSpace, move: Array) -> dict[Slider, float]:
    """Return the weights of coordinates, rounded to 5 digits; negligible ones are left out."""
    coordinates = move[: len(space.sliders)]
    least = _SMALLEST_WEIGHT * max(float(np.abs(move).max()), 1e-12)
    return {
        slider: float(f"{weight:.5g}")
        for slider, weight in zip(space.sliders, coordinates, strict=True)
        if abs(weight) > least
    }


def _entries(
    space: MoveSpace,
    kept: Sequence[FoundDirection],
    names: Mapping[str, str],
    added: Sequence[Subspace],
) -> list[dict[str, Any]]:
    """Return the entries of names, and of the rows that move w, which are hidden."""
    entries = []
    own = iter(range(len(kept)))
    for each in kept:
        weights = _weights(space, each.move)
        if space.of_w(each.move).any():
            weights[Slider(added[0].layer, added[0].index, next(own))] = 1.0
        entries.append(_entry(names[each.reading.name], weights, each))
    for row in added:
        for dim in range(row.dims):
            slider = Slider(row.layer, row.index, dim)
            hidden = {"name": str(slider), "range": [row.low, row.high], "hidden": True}
            entries.append({**hidden, **slider._asdict()})
    return entries


def _entry(name: str, weights: dict[Slider, float], found: FoundDirection) -> dict[str, Any]:
    half = float(f"{found.half_range:.4g}")
    return {
        "name": name,
        "sliders": {str(slider): weight for slider, weight in weights.items()},
        "range": [-half, half],
        "method": "attributes",
        "unit": "one standard deviation of the reading",
        "measured": as_json(found),
    }


def _names(bundle: Bundle, kept: Sequence[FoundDirection]) -> dict[str, str]:
    """Return the name of each reading; where the bundle has it already, ``name (2)``."""
    taken = {attribute.name.casefold() for attribute in read_attributes(bundle)}
    names = {}
    for each in kept:
        check_name(each.reading.name)
        name, number = each.reading.name, 1
        while name.casefold() in taken:
            number += 1
            name = f"{each.reading.name} ({number})"
        taken.add(name.casefold())
        names[each.reading.name] = name
    return names
