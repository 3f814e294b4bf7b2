"""The report's pictures: sheets that training drew, whole or in part, copied beside the page."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from segan.runtime.errors import DataError
from segan.runtime.files.atomic import write_atomic
from segan.train.report.run_record import RunRecord, Sheet

#: Wider or higher pictures are made smaller; the run has the whole ones.
MAX_SIDE = 2400
#: Columns and gap of a sample sheet, as segan.train.loop.watch.sheets draws it.
_COLUMNS, _GAP = 8, 4


class Picture(NamedTuple):
    """A picture in the report's folder.

    Attributes:
        source: its path from the page.
        width: in pixels.
        height: in pixels.
    """

    source: str
    width: int
    height: int

    def tag(self, alt: str) -> str:
        """An HTML image that links to itself; its size is stated, so the page does not jump."""
        source = html.escape(self.source, quote=True)
        return (
            f'<a href="{source}"><img src="{source}" width="{self.width}" height="{self.height}" '
            f'alt="{html.escape(alt, quote=True)}" loading="lazy"></a>'
        )


class PictureFolder:
    """Writes pictures into a report in the making.

    Args:
        draft: the report's folder.
    """

    def __init__(self, draft: Path) -> None:
        self._draft = draft

    def add(self, path: Path, name: str, *, rows: int | None = None) -> Picture:
        """Copies a picture, made smaller where it is very large.

        Args:
            path: a picture.
            name: in the report, without folder and ending.
            rows: of a sample sheet, show only so many rows from the top; None is all.

        Raises:
            DataError: it is no picture.
            OutputError: it cannot be written.
        """
        try:
            data = path.read_bytes()
            with Image.open(io.BytesIO(data)) as picture:
                picture.load()
                form = picture.format
                shown = picture if rows is None else _top(picture, rows)
                large = max(shown.size) > MAX_SIDE
                if shown is picture and not large and form in ("PNG", "JPEG", "WEBP"):
                    return self._write(f"{name}.{form.lower()}", data, picture.size)
                small = shown.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{path} is no picture that can be read ({error}). Remove it from the run, or "
                "draw it again."
            ) from None
        if large:
            small.thumbnail((MAX_SIDE, MAX_SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "png", optimize=True)
        return self._write(f"{name}.png", buffer.getvalue(), small.size)

    def _write(self, name: str, data: bytes, size: tuple[int, int]) -> Picture:
        write_atomic(self._draft / "images" / name, data, sync=False)
        return Picture(f"images/{name}", *size)


def _top(sheet: Image.Image, rows: int) -> Image.Image:
    """The first rows of a sample sheet; all of a picture that is none."""
    pitch, rest = divmod(sheet.width - _GAP, _COLUMNS)
    if rest or pitch <= _GAP or (sheet.height - _GAP) % pitch:
        return sheet
    return sheet.crop((0, 0, sheet.width, min(sheet.height, _GAP + rows * pitch)))


def spread(sheets: Sequence[Sheet], count: int) -> list[Sheet]:
    """At most ``count`` of the sheets: the first, the last, and between them evenly by number."""
    if len(sheets) <= count:
        return list(sheets)
    if count == 1:
        return [sheets[-1]]
    chosen = {round(i * (len(sheets) - 1) / (count - 1)) for i in range(count)}
    return [sheets[i] for i in sorted(chosen)]


def common_progress(runs: Sequence[RunRecord], count: int) -> list[float]:
    """At most ``count`` kimg at which every run has a sample sheet, first and last among them."""
    shared = set.intersection(*({sheet.kimg for sheet in run.samples} for run in runs))
    return [sheet.kimg for sheet in spread([Sheet(kimg, Path()) for kimg in sorted(shared)], count)]
