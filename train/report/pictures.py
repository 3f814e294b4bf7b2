"""The report's pictures: copies of the sheets that training drew, whole or in part."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from segan.runtime.errors import DataError
from segan.runtime.files.atomic import write_atomic
from segan.runtime.pages.parts import Picture
from segan.runtime.pictures.decode import MAX_SHEET_PIXELS, decode_picture
from segan.train.report.run_record import RunRecord, Sheet

#: Pictures with a longer side are scaled down; the run keeps the originals.
MAX_SIDE = 2400
#: Columns and gap of a sample sheet, as segan.train.loop.watch.sheets draws it.
_COLUMNS, _GAP = 8, 4


class PictureFolder:
    """Writes pictures into the draft of a report.

    Args:
        draft: the draft's folder.
    """

    def __init__(self, draft: Path) -> None:
        self._draft = draft

    def add(self, path: Path, name: str, *, rows: int | None = None) -> Picture:
        """Copy a picture, scaled down if it is very large.

        Args:
            path: of the picture.
            name: in the report, without folder and suffix.
            rows: how many rows of a sample sheet to keep, from the top; None keeps all.

        Raises:
            DataError: the file is not a picture.
            OutputError: the copy cannot be written.
        """
        try:
            data = path.read_bytes()
            picture = decode_picture(data, str(path), max_pixels=MAX_SHEET_PIXELS)
        except (OSError, DataError) as error:
            problem = error.problem if isinstance(error, DataError) else f"{path}: {error.strerror}"
            raise DataError(
                problem, field="path", value=path, remedy="Remove it from the run."
            ) from None
        form = picture.format
        shown = picture if rows is None else _top(picture, rows)
        large = max(shown.size) > MAX_SIDE
        if shown is picture and not large and form in ("PNG", "JPEG", "WEBP"):
            return self._write(f"{name}.{form.lower()}", data, picture.size)
        small = shown if shown.mode == "RGB" else shown.convert("RGB")
        if large:
            small.thumbnail((MAX_SIDE, MAX_SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "png", optimize=True)
        return self._write(f"{name}.png", buffer.getvalue(), small.size)

    def _write(self, name: str, data: bytes, size: tuple[int, int]) -> Picture:
        write_atomic(self._draft / "images" / name, data, sync=False)
        return Picture(f"images/{name}", *size)


def _top(sheet: Image.Image, rows: int) -> Image.Image:
    """The first rows of a sample sheet; the whole of any other picture."""
    pitch, rest = divmod(sheet.width - _GAP, _COLUMNS)
    if rest or pitch <= _GAP or (sheet.height - _GAP) % pitch:
        return sheet
    return sheet.crop((0, 0, sheet.width, min(sheet.height, _GAP + rows * pitch)))


def spread(sheets: Sequence[Sheet], count: int) -> list[Sheet]:
    """Return at most ``count`` of the sheets, evenly spaced from the first to the last."""
    if len(sheets) <= count:
        return list(sheets)
    if count == 1:
        return [sheets[-1]]
    chosen = {round(i * (len(sheets) - 1) / (count - 1)) for i in range(count)}
    return [sheets[i] for i in sorted(chosen)]


def common_progress(runs: Sequence[RunRecord], count: int) -> list[float]:
    """Return at most ``count`` kimg at which every run has a sample sheet, evenly spaced."""
    shared = set.intersection(*({sheet.kimg for sheet in run.samples} for run in runs))
    return [sheet.kimg for sheet in spread([Sheet(kimg, Path()) for kimg in sorted(shared)], count)]
