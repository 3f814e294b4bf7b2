"""The search for least-leakage directions of a bundle, and what they do on seeds of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.export.directions.attributes.moves import MovedSeeds, MoveSpace
from segan.export.directions.attributes.solve import (
    RIDGES,
    LeakageProblem,
    output_scales,
    predicted_leakage,
    targets,
)
from segan.runtime.errors import DataError
from segan.runtime.readings.effects import SliderReadings, effect_of_readings, identity_kept
from segan.runtime.readings.reading import Array, Reading
from segan.runtime.readings.scores import LEAKAGE, MOVED_FROM, SliderScore, control_scores

#: Steps of the central differences, in units of the parameters.
_COORD_STEP, _W_STEP = 0.5, 0.7
#: Largest coordinate and component of w that a direction's end adds. Coordinates are drawn with
#: a standard deviation of 1 or less.
_COORD_LIMIT, _W_LIMIT = 2.0, 3.0
#: Half of the largest range, in sd of the reading.
_HALF_RANGE = 1.25
#: Most corrections of a direction at its ends, and their damping.
_CORRECTIONS, _DAMPING = 6, 0.7
#: A direction of coordinates with less leakage than this is taken without trying w.
_GOOD_LEAKAGE = 0.1
#: Values over a direction's range where it is measured.
_STEPS = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class FoundDirection:
    """A direction for one reading.

    Attributes:
        reading: that it moves.
        move: [P], at a value of 1: one standard deviation of the reading.
        half_range: its range is ± this value.
        score: on the measured seeds, from the low to the high end.
        identity: share of the rest of the person that stays, or NaN; see ``identity_kept``.
        effects: attribute → consistent change in sd from end to end, on the measured seeds.
        single: the best single slider for the attribute, over its whole range on the same seeds.
    """

    reading: Reading
    move: Array
    half_range: float
    score: SliderScore
    identity: float
    effects: dict[str, float]
    single: SliderScore | None = None

    @property
    def refusal(self) -> str | None:
        """Why it gets no name; None for a direction that controls its attribute."""
        if abs(self.score.effect) < MOVED_FROM:
            return f"moves it by {abs(self.score.effect):.2f} sd, less than {MOVED_FROM:g}"
        if self.score.leakage > LEAKAGE:
            others = {name: each for name, each in self.effects.items() if each >= 0.1}
            others.pop(self.reading.name, None)
            largest = sorted(others, key=others.__getitem__, reverse=True)[:2]
            return f"{self.score.leakage:.0%} of its effect is on {' and '.join(largest)}"
        return None


class Search:
    """The search on one bundle with one reader.

    Args:
        space: the parameters of moves.
        fit: seeds that directions are fitted on.
        readings: of the reader.
    """

    def __init__(self, space: MoveSpace, fit: MovedSeeds, readings: Sequence[Reading]) -> None:
        self._space, self._fit = space, fit
        self._readings = tuple(readings)
        self._scales = output_scales(readings)
        self._jacobian: Array | None = None
        self._pixels = np.zeros((space.size, 0, 0))
        self._spread = 1.0

    def jacobian(self, used: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Return central differences, 0 where not used.

        Returns:
            (the scaled Jacobian of the readings [S, P, width], the mean over seeds and pixels of
            products of the image's derivatives [P, P], in units of the variance between seeds).
        """
        size = self._space.size
        steps = np.where(self._space.coordinates, _COORD_STEP, _W_STEP)
        width = len(self._scales)
        if self._jacobian is None:
            self._jacobian = np.full((len(self._fit), size, width), np.nan)
            _, own = self._fit.read_and_reduce(np.zeros((1, size)))
            self._spread = max(float(own[0].var(axis=0).mean()), 1e-12)
            self._pixels = np.zeros((size, len(self._fit), own.shape[2]))
        for at in np.flatnonzero(used & np.isnan(self._jacobian[0, :, 0])):
            move = np.zeros((2, size))
            move[0, at], move[1, at] = steps[at], -steps[at]
            (high, low), (bright, dark) = self._fit.read_and_reduce(move)
            self._jacobian[:, at] = (high - low) / (2 * steps[at]) * self._scales
            self._pixels[at] = (bright - dark) / (2 * steps[at])
        flat = self._pixels.reshape(size, -1)
        return np.nan_to_num(self._jacobian), flat @ flat.T / (flat.shape[1] * self._spread)

    def fit(self, number: int, used: NDArray[np.bool_]) -> tuple[Array, float]:
        """Return the move [P] of a reading's high end, and its leakage on the fitted seeds."""
        problem, move, target = self._start(number, used)
        reading = self._readings[number]
        best: tuple[float, Array] | None = None
        goal: float | None = None
        for _ in range(_CORRECTIONS + 1):
            high, low = self._fit.read(np.stack([move, -move]))
            effects = effect_of_readings(np.stack([low, high]), self._readings).consistent
            leakage = 1 - effects[number] / max(effects.sum(), 1e-12)
            poor = max(0.0, MOVED_FROM - effects[number])
            if best is None or leakage + poor < best[0]:
                best = (leakage + poor, move)
            if effects.sum() - effects[number] < 0.02 * len(effects):
                break
            change = (high - low).mean(0) * self._scales / 2
            main = float(change[reading.columns] @ target)
            goal = main if goal is None else goal
            move = move + _DAMPING * problem.correction(change, goal - main)
            limits = np.where(self._space.coordinates, _COORD_LIMIT, _W_LIMIT)
            move = np.clip(move, -limits, limits)
        assert best is not None
        return best[1], best[0]

    def _start(self, number: int, used: NDArray[np.bool_]) -> tuple[LeakageProblem, Array, Array]:
        """Return the problem of the best ridge and target, its direction to the end, the target."""
        reading = self._readings[number]
        jacobian, change = self.jacobian(used)
        halves = jacobian[::2], jacobian[1::2]
        best: tuple[float, LeakageProblem, Array, Array] | None = None
        for target in targets(reading):
            for ridge in RIDGES:
                judged = []
                for one, other in (halves, halves[::-1]):
                    move = LeakageProblem(one, change, reading, target, ridge, used).direction()
                    leakage = predicted_leakage(other, self._readings, number, move)
                    judged.append(leakage + max(0.0, MOVED_FROM - 2 * self._reach(move)))
                problem = LeakageProblem(jacobian, change, reading, target, ridge, used)
                if best is None or np.mean(judged) < best[0]:
                    move = problem.direction()
                    best = (float(np.mean(judged)), problem, move * self._reach(move), target)
        assert best is not None
        return best[1:]

    def _reach(self, move: Array) -> float:
        """How far a direction may go, in its own length: at most 1.25, within the limits."""
        limits = np.where(self._space.coordinates, _COORD_LIMIT, _W_LIMIT)
        return min(_HALF_RANGE, float(1 / max(float((np.abs(move) / limits).max()), 1e-9)))


