"""``segan report``: one or several runs as a page for the browser."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segan.cli.options import json_option
from segan.cli.output import Output, overwrite_option
from segan.cli.standard_streams import echo


@click.command(
    "report",
    epilog="Example: segan report runs/00000-faces-mode2-tiny\n\n"
    "Example: segan report runs/00000-faces-mode2-tiny runs/00001-faces-mode0-tiny -o compared",
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, metavar="[RUN]...")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="report, or the next free name",
    metavar="FOLDER",
    help="Folder of the page and its pictures.",
)
@overwrite_option
@click.option("--title", default=None, show_default="the run's name", help="Title of the page.")
@click.option(
    "--samples",
    type=int,
    default=8,
    show_default=True,
    help="How many times in training to show samples from; half as many in a comparison.",
)
@click.option(
    "--atlas",
    type=click.Path(path_type=Path),
    default=None,
    show_default="RUN/atlas, if it exists",
    metavar="FOLDER",
    help="Include an atlas written by 'segan atlas'.",
)
@click.option(
    "--benchmark",
    type=click.Path(path_type=Path),
    default=None,
    show_default="RUN/benchmark.json, if it exists",
    metavar="FILE",
    help="Include a benchmark written by 'segan benchmark -o FILE'.",
)
@json_option
def command(
    runs: tuple[Path, ...],
    out: Path | None,
    overwrite: bool,
    title: str | None,
    samples: int,
    atlas: Path | None,
    benchmark: Path | None,
    as_json: bool,
) -> None:
    """Write a page about one RUN, or a comparison of several: report/index.html.

    The page shows settings, samples over training, curves, metrics, sliders and the time per phase;
    for several runs, on common axes and with the final values side by side. Runs may be unfinished
    or still training. The page needs no network. Without RUN, the newest run under this folder is
    used.
    """
    from segan.train.report.write import ReportConfig, check_target, write_report

    if not runs:
        from segan.train.runs.checkpoint import resolve_checkpoint

        run = resolve_checkpoint(None).parent.parent
        echo(f"run: {run}", err=True)
        runs = (run,)
    config = ReportConfig(runs=runs, title=title, samples=samples, atlas=atlas, benchmark=benchmark)
    record = write_report(config, Output(out, overwrite).folder("report", check_target))
    if as_json:
        echo(json.dumps(record))
    else:
        echo(f"{record['page']}: open it in a browser.")
