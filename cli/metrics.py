"""``segan metrics``: scores of a run, a checkpoint, or a bundle on any backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.options import json_option
from segan.cli.progress import progress
from segan.cli.standard_streams import echo
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import check_seed

if TYPE_CHECKING:
    from segan.train.data.dataset import ImageDataset
    from segan.train.measure.models.model import MeasuredModel
    from segan.train.measure.quality.context import MetricContext
    from segan.train.measure.quality.evaluate import Comparison
    from segan.train.measure.quality.metric import Metric
    from segan.train.measure.quality.record import ScoreRecord


@click.command(
    "metrics",
    epilog="Example: segan metrics runs/00000-faces-mode2-tiny --data faces.zip "
    "--metrics fd_faces5k,kd_faces5k",
)
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option(
    "--metrics",
    "names",
    default=None,
    show_default="fid50k_full,kid50k_full with --data, else fd_faces5k",
    metavar="LIST",
    help="Names separated by commas. A name contains n: fid5k_full. --list shows all metrics.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    show_default="none",
    metavar="PATH",
    help="Real images to compare with: a folder or zip of the generator's resolution.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    default=None,
    show_default="none",
    metavar="MODEL",
    help="Also score another model, such as the bundle's checkpoint, on the same seeds, and show "
    "the difference with its interval.",
)
@click.option(
    "--bootstrap",
    type=int,
    default=None,
    show_default="200 with --against, else 0",
    metavar="B",
    help="Number of bootstrap resamples of the seeds, for a 95 % interval.",
)
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    metavar="FILE",
    help="TorchScript file of Inception or VGG16; without it the published file is downloaded "
    "once. inception=FILE and vgg16=FILE state the kind; faces=FOLDER is an attribute network. "
    "Repeatable.",
)
@click.option(
    "--detector-sha256",
    "hashes",
    multiple=True,
    metavar="HEX",
    help="Accept only detectors with this sha256: of a file, or of an attribute network's weights, "
    "as in the record. Repeatable: one for each detector in use.",
)
@click.option(
    "--backend",
    default="auto",
    show_default=True,
    metavar="NAME",
    help=f"Backend of a bundle: auto, {', '.join(BACKENDS)}.",
)
@click.option(
    "--precision",
    default="auto",
    show_default="fp16 on a GPU where the bundle has it, else fp32",
    metavar="NAME",
    help="Precision of a bundle's images: fp32, fp16, bf16 or int8.",
)
@click.option(
    "--threads",
    type=int,
    default=None,
    show_default="physical cores",
    help="CPU threads of the backend.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device of PyTorch, for detectors and a checkpoint's images.",
)
@click.option("--psi", type=float, default=1.0, show_default=True, help="Truncation; 1 is off.")
@click.option(
    "--noise",
    type=click.Choice(["const", "random", "none"]),
    default=None,
    show_default="random, or none where noise changes nothing",
    help="Per-pixel noise of the images.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="First seed of the images.")
@click.option(
    "--batch-size", type=int, default=32, show_default=True, help="Images computed at once."
)
@click.option("--list", "as_list", is_flag=True, help="List the metrics and exit.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="metrics.jsonl in the run's folder, or NAME.metrics.jsonl next to the bundle",
    metavar="FILE",
    help="File that the scores are appended to, one JSON line each.",
)
@json_option
def command(
    model: Path | None,
    names: str | None,
    data: Path | None,
    against: Path | None,
    bootstrap: int | None,
    detectors: tuple[str, ...],
    hashes: tuple[str, ...],
    backend: str,
    precision: str,
    threads: int | None,
    device: str,
    psi: float,
    noise: Any,
    seed: int,
    batch_size: int | None,
    as_list: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score MODEL: a run, a checkpoint or a bundle.

    Without MODEL, the newest run is scored, or the newest bundle if there is no run.

    Every score is stored with its protocol: n, seeds, psi, noise, the detector's sha256, backend
    and precision. A seed has the same latents on every backend and in PyTorch, so an engine can be
    compared with its checkpoint image by image. Needs PyTorch.
    """
    from segan.train.measure.quality.registry import FAMILIES, NAMING, check_names, parse_metric

    if as_list:
        for family in FAMILIES:
            echo(", ".join(family.examples), f"    {family.about}")
        echo("", *NAMING.splitlines())
        return
    default = "fd_faces5k" if data is None else "fid50k_full,kid50k_full"
    checked = check_names((default if names is None else names).split(","))
    resamples = (200 if against is not None else 0) if bootstrap is None else bootstrap
    if resamples < 0 or resamples == 1:
        raise ConfigError(field="resamples", value=resamples, expected="0, or 2 or more")
    check_seed(seed)

    from segan.runtime.bundle.reader import is_bundle
    from segan.train.measure.models.model import ImageOptions
    from segan.train.measure.models.open import Compute, open_model, torch_device
    from segan.train.measure.quality.detector_files import read_detector_options
    from segan.train.measure.quality.record import check_out

    metrics = [parse_metric(name) for name in checked]
    kinds = [metric.detector for metric in metrics if metric.detector is not None]
    given = read_detector_options(detectors, kinds)
    if hashes and not kinds:
        raise ConfigError(
            f"`detector_sha256` is given, but {', '.join(checked)} uses no detector",
            field="detector_sha256",
            value=hashes[0],
            remedy="Leave it out.",
        )
    path = model or _newest()
    if out is not None:
        check_out(out, [path, data, against])
    where = torch_device(device)
    options = ImageOptions(psi=psi, noise=noise, batch_size=batch_size)
    compute = Compute(backend=backend, precision=precision, threads=threads, device=where)
    opened = open_model(path, options, compute)
    other = None
    if against is not None:
        # --backend is for MODEL; a bundle to compare with runs as the reference.
        plain = is_bundle(against)
        reference = Compute(
            backend="cpu" if plain else "auto",
            precision="fp32" if plain else "auto",
            threads=threads,
            device=where,
        )
        other = open_model(against, options, reference)

    from segan.train.measure.quality.context import MetricContext
    from segan.train.measure.quality.detectors import DetectorSet

    dataset = None if data is None else _open_data(data)
    networks = DetectorSet(where, opened.resolution, given, hashes, on_fetch=_note)

    def context(measured: MeasuredModel) -> MetricContext:
        return MetricContext(measured, networks, dataset, first_seed=seed, on_note=_note)

    first = context(opened)
    second = None if other is None else context(other)
    records, comparisons = _measure(metrics, first, second, resamples)
    # Printed before they are stored: a full disk must not lose minutes of measuring.
    if as_json:
        echo(json.dumps(_as_json(records, comparisons)))
    else:
        for record in records:
            echo(_line(record))
    _store(records, out)
    _store_control([context for context in (first, second) if context is not None], out)


