"""What the sliders of a model control, with intervals: the content of ``control.json``.

The three parts are independent: the sliders (``measure_sliders``); the latent codes
(``measure_codes``: DCI, MIG, separability); and the record of both with the protocol of the
measurement (``control_record``).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segan.runtime.bundle.layout import Slider
from segan.runtime.files.atomic import write_atomic
from segan.runtime.readings.effects import SliderReadings, identity_kept
from segan.runtime.readings.scores import (
    LEAKAGE,
    MOVED_FROM,
    STRICT_LEAKAGE,
    ControlScores,
    control_scores,
)
from segan.train.measure.control.attribute_files import LoadedAttributes
from segan.train.measure.control.attributes import NAMES, READINGS, AttributeNetwork
from segan.train.measure.control.bootstrap import Interval, bootstrap
from segan.train.measure.control.dci import REGRESSORS, Regressor, dci_intervals
from segan.train.measure.control.mig import mig_interval
from segan.train.measure.control.readings_sample import ReadingsSample, code_spaces
from segan.train.measure.control.separability import (
    Question,
    attribute_questions,
    metric_name,
    separability_interval,
)
from segan.train.measure.control.slider_effects import read_sliders
from segan.train.measure.models.model import SliderModel, SliderRange
from segan.train.runs.versions import versions

FORMAT = "segan.control/1"
CONTROL = "control.json"

#: Most codes that DCI's regressors are fitted to and scored with, since forests are slow.
DCI_CODES = 4000
#: Figures of each slider, with an interval.
_EACH = ("effect", "leakage", "leakage_absolute", "monotonicity", "identity")
#: Figures of all sliders together.
TOGETHER = (
    "controlled",
    "controlled_strict",
    "leakage",
    "identity",
    "measured_disentanglement",
    "measured_completeness",
    "gap",
)


class SlidersReport(NamedTuple):
    """Scores of each slider, and of all sliders together.

    Attributes:
        scores: see ``control_scores``.
        identity: by slider, see ``identity_kept``.
        intervals: of the model's figures by name, and of a slider's figures as ``L3N0D5/leakage``.
        ranges: of the sliders, in the order of the scores.
    """

    scores: ControlScores
    identity: dict[str, float]
    intervals: dict[str, Interval]
    ranges: tuple[SliderRange, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        rows = []
        for number, score in enumerate(self.scores.sliders):
            slider, low, high = self.ranges[number]
            row = {
                "slider": str(slider),
                "range": [low, high],
                "attribute": score.attribute,
                "dead": score.dead,
                "controls": score.controls(),
                "change": round(score.change, 5),
            }
            row |= {name: self.intervals[f"{slider}/{name}"].to_json() for name in _EACH}
            row["effects"] = {
                name: round(float(value), 4)
                for name, value in zip(NAMES, self.scores.effects[number], strict=True)
            }
            rows.append(row)
        return {
            "count": len(rows),
            "dead": sum(score.dead for score in self.scores.sliders),
            **{name: self.intervals[name].to_json() for name in TOGETHER},
            "best": {name: s.slider for name, s in self.scores.controlled().items()},
            "sliders": rows,
        }


def measure_sliders(
    images: SliderModel,
    network: AttributeNetwork,
    *,
    seeds: Sequence[int] = range(64),
    steps: int = 5,
    sliders: Sequence[Slider] | None = None,
    repeats: int = 100,
) -> SlidersReport | None:
    """Move sliders over their ranges and score them; None for a model without sliders.

    Args:
        images: the model.
        network: reads the attributes.
        seeds: that each slider is moved for; the same for all sliders, and resampled together.
        steps: values over a slider's range.
        sliders: to move; None moves all.
        repeats: resamples for the intervals.

    Raises:
        ConfigError: images that do not fit the network, or too few seeds or steps.
    """
    readings = read_sliders(images, network, seeds, steps, sliders)
    if not readings:
        return None
    ranges = tuple(row for row in images.sliders if str(row.slider) in readings)
    return score_readings(readings, ranges, repeats=repeats)


def score_readings(
    readings: Mapping[str, SliderReadings], ranges: tuple[SliderRange, ...], *, repeats: int
) -> SlidersReport:
    """Score sliders by their readings; see ``measure_sliders``."""
    scores = control_scores({name: each.effect(READINGS) for name, each in readings.items()}, NAMES)
    mains = {score.slider: score.attribute for score in scores.sliders}
    count = len(next(iter(readings.values())).change)

    def of_rows(rows: npt.NDArray[np.intp]) -> dict[str, float]:
        drawn = {name: each.of_seeds(rows) for name, each in readings.items()}
        found = control_scores(
            {name: each.effect(READINGS) for name, each in drawn.items()}, NAMES, mains
        )
        kept = {name: identity_kept(each, READINGS, mains[name]) for name, each in drawn.items()}
        return _figures(found, kept)

    intervals = bootstrap(of_rows, count, repeats)
    identity = {name: intervals[f"{name}/identity"].value for name in readings}
    return SlidersReport(scores, identity, intervals, ranges)


def _figures(scores: ControlScores, identity: Mapping[str, float]) -> dict[str, float]:
    alive = [score for score in scores.sliders if not score.dead]
    leakages = [score.leakage for score in alive]
    known = [identity[score.slider] for score in alive]
    kept = [value for value in known if math.isfinite(value)]
    figures = {
        "controlled": float(len(scores.controlled())),
        "controlled_strict": float(len(scores.controlled(STRICT_LEAKAGE))),
        "leakage": statistics.median(leakages) if alive else 1.0,
        "identity": statistics.median(kept) if kept else math.nan,
        "measured_disentanglement": scores.disentanglement,
        "measured_completeness": scores.completeness,
        "gap": scores.gap,
    }
    for score in scores.sliders:
        each = score._asdict() | {"identity": identity[score.slider]}
        figures |= {f"{score.slider}/{name}": float(each[name]) for name in _EACH}
    return figures


def measure_codes(
    sample: ReadingsSample,
    *,
    repeats: int = 10,
    parts: Sequence[str] = ("dci", "mig", "separability"),
    on_step: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return DCI, MIG and separability of every latent code of a model, as JSON values.

    Args:
        sample: latent codes and readings of seeds.
        repeats: resamples for the intervals; MIG takes ten times as many.
        parts: the scores to compute.
        on_step: called with the name of each step before it.

    Raises:
        ConfigError: too few seeds, or scikit-learn is missing.
    """
    step = on_step or (lambda _: None)
    found: dict[str, Any] = {part: {} for part in parts if part != "separability"}
    spaces = code_spaces(sample.codes)
    # Forests are slow: where there are coordinates, the other codes are scored by lasso alone.
    slow = [name for name in spaces if "coords" in name] or list(spaces)
    for space, codes in spaces.items():
        if "dci" in parts:
            regressors: tuple[Regressor, ...] = REGRESSORS if space in slow else ("lasso",)
            for regressor in regressors:
                step(f"DCI of {space}, {regressor}")
                scores, intervals = dci_intervals(
                    codes[:DCI_CODES], sample.readings[:DCI_CODES], regressor, repeats=repeats
                )
                predicted = {name: round(score, 4) for name, score in scores.predicted.items()}
                found["dci"].setdefault(space, {})[regressor] = {
                    **{name: interval.to_json() for name, interval in intervals.items()},
                    "predicted": predicted,
                }
        if "mig" in parts:
            step(f"MIG of {space}")
            scored, interval = mig_interval(codes, sample.readings, repeats=10 * repeats)
            gaps = {name: round(gap, 4) for name, gap in scored.gaps.items()}
            found["mig"][space] = interval.to_json() | {"gaps": gaps}
    if "separability" in parts:
        step("separability")
        questions = attribute_questions(sample.readings)
        found[metric_name(len(sample))] = measure_separability(sample, questions, repeats=repeats)
    return found


