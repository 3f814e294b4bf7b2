"""Adds directions to a bundle as subspaces, so that any generator has sliders.

Closed-form factorisation, principal components of w, or the user's vectors become rows of
``coords`` with the prior ``zero``: images without sliders stay the same, bit for bit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from segan.export.directions.graph import add_directions, widen_shifts
from segan.export.directions.pca import pca_rows
from segan.export.directions.rows import DirectionRow, parse_groups
from segan.export.directions.sefa import sefa_rows
from segan.export.directions.statistics import WStatistics, sample_w_statistics
from segan.export.directions.vectors import vector_rows
from segan.runtime.bundle.attributes import check_name, read_attributes
from segan.runtime.bundle.attributes_editing import check_names_kept
from segan.runtime.bundle.classes import one_hot
from segan.runtime.bundle.graph_files import read_graph
from segan.runtime.bundle.layout import Subspace, noise_sizes
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import ATTRIBUTES, Bundle, check_same_generator, open_bundle
from segan.runtime.bundle.writer import BundleDraft, check_target
from segan.runtime.errors import ConfigError, DataError, VerifyError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.draws import sample_coords, sample_noise, sample_z

Method = Literal["sefa", "pca", "vectors"]
METHODS: tuple[str, ...] = get_args(Method)

#: Largest difference of a moved style from w + v σ d, relative to the largest style.
_TOLERANCE = 1e-5


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


@dataclass(frozen=True, eq=False, kw_only=True)
class DirectionsResult:
    """A bundle with added directions.

    Attributes:
        path: the bundle's folder.
        manifest: its manifest.
        subspaces: the new rows of ``coords``.
        rows: the directions of each new subspace.
        max_error: largest difference of a moved style from w + v σ d computed in float64, relative
            to the largest style.
    """

    path: Path
    manifest: Manifest
    subspaces: tuple[Subspace, ...]
    rows: tuple[DirectionRow, ...]
    max_error: float


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
    in_place = out.exists() and out.samefile(generator.bundle.path)
    if not in_place:
        check_target(out, overwrite=overwrite)
    groups = parse_groups(generator.manifest, config.layers)
    step(f"mapping {config.samples} latents")
    statistics = sample_w_statistics(generator, config.samples, class_index=config.class_index)
    step(f"finding directions: {config.method}")
    rows = _find(generator, statistics, groups, config)
    with (
        BundleDraft(out, overwrite=overwrite or in_place, in_place=in_place) as draft,
        draft.replacing() as old,
    ):
        bundle = generator.bundle
        if in_place and old is not None:
            check_same_generator(bundle, old)
            bundle = old  # With names that were given since it was opened.
        manifest, files = _edit(bundle, rows, statistics, config)
        for name, data in files.items():
            draft.add(name, data)
        manifest = msgspec.structs.replace(manifest, files=dict(draft.files))
        draft.write_manifest(manifest)
        step("comparing with the bundle as it was")
        # Both on the CPU, which computes the unchanged parts of a graph as before.
        with (
            load(bundle.path, "cpu") as unchanged,
            load(draft.path, "cpu") as changed,
        ):
            error = _compare(unchanged, changed, rows)
        check_names_kept(out, old, read_attributes(open_bundle(draft.path)))
        draft.commit()
    return DirectionsResult(
        path=out,
        manifest=manifest,
        subspaces=manifest.subspaces[len(generator.manifest.subspaces) :],
        rows=tuple(rows),
        max_error=error,
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


def _edit(
    bundle: Bundle,
    rows: list[DirectionRow],
    statistics: WStatistics,
    config: DirectionsConfig,
) -> tuple[Manifest, dict[str, bytes]]:
    """Return the new manifest, and every file of the bundle."""
    manifest = bundle.manifest
    added = _subspaces(manifest, rows, config)
    dims = max(row.dims for row in added)
    width = max(manifest.coords_dim if manifest.subspaces else 0, dims)
    table = np.zeros((len(rows), dims, manifest.num_sites, manifest.w_dim))
    for number, row in enumerate(rows):
        table[number, : len(row.vectors)] = row.vectors
    old = {"rows": manifest.num_subspaces, "width": manifest.coords_dim}
    files = {name: bundle.read(name) for name in manifest.files}
    offsets = manifest.graphs.offsets
    files[offsets] = add_directions(read_graph(bundle, "offsets"), table, new_width=width, **old)
    if manifest.mode == 1:
        total = manifest.num_subspaces + len(rows)
        for precision, name in manifest.graphs.synthesis.items():
            graph = read_graph(bundle, "synthesis", precision)
            files[name] = widen_shifts(graph, new_rows=total, new_width=width, **old)
    names = _unique_names(rows, [attribute.name for attribute in read_attributes(bundle)])
    files[ATTRIBUTES] = _attributes(bundle, rows, added, config, names)
    left = iter(names)
    known = manifest.provenance.get("directions", [])
    record = {
        "method": config.method,
        "samples": statistics.samples,
        "class": config.class_index,
        "unit": "one standard deviation of w",
        "subspaces": [
            {
                "subspace": f"L{subspace.layer}N{subspace.index}",
                "layers": list(row.layers),
                "sigma": row.sigma.tolist(),
                "explained_variance": row.explained.tolist(),
                "names": [next(left) for _ in range(subspace.dims)],
            }
            for row, subspace in zip(rows, added, strict=True)
        ],
    }
    provenance = {
        **manifest.provenance,
        "directions": [*(known if isinstance(known, list) else []), record],
    }
    changed = msgspec.structs.replace(
        manifest,
        subspaces=(*manifest.subspaces, *added),
        coords_dim=width,
        provenance=provenance,
    )
    return changed, files


def _subspaces(
    manifest: Manifest, rows: list[DirectionRow], config: DirectionsConfig
) -> tuple[Subspace, ...]:
    """Return the new rows of the table; indices continue those of the layer."""
    taken = {(row.layer, row.index) for row in manifest.subspaces}
    found = []
    for row in rows:
        layer = manifest.sites[row.site].layer
        index = 1 + max((index for at, index in taken if at == layer), default=-1)
        taken.add((layer, index))
        found.append(
            Subspace(
                site=row.site,
                layer=layer,
                index=index,
                dims=len(row.vectors),
                prior="zero",
                low=float(config.low),
                high=float(config.high),
            )
        )
    return tuple(found)


def _attributes(
    bundle: Bundle,
    rows: list[DirectionRow],
    added: tuple[Subspace, ...],
    config: DirectionsConfig,
    names: list[str],
) -> bytes:
    """Return ``attributes.json`` with an entry for each direction."""
    found = {"format": "segan.attributes/1", **bundle.attributes}
    known = found.get("attributes")
    entries: list[Any] = list(known) if isinstance(known, list) else []
    left = iter(names)
    for row, subspace in zip(rows, added, strict=True):
        for dim in range(subspace.dims):
            entries.append(
                {
                    "name": next(left),
                    "layer": subspace.layer,
                    "index": subspace.index,
                    "dim": dim,
                    "range": [subspace.low, subspace.high],
                    "method": config.method,
                    "layers": list(row.layers),
                    "sigma": float(row.sigma[dim]),
                    "explained_variance": float(row.explained[dim]),
                }
            )
    found["attributes"] = entries
    return json.dumps(found, indent=2).encode() + b"\n"


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


def _compare(old: Generator, new: Generator, rows: list[DirectionRow]) -> float:
    """Compare old and new graphs.

    Returns:
        The largest difference from w + v σ d, relative to the largest style.

    Raises:
        VerifyError: styles or images at coordinates of 0 differ, or a direction adds something else
            to w than its vector.
    """
    manifest, changed = old.manifest, new.manifest
    seeds = [11, 12, 13]
    labels = None
    if manifest.c_dim:
        labels = one_hot([0] * len(seeds), manifest.c_dim)
    w = old.map(sample_z(seeds, manifest.z_dim), labels)
    psi = np.full(manifest.num_sites, 0.7, np.float32)
    before = _coords(manifest, seeds)
    after = np.zeros((len(seeds), changed.num_subspaces, changed.coords_dim), np.float32)
    if before is not None:
        after[:, : manifest.num_subspaces, : manifest.coords_dim] = before
    was, was_shifts = old.style(w, psi, before)
    now, now_shifts = new.style(w, psi, after)
    if not np.array_equal(was, now):
        raise _differs("styles", float(np.abs(was - now).max()))
    if was_shifts is not None:
        noise = None
        if manifest.noise is not None:
            noise = sample_noise(seeds, sum(noise_sizes(manifest.sites)))
        apart = old.synthesize(was, was_shifts, noise) - new.synthesize(now, now_shifts, noise)
        if not np.abs(apart).max() <= 1e-6:
            raise _differs("images", float(np.abs(apart).max()))
    random = np.random.RandomState(0)
    spread = np.repeat(w[:, None], manifest.num_sites, axis=1).astype(np.float64)
    worst = 0.0
    for number, row in enumerate(rows, start=manifest.num_subspaces):
        values = random.uniform(-3, 3, (len(seeds), len(row.vectors)))
        moved = after.copy()
        moved[:, number, : values.shape[1]] = values
        expected, _ = old.style(spread + np.einsum("nk,ksd->nsd", values, row.vectors), 1.0, before)
        found, _ = new.style(w, 1.0, moved)
        size = max(float(np.abs(expected).max()), 1e-12)
        worst = float(np.maximum(worst, np.abs(found.astype(np.float64) - expected).max() / size))
    if not worst <= _TOLERANCE:
        raise VerifyError(
            f"styles differ by {worst:.2g} from w plus the directions",
            field="max_error",
            value=worst,
            expected=f"at most {_TOLERANCE:g}",
            remedy="Nothing was written. Report this with the bundle.",
        )
    return worst


def _differs(what: str, difference: float) -> VerifyError:
    return VerifyError(
        f"{what} differ by {difference:.2g} although no direction is applied",
        field="max_error",
        value=difference,
        remedy="Nothing was written. Export the bundle again.",
    )


def _coords(manifest: Manifest, seeds: list[int]) -> NDArray[np.float32] | None:
    if not manifest.num_subspaces:
        return None
    return sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
