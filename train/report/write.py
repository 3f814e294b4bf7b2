"""From runs to a folder with a page."""

from __future__ import annotations

import contextlib
import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from segan.runtime.atlas.write import ATLAS
from segan.runtime.errors import ConfigError
from segan.runtime.files.atomic import write_atomic
from segan.runtime.files.whole_folder import FolderKind, check_folder, files_in, folder_draft
from segan.runtime.pages.chart import COLOURS, DASHES, draw_legend
from segan.runtime.pages.markup import SCRIPT, STYLE, folded, section, text
from segan.train.report.attached import add_atlas, check_atlas, draw_benchmark
from segan.train.report.curves import compare_curves, draw_curves
from segan.train.report.measured import BENCHMARK, Benchmark, read_benchmark
from segan.train.report.metrics import draw_metrics, draw_swd, metrics_table
from segan.train.report.overview import compare_final, draw_alarms, draw_tiles, progress_text
from segan.train.report.pictures import PictureFolder
from segan.train.report.run_record import RunRecord, read_run
from segan.train.report.samples import (
    compare_samples,
    compare_slider_sheets,
    draw_samples,
    draw_slider_sheets,
)
from segan.train.report.settings import compare_settings, draw_settings, run_names
from segan.train.report.sliders import draw_control, draw_effects
from segan.train.report.times import draw_times

PAGE, RECORD = "index.html", "report.json"

REPORT = FolderKind("a report", RECORD, "segan.report/1")


def check_target(out: Path) -> None:
    """Raises OutputError if a report at ``out`` would destroy anything but an older report."""
    check_folder(out, REPORT)


@contextlib.contextmanager
def report_draft(out: Path, record: dict[str, Any]) -> Iterator[Path]:
    """A folder to write a report into, which takes the name ``out`` when the block ends.

    Args:
        out: where the report shall stand; an older one is replaced.
        record: goes to report.json, with the format's name and the list of files.

    Raises:
        OutputError: something else stands there, or it cannot be written.
    """
    with folder_draft(out, REPORT) as draft:
        yield draft
        whole = {"format": REPORT.format, **record, "files": sorted({*files_in(draft), RECORD})}
        write_atomic(draft / RECORD, json.dumps(whole, indent=2).encode() + b"\n")


#: More runs than this could not be told apart by colour and dashes.
MOST_RUNS = COLOURS * len(DASHES)


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What a report is of.

    Attributes:
        runs: the runs' folders.
        title: the page's; None makes one.
        samples: how many moments of training are shown, 1 to 50.
        atlas: a folder that ``segan atlas`` wrote; None takes RUN/atlas where there is one run.
        benchmark: a file that ``segan benchmark -o`` wrote; None takes RUN/benchmark.json likewise.
    """

    runs: tuple[Path, ...]
    title: str | None = None
    samples: int = 8
    atlas: Path | None = None
    benchmark: Path | None = None

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("there are no runs; expected one at least.")
        if len(self.runs) > MOST_RUNS:
            raise ConfigError(
                f"{len(self.runs)} runs are given; expected at most {MOST_RUNS}, as many as can be "
                "told apart in one chart. Make several reports."
            )
        if not 1 <= self.samples <= 50:
            raise ConfigError(f"samples is {self.samples}; expected 1 to 50.")
        resolved = [run.resolve() for run in self.runs]
        for number, run in enumerate(resolved):
            if run in resolved[:number]:
                raise ConfigError(f"{self.runs[number]} is given twice; expected each run once.")


def write_report(config: ReportConfig, out: Path) -> dict[str, Any]:
    """Writes a page about the runs into a folder that needs nothing else.

    Args:
        config: what it is of.
        out: the folder; an older report there is replaced, anything else is left alone.

    Returns:
        What report.json says, with the page's path as ``page``.

    Raises:
        CheckpointError: a folder is no run.
        ConfigError: a run's configuration cannot be understood.
        DataError: a file of measurements or a picture is broken.
        OutputError: ``out`` is something else than a report, or cannot be written.
    """
    check_target(out)
    runs = [read_run(path) for path in config.runs]
    alone = config.runs[0] if len(runs) == 1 else None
    atlas = _given_or_found(config.atlas, alone, f"atlas/{ATLAS.record}")
    if atlas is not None:
        atlas = atlas.parent if atlas.name in (PAGE, ATLAS.record) else atlas
        check_atlas(atlas)
    file = _given_or_found(config.benchmark, alone, BENCHMARK)
    benchmark = None if file is None else read_benchmark(file)
    names = run_names(runs) if len(runs) > 1 else [runs[0].name]
    title = config.title or _title(runs)
    record = {"title": title, "segan": version("segan"), "runs": _summaries(runs, names)}
    with report_draft(out, record) as draft:
        pictures = PictureFolder(draft)
        sections = (
            _one(runs[0], pictures, config.samples)
            if len(runs) == 1
            else _several(runs, names, pictures, config.samples)
        )
        sections += [
            section("atlas", "Atlas", "" if atlas is None else add_atlas(atlas, draft)),
            _benchmark(benchmark),
            section(
                "settings",
                "Settings",
                draw_settings(runs[0]) if len(runs) == 1 else compare_settings(runs, names),
            ),
        ]
        page = _page(title, _subtitle(runs), [part for part in sections if part])
        write_atomic(draft / PAGE, page.encode())
    return {**record, "page": str(out / PAGE)}


def _given_or_found(given: Path | None, run: Path | None, name: str) -> Path | None:
    """The path that the user gave, else the one in the only run's folder, else None."""
    if given is not None or run is None:
        return given
    return run / name if (run / name).is_file() else None


