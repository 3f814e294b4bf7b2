"""Control of the built-in faces' attributes as metrics of sliders and latent codes.

``segan.train.measure.control`` defines the measures. They need no real images: a network that was
trained on drawn faces reads the generated images. Results that are not scores, such as the table of
sliders, are stored in ``context.details`` for ``control.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from segan.runtime.errors import ConfigError
from segan.runtime.readings.scores import LEAKAGE, MOVED_FROM, STRICT_LEAKAGE, control_scores
from segan.train.measure.control.attributes import NAMES, READINGS
from segan.train.measure.control.label_classifier import check_labels, train_label_classifier
from segan.train.measure.control.mig import BINS
from segan.train.measure.control.readings_sample import ReadingsSample, sample_readings
from segan.train.measure.control.report import (
    TOGETHER,
    control_record,
    measure_codes,
    measure_separability,
    score_readings,
)
from segan.train.measure.control.separability import class_questions, metric_name
from segan.train.measure.control.slider_effects import read_sliders
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.features import CodesRequest, DetectorKind, Request
from segan.train.measure.quality.metric import Ends, Metric, Need, Score, check_n

Array = npt.NDArray[np.float64]

#: Values over a slider's range, and resamples of the seeds.
STEPS, REPEATS = 5, 100
#: Resamples where regressors and SVMs are fitted to each resample.
REFITS = 10

_SLIDERS, _READINGS, _CODES_N = "sliders", "readings", "codes n"


class ControlMetric(Metric):
    """Number of attributes that one slider controls, out of 18; higher is better.

    Args:
        name: as the user wrote it.
        n: seeds that each slider is moved for.
    """

    data = "unused"
    detector = "faces"
    less_is_better = False
    default_n = 64

    def __init__(self, name: str, n: int) -> None:
        super().__init__(name, n)
        check_n(name, n, 2)

    def check(self, context: MetricContext) -> None:
        """See ``Metric``."""
        super().check(context)
        if not context.model.sliders:
            raise ConfigError(
                f"{self.name} moves sliders, and {context.model.record.path} has none (mode 0)",
                field="metrics",
                value=self.name,
                remedy="Add directions to its bundle ('segan directions'), or take mig, dci or "
                "separability10k, which need no sliders.",
            )

    def settings(self, context: MetricContext) -> dict[str, Any]:
        """See ``Metric``."""
        return {
            "steps": STEPS,
            "resamples": REPEATS,
            "moved_from_sd": MOVED_FROM,
            "leakage_at_most": LEAKAGE,
            "strict_leakage_at_most": STRICT_LEAKAGE,
        }

    def compute(self, context: MetricContext) -> Score:
        """See ``Metric``."""
        model = context.model
        readings = read_sliders(
            model, context.detectors.faces().network, context.seeds(self.n), STEPS
        )
        report = score_readings(readings, model.sliders, repeats=REPEATS)
        context.cache[self.name] = readings, report
        context.details[_SLIDERS] = report
        context.details["protocol"] = {"seeds": self.n} | self.settings(context)
        figures = {name: report.intervals[name] for name in TOGETHER}
        values = {name: each.value for name, each in figures.items() if math.isfinite(each.value)}
        dead = sum(score.dead for score in report.scores.sliders)
        ends = {
            name: (each.low, each.high)
            for name, each in figures.items()
            if math.isfinite(each.low) and math.isfinite(each.high)
        }
        return Score(
            values["controlled"],
            values | {"sliders": float(len(readings)), "dead": float(dead)},
            ends.get("controlled"),
            ends,
        )

    def resampled(self, context: MetricContext, weights: Array) -> Array:
        """See ``Metric``; a slider keeps its main attribute."""
        readings, report = context.cache[self.name]
        mains = {score.slider: score.attribute for score in report.scores.sliders}
        counts: list[int] = []
        on_done = context.resampling(self.name, len(weights))
        for line in weights:
            on_done(len(counts))
            rows = np.repeat(np.arange(len(line)), line.astype(int))
            drawn = {name: each.of_seeds(rows).effect(READINGS) for name, each in readings.items()}
            counts.append(len(control_scores(drawn, NAMES, mains).controlled()))
        return np.array(counts, np.float64)


class CodesMetric(Metric):
    """A score of latent codes by the attributes that are read from their images.

    Every code of the model is scored: z, w, and coordinates where they are drawn from the seeds.
    All such metrics share the same images.
    """

    data: ClassVar[Need] = "unused"
    detector: ClassVar[DetectorKind | None] = "faces"
    part: ClassVar[str]
    #: Fewest images.
    fewest: ClassVar[int]

    def __init__(self, name: str, n: int) -> None:
        super().__init__(name, n)
        check_n(name, n, self.fewest)

    def settings(self, context: MetricContext) -> dict[str, Any]:
        """See ``Metric``."""
        return {"resamples": 10 * REFITS if self.part == "mig" else REFITS}

    def requests(self, *, resample: bool) -> tuple[Request, ...]:
        """See ``Metric``."""
        return () if self.detector is None else (CodesRequest(n=self.n),)

    def compute(self, context: MetricContext) -> Score:
        """See ``Metric``."""
        context.cache.setdefault(_CODES_N, {})[self.name] = self.n
        found = measure_codes(_readings(context, self.n), repeats=REFITS, parts=(self.part,))
        context.details |= found
        (spaces,) = found.values()
        return self.score(spaces)

    def score(self, spaces: Mapping[str, Any]) -> Score:
        """Return the score from the figures of each code."""
        space = _sliders_code(spaces)
        return _of_spaces(spaces, space)


class MigMetric(CodesMetric):
    """Mutual information gap of the coordinates, or of w where there are none."""

    part, fewest, default_n = "mig", BINS**2, 10_000
    less_is_better = False


class DciMetric(CodesMetric):
    """Disentanglement of the coordinates by a forest, or of w where there are none."""

    part, fewest, default_n = "dci", 40, 4000
    less_is_better = False

    def score(self, spaces: Mapping[str, Any]) -> Score:
        """See ``CodesMetric``."""
        figures = {
            f"{space}/{regressor}/{name}": scores[name]
            for space, by_regressor in spaces.items()
            for regressor, scores in by_regressor.items()
            for name in ("disentanglement", "completeness", "informativeness")
        }
        return _of_spaces(figures, f"{_sliders_code(spaces)}/forest/disentanglement")


class SeparabilityMetric(CodesMetric):
    """Linear separability of w by the built-in faces' attributes."""

    part, fewest = "separability", 4

    @classmethod
    def from_name(cls, name: str, groups: Mapping[str, str | None]) -> Metric:
        """See ``Metric``."""
        kind = cls if groups["classes"] is None else ClassSeparabilityMetric
        return kind(name, cls.n_of(groups))

    def score(self, spaces: Mapping[str, Any]) -> Score:
        """See ``CodesMetric``."""
        return _of_spaces(spaces, "w")


