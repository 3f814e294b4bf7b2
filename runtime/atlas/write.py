"""Writing an atlas as a folder, completely or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

from segan.runtime.atlas.cards import PageCommands, render_page
from segan.runtime.atlas.pictures import (
    cell_side,
    heat_picture,
    png,
    samples_picture,
    strip_picture,
    subspace_sheet,
    webp,
)
from segan.runtime.atlas.record import FORMAT, Atlas
from segan.runtime.files.atomic import write_atomic
from segan.runtime.files.whole_folder import FolderKind, check_folder, files_in, folder_draft

PAGE, RECORD = "index.html", "atlas.json"
ATLAS = FolderKind("an atlas", RECORD, FORMAT)


def check_atlas_folder(out: Path) -> None:
    """Raise OutputError if an atlas at ``out`` would destroy anything but an older atlas."""
    check_folder(out, ATLAS)


def write_atlas(
    atlas: Atlas, out: str | os.PathLike[str], commands: PageCommands | None = None
) -> Path:
    """Write ``index.html``, its pictures, a sheet per subspace, and ``atlas.json``.

    A draft next to the folder is renamed at the end. An older atlas is replaced, unless its folder
    holds other files.

    Args:
        atlas: what was measured.
        out: the folder.
        commands: for the page's reader to copy; None writes those for the bundle that ships with
            segan.

    Returns:
        The page's path.

    Raises:
        OutputError: ``out`` is something else, or cannot be written.
    """
    out = Path(out)
    with folder_draft(out, ATLAS) as draft:
        _fill(atlas, draft, commands or PageCommands(psi=atlas.config.psi))
    return Path(os.path.abspath(out)) / PAGE


def _fill(atlas: Atlas, folder: Path, commands: PageCommands) -> None:
    side = cell_side(atlas)
    write_atomic(folder / "samples.webp", webp(samples_picture(atlas, side)), sync=False)
    for entry in atlas.sliders:
        strip = strip_picture(entry.images, side)
        write_atomic(folder / "strips" / f"{entry.slider}.webp", webp(strip), sync=False)
        heat = heat_picture(entry, max(side, 128))
        write_atomic(folder / "heat" / f"{entry.slider}.webp", webp(heat), sync=False)
    sheets = []
    for subspace in atlas.manifest.subspaces:
        sheet = subspace_sheet(atlas, subspace, side)
        if sheet is not None:
            name = f"sheets/L{subspace.layer}N{subspace.index}.png"
            write_atomic(folder / name, png(sheet), sync=False)
            sheets.append(name)
    page = render_page(atlas, commands, sheets, side)
    write_atomic(folder / PAGE, page.encode(), sync=False)
    record = {**atlas.to_json(), "files": sorted({*files_in(folder), RECORD})}
    text = json.dumps(record, indent=1, ensure_ascii=False)
    write_atomic(folder / RECORD, text.encode() + b"\n", sync=False)