def _one(run: RunRecord, pictures: PictureFolder, samples: int) -> list[str]:
    """The sections of a report about one run."""
    metrics = f'<div class="charts">{draw_swd([run], [run.name])}'
    metrics += f"{draw_metrics([run], [run.name])}</div>"
    charts = draw_curves(run)
    sheets = draw_slider_sheets(run, pictures, samples)
    return [
        section("overview", "At a glance", draw_tiles(run) + draw_alarms(run)),
        section("samples", "Learning", draw_samples(run, pictures, samples)),
        section(
            "metrics",
            "Metrics",
            metrics + metrics_table(run.metrics) if "<svg" in metrics or run.metrics else "",
        ),
        section(
            "curves", "Training curves", f'<div class="charts">{charts}</div>' if charts else ""
        ),
        section("sliders", "Sliders", draw_effects(run) + draw_control(run.control) + sheets),
        section("time", "Where the time goes", draw_times([run], [run.name])),
    ]


def _several(
    runs: Sequence[RunRecord], names: Sequence[str], pictures: PictureFolder, samples: int
) -> list[str]:
    """The sections of a report that compares runs."""
    legend = draw_legend([(name, number) for number, name in enumerate(names)])
    legend = f'<div class="sticky">{legend}</div>'
    swd = draw_swd(runs, names) + draw_metrics(runs, names)
    charts = compare_curves(runs, names)
    tables = "".join(
        folded(f"All metrics of {name}", metrics_table(run.metrics))
        for run, name in zip(runs, names, strict=True)
    )
    effects = "".join(
        folded(f"{name}: each coordinate's effect, and what it controls", content)
        for run, name in zip(runs, names, strict=True)
        if (content := draw_effects(run) + draw_control(run.control))
    )
    return [
        section("overview", "Side by side", compare_final(runs, names)),
        section(
            "samples", "Learning", compare_samples(runs, names, pictures, max(2, samples // 2))
        ),
        section(
            "metrics", "Metrics", f'{legend}<div class="charts">{swd}</div>{tables}' if swd else ""
        ),
        section(
            "curves",
            "Training curves",
            f'{legend}<div class="charts">{charts}</div>' if charts else "",
        ),
        section("sliders", "Sliders", compare_slider_sheets(runs, names, pictures) + effects),
        section("time", "Where the time goes", draw_times(runs, names)),
    ]


def _benchmark(benchmark: Benchmark | None) -> str:
    return section("benchmark", "Speed", "" if benchmark is None else draw_benchmark(benchmark))


def _title(runs: Sequence[RunRecord]) -> str:
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared"


def _subtitle(runs: Sequence[RunRecord]) -> str:
    if len(runs) > 1:
        return f"{', '.join(run.name for run in runs)}"
    run = runs[0]
    config = run.config
    kind = f" {config.subspace.kind}" if config.subspace.mode else ""
    return (
        f"Mode {config.subspace.mode}{kind}, preset {config.preset}, {config.network.resolution}², "
        f"seed {config.seed}. {run.kimg:g} kimg{',' * run.complete} {progress_text(run)}."
    )


def _summaries(runs: Sequence[RunRecord], names: Sequence[str]) -> list[dict[str, Any]]:
    """The runs' figures for programs."""
    return [
        {
            "name": name,
            "run": run.name,
            "kimg": run.kimg,
            "total_kimg": run.config.total_kimg,
            "complete": run.complete,
            "best": None
            if run.best is None
            else {"checkpoint": run.best.path.name, "kimg": run.best.kimg, "swd": run.best.swd},
        }
        for name, run in zip(names, runs, strict=True)
    ]


def _page(title: str, subtitle: str, sections: Sequence[str]) -> str:
    anchors = []
    for part in sections:
        name = part.partition('id="')[2].partition('"')[0]
        heading = part.partition("<h2>")[2].partition("</h2>")[0]
        anchors.append(f'<a href="#{name}">{heading}</a>')
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)} – segan report</title><style>{STYLE}</style></head>\n<body>"
        f"<header><h1>{text(title)}</h1><p>{text(subtitle)}</p></header>"
        f"<nav>{''.join(anchors)}</nav><main>\n"
        + "\n".join(sections)
        + f"\n</main><footer>Written by segan {html.escape(version('segan'))}, {written}.</footer>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )
