"""A bundle's atlas within the report: copied beside the page, so that the folder stays whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from segan.runtime.errors import DataError
from segan.runtime.files import output_error
from segan.train.report.markup import text

#: What an atlas holds; other files are left where they are.
_KINDS = (".html", ".png", ".webp", ".jpg", ".jpeg", ".svg", ".gif", ".mp4", ".css", ".js", ".json")
_SHEETS = (".png", ".webp", ".jpg", ".jpeg")
#: Most sheets that the page itself shows; the atlas has them all.
_MOST = 12


def check_atlas(atlas: Path) -> None:
    """Raises DataError unless the folder is an atlas: index.html with pictures."""
    if not (atlas / "index.html").is_file():
        raise DataError(
            f"{atlas} is not an atlas (index.html is missing). Give a folder that segan atlas "
            "wrote, or leave --atlas out."
        )


def add_atlas(atlas: Path, draft: Path) -> str:
    """Copies an atlas into ``draft/atlas``, and returns a link to it with its sheets.

    Links are not followed out of the folder, and only web pages and pictures are copied.

    Raises:
        DataError: the folder is no atlas.
        OutputError: a file cannot be copied.
    """
    check_atlas(atlas)
    sheets = []
    for path in sorted(atlas.rglob("*")):
        if path.suffix.lower() not in _KINDS or not path.is_file():
            continue
        if not path.resolve().is_relative_to(atlas.resolve()):
            continue
        place = draft / "atlas" / path.relative_to(atlas)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        except OSError as error:
            raise output_error(place, error) from error
        if path.suffix.lower() in _SHEETS:
            sheets.append(place)
    # Its folder of sheets, where it has one, says more at a glance than its many small pictures.
    telling = [path for path in sheets if path.parent == draft / "atlas" / "sheets"] or sheets
    shown = [_sheet(path, draft) for path in telling[:_MOST]]
    rest = len(sheets) - len(shown)
    more = f" Here are {len(shown)} of its {len(sheets)} pictures." if rest else ""
    return (
        f'<p><a href="atlas/index.html">Open the atlas</a>: what each direction does.{more}</p>'
        f'<div class="gallery">{"".join(shown)}</div>'
    )


def _sheet(path: Path, draft: Path) -> str:
    source = text(path.relative_to(draft).as_posix())
    try:
        with Image.open(path) as picture:
            size = f' width="{picture.width}" height="{picture.height}"'
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        size = ""  # the browser says that it is broken
    return (
        f'<figure><a href="{source}"><img src="{source}"{size} alt="{text(path.stem)}" '
        f'loading="lazy"></a><figcaption>{text(path.stem)}</figcaption></figure>'
    )
