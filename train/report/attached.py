"""Results of other commands in a report: a bundle's atlas and its benchmark."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from markupsafe import Markup

from segan.runtime.atlas.write import ATLAS, PAGE, RECORD
from segan.runtime.errors import DataError
from segan.runtime.files.atomic import output_error
from segan.runtime.pages.axis import number_text
from segan.runtime.pages.parts import Picture
from segan.runtime.pages.template import render
from segan.runtime.pictures.decode import MAX_SHEET_PIXELS, open_picture
from segan.train.report.measured import Benchmark, BenchmarkRow

_HERE = Path(__file__).parent
_SHEET_SUFFIXES = (".png", ".webp")
#: Most sheets of an atlas that the report itself shows.
_MOST_SHEETS = 12


def check_atlas(atlas: Path) -> None:
    """Raise DataError unless ``segan atlas`` wrote the folder."""
    _listed_files(atlas)


def add_atlas(atlas: Path, draft: Path) -> Markup:
    """Copy an atlas into ``draft/atlas``, and return a link to it with its sheets.

    Only files that the atlas lists are copied. Links out of its folder are not followed.

    Raises:
        DataError: the folder is not an atlas, or a listed file is missing or outside the folder.
        OutputError: a file cannot be copied.
    """
    sheets = []
    for name in _listed_files(atlas):
        path = atlas / name
        within = ".." not in Path(name).parts and path.resolve().is_relative_to(atlas.resolve())
        if not within or not path.is_file():
            raise DataError(
                f"{atlas}: {RECORD} lists {name!r}, which is not a file of this folder",
                field="atlas",
                value=atlas,
                remedy="Write the atlas again with 'segan atlas', or leave `atlas` out.",
            )
        place = draft / "atlas" / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        except OSError as error:
            raise output_error(place, error) from error
        if place.suffix.lower() in _SHEET_SUFFIXES:
            sheets.append(place)
    # Sheets of whole subspaces are preferred to the many pictures of single sliders.
    preferred = [path for path in sheets if path.parent == draft / "atlas" / "sheets"] or sheets
    return render(
        _HERE,
        "atlas.html",
        page=f"atlas/{PAGE}",
        sheets=[
            {"picture": _picture(path, draft), "name": path.stem}
            for path in preferred[:_MOST_SHEETS]
        ],
        total=len(sheets),
    )


def draw_benchmark(benchmark: Benchmark) -> Markup:
    """Return the rows of a benchmark by batch size, the fastest first."""
    rows = sorted(benchmark.rows, key=lambda row: (row.batch, -row.images_per_s))
    machine, bundle = benchmark.machine, benchmark.bundle
    gpus = [str(gpu.get("name", "GPU")) for gpu in machine.gpu]
    where = " + ".join([machine.processor, *gpus])
    if machine.threads_used is not None:
        where += f", {machine.threads_used} threads"
    size = "" if bundle.resolution is None else f", {bundle.resolution}²"
    fastest = max((row.images_per_s for row in rows), default=0.0)
    return render(
        _HERE,
        "benchmark.html",
        subject=f"{bundle.name}{size}, on {where}.",
        rows=[_benchmark_row(row, fastest) for row in rows],
    )


def _listed_files(atlas: Path) -> list[str]:
    """The files that atlas.json lists, as paths from the folder."""
    files = ATLAS.listed_files(atlas) if (atlas / RECORD).is_file() else None
    if files is None or PAGE not in files:
        missing = not (atlas / RECORD).is_file()
        why = "is missing" if missing else f"is not of {ATLAS.format}, or does not list its files"
        raise DataError(
            f"{atlas} is not an atlas ({RECORD} {why})",
            field="atlas",
            value=atlas,
            expected="a folder that 'segan atlas' wrote",
            remedy="Write it with 'segan atlas', or leave `atlas` out.",
        )
    return sorted(files)


def _picture(path: Path, draft: Path) -> Picture:
    """A copied picture; its size is left out where the file is damaged."""
    source = path.relative_to(draft).as_posix()
    try:
        image = open_picture(path.read_bytes(), source, max_pixels=MAX_SHEET_PIXELS)
    except (OSError, DataError):
        return Picture(source)
    return Picture(source, image.width, image.height)


def _benchmark_row(row: BenchmarkRow, fastest: float) -> dict[str, Any]:
    return {
        "backend": row.backend,
        "precision": row.precision,
        "batch": row.batch,
        "rate": number_text(row.images_per_s, 3),
        "percent": f"{100 * row.images_per_s / fastest if fastest > 0 else 0.0:.1f}",
        "figures": [
            f"{number_text(row.slowest, 3)} – {number_text(row.fastest, 3)}",
            _number(row.p50_ms, 3),
            _number(row.p99_ms, 3),
            "same" if row.max_error == 0 else _number(row.max_error, 2),
            _number(row.peak_mib, 3),
        ],
    }


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else number_text(value, digits)
