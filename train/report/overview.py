"""The first look: a run's figures and alarms, and several runs' figures side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from segan.runtime.pages.axis import number_text
from segan.runtime.pages.markup import Cell, table, text
from segan.train.report.measured import Metric, estimate_of
from segan.train.report.metrics import Measure, measure_of, protocol_text, value_text
from segan.train.report.run_record import RunRecord

#: As docs/guides/training.md says; the numbers of segan.train.runs.alarms.
_Z_DIES_BELOW, _OVERFITS_ABOVE, _DATA_SHARE = 0.05, 0.95, 1 / 20
#: How far the newest swd may lie above the lowest before that is said.
_SWD_ROSE = 1.1


def draw_tiles(run: RunRecord) -> str:
    """The run's main figures, large."""
    tiles = [(f"{run.kimg:g}", "kimg", progress_text(run))]
    best = run.best
    if best is not None:
        tiles.append((number_text(best.swd or 0.0, 3), "best swd", f"at kimg {best.kimg:g}"))
    speed = _speed(run)
    if speed is not None:
        tiles.append((number_text(speed, 3), "kimg/s", "median of the log's lines"))
    coords, dead = run.number("coords"), run.number("dead_coords")
    if coords is not None and dead is not None:
        tiles.append((f"{coords - dead:.0f} of {coords:.0f}", "coordinates alive", "at the end"))
    share = run.number("share_z")
    if share is not None:
        tiles.append((f"{share:.0%}", "of the variance by z", "total effect"))
    for metric in list(newest_metrics(run).values())[:3]:
        at = "" if metric.model.kimg is None else f"kimg {metric.model.kimg:g}"
        tiles.append((number_text(metric.value), metric.metric, at))
    parts = [
        f'<div class="tile"><b>{text(figure)}</b><span>{text(name)}</span>'
        f"<small>{text(note)}</small></div>"
        for figure, name, note in tiles
    ]
    return f'<div class="tiles">{"".join(parts)}</div>'


def progress_text(run: RunRecord) -> str:
    """Whether the run is complete, in words."""
    if run.complete:
        return "complete"
    if not run.entries and not run.checkpoints:
        return f"of {run.config.total_kimg:g}; nothing logged yet"
    return f"of {run.config.total_kimg:g}: running, or stopped"


def draw_alarms(run: RunRecord) -> str:
    """What to look twice at, each with what to do; a line that says so when there is nothing."""
    if not run.entries:
        return ""
    found = alarms(run)
    if not found:
        return '<p class="calm">No alarm rings at the end of the log.</p>'
    items = "".join(f"<li>{text(alarm)}</li>" for alarm in found)
    return f'<div class="alarms"><b>Look twice at</b><ul>{items}</ul></div>'


def alarms(run: RunRecord) -> list[str]:
    """The alarms that ring at the end of the log."""
    found = []
    dead, coords = run.number("dead_coords"), run.number("coords")
    if dead and coords:
        found.append(
            f"{dead:.0f} of {coords:.0f} coordinates hardly move the image. Early in training "
            "that is normal; late, give fewer --dims."
        )
    share = run.number("share_z")
    if share is not None and share < _Z_DIES_BELOW:
        found.append(
            f"z explains only {share:.1%} of the images' variance: it is dying. Give fewer --dims."
        )
    sign = run.number("score/real_sign")
    if sign is not None and sign > _OVERFITS_ABOVE:
        found.append(
            f"the mean sign of D on real images is {sign:.2f}: D overfits if it stays there. Give "
            "--augment ada, or more data."
        )
    swd = run.swd()
    best = min(swd, key=lambda point: point[1], default=None)
    if best is not None and swd[-1][1] > _SWD_ROSE * best[1]:
        found.append(
            f"swd was {number_text(best[1], 3)} at kimg {best[0]:g} and is "
            f"{number_text(swd[-1][1], 3)} now. segan export --best takes the best checkpoint."
        )
    seconds = run.seconds_by_phase()
    total = sum(seconds.values())
    if total and seconds.get("data", 0.0) > _DATA_SHARE * total:
        found.append(
            f"{seconds['data'] / total:.0%} of the time was spent waiting for images and "
            "preparing them."
        )
    return found