def measure_separability(
    sample: ReadingsSample, questions: Sequence[Question], *, repeats: int = 10
) -> dict[str, Any]:
    """Return the separability of every latent code of a model, as JSON values.

    Args:
        sample: latent codes of seeds.
        questions: about the same seeds' images, from ``attribute_questions`` or
            ``class_questions``.
        repeats: resamples for the intervals.

    Raises:
        ConfigError: there is no question, too few seeds, or scikit-learn is missing.
    """
    found = {}
    for space, codes in code_spaces(sample.codes).items():
        scores, interval = separability_interval(codes, questions, repeats=repeats)
        entropies = {name: round(value, 5) for name, value in scores.entropies.items()}
        found[space] = interval.to_json() | {
            "entropies": entropies,
            "constant": list(scores.constant),
        }
    return found


def control_record(
    model: str,
    attributes: LoadedAttributes,
    *,
    sliders: SlidersReport | None,
    codes: Mapping[str, Any],
    protocol: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``control.json``.

    Args:
        model: its path or name.
        attributes: the network that read the images.
        sliders: from ``measure_sliders``.
        codes: from ``measure_codes``.
        protocol: seeds, steps, images and resamples.
    """
    record = attributes.record
    return {
        "format": FORMAT,
        "model": model,
        "protocol": {
            **protocol,
            "moved_from_sd": MOVED_FROM,
            "leakage_at_most": LEAKAGE,
            "strict_leakage_at_most": STRICT_LEAKAGE,
            "network": {
                "resolution": record.resolution,
                "sha256": record.sha256,
                "held_out_scores": record.scores,
            },
            "versions": versions(),
        },
        "sliders": None if sliders is None else sliders.to_json(),
        **codes,
    }


def write_control(path: Path, record: Mapping[str, Any]) -> None:
    """Write ``control.json`` atomically. Raises: OutputError."""
    write_atomic(path, json.dumps(record, indent=1, allow_nan=False).encode() + b"\n")
