"""Writes a report: from the folders of runs to a folder with a page."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from segan.runtime.atlas.write import ATLAS
from segan.runtime.errors import ConfigError
from segan.runtime.files.atomic import write_atomic
from segan.runtime.files.whole_folder import FolderKind, check_folder, files_in, folder_draft
from segan.runtime.pages.chart import COLOURS, DASHES, draw_charts
from segan.runtime.pages.parts import Section, folded
from segan.runtime.pages.template import render
from segan.train.report.attached import add_atlas, check_atlas, draw_benchmark
from segan.train.report.curves import compared_charts, run_charts
from segan.train.report.measured import BENCHMARK, read_benchmark
from segan.train.report.metrics import metric_charts, metrics_table, swd_chart
from segan.train.report.overview import compare_final, draw_overview, progress_text
from segan.train.report.pictures import PictureFolder
from segan.train.report.run_record import RunRecord, read_run
from segan.train.report.samples import (
    compare_samples,
    compare_slider_sheets,
    draw_samples,
    draw_slider_sheets,
)
from segan.train.report.settings import compare_settings, draw_settings, run_names
from segan.train.report.sliders import draw_sliders
from segan.train.report.times import draw_times

PAGE, RECORD = "index.html", "report.json"

REPORT = FolderKind("a report", RECORD, "segan.report/1")

#: Most runs whose lines differ in colour or dashes.
MOST_RUNS = COLOURS * len(DASHES)
#: Most moments of training that a report shows.
MOST_SAMPLES = 50


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What a report shows.

    Attributes:
        runs: the runs' folders, 1 to 32, each once.
        title: of the page; None makes one from the runs.
        samples: how many moments of training are shown, 1 to 50.
        atlas: a folder that ``segan atlas`` wrote; None takes RUN/atlas of a single run.
        benchmark: a file that ``segan benchmark -o`` wrote; None takes RUN/benchmark.json of a
            single run.

    Raises:
        ConfigError: a setting is out of its range.
    """

    runs: tuple[Path, ...]
    title: str | None = None
    samples: int = 8
    atlas: Path | None = None
    benchmark: Path | None = None

    def __post_init__(self) -> None:
        count = len(self.runs)
        if not 1 <= count <= MOST_RUNS:
            raise ConfigError(
                f"{count} runs are given" if count else "no run is given",
                field="runs",
                value=count,
                expected=f"1 to {MOST_RUNS} runs, which one chart can distinguish",
                remedy="Make several reports." if count else "",
            )
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise ConfigError(field="samples", value=self.samples, expected=f"1 to {MOST_SAMPLES}")
        resolved = [run.resolve() for run in self.runs]
        for number, run in enumerate(resolved):
            if run in resolved[:number]:
                raise ConfigError(
                    f"{self.runs[number]} is given twice",
                    field="runs",
                    value=self.runs[number],
                    expected="each run once",
                )


def check_target(out: Path) -> None:
    """Raise OutputError if a report at ``out`` would destroy anything but an older report."""
    check_folder(out, REPORT)


@contextlib.contextmanager
def report_draft(out: Path, record: dict[str, Any]) -> Iterator[Path]:
    """Yield a folder to write a report into, which is renamed to ``out`` when the block ends.

    Args:
        out: the report's folder; an older report is replaced.
        record: goes to report.json, with the format's name and the list of files.

    Raises:
        OutputError: ``out`` is something else, or cannot be written.
    """
    with folder_draft(out, REPORT) as draft:
        yield draft
        whole = {"format": REPORT.format, **record, "files": sorted({*files_in(draft), RECORD})}
        write_atomic(draft / RECORD, json.dumps(whole, indent=2).encode() + b"\n")


def write_report(config: ReportConfig, out: Path) -> dict[str, Any]:
    """Write a page about runs into a folder that needs nothing else.

    Args:
        config: what it shows.
        out: the folder; an older report is replaced, anything else is an error.

    Returns:
        What report.json says, with the page's path as ``page``.

    Raises:
        CheckpointError: a folder is not a run.
        ConfigError: a run's configuration is invalid.
        DataError: a file of measurements or a picture is damaged.
        OutputError: ``out`` is not a report, or cannot be written.
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
            _run_sections(runs[0], pictures, config.samples)
            if len(runs) == 1
            else _compared_sections(runs, names, pictures, config.samples)
        )
        settings = draw_settings(runs[0]) if len(runs) == 1 else compare_settings(runs, names)
        sections += [
            Section("atlas", "Atlas", Markup() if atlas is None else add_atlas(atlas, draft)),
            Section("benchmark", "Speed", draw_benchmark(benchmark) if benchmark else Markup()),
            Section("settings", "Settings", settings),
        ]
        page = render(
            Path(__file__).parent,
            "report.html",
            title=title,
            subtitle=_subtitle(runs),
            sections=[section for section in sections if section.content],
            version=version("segan"),
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
        write_atomic(draft / PAGE, page.encode())
    return {**record, "page": str(out / PAGE)}


def _given_or_found(given: Path | None, run: Path | None, name: str) -> Path | None:
    """The path that the user gave, else the one in the only run's folder, else None."""
    if given is not None or run is None:
        return given
    return run / name if (run / name).is_file() else None


def _run_sections(run: RunRecord, pictures: PictureFolder, samples: int) -> list[Section]:
    """The sections of a report about one run."""
    metrics = draw_charts([swd_chart([run], [run.name]), *metric_charts([run], [run.name])])
    sheets = draw_slider_sheets(run, pictures, samples)
    return [
        Section("overview", "At a glance", draw_overview(run)),
        Section("samples", "Samples", draw_samples(run, pictures, samples)),
        Section("metrics", "Metrics", metrics + metrics_table(run.metrics)),
        Section("curves", "Training curves", draw_charts(run_charts(run))),
        Section("sliders", "Sliders", draw_sliders(run) + sheets),
        Section("time", "Where the time goes", draw_times([run], [run.name])),
    ]


def _compared_sections(
    runs: Sequence[RunRecord], names: Sequence[str], pictures: PictureFolder, samples: int
) -> list[Section]:
    """The sections of a report that compares runs."""
    metrics = draw_charts([swd_chart(runs, names), *metric_charts(runs, names)], names)
    tables, sliders = Markup(), compare_slider_sheets(runs, names, pictures)
    for run, name in zip(runs, names, strict=True):
        tables += folded(f"All metrics of {name}", metrics_table(run.metrics))
        sliders += folded(f"{name}: each slider's effect and control", draw_sliders(run))
    shown = max(2, samples // 2)
    return [
        Section("overview", "Side by side", compare_final(runs, names)),
        Section("samples", "Samples", compare_samples(runs, names, pictures, shown)),
        Section("metrics", "Metrics", metrics + tables),
        Section("curves", "Training curves", draw_charts(compared_charts(runs, names), names)),
        Section("sliders", "Sliders", sliders),
        Section("time", "Where the time goes", draw_times(runs, names)),
    ]


def _title(runs: Sequence[RunRecord]) -> str:
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared"


def _subtitle(runs: Sequence[RunRecord]) -> str:
    if len(runs) > 1:
        return ", ".join(run.name for run in runs)
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