def newest_metrics(run: RunRecord) -> dict[Measure, Metric]:
    """The run's newest value of each measure: of the furthest checkpoint, and of that the last."""
    found: dict[Measure, Metric] = {}
    for metric in run.metrics:
        own = found.get(measure_of(metric))
        if own is None or (metric.model.kimg or 0.0) >= (own.model.kimg or 0.0):
            found[measure_of(metric)] = metric
    return found


def compare_final(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """The runs' final values side by side, one run a column."""
    rows: list[list[Cell]] = []

    def add(label: str, show: Callable[[RunRecord], str | None], lowest: bool = False) -> None:
        shown = [show(run) for run in runs]
        if any(value is not None for value in shown):
            rows.append([Cell(label), *(Cell(value or "–", number=True) for value in shown)])
            if lowest:
                _mark_lowest(rows, runs)

    add("progress", lambda run: f"{run.kimg:g} of {run.config.total_kimg:g} kimg")
    add(
        "best swd",
        lambda run: None if run.best is None else number_text(run.best.swd or 0.0, 4),
        lowest=True,
    )
    add("… at kimg", lambda run: None if run.best is None else f"{run.best.kimg:g}")
    for label, field in _FINAL:
        add(label, _of(field, _shown))
    add("dead coordinates", _dead)
    for label, field in (("variance by coordinates", "share_coords"), ("variance by z", "share_z")):
        add(label, _of(field, _percent))
    newest = [newest_metrics(run) for run in runs]
    for measure, metric in {key: own for found in newest for key, own in found.items()}.items():
        protocol = protocol_text(metric)
        shown = [found.get(measure) for found in newest]
        rows.append(
            [
                Cell(f"{metric.metric} ({protocol})" if protocol else metric.metric),
                *(Cell("–" if own is None else value_text(own), number=True) for own in shown),
            ]
        )
    for label, field in _CONTROL:
        add(label, _of_control(field))
    add("kimg/s, median", lambda run: _shown(_speed(run)))
    add("hours of training", _hours)
    return table(("", *(f"#{name}" for name in names)), rows, row_heads=True)


_FINAL = (
    ("last swd", "swd"),
    ("generator's loss", "loss/generator"),
    ("discriminator's loss", "loss/discriminator"),
    ("R1", "loss/r1"),
    ("path length", "loss/path_length"),
    ("sign of D on real images", "score/real_sign"),
    ("information term", "loss/information"),
    ("orthonormality", "loss/orthonormality"),
    ("overlap of the Jacobian", "loss/jacobian"),
)


_CONTROL = (
    ("controlled attributes", "controlled"),
    ("disentanglement", "measured_disentanglement"),
    ("completeness", "measured_completeness"),
)


def _of_control(field: str) -> Callable[[RunRecord], str | None]:
    """Shows a figure of the control scores."""
    return lambda run: (
        None if run.control is None else _shown(estimate_of(getattr(run.control, field)).value)
    )


def _mark_lowest(rows: list[list[Cell]], runs: Sequence[RunRecord]) -> None:
    """Marks the lowest best swd; only runs on the same data and resolution can be compared."""
    same = {(run.data, run.config.network.resolution, run.config.metric_images) for run in runs}
    scores = [run.best.swd if run.best is not None else None for run in runs]
    known = [score for score in scores if score is not None]
    if len(same) > 1 or len(known) < 2:
        return
    rows[-1][1:] = [
        cell._replace(mark="best") if score == min(known) else cell
        for cell, score in zip(rows[-1][1:], scores, strict=True)
    ]


def _of(
    field: str, show: Callable[[float | None], str | None]
) -> Callable[[RunRecord], str | None]:
    """Shows the newest number of a field of the log."""
    return lambda run: show(run.number(field))


def _shown(value: float | None) -> str | None:
    return None if value is None else number_text(value)


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _dead(run: RunRecord) -> str | None:
    dead, coords = run.number("dead_coords"), run.number("coords")
    return None if dead is None or coords is None else f"{dead:.0f} of {coords:.0f}"


def _speed(run: RunRecord) -> float | None:
    points = run.points("kimg_per_s")
    return statistics.median(value for _, value in points) if points else None


def _hours(run: RunRecord) -> str | None:
    seconds = sum(run.seconds_by_phase().values())
    return f"{seconds / 3600:.2f}" if seconds else None