def _measure(
    metrics: list[Metric],
    context: MetricContext,
    against: MetricContext | None,
    resamples: int,
) -> tuple[list[ScoreRecord], list[Comparison]]:
    """Compute the scores with progress; with ``against`` three records for each metric."""
    from segan.train.measure.quality.evaluate import check_metrics, compare, evaluate

    for part in (context, against):
        if part is not None:
            check_metrics(metrics, part)
    shown = context.model
    echo(
        f"images: {shown.record.kind} {shown.record.path}, {shown.backend} {shown.precision}, "
        f"psi {shown.psi:g}, noise {shown.noise}",
        err=True,
    )
    with progress(None, "images", "measuring") as bar:
        for part in (context, against):
            if part is not None:
                part.on_images = bar.update
        if against is None:
            return evaluate(metrics, context, resamples=resamples), []
        comparisons = compare(metrics, context, against, resamples=resamples)
    return [record for entry in comparisons for record in entry], comparisons


def _as_json(records: list[ScoreRecord], comparisons: list[Comparison]) -> dict[str, Any]:
    import msgspec

    return {
        "scores": [msgspec.to_builtins(record) for record in records],
        "compared": len(comparisons),
    }


#: Most numbers of a score that its line shows.
_SHOWN = 9


def _line(record: ScoreRecord) -> str:
    """``fid5k_full 12.34 [12.1, 12.6]  precision 0.7, recall 0.5  cpu fp32, n 5000, 31 s``."""
    parts = [f"{record.metric} {record.value:.6g}"]
    if record.interval is not None:
        parts.append(f"[{record.interval[0]:.6g}, {record.interval[1]:.6g}]")
    protocol = record.protocol
    if protocol.against is not None:
        other = protocol.against
        parts.append(f"{protocol.backend} {protocol.precision} minus {other.kind} {other.path}")
        return "  ".join(parts)
    if record.values:
        shown = [f"{name} {value:.6g}" for name, value in record.values.items()]
        more = [f"and {len(shown) - _SHOWN} more in --json"] if len(shown) > _SHOWN + 1 else []
        parts.append(", ".join(shown[: _SHOWN if more else None] + more))
    data = "" if protocol.data is None else f"; data {protocol.data.name}"
    parts.append(
        f"{protocol.backend} {protocol.precision}, n {protocol.n}, {record.seconds:.1f} s{data}"
    )
    return "  ".join(parts)


def _store(records: list[ScoreRecord], out: Path | None) -> None:
    """Append the records to -o, or to the file of each model, and print the path."""
    from segan.train.measure.quality.record import append_scores, scores_file

    places: dict[Path | None, list[ScoreRecord]] = {}
    for record in records:
        place = out or scores_file(record.model.path, record.model.kind)
        places.setdefault(place, []).append(record)
    for place, those in places.items():
        if place is None:
            echo(
                "not stored: nothing is written next to the model that ships with segan. Pass "
                "-o FILE.",
                err=True,
            )
            continue
        append_scores(place, those)
        echo(f"{place}: {len(those)} added.", err=True)


def _store_control(contexts: list[MetricContext], out: Path | None) -> None:
    """Write each model's table of sliders next to its scores; with -o only the first model's."""
    from segan.train.measure.control.report import write_control
    from segan.train.measure.quality.control_metrics import control_json
    from segan.train.measure.quality.record import control_file, scores_file

    for context in contexts[: 1 if out is not None else None]:
        record = control_json(context)
        model = context.model.record
        scores = out or scores_file(model.path, model.kind)
        if record is not None and scores is not None:
            write_control(control_file(scores), record)
            echo(f"{control_file(scores)}: what each slider controls.", err=True)


def _newest() -> Path:
    """Return the newest run under the current folder, else the newest or the shipped bundle."""
    from segan.cli.options import newest_bundle
    from segan.train.runs.checkpoint import find_run

    run = find_run(Path.cwd())
    if run is None:
        return newest_bundle()
    echo(f"run: {run}", err=True)
    return run


def _open_data(path: Path) -> ImageDataset:
    from segan.train.data.dataset import open_dataset

    echo(f"reading {path} ...", err=True)
    return open_dataset(path)


def _note(text: str) -> None:
    echo(text, err=True)
