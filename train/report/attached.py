"""A bundle's atlas within the report: copied beside the page, so that the folder stays whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from segan.runtime.atlas.write import ATLAS, PAGE, RECORD
from segan.runtime.errors import DataError
from segan.runtime.files.atomic import output_error
from segan.runtime.pages.axis import number_text
from segan.runtime.pages.markup import text
from segan.train.report.measured import Benchmark, BenchmarkRow

_SHEETS = (".png", ".webp")

#: Most sheets that the page itself shows; the atlas has them all.
_MOST = 12


def check_atlas(atlas: Path) -> None:
    """Raises DataError unless segan atlas wrote the folder."""
    _listed(atlas)


def _listed(atlas: Path) -> list[str]:
    """The files that atlas.json lists, as paths from the folder."""
    if not (atlas / RECORD).is_file():
        raise DataError(
            f"{atlas} is not an atlas ({RECORD} is missing). Give a folder that segan atlas "
            "wrote, or leave --atlas out."
        )
    files = ATLAS.listed_files(atlas)
    if files is None or PAGE not in files:
        raise DataError(
            f"{atlas} is not an atlas that can be copied ({RECORD} is not of {ATLAS.format}, or "
            "does not list its files). Write it anew with segan atlas, or leave --atlas out."
        )
    return sorted(files)


def add_atlas(atlas: Path, draft: Path) -> str:
    """Copies an atlas into ``draft/atlas``, and returns a link to it with its sheets.

    Only files that the atlas lists are copied, and links are not followed out of the folder.

    Raises:
        DataError: the folder is no atlas, or a file that it lists is missing or leads elsewhere.
        OutputError: a file cannot be copied.
    """
    sheets = []
    for name in _listed(atlas):
        path = atlas / name
        within = ".." not in Path(name).parts and path.resolve().is_relative_to(atlas.resolve())
        if not within or not path.is_file():
            raise DataError(
                f"{atlas}: {RECORD} lists {name!r}, which is no file of this folder. Write the "
                "atlas anew with segan atlas, or leave --atlas out."
            )
        place = draft / "atlas" / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        except OSError as error:
            raise output_error(place, error) from error
        if place.suffix.lower() in _SHEETS:
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


def draw_benchmark(benchmark: Benchmark) -> str:
    """The rows, fastest first within each batch size."""
    rows = sorted(benchmark.rows, key=lambda row: (row.batch, -row.images_per_s))
    machine, bundle = benchmark.machine, benchmark.bundle
    gpus = [str(gpu.get("name", "GPU")) for gpu in machine.gpu]
    where = " + ".join([machine.processor, *gpus])
    if machine.threads_used is not None:
        where += f", {machine.threads_used} threads"
    size = "" if bundle.resolution is None else f", {bundle.resolution}²"
    head = f"<p>{text(bundle.name)}{size}, on {text(where)}.</p>"
    if not rows:
        return f"{head}<p>Nothing could be measured there.</p>"
    fastest = max(row.images_per_s for row in rows)
    lines = "".join(_line(row, fastest) for row in rows)
    return (
        f'{head}<div class="scroll"><table class="benchmark"><thead><tr><th>backend</th>'
        '<th>precision</th><th class="number">batch</th><th>images/s</th>'
        '<th class="number">slowest – fastest</th><th class="number">p50 ms</th>'
        '<th class="number">p99 ms</th><th class="number">max error</th>'
        f'<th class="number">MiB</th></tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _line(row: BenchmarkRow, fastest: float) -> str:
    share = 100 * row.images_per_s / fastest if fastest > 0 else 0.0
    error = "same" if row.max_error == 0 else _shown(row.max_error, 2)
    cells = (
        f"{number_text(row.slowest, 3)} – {number_text(row.fastest, 3)}",
        _shown(row.p50_ms, 3),
        _shown(row.p99_ms, 3),
        error,
        _shown(row.peak_mib, 3),
    )
    return (
        f'<tr><th>{text(row.backend)}</th><td>{text(row.precision)}</td><td class="number">'
        f'{row.batch}</td><td class="rate"><i style="width:{share:.1f}%"></i>'
        f"<span>{number_text(row.images_per_s, 3)}</span></td>"
        + "".join(f'<td class="number">{text(cell)}</td>' for cell in cells)
        + "</tr>"
    )


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else number_text(value, digits)
