"""Disentanglement, completeness, informativeness (Eastwood & Williams 2018, Section 2).

A regressor predicts each attribute from a code. The importance of each dimension of the code for
each attribute is the matrix R [dimensions, attributes]:

- disentanglement: Σ_i ρ_i (1 - H_K(P_i)), where P_i is row i of R over its sum and ρ_i its share of
  R: 1 when each dimension is important for one attribute only.
- completeness: mean over attributes of 1 - H_D(P_j), where P_j is column j of R over its sum: 1
  when each attribute depends on one dimension only.
- informativeness: how well the attributes of held-out codes are predicted. The paper takes an
  error, this module R², where values below 0 count as 0.

The attributes are read from generated images by a network. Needs scikit-learn.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from segan.runtime.errors import ConfigError
from segan.runtime.readings.scores import concentration
from segan.train.measure.control.attributes import READINGS
from segan.train.measure.control.bootstrap import Interval, bootstrap
from segan.train.measure.control.readings_sample import require_scikit

Array = npt.NDArray[np.float64]
Regressor = Literal["forest", "lasso"]
REGRESSORS: tuple[Regressor, ...] = get_args(Regressor)

#: Share of the codes that the regressors are fitted to; the rest is held out.
FITTED = 0.75
#: Weight of lasso's penalty, for codes and attributes of unit variance.
LASSO_ALPHA = 0.01
#: Number of trees in the forest, and fewest codes in a leaf.
TREES, LEAF = 20, 10


class Dci(NamedTuple):
    """Scores of a code.

    Attributes:
        disentanglement: 0 to 1.
        completeness: 0 to 1.
        informativeness: mean R² of the attributes, 0 to 1.
        importance: [dimensions, attributes]; each column sums to 1, or 0.
        predicted: R² by attribute.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Array
    predicted: dict[str, float]


def dci(codes: Array, readings: Array, regressor: Regressor = "forest", seed: int = 0) -> Dci:
    """Score a code.

    Args:
        codes: [N, D].
        readings: [N, OUTPUTS], from ``read_attributes``.
        regressor: ``forest``, a random forest (Breiman 2001) with its impurity importances, or
            ``lasso``, linear (Tibshirani 1996), with the magnitude of its coefficients.
        seed: of the forest.

    Raises:
        ConfigError: too few codes, or scikit-learn is missing.
    """
    fitted = int(FITTED * len(codes))
    if fitted < 2 * LEAF or not codes.shape[1]:
        raise ConfigError(
            f"codes have the shape {codes.shape}",
            field="codes",
            value=codes.shape,
            expected=f"{4 * LEAF} or more codes of 1 or more dimensions",
        )
    order = np.random.RandomState(seed).permutation(len(codes))
    return _fit(codes, readings, order[:fitted], order[fitted:], regressor, seed)


def dci_intervals(
    codes: Array,
    readings: Array,
    regressor: Regressor = "forest",
    *,
    repeats: int = 10,
    seed: int = 0,
) -> tuple[Dci, dict[str, Interval]]:
    """Score a code with intervals over seeds: the regressors are fitted again to each resample.

    Fitted and held-out codes are resampled separately, so that no regressor has seen a held-out
    code.
    """
    scores = dci(codes, readings, regressor, seed)
    order = np.random.RandomState(seed).permutation(len(codes))
    fitted = int(FITTED * len(codes))
    names = ("disentanglement", "completeness", "informativeness")

    def statistics(rows: npt.NDArray[np.intp]) -> dict[str, float]:
        inside = rows < fitted
        found = _fit(codes, readings, order[rows[inside]], order[rows[~inside]], regressor, seed)
        return {name: getattr(found, name) for name in names}

    return scores, bootstrap(statistics, len(codes), repeats, seed)


def _fit(
    codes: Array,
    readings: Array,
    fitted: npt.NDArray[np.intp],
    held: npt.NDArray[np.intp],
    regressor: Regressor,
    seed: int,
) -> Dci:
    mean, spread = codes[fitted].mean(0), codes[fitted].std(0)
    standard = (codes - mean) / np.where(spread > 0, spread, 1)
    columns, predicted = [], {}
    for reading in READINGS:
        target = readings[:, reading.columns]
        middle = target[fitted].mean(0)
        scale = np.sqrt(np.square(target[fitted] - middle).sum(1).mean())
        target = (target - middle) / (scale if scale > 0 else 1)
        weights, guess = _regress(standard[fitted], target[fitted], standard[held], regressor, seed)
        columns.append(weights / weights.sum() if weights.sum() > 0 else weights)
        variance = np.square(target[held] - target[held].mean(0)).sum()
        error = np.square(target[held] - guess).sum()
        predicted[reading.name] = float(1 - error / variance) if variance > 0 else 0.0
    importance = np.stack(columns, axis=1)
    each = [concentration(column[None]) for column in importance.T]
    return Dci(
        concentration(importance),
        float(np.mean(each)),
        float(np.mean([max(score, 0.0) for score in predicted.values()])),
        importance,
        predicted,
    )


def _regress(
    codes: Array, target: Array, held: Array, regressor: Regressor, seed: int
) -> tuple[Array, Array]:
    """Return the importance of each dimension [D], and predictions [n, width] of held-out codes."""
    require_scikit()
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Lasso

    if regressor == "forest":
        forest = RandomForestRegressor(
            TREES, min_samples_leaf=LEAF, max_features=0.5, random_state=seed, n_jobs=1
        )
        forest.fit(codes, target if target.shape[1] > 1 else target[:, 0])
        guess = forest.predict(held).reshape(len(held), -1)
        return np.asarray(forest.feature_importances_, np.float64), guess
    if regressor != "lasso":
        raise ConfigError(field="regressor", value=regressor, expected=" or ".join(REGRESSORS))
    lasso = Lasso(LASSO_ALPHA, max_iter=5000).fit(codes, target)
    coefficients = np.asarray(lasso.coef_, np.float64).reshape(target.shape[1], -1)
    return np.sqrt(np.square(coefficients).sum(0)), lasso.predict(held).reshape(len(held), -1)
