"""``segan benchmark``: how fast and how exact a bundle is on every backend that works here."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.options import json_option, newest_bundle
from segan.cli.output import overwrite_option
from segan.cli.progress import Progress, progress
from segan.cli.standard_streams import echo
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from segan.runtime.benchmark.plan import BenchmarkConfig, BenchmarkResult


@click.command(
    "benchmark",
    epilog="Example: segan benchmark faces.segan --backends cpu,openvino --batches 1,16,64",
)
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option(
    "--backends",
    default=None,
    show_default="all",
    metavar="LIST",
    help=f"Backends, separated by commas: {', '.join(BACKENDS)}.",
)
@click.option(
    "--precisions",
    default=None,
    show_default="all",
    metavar="LIST",
    help="Precisions, separated by commas: fp32, fp16, bf16, int8.",
)
@click.option(
    "--batches",
    default="1,16",
    show_default=True,
    metavar="LIST",
    help="Batch sizes, separated by commas.",
)
@click.option(
    "--seconds",
    type=float,
    default=2.0,
    show_default=True,
    help="Duration of a row's round; timing single batches adds half of it.",
)
@click.option(
    "--rounds",
    type=int,
    default=5,
    show_default=True,
    help="Rounds of each row; the rows alternate.",
)
@click.option(
    "--threads",
    type=int,
    default=None,
    show_default="physical cores",
    help="CPU threads of each backend.",
)
@click.option(
    "--throughput",
    is_flag=True,
    help="Call from as many threads at once as there are CPU threads.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Also score every backend and precision, such as fd_faces2k: see 'segan metrics --list'. "
    "Needs PyTorch. Repeatable.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    show_default="none",
    metavar="PATH",
    help="Real images for --metric.",
)
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    metavar="FILE",
    help="Network for --metric, as 'segan metrics' takes it. Repeatable.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    default=None,
    show_default="none",
    metavar="FILE",
    help="Also draw the rates: a png, pdf or svg. Needs matplotlib.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="none",
    metavar="FILE",
    help="Also write the JSON to this file.",
)
@overwrite_option
@json_option
def command(
    bundle: Path | None,
    backends: str | None,
    precisions: str | None,
    batches: str,
    seconds: float,
    rounds: int,
    threads: int | None,
    throughput: bool,
    metrics: tuple[str, ...],
    data: Path | None,
    detectors: tuple[str, ...],
    plot: Path | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure BUNDLE, or the newest bundle under this folder, on every backend that works here.

    The table has one row for each backend, precision and batch size: images a second from latents
    to bytes (median, slowest and fastest round), the time of a single batch, the share of the
    ceiling, which is the rate of a large convolution on the same backend, the images' distance
    from fp32 on the backend cpu, memory and loading time. What cannot run is listed with the
    reason. The exit status is 1 when nothing ran.
    """
    from segan.runtime.benchmark.plan import BenchmarkConfig

    config = BenchmarkConfig(
        backends=_names(backends, "backends"),
        precisions=_names(precisions, "precisions"),
        batches=_read_batches(batches),
        seconds=seconds,
        rounds=rounds,
        threads=threads,
        throughput=throughput,
    )
    if plot is not None:
        # Before minutes of measuring.
        from segan.runtime.benchmark.plot import check_plot

        check_plot(plot)
    path = bundle or newest_bundle()
    _check_targets(out, plot, overwrite, [path, data, *map(Path, detectors)])
    scores = None
    if metrics:
        # Wrong names and missing files are reported before minutes of measuring.
        from segan.train.measure.models.open import Compute, torch_device
        from segan.train.measure.quality.engine_scores import add_scores, open_scores

        compute = Compute(threads=threads, device=torch_device("auto"))
        scores = open_scores(path, metrics, data, detectors, compute)
    elif data is not None or detectors:
        raise ConfigError(
            "--data and --detector are for --metric, which is not given",
            field="metrics",
            value=metrics,
            remedy="Add --metric, or leave them out.",
        )
    result = _measure(path, config)
    from segan.runtime.benchmark.record import benchmark_record

    record = benchmark_record(result, config)
    if scores is not None:
        add_scores(record["rows"], scores, _announce_scores)
    # The figures first, so that a full disk does not lose them.
    if as_json:
        echo(json.dumps(record))
    else:
        _show(record)
    if out is not None:
        from segan.runtime.files.atomic import write_atomic

        write_atomic(out, json.dumps(record, indent=2).encode() + b"\n", follow=True)
        echo(f"{out}: written.", err=True)
    if plot is not None and result.rows:
        from segan.runtime.benchmark.plot import write_plot

        write_plot(plot, record)
        echo(f"{plot}: written.", err=True)
    if not result.rows:
        raise BackendError(
            "nothing could be measured: no requested backend runs this bundle here",
            remedy="See: segan doctor",
        )


def _announce_scores(backend: str, precision: str) -> None:
    echo(f"scoring {backend} {precision} ...", err=True)


def _check_targets(
    out: Path | None, plot: Path | None, overwrite: bool, sources: list[Path | None]
) -> None:
    """Raise OutputError, before minutes of measuring, for a file that may not be written."""
    from segan.runtime.benchmark.record import BENCHMARK
    from segan.runtime.files.target import check_file, kind_of_ending

    if out is not None:
        check_file(out, BENCHMARK, overwrite=overwrite, sources=sources)
    if plot is not None:
        kind = kind_of_ending(plot)
        check_file(plot, kind, overwrite=overwrite, sources=sources, field="plot")
    if out is not None and plot is not None and out.absolute() == plot.absolute():
        raise ConfigError(
            "`out` and `plot` name the same file",
            field="plot",
            value=plot,
            expected="two files",
        )