def find_directions(
    space: MoveSpace,
    fit: MovedSeeds,
    measured: MovedSeeds,
    readings: Sequence[Reading],
    *,
    names: Sequence[str] | None = None,
    on_attribute: Callable[[FoundDirection], None] = lambda found: None,
) -> list[FoundDirection]:
    """Find a direction for each reading, and measure it on seeds that it was not fitted on.

    Coordinates alone are tried first, and w with them where they do not suffice.

    Args:
        space: the parameters of moves.
        fit: seeds to fit on.
        measured: other seeds.
        readings: of the reader.
        names: of the readings that get a direction; None takes all.
        on_attribute: called with each direction.
    """
    search = Search(space, fit, readings)
    singles = best_sliders(space, measured, readings)
    every = np.ones(space.size, bool)
    found = []
    for number, reading in enumerate(readings):
        if names is not None and reading.name not in names:
            continue
        move, leakage = None, 1.0
        if space.coordinates.any():
            move, leakage = search.fit(number, space.coordinates)
        if leakage > _GOOD_LEAKAGE and not space.coordinates.all():
            other, lower = search.fit(number, every)
            if move is None or lower < leakage:
                move = other
        assert move is not None
        direction = measure_move(measured, readings, number, move)
        found.append(replace(direction, single=singles.get(reading.name)))
        on_attribute(found[-1])
    return found


