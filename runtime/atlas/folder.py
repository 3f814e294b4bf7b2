"""Writes an atlas as a folder, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path

from segan.runtime.atlas.page import PageCommands, render_page
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
from segan.runtime.errors import OutputError
from segan.runtime.files import make_folder, output_error, sync_folder, write_atomic

PAGE, RECORD = "index.html", "atlas.json"


def check_atlas_folder(out: Path) -> None:
    """Raises OutputError when something stands at ``out`` that is no atlas."""
    if not os.path.lexists(out):
        return
    if out.is_dir() and not out.is_symlink():
        if not any(out.iterdir()):
            return
        try:
            stated = json.loads((out / RECORD).read_bytes())
        except (OSError, ValueError, RecursionError):
            stated = None
        if isinstance(stated, dict) and stated.get("format") == FORMAT:
            return
    raise OutputError(
        f"{out} exists and is not an atlas, so it is not replaced. Choose another folder, or "
        "remove it."
    )


def write_atlas(
    atlas: Atlas, out: str | os.PathLike[str], commands: PageCommands | None = None
) -> Path:
    """Writes ``index.html``, its pictures, a sheet for each subspace, and ``atlas.json``.

    The folder is drafted beside and then renamed; an atlas that stands there is replaced.

    Args:
        atlas: what was measured.
        out: the folder.
        commands: what the page lets its reader copy; None: for the bundle that ships with segan.

    Returns:
        The page's path.

    Raises:
        OutputError: something else stands there, or it cannot be written.
    """
    check_atlas_folder(Path(out))
    out = Path(os.path.abspath(out))
    draft = out.with_name(f".{out.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        make_folder(draft)
        _fill(atlas, draft, commands or PageCommands())
        _put(draft, out)
    except OSError as error:
        raise output_error(out, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(out.parent)
    return out / PAGE


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
    record = json.dumps(atlas.to_json(), indent=1, ensure_ascii=False).encode() + b"\n"
    write_atomic(folder / RECORD, record, sync=False)


def _put(draft: Path, out: Path) -> None:
    """Renames the draft to where the atlas shall be; an older one is put back if that fails."""
    old = draft.with_suffix(".old")
    replaces = os.path.lexists(out)
    if replaces:
        os.rename(out, old)
    try:
        os.rename(draft, out)
    except OSError:
        if replaces:
            with contextlib.suppress(OSError):
                os.rename(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)
