"""Scores of how well sliders control attributes, one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from segan.runtime.errors import ConfigError
from segan.runtime.readings.effects import DEAD_BELOW, SliderEffect
from segan.runtime.readings.reading import Array

#: Effects below this many sd count as 0.
IGNORED_BELOW = 0.1
#: A controlled attribute changes by at least this many sd.
MOVED_FROM = 1.0
#: Largest leakage of a slider that controls its attribute: the usual bound and a strict one.
LEAKAGE, STRICT_LEAKAGE = 0.30, 0.20


class SliderScore(NamedTuple):
    """One slider's main attribute.

    Attributes:
        slider: its name.
        attribute: the one it changes most; empty for a slider that changes none.
        effect: on that attribute, in sd; negative when the attribute decreases.
        leakage: 1 - effect / Σ effects over all attributes (of 0.1 sd or more); 0.5 = half of the
            slider's effect is on other attributes.
        leakage_absolute: the same share from mean |Δ|, which includes effects on other attributes
            whose direction differs from seed to seed. It includes the estimator's noise, so it is
            an upper bound.
        monotonicity: see ``SliderEffect``.
        change: see ``SliderEffect``.
    """

    slider: str
    attribute: str
    effect: float
    leakage: float
    leakage_absolute: float
    monotonicity: float
    change: float

    @property
    def dead(self) -> bool:
        """Whether the slider does not change the image."""
        return self.change < DEAD_BELOW

    def controls(self, leakage: float = LEAKAGE) -> bool:
        """Return whether it changes its attribute by 1 sd or more with at most this leakage."""
        return abs(self.effect) >= MOVED_FROM and self.leakage <= leakage


class ControlScores(NamedTuple):
    """Scores of a set of sliders.

    Attributes:
        attributes: names of the readings.
        sliders: score of each slider, in the given order.
        effects: [sliders, attributes], consistent effects in sd, where values below 0.1 are 0.
        disentanglement: how far each slider changes one attribute only, 0 to 1 (DCI's D).
        completeness: how far each attribute is changed by one slider only, 0 to 1 (DCI's C).
        gap: mean over attributes of (largest - second largest effect) / largest, 0 for an
            attribute without effects: the mutual information gap (Chen et al. 2018), of effects.
    """

    attributes: tuple[str, ...]
    sliders: list[SliderScore]
    effects: Array
    disentanglement: float
    completeness: float
    gap: float

    def controlled(self, leakage: float = LEAKAGE) -> dict[str, SliderScore]:
        """Return attribute → score of the slider that controls it with the least leakage."""
        found: dict[str, SliderScore] = {}
        for score in self.sliders:
            best = found.get(score.attribute)
            if score.controls(leakage) and (best is None or score.leakage < best.leakage):
                found[score.attribute] = score
        return {name: found[name] for name in self.attributes if name in found}

    def to_json(self) -> dict[str, Any]:
        """Return all scores as JSON values."""
        return {
            "sliders": len(self.sliders),
            "dead": sum(score.dead for score in self.sliders),
            "controlled": len(self.controlled()),
            "controlled_strict": len(self.controlled(STRICT_LEAKAGE)),
            "disentanglement": self.disentanglement,
            "completeness": self.completeness,
            "gap": self.gap,
            "best": {name: score._asdict() for name, score in self.controlled().items()},
            "scores": [score._asdict() for score in self.sliders],
            "attributes": list(self.attributes),
            "effects": np.round(self.effects, 4).tolist(),
        }


def control_scores(
    effects: Mapping[str, SliderEffect],
    attributes: Sequence[str],
    mains: Mapping[str, str] | None = None,
) -> ControlScores:
    """Score sliders by their effects.

    The matrix of consistent effects stands for the importance matrix of DCI (Eastwood & Williams
    2018, Section 2). In the paper it comes from regressors that predict the factors from the code;
    here it is measured by changing each coordinate of the code, without a regressor.

    Args:
        effects: name → effect of each slider.
        attributes: names of the readings, in the order of the effects.
        mains: main attribute of each slider, empty for none, where it is already known, as for the
            effects of a resample. None: the attribute that changes most.

    Raises:
        ConfigError: there is no slider.
    """
    if not effects:
        raise ConfigError(
            "no slider is given", field="effects", value=len(effects), expected="1 or more"
        )
    matrix = np.array([_significant(effect.consistent) for effect in effects.values()])
    scores = [
        _score(name, effect, attributes, None if mains is None else mains[name])
        for name, effect in effects.items()
    ]
    ordered = np.sort(matrix, axis=0)
    second = ordered[-2] if len(ordered) > 1 else np.zeros_like(ordered[-1])
    gaps = (ordered[-1] - second) / np.maximum(ordered[-1], 1e-12)
    return ControlScores(
        tuple(attributes),
        scores,
        matrix,
        concentration(matrix),
        concentration(matrix.T),
        float(gaps.mean()),
    )


def concentration(importance: Array) -> float:
    """Return Σ_i ρ_i (1 - H(P_i)) over rows: 1 when each row has one entry, 0 when all are equal.

    P_i is row i over its sum, H its entropy to the base of the row's length, ρ_i the row's share
    of the matrix. Eastwood & Williams 2018, Section 2: D of [codes, factors], C of the transpose
    (weighted as well, so that factors without effects do not count). 0 for a matrix of zeros.
    """
    total = importance.sum()
    if total == 0:
        return 0.0
    sums = importance.sum(1, keepdims=True)
    shares = importance / np.where(sums > 0, sums, 1)
    logs = np.log(np.where(shares > 0, shares, 1))
    width = importance.shape[1]
    entropy = -(shares * logs).sum(1) / (math.log(width) if width > 1 else 1.0)
    return float((sums[:, 0] / total * (1 - entropy)).sum())


def _significant(effects: Array) -> Array:
    return np.where(effects >= IGNORED_BELOW, effects, 0.0)


def _score(
    name: str, effect: SliderEffect, attributes: Sequence[str], given: str | None
) -> SliderScore:
    consistent, absolute = _significant(effect.consistent), _significant(effect.absolute)
    if not consistent.any() or given == "":
        return SliderScore(name, "", 0.0, 1.0, 1.0, 0.0, effect.change)
    main = int(consistent.argmax()) if given is None else attributes.index(given)
    sign = -1.0 if effect.sign[main] < 0 else 1.0
    return SliderScore(
        slider=name,
        attribute=attributes[main],
        effect=float(sign * consistent[main]),
        leakage=float(1 - consistent[main] / consistent.sum()),
        leakage_absolute=float(1 - absolute[main] / max(absolute.sum(), 1e-12)),
        monotonicity=float(effect.monotonicity[main]),
        change=effect.change,
    )