def calibrated(readings: Sequence[Reading], seeds: MovedSeeds) -> tuple[Reading, ...]:
    """Return readings whose standard deviation is known, measured on images where it was not.

    Raises:
        DataError: a score is the same for all images.
    """
    if not any(math.isnan(reading.sd) for reading in readings):
        return tuple(readings)
    outputs = seeds.read(np.zeros((1, seeds.space.size)))[0]
    deviations, largest = outputs.std(axis=0), np.abs(outputs).max(axis=0)
    found = []
    for reading in readings:
        if math.isnan(reading.sd):
            sd = float(deviations[reading.start])
            if sd <= 1e-6 * max(float(largest[reading.start]), 1e-30):
                raise DataError(
                    f"the reader gives all images of the generator the same {reading.name}",
                    field="reader",
                    value=reading.name,
                    expected="a score that varies",
                )
            reading = reading._replace(sd=sd)
        found.append(reading)
    return tuple(found)


def best_sliders(
    space: MoveSpace, measured: MovedSeeds, readings: Sequence[Reading]
) -> dict[str, SliderScore]:
    """Return the best single slider by attribute.

    That is the one with the least leakage of those that move the attribute by one sd, or else the
    one that moves it most. Sliders that move no attribute most are not among them.
    """
    names = [reading.name for reading in readings]
    best: dict[str, SliderScore] = {}
    for number, (slider, low, high) in enumerate(space.ends):
        moves = np.zeros((2, space.size))
        moves[:, number] = low, high
        effect = effect_of_readings(measured.read(moves), readings, 1.0)
        score = control_scores({str(slider): effect}, names).sliders[0]
        known = best.get(score.attribute)
        if score.attribute and (known is None or _rank(score) < _rank(known)):
            best[score.attribute] = score
    return best


def _rank(score: SliderScore) -> tuple[bool, float]:
    weak = abs(score.effect) < MOVED_FROM
    return weak, -abs(score.effect) if weak else score.leakage


def measure_move(
    measured: MovedSeeds, readings: Sequence[Reading], number: int, move: Array
) -> FoundDirection:
    """Measure a move from its low to its high end, and give it its unit."""
    reading = readings[number]
    names = [each.name for each in readings]
    outputs = measured.read(np.linspace(-1, 1, _STEPS)[:, None] * move)
    effect = effect_of_readings(outputs, readings, 1.0)
    score = control_scores({reading.name: effect}, names, {reading.name: reading.name}).sliders[0]
    if score.effect < 0 and reading.kind == "continuous":
        move = -move
        score = score._replace(effect=-score.effect)
    half = max(abs(score.effect) / 2, 1e-6)
    kept = identity_kept(SliderReadings(outputs, np.ones(len(measured))), readings, reading.name)
    effects = dict(zip(names, effect.consistent.tolist(), strict=True))
    return FoundDirection(
        reading=reading,
        move=move / half,
        half_range=half,
        score=score,
        identity=kept,
        effects=effects,
    )


def as_json(found: FoundDirection) -> dict[str, Any]:
    """Return what ``attributes.json`` states as ``measured``."""
    score = found.score
    return {
        "effect": round(score.effect, 3),
        "leakage": round(score.leakage, 4),
        "leakage_absolute": round(score.leakage_absolute, 4),
        "monotonicity": round(score.monotonicity, 3),
        "identity": None if math.isnan(found.identity) else round(found.identity, 3),
        "effects": {name: round(each, 3) for name, each in found.effects.items() if each >= 0.1},
    }
