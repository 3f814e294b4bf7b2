"""Adds directions to a bundle as subspaces, so that any generator has sliders.

Closed-form factorisation, principal components of w, or the user's vectors become rows of
``coords`` with the prior ``zero``: images without sliders stay the same, bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from segan.export.directions.addition import (
    DirectionsResult,
    added_subspaces,
    check_addition,
    write_added,
)
from segan.export.directions.pca import pca_rows
from segan.export.directions.rows import DirectionRow, parse_groups
from segan.export.directions.sefa import sefa_rows
from segan.export.directions.statistics import WStatistics, sample_w_statistics
from segan.export.directions.vectors import vector_rows
from segan.runtime.bundle.attributes import check_name, read_attributes
from segan.runtime.bundle.layout import Subspace
from segan.runtime.bundle.reader import Bundle
from segan.runtime.errors import ConfigError, DataError
from segan.runtime.generate.generator import Generator

Method = Literal["sefa", "pca", "vectors"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True, kw_only=True)
class DirectionsConfig:
    """Which directions to add, and to which layers.

    Attributes:
        method: ``sefa``, closed-form factorisation of the style affines; ``pca``, principal
            components of w; or ``vectors``, directions from a file.
        dims: number of directions for each layer group, 1 or more; None takes 6, or all vectors.
        layers: layer groups such as ``0-1,3``; None is every layer as a group of its own.
        vectors: the npz or npy file of the method ``vectors``.
        samples: number of w for mean, unit and components, more than w_dim.
        class_index: class of these w; None takes all classes in turn.
        low: lower end of the sliders' range, in standard deviations.
        high: upper end of the sliders' range.

    Raises:
        ConfigError: an unknown method, or a number out of its range.
    """

    method: Method
    dims: int | None = None
    layers: str | None = None
    vectors: Path | None = None
    samples: int = 20_000
    class_index: int | None = None
    low: float = -3.0
    high: float = 3.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(
                field="method", value=self.method, expected=f"one of {', '.join(METHODS)}"
            )
        if self.method == "vectors" and self.vectors is None:
            raise ConfigError(
                "`method vectors` needs a file of vectors",
                field="vectors",
                value=None,
                remedy="Add `vectors FILE`.",
            )
        if self.method != "vectors" and self.vectors is not None:
            raise ConfigError(
                f"`method {self.method}` takes no file of vectors",
                field="vectors",
                value=self.vectors,
                remedy="Set `method vectors`, or leave `vectors` out.",
            )
        if self.dims is not None and self.dims < 1:
            raise ConfigError(field="dims", value=self.dims, expected="1 or more")
        if not self.low < self.high or not np.isfinite([self.low, self.high]).all():
            raise ConfigError(
                f"the range is {self.low:g} to {self.high:g}",
                field="low",
                value=self.low,
                expected="two finite numbers, the first below the second",
            )
        if not 2 <= self.samples <= 10_000_000:
            raise ConfigError(field="samples", value=self.samples, expected="2 to 10000000")


def write_directions(
    generator: Generator,
    out: Path | str,
    config: DirectionsConfig,
    *,
    overwrite: bool = True,
    on_step: Callable[[str], None] | None = None,
) -> DirectionsResult:
    """Find directions, and write the bundle with them as new sliders.

    The new bundle is compared with the given one before it appears under its name: without sliders
    the images are the same, and a slider adds its direction to w.

        generator = load("faces.segan")
        write_directions(generator, "faces-pca.segan", DirectionsConfig(method="pca", dims=4))

    Args:
        generator: the open bundle. It is not changed unless ``out`` is its own path.
        out: the new bundle's folder, NAME.segan. An existing bundle is replaced, unless that would
            lose names. The generator's own path changes it, and keeps a zip one file.
        config: which directions to add.
        overwrite: whether another existing bundle may be replaced.
        on_step: called with a few words before each step.

    Raises:
        ConfigError: a setting is out of its range.
        DataError: the vectors cannot be used.
        ExportError: segan did not write the bundle's graphs.
        VerifyError: the new graphs compute other styles than expected; nothing is written.
        BundleError: another generator was written to ``out`` meanwhile.
        OutputError: ``out`` is not a bundle, has names that would be lost, or cannot be written.
    """
    step, out = on_step or (lambda _: None), Path(out)
    check_addition(generator, out, overwrite=overwrite)
    groups = parse_groups(generator.manifest, config.layers)
    step(f"mapping {config.samples} latents")
    statistics = sample_w_statistics(generator, config.samples, class_index=config.class_index)
    step(f"finding directions: {config.method}")
    rows = _find(generator, statistics, groups, config)
    added = added_subspaces(generator.manifest, rows, (float(config.low), float(config.high)))
    record = {
        "method": config.method,
        "samples": statistics.samples,
        "class": config.class_index,
        "unit": "one standard deviation of w",
    }

    def entries(bundle: Bundle) -> list[dict[str, Any]]:
        return _entries(bundle, rows, added, config)

    return write_added(
        generator, out, rows, added, entries, record, overwrite=overwrite, on_step=step
    )


def _find(
    generator: Generator,
    statistics: WStatistics,
    groups: tuple[tuple[int, ...], ...],
    config: DirectionsConfig,
) -> list[DirectionRow]:
    manifest = generator.manifest
    if config.method == "vectors":
        assert config.vectors is not None
        return vector_rows(manifest, statistics, groups, config.vectors, dims=config.dims)
    dims = min(6, manifest.w_dim) if config.dims is None else config.dims
    if config.method == "sefa":
        return sefa_rows(generator, statistics, groups, dims)
    return pca_rows(manifest, statistics, groups, dims)


def _entries(
    bundle: Bundle,
    rows: list[DirectionRow],
    added: tuple[Subspace, ...],
    config: DirectionsConfig,
) -> list[dict[str, Any]]:
    """Return an entry of ``attributes.json`` for each direction."""
    names = iter(_unique_names(rows, [attribute.name for attribute in read_attributes(bundle)]))
    return [
        {
            "name": next(names),
            "layer": subspace.layer,
            "index": subspace.index,
            "dim": dim,
            "range": [subspace.low, subspace.high],
            "method": config.method,
            "layers": list(row.layers),
            "sigma": float(row.sigma[dim]),
            "explained_variance": float(row.explained[dim]),
        }
        for row, subspace in zip(rows, added, strict=True)
        for dim in range(subspace.dims)
    ]


def _unique_names(rows: list[DirectionRow], taken: list[str]) -> list[str]:
    """Return unique names of all directions; layers or numbers are added where names repeat."""
    given = [(name, row.where) for row in rows for name in row.names]
    often = Counter(name.casefold() for name, _ in given)
    seen = {name.casefold() for name in taken}
    found = []
    for name, where in given:
        try:
            check_name(name)
        except ConfigError as error:
            raise DataError(
                f"a direction has the name {name!r}",
                field="vectors",
                value=name,
                expected=error.expected,
                remedy=error.remedy,
            ) from error
        if often[name.casefold()] > 1:
            name = f"{name}, {where}"
        base, number = name, 1
        while name.casefold() in seen:
            number += 1
            name = f"{base} ({number})"
        seen.add(name.casefold())
        found.append(name)
    return found
