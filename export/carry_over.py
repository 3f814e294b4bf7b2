"""What a new bundle takes over from the one that it replaces: names of sliders, and directions.

Both belong to a generator. A bundle of the same weights takes over everything; a later checkpoint
of the same run takes over the names, since its sliders are the same ones, further trained. In every
other case a bundle that has names or directions is not replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.attributes_editing import check_names_kept
from segan.runtime.bundle.classes import one_hot
from segan.runtime.bundle.graph_files import read_graph
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import ATTRIBUTES, Bundle, open_bundle
from segan.runtime.bundle.writer import BundleDraft
from segan.runtime.errors import BundleError, OutputError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.draws import sample_coords, sample_z
from segan.train.runs.folder import MAY_CHANGE

#: Largest difference of a style, relative to the largest: graphs of two versions may round
#: differently.
_TOLERANCE = 1e-5


class CarriedOver(NamedTuple):
    """What the older bundle had.

    Attributes:
        names: named sliders, those of directions included.
        subspaces: rows of directions.
    """

    names: int = 0
    subspaces: int = 0


NOTHING = CarriedOver()


def check_replaced(out: Path, provenance: Mapping[str, Any]) -> None:
    """Make sure, before an export, that it can take over what the bundle at ``out`` has.

    Args:
        out: the target, which may be missing.
        provenance: of the new bundle: ``weights_sha256``, and of a run ``checkpoint`` and
            ``training``.

    Raises:
        OutputError: it has names or directions of another generator.
    """
    try:
        old = open_bundle(out) if out.exists() else None
    except BundleError:
        return  # It holds nothing that could be read.
    _check(out, old, provenance)


def same_origin(path: Path, provenance: Mapping[str, Any]) -> bool:
    """Return whether a path holds a bundle of the same weights or run."""
    try:
        was = open_bundle(path).manifest.provenance
    except BundleError:
        return False
    same = was.get("weights_sha256") == provenance.get("weights_sha256")
    return same or _same_run(was, provenance)


def carry_over(
    draft: BundleDraft, out: Path, manifest: Manifest, old: Bundle | None
) -> tuple[Manifest, CarriedOver]:
    """Write the names and directions of an older bundle into a draft.

    Args:
        draft: complete and verified.
        out: as the user wrote it.
        manifest: the draft's.
        old: the bundle that the draft replaces, which is locked; None for none.

    Returns:
        The new manifest, which is written, and what was taken over.

    Raises:
        OutputError: the bundle has names or directions of another generator.
        ExportError: segan did not write its graphs.
    """
    names, rows = _check(out, old, manifest.provenance)
    if old is None or not (names or rows):
        return manifest, NOTHING
    if rows:
        with load(draft.path, "cpu") as before:
            manifest = _add_rows(draft, manifest, old)
            with load(draft.path, "cpu") as after:
                if not _same_styles(before, after):
                    raise _refused(out, names, rows)
    document = json.dumps(old.attributes, indent=2).encode() + b"\n"
    draft.add(ATTRIBUTES, document)
    manifest = msgspec.structs.replace(manifest, files=dict(draft.files))
    draft.write_manifest(manifest)
    read_attributes(open_bundle(draft.path))  # The names fit the new sliders.
    return manifest, CarriedOver(names, rows)


def check_zip_kept(zip_path: Path, draft: BundleDraft) -> None:
    """Raise OutputError if replacing the bundle's zip would lose names that only the zip has."""
    try:
        old = open_bundle(zip_path) if zip_path.exists() else None
    except BundleError:
        return
    check_names_kept(zip_path, old, read_attributes(open_bundle(draft.path)))


def _check(out: Path, old: Bundle | None, provenance: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many names and rows of directions are taken over. Raises: OutputError."""
    if old is None:
        return 0, 0
    try:
        names = len(read_attributes(old))
    except BundleError:
        names = 0
    was = old.manifest.provenance
    added = was.get("directions")
    entries = [entry for entry in added if isinstance(entry, dict)] if added else []
    rows = sum(len(entry.get("subspaces", ())) for entry in entries)
    same = was.get("weights_sha256") == provenance.get("weights_sha256")
    if not same and (rows or (names and not _same_run(was, provenance))):
        raise _refused(out, names, rows)
    return names, rows


def _refused(out: Path, names: int, rows: int) -> OutputError:
    parts = [f"{names} named slider{'s' * (names > 1)}"] if names else []
    parts += [f"{rows} subspace{'s' * (rows > 1)} of directions"] if rows else []
    return OutputError(
        f"{out} has {' and '.join(parts)}, which belong to other weights and would be lost",
        field="out",
        value=out,
        remedy="Pass another `out`, or remove that bundle.",
    )


def _same_run(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two bundles are of one run: the same settings and data."""
    pair = []
    for provenance in (old, new):
        training, checkpoint = provenance.get("training"), provenance.get("checkpoint")
        if not isinstance(training, dict) or not isinstance(checkpoint, dict):
            return False
        settings = json.loads(json.dumps(training))
        for place in MAY_CHANGE:
            outer, _, inner = place.rpartition(".")
            part = settings.get(outer) if outer else settings
            if isinstance(part, dict):
                part.pop(inner, None)
        pair.append((settings, checkpoint.get("data")))
    return bool(pair[0] == pair[1])


def _add_rows(draft: BundleDraft, manifest: Manifest, old: Bundle) -> Manifest:
    """Give a draft the rows of directions of a bundle of the same weights.

    Its offsets graph has them, and nothing else depends on them but, in mode 1, the width of
    ``shifts``.
    """
    from segan.export.directions.graph import widen_shifts

    was = old.manifest
    if manifest.mode == 1:
        sizes = {"rows": manifest.num_subspaces, "width": manifest.coords_dim}
        own = open_bundle(draft.path)
        for precision, name in manifest.graphs.synthesis.items():
            graph = read_graph(own, "synthesis", precision)
            wider = widen_shifts(
                graph, **sizes, new_rows=was.num_subspaces, new_width=was.coords_dim
            )
            draft.add(name, wider)
    draft.add(manifest.graphs.offsets, read_graph(old, "offsets"))
    changed = msgspec.structs.replace(
        manifest,
        subspaces=was.subspaces,
        coords_dim=was.coords_dim,
        provenance={**manifest.provenance, "directions": was.provenance["directions"]},
        files=dict(draft.files),
    )
    draft.write_manifest(changed)
    return changed


def _same_styles(before: Generator, after: Generator) -> bool:
    """Whether styles without directions are those of the generator as it was exported."""
    manifest, wider, seeds = before.manifest, after.manifest, [11, 12, 13]
    if manifest.subspaces != wider.subspaces[: manifest.num_subspaces]:
        return False
    labels = None
    if manifest.c_dim:
        labels = one_hot([0] * len(seeds), manifest.c_dim)
    w = before.map(sample_z(seeds, manifest.z_dim), labels)
    psi = np.full(manifest.num_sites, 0.7, np.float32)
    own = None
    all_rows = np.zeros((len(seeds), wider.num_subspaces, wider.coords_dim), np.float32)
    if manifest.num_subspaces:
        own = sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
        all_rows[:, : manifest.num_subspaces, : manifest.coords_dim] = own
    was, _ = before.style(w, psi, own)
    now, _ = after.style(w, psi, all_rows)
    return bool(np.abs(was - now).max() <= _TOLERANCE * max(float(np.abs(was).max()), 1e-12))