def _names(text: str | None, field: str) -> tuple[str, ...] | None:
    """Read ``cpu,openvino``. Raises: ConfigError."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError(field=field, value=text, expected="names separated by commas")
    return names


def _read_batches(text: str) -> tuple[int, ...]:
    """Read ``1,16``. Raises: ConfigError."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        raise ConfigError(field="batches", value=text, expected="sizes of 1 or more, such as 1,16")
    return tuple(dict.fromkeys(map(int, words)))


def _measure(path: Path, config: BenchmarkConfig) -> BenchmarkResult:
    """Measure with a progress bar."""
    from segan.runtime.benchmark.rounds import run_benchmark

    with contextlib.ExitStack() as stack:
        bar: list[Progress] = []

        def on_start(steps: int) -> None:
            bar.append(stack.enter_context(progress(steps, "steps", "measuring")))

        return run_benchmark(path, config, on_start=on_start, on_step=lambda: bar[0].update(1))


#: Headings of the table; the first two columns are aligned to the left.
_HEADINGS = (
    "backend", "prec.", "batch", "images/s", "spread", "p50 ms", "p99 ms", "ceiling", "max error",
    "PSNR", "load s", "MiB", "file MiB",
)  # fmt: skip


def _show(record: dict[str, Any]) -> None:
    machine, bundle, settings = record["machine"], record["bundle"], record["settings"]
    cost = bundle["gmac_per_image"]
    echo(
        f"{bundle['name']}, {bundle['resolution']}²"
        + ("" if cost is None else f", {cost:.3g} GMAC an image")
        + f"; rounds: {settings['rounds']} of {settings['seconds']:g} s, taking turns"
    )
    load = machine["load_1min"]
    echo(
        f"{machine['processor']}, {machine['threads_used']} of {machine['cores']} cores"
        + "".join(f"; {gpu['name']}" for gpu in machine["gpu"])
        + ("" if load is None else f"; load before the start {load:.1f}")
    )
    _show_ceilings(machine)
    if record["rows"]:
        echo()
        on_gpu = any(row["device_mib"] is not None for row in record["rows"])
        headings = [*_HEADINGS, "GPU MiB"] if on_gpu else [*_HEADINGS]
        headings += record["rows"][0].get("metrics", {})
        _show_table([headings, *(_cells(row, on_gpu) for row in record["rows"])])
        problem = record["reference"]["problem"]
        if problem is not None:
            echo("", f"errors are unknown, since the reference cannot be computed: {problem}")
    _show_not_run(record["not_run"], record["settings"]["batches"])


def _show_not_run(entries: list[dict[str, Any]], asked: list[int]) -> None:
    """Print what did not run, once for each reason."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        name = entry["precision"]
        if sorted(entry["batches"]) != sorted(asked):
            name += f" (batch {', '.join(map(str, entry['batches']))})"
        reasons.setdefault(entry["problem"], {}).setdefault(entry["backend"], []).append(name)
    if reasons:
        echo("", "not measured")
    for problem, backends in reasons.items():
        names = "; ".join(f"{name} {', '.join(own)}" for name, own in backends.items())
        echo(f"  {names}: {problem}")


def _show_ceilings(machine: dict[str, Any]) -> None:
    """Print one line for all measured convolutions, and one for each that did not run."""
    parts = [
        f"{entry['backend']} {entry['precision']} {entry['gflop_per_s']:.4g} GFLOP/s"
        for entry in machine["ceilings"]
        if entry["gflop_per_s"] is not None
    ]
    for name, unit in (("copy", "copy_gb_per_s"), ("GPU copy", "device_copy_gb_per_s")):
        if machine[unit] is not None:
            parts.append(f"{name} {machine[unit]:.3g} GB/s")
    if parts:
        echo(f"ceilings: {', '.join(parts)}")
    for entry in machine["ceilings"]:
        if entry["problem"] is not None:
            echo(f"no ceiling for {entry['backend']} {entry['precision']}: {entry['problem']}")


def _cells(row: dict[str, Any], on_gpu: bool) -> list[str]:
    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    cells = [
        row["backend"],
        row["precision"],
        str(row["batch"]),
        _rate(row["images_per_s"]),
        f"{_rate(row['slowest'])}-{_rate(row['fastest'])}",
        shown(row["p50_ms"], ".1f"),
        shown(row["p99_ms"], ".1f"),
        shown(row["of_ceiling"], ".0%"),
        "0" if row["max_error"] == 0 else shown(row["max_error"], ".1e"),
        "same" if row["max_error"] == 0 else shown(row["psnr_db"], ".1f"),
        shown(row["load_s"], ".2f"),
        shown(row["peak_mib"], ".0f"),
        shown(row["file_mib"], ".1f"),
    ]
    if on_gpu:
        cells.append(shown(row["device_mib"], ".0f"))
    return cells + [_score(score) for score in row.get("metrics", {}).values()]


def _score(score: dict[str, Any]) -> str:
    """Format ``16.09 +0.012``: the value, and its difference from cpu in fp32."""
    if "problem" in score:
        return "-"
    return f"{score['value']:.4g} {score['difference']:+.2g}"


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _show_table(lines: list[list[str]]) -> None:
    """Print names aligned to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        echo("  ".join(padded).rstrip())
