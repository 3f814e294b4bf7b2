"""Scores of one bundle on several backends and precisions, each against cpu in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segan.runtime.errors import SeganError
from segan.train.data.dataset import ImageDataset, open_dataset
from segan.train.measure.models.model import MakerSettings
from segan.train.measure.models.open import Compute, open_images
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
        compute: threads and PyTorch's device; backend and precision are the rows'.
        given: detectors that the user named.
        resamples: of the seeds, for the interval of a difference.
        on_images: told how many images were just looked at.

    Raises:
        SeganError: what is asked for cannot be computed of this bundle, or cpu does not run it.
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
        images = open_images(bundle, MakerSettings(), self._of(*REFERENCE))
        self._detectors = DetectorSet(compute.device, images.facts.resolution, given)
        self._reference = self._context(images)
        check_metrics(metrics, self._reference)

    def measure(self, backend: str, precision: str) -> dict[str, dict[str, Any]]:
        """The scores of one backend and precision.

        Returns:
            By metric: ``value``, and ``difference`` and ``interval`` against the reference (0 for
            itself); or ``problem``, why there is none.
        """
        context = self._reference
        try:
            if (backend, precision) != REFERENCE:
                images = open_images(self._bundle, MakerSettings(), self._of(backend, precision))
                context = self._context(images)
            found = compare(self._metrics, context, self._reference, resamples=self._resamples)
        except SeganError as error:
            return {metric.name: {"problem": str(error)} for metric in self._metrics}
        finally:
            if context is not self._reference:
                context.images.close()
        return {
            metric.name: {
                "value": entry.model.value,
                "difference": entry.difference.value,
                "interval": entry.difference.interval,
            }
            for metric, entry in zip(self._metrics, found, strict=True)
        }

    def _of(self, backend: str, precision: str) -> Compute:
        return Compute(
            backend=backend,
            precision=precision,
            threads=self._compute.threads,
            device=self._compute.device,
        )

    def _context(self, images: Any) -> MetricContext:
        return MetricContext(images, self._detectors, self._data, on_images=self._on_images)


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
        names: of metrics, each one or several separated by commas.
        data: the real images; None for none.
        detectors: as ``read_detector_options`` takes them.
        compute: see ``EngineScores``.

    Raises:
        SeganError: an unknown metric, data or a detector that does not fit.
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
        scores: what takes them.
        on_engine: called with each backend and precision before it is scored.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["backend"], row["precision"])
        if key not in found:
            on_engine(*key)
            found[key] = scores.measure(*key)
        row["metrics"] = found[key]
