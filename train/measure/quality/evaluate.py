"""Taking scores of a model, and of an engine against its checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from segan.runtime.errors import ConfigError, DataError
from segan.train.measure.control.bootstrap import centred_interval
from segan.train.measure.models.model import ModelRecord
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.features import FeatureRequest, Request
from segan.train.measure.quality.metric import Metric, Score
from segan.train.measure.quality.record import Protocol, ScoreRecord, now, segan_version

Array = npt.NDArray[np.float64]

#: Most numbers that the draws of one metric may be.
_MAX_DRAWS = 1 << 27


class Comparison(NamedTuple):
    """One metric on a model and on another one, with the same seeds.

    Attributes:
        model: score of the first.
        against: score of the second.
        difference: the first minus the second, with the interval of what resampled seeds give.
    """

    model: ScoreRecord
    against: ScoreRecord
    difference: ScoreRecord


class _Taken(NamedTuple):
    score: Score
    resampled: Array | None
    seconds: float


def evaluate(
    metrics: Sequence[Metric], context: MetricContext, *, resamples: int = 0
) -> list[ScoreRecord]:
    """Takes scores; all images are made once.

    Args:
        metrics: which.
        context: the generator, data and detectors.
        resamples: how often the seeds are drawn anew for an interval; 0 for none.

    Raises:
        SeganError: a metric cannot be computed; nothing is computed when a check fails.
    """
    check_metrics(metrics, context)
    taken = _take(metrics, context, resamples)
    return [
        _record(metric, context, entry, _interval_of(entry))
        for metric, entry in zip(metrics, taken, strict=True)
    ]


def compare(
    metrics: Sequence[Metric],
    context: MetricContext,
    against: MetricContext,
    *,
    resamples: int = 200,
) -> list[Comparison]:
    """Takes the same scores of two models on the same seeds.

    Args:
        metrics: which.
        context: of the first model.
        against: of the second, with the same data, seeds, psi and noise.
        resamples: how often the seeds are drawn anew, the same for both; 0 for no interval.

    Raises:
        ConfigError: the two generators have other inputs, or are asked for other images.
        SeganError: a metric cannot be computed.
    """
    _check_pair(context, against)
    for part in (context, against):
        check_metrics(metrics, part)
    one, two = (_take(metrics, part, resamples) for part in (context, against))
    return [
        _compared(metric, context, against, *pair)
        for metric, *pair in zip(metrics, one, two, strict=True)
    ]


def check_metrics(metrics: Sequence[Metric], context: MetricContext) -> None:
    """Everything that can be seen before images are made. Raises: SeganError."""
    for metric in metrics:
        context.seeds(metric.seeds_used)
        metric.check(context)
        if metric.detector is not None:
            context.detectors.get(metric.detector)


def requests_of(metrics: Sequence[Metric], *, resample: bool = False) -> tuple[Request, ...]:
    """Return what all metrics request from a context."""
    return tuple(request for metric in metrics for request in metric.requests(resample=resample))


def draws(n: int, resamples: int) -> Array:
    """How often each of n seeds is drawn when n are drawn with replacement: [resamples, n].

    Always the same for the same numbers, so that two models are resampled alike.

    Raises:
        ConfigError: too many for the memory.
    """
    if n * resamples > _MAX_DRAWS:
        raise ConfigError(
            f"{resamples} resamples of {n} seeds are too many; expected at most "
            f"{_MAX_DRAWS // n}. Pass a smaller --bootstrap."
        )
    random = np.random.RandomState(0)
    return np.stack(
        [
            np.bincount(random.randint(0, n, n), minlength=n).astype(np.float64)
            for _ in range(resamples)
        ]
    )


def _take(metrics: Sequence[Metric], context: MetricContext, resamples: int) -> list[_Taken]:
    start = time.perf_counter()
    context.prepare(requests_of(metrics, resample=resamples > 0))
    shared = time.perf_counter() - start
    taken = []
    for metric in metrics:
        start = time.perf_counter()
        score = metric.compute(context)
        if not all(map(math.isfinite, (score.value, *score.values.values()))):
            raise DataError(
                f"{metric.name} is {score.value}, which is not a finite number. Use more images."
            )
        resampled = metric.resampled(context, draws(metric.n, resamples)) if resamples else None
        own = time.perf_counter() - start
        requests = metric.requests(resample=resamples > 0)
        in_pass = shared if any(isinstance(r, FeatureRequest) for r in requests) else 0.0
        taken.append(_Taken(score, resampled, own + in_pass))
    return taken


def _interval_of(taken: _Taken) -> tuple[float, float] | None:
    """That of the resampled values, or the one that the metric has found itself."""
    return _interval(taken.resampled, taken.score.value) or taken.score.interval


def _interval(resampled: Array | None, value: float) -> tuple[float, float] | None:
    """See ``centred_interval``; None where nothing was resampled, or not all of it has a value."""
    if resampled is None:
        return None
    ends = centred_interval(resampled, value)
    return ends if math.isfinite(ends[0]) else None


def _compared(
    metric: Metric, context: MetricContext, against: MetricContext, one: _Taken, two: _Taken
) -> Comparison:
    apart = one.score.value - two.score.value
    spread = None
    if one.resampled is not None and two.resampled is not None:
        spread = one.resampled - two.resampled
    record = _record(metric, context, one, _interval_of(one))
    difference = msgspec.structs.replace(
        record,
        metric=f"{metric.name}.difference",
        value=apart,
        values={
            "model": one.score.value,
            "against": two.score.value,
            "resamples": 0 if spread is None else len(spread),
        },
        interval=_interval(spread, apart),
        intervals={},
        protocol=msgspec.structs.replace(record.protocol, against=against.model.record),
        seconds=round(one.seconds + two.seconds, 3),
    )
    return Comparison(
        record,
        _record(metric, against, two, _interval_of(two)),
        difference,
    )


def _record(
    metric: Metric,
    context: MetricContext,
    taken: _Taken,
    interval: tuple[float, float] | None,
) -> ScoreRecord:
    model = context.model
    seeds = context.seeds(metric.seeds_used)
    detector = None if metric.detector is None else context.detectors.get(metric.detector).record
    return ScoreRecord(
        metric=metric.name,
        value=taken.score.value,
        values=taken.score.values,
        interval=interval,
        intervals=dict(taken.score.intervals),
        protocol=Protocol(
            n=metric.n,
            seeds=f"{seeds[0]}-{seeds[-1]}",
            psi=model.psi,
            noise=model.noise,
            resize=metric.resize(context),
            detector=detector,
            backend=model.backend,
            precision=model.precision,
            data=metric.real_images(context),
            settings=metric.settings(context),
        ),
        model=model.record,
        seconds=round(taken.seconds, 3),
        segan=segan_version(),
        time=now(),
    )


def _check_pair(context: MetricContext, against: MetricContext) -> None:
    one, two = context.model, against.model
    for what in ("resolution", "img_channels", "z_dim", "c_dim", "sites", "subspaces"):
        a, b = getattr(one.manifest, what), getattr(two.manifest, what)
        if a != b:
            shown = f" ({a} and {b})" if isinstance(a, int) else ""
            raise ConfigError(
                f"{_name(one.record)} and {_name(two.record)} differ in {what}{shown}",
                field="against",
                value=two.record.path,
                remedy="Compare a bundle with the checkpoint that it was exported from.",
            )
    if (one.psi, one.noise) != (two.psi, two.noise):
        raise ConfigError(
            f"psi and noise are {one.psi:g} {one.noise} and {two.psi:g} {two.noise}",
            field="noise",
            value=two.noise,
            expected="the same for both models",
            remedy="Pass `noise none`, for example.",
        )


def _name(model: ModelRecord) -> str:
    return f"{model.kind} {model.path}"
