"""Scores of a model, and of an engine compared with its checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.errors import ConfigError, DataError
from segan.train.data.dataset import ImageDataset
from segan.train.measure.control.bootstrap import centred_interval
from segan.train.measure.models.model import MeasuredModel, ModelRecord
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.detectors import DetectorSet
from segan.train.measure.quality.features import DetectorKind, FeatureRequest, Request
from segan.train.measure.quality.metric import Metric, Score
from segan.train.measure.quality.record import Protocol, ScoreRecord, now, segan_version
from segan.train.measure.quality.registry import check_names, parse_metric

Array = npt.NDArray[np.float64]

#: Largest number of values in the draws of one metric.
_MAX_DRAWS = 1 << 27


class Comparison(NamedTuple):
    """One metric of two models on the same seeds.

    Attributes:
        model: score of the first model.
        against: score of the second model.
        difference: the first minus the second, with its interval over resampled seeds.
    """

    model: ScoreRecord
    against: ScoreRecord
    difference: ScoreRecord


class _Measured(NamedTuple):
    """A metric's score, its resampled values [B] or None, and the time it took."""

    score: Score
    resampled: Array | None
    seconds: float


def score(
    model: MeasuredModel,
    names: Iterable[str],
    *,
    data: ImageDataset | None = None,
    detectors: Mapping[DetectorKind, Path] | None = None,
    device: torch.device | None = None,
    resamples: int = 0,
    first_seed: int = 0,
) -> list[ScoreRecord]:
    """Compute metrics of a model by name.

    Args:
        model: from ``open_model``, for example.
        names: such as ``fd_faces5k``; see ``segan metrics --list``.
        data: the real images; None for metrics that need none.
        detectors: files to use in place of the published ones.
        device: of the detectors; None for the CPU.
        resamples: bootstrap resamples of the seeds for an interval; 0 for no interval.
        first_seed: of the generated images.

    Returns:
        One record for each name, with its value, interval and protocol.

    Raises:
        ConfigError: an unknown name.
        SeganError: a metric cannot be computed.
    """
    metrics = [parse_metric(name) for name in check_names(names)]
    networks = DetectorSet(device or torch.device("cpu"), model.resolution, detectors)
    context = MetricContext(model, networks, data, first_seed=first_seed)
    return evaluate(metrics, context, resamples=resamples)


def evaluate(
    metrics: Sequence[Metric], context: MetricContext, *, resamples: int = 0
) -> list[ScoreRecord]:
    """Compute metrics of one model; each image is made once for all of them.

    Args:
        metrics: to compute.
        context: the model, data and detectors.
        resamples: bootstrap resamples of the seeds for an interval; 0 for no interval.

    Raises:
        SeganError: a metric cannot be computed. All metrics are checked before the first one is
            computed.
    """
    check_metrics(metrics, context)
    measured = _measure(metrics, context, resamples)
    return [
        _record(metric, context, entry, _interval_of(entry))
        for metric, entry in zip(metrics, measured, strict=True)
    ]


def compare(
    metrics: Sequence[Metric],
    context: MetricContext,
    against: MetricContext,
    *,
    resamples: int = 200,
) -> list[Comparison]:
    """Compute the same metrics of two models on the same seeds.

    Args:
        metrics: to compute.
        context: of the first model.
        against: of the second model, with the same data, seeds, psi and noise.
        resamples: bootstrap resamples of the seeds, the same for both; 0 for no interval.

    Raises:
        ConfigError: the two generators differ in their inputs, or in psi or noise.
        SeganError: a metric cannot be computed.
    """
    _check_pair(context, against)
    for part in (context, against):
        check_metrics(metrics, part)
    one, two = (_measure(metrics, part, resamples) for part in (context, against))
    return [
        _compared(metric, context, against, *pair)
        for metric, *pair in zip(metrics, one, two, strict=True)
    ]


def check_metrics(metrics: Sequence[Metric], context: MetricContext) -> None:
    """Check everything that can be checked before images are made. Raises: SeganError."""
    for metric in metrics:
        context.seeds(metric.seeds_used)
        metric.check(context)
        if metric.detector is not None:
            context.detectors.get(metric.detector)


def requests_of(metrics: Sequence[Metric], *, resample: bool = False) -> tuple[Request, ...]:
    """Return what all metrics request from a context."""
    return tuple(request for metric in metrics for request in metric.requests(resample=resample))


def draws(n: int, resamples: int) -> Array:
    """Draw n seeds with replacement, and count how often each one is drawn: [resamples, n].

    The draws depend on the two numbers alone, so that two models are resampled alike.

    Raises:
        ConfigError: the draws need too much memory.
    """
    if n * resamples > _MAX_DRAWS:
        raise ConfigError(
            f"`resamples` is {resamples}, too many for {n} seeds",
            field="resamples",
            value=resamples,
            expected=f"at most {_MAX_DRAWS // n}",
        )
    random = np.random.RandomState(0)
    return np.stack(
        [
            np.bincount(random.randint(0, n, n), minlength=n).astype(np.float64)
            for _ in range(resamples)
        ]
    )


def _measure(metrics: Sequence[Metric], context: MetricContext, resamples: int) -> list[_Measured]:
    start = time.perf_counter()
    context.prepare(requests_of(metrics, resample=resamples > 0))
    shared = time.perf_counter() - start
    measured = []
    for metric in metrics:
        start = time.perf_counter()
        score = metric.compute(context)
        if not all(map(math.isfinite, (score.value, *score.values.values()))):
            raise DataError(
                f"{metric.name} is {score.value}, which is not a finite number",
                field="metrics",
                value=metric.name,
                remedy="Use more images.",
            )
        resampled = metric.resampled(context, draws(metric.n, resamples)) if resamples else None
        own = time.perf_counter() - start
        requests = metric.requests(resample=resamples > 0)
        in_pass = shared if any(isinstance(r, FeatureRequest) for r in requests) else 0.0
        measured.append(_Measured(score, resampled, own + in_pass))
    return measured


def _interval_of(measured: _Measured) -> tuple[float, float] | None:
    """The interval of the resampled values, else the metric's own."""
    return _interval(measured.resampled, measured.score.value) or measured.score.interval


def _interval(resampled: Array | None, value: float) -> tuple[float, float] | None:
    """See ``centred_interval``; None without resamples, or where one of them has no value."""
    if resampled is None:
        return None
    ends = centred_interval(resampled, value)
    return ends if math.isfinite(ends[0]) else None


def _compared(
    metric: Metric, context: MetricContext, against: MetricContext, one: _Measured, two: _Measured
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
    measured: _Measured,
    interval: tuple[float, float] | None,
) -> ScoreRecord:
    model = context.model
    seeds = context.seeds(metric.seeds_used)
    detector = None if metric.detector is None else context.detectors.get(metric.detector).record
    return ScoreRecord(
        metric=metric.name,
        value=measured.score.value,
        values=measured.score.values,
        interval=interval,
        intervals=dict(measured.score.intervals),
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
        seconds=round(measured.seconds, 3),
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
