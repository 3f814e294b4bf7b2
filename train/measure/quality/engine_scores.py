"""Scores of one bundle on several backends and precisions, each against cpu in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segan.runtime.errors import SeganError
from segan.train.data.dataset import ImageDataset, open_dataset
from segan.train.measure.models.open import Compute, open_model
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.detector_files import read_detector_options
from segan.train.measure.quality.detectors import DetectorSet
from segan.train.measure.quality.evaluate import check_metrics, compare
from segan.train.measure.quality.features import DetectorKind
from segan.train.measure.quality.metric import Metric
from segan.train.measure.quality.registry import check_names, parse_metric

#: What every other backend and precision is compared with.
REFERENCE = ("cpu", "fp32")


class EngineScores:
    """Takes the same scores of every row of a benchmark, on the same seeds.

    Args:
        bundle: its path.
        metrics: which.
        data: the real images; None for none.
        compute: threads and PyTorch's device; each row has its own backend and precision.
        given: detectors that the user named.
        resamples: of the seeds, for the interval of a difference.
        on_images: called with the number of images of each batch.

    Raises:
        SeganError: the scores cannot be computed for this bundle, or cpu does not run it.
    """

    def __init__(
        self,
        bundle: Path,
        metrics: Sequence[Metric],
        data: ImageDataset | None,
        compute: Compute,
        *,
        given: Mapping[DetectorKind, Path] | None = None,
        resamples: int = 200,
        on_images: Callable[[int], None] | None = None,
    ) -> None:
        self._bundle, self._metrics, self._data = bundle, metrics, data
        self._compute, self._resamples, self._on_images = compute, resamples, on_images
        self._given = given
        self._detectors: DetectorSet | None = None
        self._reference = self._context(*REFERENCE)
        check_metrics(metrics, self._reference)

    def measure(self, backend: str, precision: str) -> dict[str, dict[str, Any]]:
        """Take the scores of one backend and precision.

        Returns:
            By metric: ``value``, and ``difference`` and ``interval`` against the reference (0 for
            the reference itself); or ``problem``, the reason for a missing score.
        """
        context = self._reference
        try:
            if (backend, precision) != REFERENCE:
                context = self._context(backend, precision)
            found = compare(self._metrics, context, self._reference, resamples=self._resamples)
        except SeganError as error:
            return {metric.name: {"problem": str(error)} for metric in self._metrics}
        finally:
            if context is not self._reference:
                context.model.close()
        return {
            metric.name: {
                "value": entry.model.value,
                "difference": entry.difference.value,
                "interval": entry.difference.interval,
            }
            for metric, entry in zip(self._metrics, found, strict=True)
        }

    def _context(self, backend: str, precision: str) -> MetricContext:
        compute = replace(self._compute, backend=backend, precision=precision)
        model = open_model(self._bundle, compute=compute)
        if self._detectors is None:
            self._detectors = DetectorSet(compute.device, model.resolution, self._given)
        return MetricContext(model, self._detectors, self._data, on_images=self._on_images)


def open_scores(
    bundle: Path,
    names: Iterable[str],
    data: Path | None,
    detectors: Sequence[str],
    compute: Compute,
) -> EngineScores:
    """Check everything that can be checked before anything is measured.

    Args:
        bundle: its path.
        names: of metrics, each one name or several separated by commas.
        data: path of the real images; None for none.
        detectors: see ``read_detector_options``.
        compute: see ``EngineScores``.

    Raises:
        SeganError: an unknown metric, or data or a detector that does not fit.
    """
    checked = check_names(name for text in names for name in text.split(","))
    metrics = [parse_metric(name) for name in checked]
    kinds = [metric.detector for metric in metrics if metric.detector is not None]
    return EngineScores(
        bundle,
        metrics,
        None if data is None else open_dataset(data),
        compute,
        given=read_detector_options(detectors, kinds),
    )


def add_scores(
    rows: list[dict[str, Any]], scores: EngineScores, on_engine: Callable[[str, str], None]
) -> None:
    """Add ``metrics`` to each row of a benchmark's record.

    Args:
        rows: of the record; those of one backend and precision share their scores.
        scores: takes them.
        on_engine: called with each backend and precision before it is scored.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["backend"], row["precision"])
        if key not in found:
            on_engine(*key)
            found[key] = scores.measure(*key)
        row["metrics"] = found[key]