class ClassSeparabilityMetric(SeparabilityMetric):
    """Linear separability of w by the classes of the user's data."""

    data = "required"
    detector = None
    labels = True

    def check(self, context: MetricContext) -> None:
        """See ``Metric``."""
        super().check(context)
        context.model.require_rgb()
        check_labels(context.dataset(self.name))

    def compute(self, context: MetricContext) -> Score:
        """See ``Metric``."""
        data = context.dataset(self.name)
        context.cache.setdefault(_CODES_N, {})[self.name] = self.n
        context.on_note(f"{self.name}: training a classifier on the classes of {data.name!r}")
        classifier = train_label_classifier(data)
        sample = sample_readings(
            context.model, classifier.probabilities, self.n, context.first_seed
        )
        questions = class_questions(sample.readings, classifier.class_names)
        spaces = measure_separability(sample, questions, repeats=REFITS)
        about = {"accuracy": classifier.accuracy, "chance": classifier.chance}
        context.details[f"{metric_name(self.n)}_{data.name}"] = spaces | {"classifier": about}
        score = self.score(spaces)
        return score._replace(values=score.values | about)


def control_json(context: MetricContext) -> dict[str, Any] | None:
    """Return the content of ``control.json``: the sliders, and the codes scored with them.

    Returns:
        None where no sliders were moved.
    """
    details = dict(context.details)
    sliders = details.pop(_SLIDERS, None)
    if sliders is None:
        return None
    model = context.model
    protocol = details.pop("protocol") | {
        "first_seed": context.first_seed,
        "latents": context.cache.get(_CODES_N, {}),
        "refits": REFITS,
        "psi": model.psi,
        "noise": model.noise,
        "backend": model.backend,
        "precision": model.precision,
        "model_sha256": model.record.sha256,
        "kimg": model.record.kimg,
    }
    return control_record(
        model.record.path,
        context.detectors.attributes(),
        sliders=sliders,
        codes=details,
        protocol=protocol,
    )


def _readings(context: MetricContext, n: int) -> ReadingsSample:
    """The codes and attributes of the first n seeds, from one sample for all metrics."""
    found = context.cache.get(_READINGS)
    if found is None or len(found) < n:
        others = (each.n for each in context.requests if isinstance(each, CodesRequest))
        network = context.detectors.faces().network
        found = sample_readings(context.model, network, max(n, *others, 0), context.first_seed)
        context.cache[_READINGS] = found
    assert isinstance(found, ReadingsSample)
    return found.first(n)


def _sliders_code(spaces: Mapping[str, Any]) -> str:
    return "coords" if "coords" in spaces else "w"


def _of_spaces(figures: Mapping[str, Mapping[str, Any]], headline: str) -> Score:
    ends: dict[str, Ends] = {
        name: (entry["low"], entry["high"])
        for name, entry in figures.items()
        if entry["low"] is not None and entry["high"] is not None
    }
    values = {name: float(entry["value"]) for name, entry in figures.items()}
    return Score(values[headline], values, ends.get(headline), ends)
