"""Adding rows of directions to a bundle, in graphs, tables and names, and comparing the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from segan.export.directions.graph import add_directions, widen_shifts
from segan.export.directions.rows import DirectionRow
from segan.runtime.bundle.attributes import FORMAT, read_attributes
from segan.runtime.bundle.attributes_editing import check_names_kept
from segan.runtime.bundle.classes import one_hot
from segan.runtime.bundle.graph_files import read_graph
from segan.runtime.bundle.layout import Slider, Subspace, noise_sizes
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import ATTRIBUTES, Bundle, check_same_generator, open_bundle
from segan.runtime.bundle.writer import BundleDraft, check_target
from segan.runtime.errors import VerifyError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.draws import sample_coords, sample_noise, sample_z

#: Largest difference of a moved style from w + v σ d, relative to the largest style.
_TOLERANCE = 1e-5


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


def added_subspaces(
    manifest: Manifest, rows: Sequence[DirectionRow], limits: tuple[float, float]
) -> tuple[Subspace, ...]:
    """Return the new rows of the table of subspaces; indices continue those of the layer.

    Args:
        manifest: of the bundle.
        rows: the directions.
        limits: low and high end of the new sliders.
    """
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
                low=limits[0],
                high=limits[1],
            )
        )
    return tuple(found)


def check_addition(generator: Generator, out: Path, *, overwrite: bool) -> bool:
    """Make sure that a bundle with directions may be written; return whether it changes its own.

    Raises:
        ConfigError, OutputError: see ``check_target``.
    """
    in_place = out.exists() and out.samefile(generator.bundle.path)
    if not in_place:
        check_target(out, overwrite=overwrite)
    return in_place


def write_added(
    generator: Generator,
    out: Path,
    rows: Sequence[DirectionRow],
    added: tuple[Subspace, ...],
    entries: Callable[[Bundle], list[dict[str, Any]]],
    record: dict[str, Any],
    *,
    overwrite: bool,
    on_step: Callable[[str], None],
) -> DirectionsResult:
    """Write the bundle with new rows of ``coords``, after a comparison with the bundle as it was.

    Args:
        generator: the open bundle.
        out: the new bundle's folder, or the generator's own path.
        rows: the directions; none adds names alone.
        added: from ``added_subspaces``.
        entries: returns those to add to ``attributes.json``, one or more for each dim of ``added``,
            for the bundle as it is when it is written.
        record: of the search, for the manifest's provenance.
        overwrite: whether another existing bundle may be replaced.
        on_step: called with a few words before the comparison.

    Raises:
        BundleError, ExportError, VerifyError, OutputError: see ``write_directions``.
    """
    in_place = check_addition(generator, out, overwrite=overwrite)
    error = 0.0
    with (
        BundleDraft(out, overwrite=overwrite or in_place, in_place=in_place) as draft,
        draft.replacing() as old,
    ):
        bundle = generator.bundle
        if in_place and old is not None:
            check_same_generator(bundle, old)
            bundle = old  # With names that were given since it was opened.
        manifest, files = _edit(bundle, rows, added, entries(bundle), record)
        for name, data in files.items():
            draft.add(name, data)
        manifest = msgspec.structs.replace(manifest, files=dict(draft.files))
        draft.write_manifest(manifest)
        if rows:
            on_step("comparing with the bundle as it was")
            # Both on the CPU, which computes the unchanged parts of a graph as before.
            with (
                load(bundle.path, "cpu") as unchanged,
                load(draft.path, "cpu") as changed,
            ):
                error = _compare(unchanged, changed, rows)
        check_names_kept(out, old, read_attributes(open_bundle(draft.path)))
        draft.commit()
    return DirectionsResult(
        path=out, manifest=manifest, subspaces=added, rows=tuple(rows), max_error=error
    )


def _edit(
    bundle: Bundle,
    rows: Sequence[DirectionRow],
    added: tuple[Subspace, ...],
    entries: Sequence[dict[str, Any]],
    record: dict[str, Any],
) -> tuple[Manifest, dict[str, bytes]]:
    """Return the new manifest, and every file of the bundle."""
    manifest = bundle.manifest
    files = {name: bundle.read(name) for name in manifest.files}
    width = manifest.coords_dim
    if rows:
        dims = max(row.dims for row in added)
        width = max(width if manifest.subspaces else 0, dims)
        table = np.zeros((len(rows), dims, manifest.num_sites, manifest.w_dim))
        for number, row in enumerate(rows):
            table[number, : len(row.vectors)] = row.vectors
        old = {"rows": manifest.num_subspaces, "width": manifest.coords_dim}
        offsets = read_graph(bundle, "offsets")
        files[manifest.graphs.offsets] = add_directions(offsets, table, new_width=width, **old)
        if manifest.mode == 1:
            total = manifest.num_subspaces + len(rows)
            for precision, name in manifest.graphs.synthesis.items():
                graph = read_graph(bundle, "synthesis", precision)
                files[name] = widen_shifts(graph, new_rows=total, new_width=width, **old)
    attributes = {"format": FORMAT, **bundle.attributes}
    known = attributes.get("attributes")
    attributes["attributes"] = [*(known if isinstance(known, list) else []), *entries]
    files[ATTRIBUTES] = json.dumps(attributes, indent=2).encode() + b"\n"
    before = manifest.provenance.get("directions", [])
    names = {
        Slider(entry["layer"], entry["index"], entry["dim"]): entry["name"]
        for entry in entries
        if "layer" in entry
    }
    subspaces = [
        {
            "subspace": f"L{subspace.layer}N{subspace.index}",
            "layers": list(row.layers),
            "sigma": row.sigma.tolist(),
            "explained_variance": row.explained.tolist(),
            "names": [
                names[Slider(subspace.layer, subspace.index, dim)] for dim in range(subspace.dims)
            ],
        }
        for row, subspace in zip(rows, added, strict=True)
    ]
    provenance = {
        **manifest.provenance,
        "directions": [
            *(before if isinstance(before, list) else []),
            {**record, "subspaces": subspaces},
        ],
    }
    changed = msgspec.structs.replace(
        manifest,
        subspaces=(*manifest.subspaces, *added),
        coords_dim=width,
        provenance=provenance,
    )
    return changed, files


def _compare(old: Generator, new: Generator, rows: Sequence[DirectionRow]) -> float:
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
