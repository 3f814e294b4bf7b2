"""The Fréchet distance against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from segan.train.measure.quality.gaussian import Gaussian, frechet_distance


def random_covariance(seed: int, d: int) -> np.ndarray:
    a = np.random.RandomState(seed).randn(d, d)
    return a @ a.T


def test_distance_of_one_dimension_is_that_of_means_and_deviations() -> None:
    a = Gaussian(np.array([1.0]), np.array([[4.0]]))
    b = Gaussian(np.array([-2.0]), np.array([[9.0]]))
    assert frechet_distance(a, b) == pytest.approx(9 + (2 - 3) ** 2)


def test_distance_of_commuting_covariances() -> None:
    turn, _ = np.linalg.qr(np.random.RandomState(0).randn(5, 5))
    s, t = np.array([1.0, 2, 3, 4, 0]), np.array([2.0, 2, 0, 1, 0.5])
    a = Gaussian(np.zeros(5), turn @ np.diag(s**2) @ turn.T)
    b = Gaussian(np.ones(5), turn @ np.diag(t**2) @ turn.T)
    assert frechet_distance(a, b) == pytest.approx(5 + np.square(s - t).sum())


def test_trace_is_that_of_the_product_s_eigenvalues() -> None:
    # tr (C_a C_b)^½ from the eigenvalues of the unsymmetric product, which are real.
    p, q = random_covariance(1, 6), random_covariance(2, 6)
    overlap = np.sqrt(np.linalg.eigvals(p @ q).real).sum()
    expected = np.trace(p) + np.trace(q) - 2 * overlap
    found = frechet_distance(Gaussian(np.zeros(6), p), Gaussian(np.zeros(6), q))
    assert found == pytest.approx(expected, rel=1e-9)


def test_distance_is_symmetric_and_zero_from_itself() -> None:
    a = Gaussian(np.arange(4.0), random_covariance(3, 4))
    b = Gaussian(np.zeros(4), random_covariance(4, 4))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_singular_covariances_have_a_distance() -> None:
    one = np.outer([1.0, 1.0], [1.0, 1.0])
    a, b = Gaussian(np.zeros(2), one), Gaussian(np.zeros(2), np.zeros((2, 2)))
    assert frechet_distance(a, b) == pytest.approx(2.0)
