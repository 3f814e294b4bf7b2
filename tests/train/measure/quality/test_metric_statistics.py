"""The statistics against closed forms, direct sums in float64, and other implementations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

from segan.runtime.errors import ConfigError
from segan.train.measure.quality.evaluate import draws
from segan.train.measure.quality.gaussian import (
    Gaussian,
    MomentSums,
    frechet_distance,
    moments_of,
    resampled_distances,
)
from segan.train.measure.quality.inception_score import split_scores
from segan.train.measure.quality.kernel_distance import kernel_distance, weighted_kernel_distances
from segan.train.measure.quality.path_length import trimmed_mean
from segan.train.measure.quality.precision_recall import inside_manifold


def normal(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.RandomState(seed).randn(n, d).astype(np.float32)


# Fréchet distance.


def test_samples_of_two_gaussians_have_their_frechet_distance() -> None:
    # ‖m_a - m_b‖² + Σ (s - t)² for N(m_a, diag s²) and N(m_b, diag t²).
    s, t = np.array([1.0, 2.0, 0.5, 3.0]), np.array([2.0, 2.0, 1.5, 1.0])
    shift = np.array([1.0, 0.0, -2.0, 0.5])
    a = normal(0, 200_000, 4) * s
    b = normal(1, 200_000, 4) * t + shift
    expected = np.square(shift).sum() + np.square(s - t).sum()
    found = frechet_distance(moments_of(a), moments_of(b))
    assert found == pytest.approx(expected, rel=0.01)


def test_identical_sets_have_no_distance_and_shifted_ones_the_shift() -> None:
    a = normal(0, 500, 8)
    shift = np.arange(8.0)
    assert frechet_distance(moments_of(a), moments_of(a)) == pytest.approx(0, abs=1e-9)
    found = frechet_distance(moments_of(a), moments_of(a.astype(np.float64) + shift))
    assert found == pytest.approx(np.square(shift).sum(), rel=1e-9)


def test_the_distance_is_that_of_stylegan2_adas_formula() -> None:
    a, b = moments_of(normal(2, 300, 12)), moments_of(normal(3, 200, 12) * 1.5 + 0.3)
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    expected = np.square(a.mean - b.mean).sum()
    expected += np.trace(a.covariance + b.covariance - 2 * np.real(root))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_moments_of_batches_are_those_of_all_divided_by_n(raises_error: Callable[..., Any]) -> None:
    rows = normal(4, 1000, 5).astype(np.float64) + 1e6  # far from 0, where raw sums cancel
    sums = MomentSums()
    for part in np.array_split(rows, 7):
        sums.add(part)
    mean, covariance = sums.gaussian()
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(rows.T, bias=True), rtol=1e-6, atol=1e-9)
    with raises_error(ConfigError, field="count", value=0):
        MomentSums().gaussian()


@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 40)])
def test_resampled_distances_are_those_of_the_repeated_rows(n: int, d: int) -> None:
    rows = normal(5, n, d) + 0.5
    real = moments_of(normal(6, 100, d))
    weights = draws(n, 6)
    found = resampled_distances(rows, weights, real)
    for line, value in zip(weights, found, strict=True):
        drawn = np.repeat(rows, line.astype(int), axis=0)
        assert value == pytest.approx(frechet_distance(moments_of(drawn), real), rel=1e-6)


# Kernel distance.


def direct_kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Bińkowski et al. 2018, Eq. 4, as three double sums in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    d = x.shape[1]

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / d + 1) ** 3)

    n, m = len(x), len(y)
    own = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    cross = sum(k(a, b) for a in x for b in y) / (n * m)
    return own + other - 2 * cross


def test_the_kernel_distance_is_the_direct_double_sum() -> None:
    x, y = normal(0, 40, 6), normal(1, 40, 6) + 0.5
    # One subset that holds all: drawing without replacement changes only the order.
    value, spread = kernel_distance(x, y, subsets=1)
    assert value == pytest.approx(direct_kernel_distance(x, y), rel=1e-10)
    assert spread == 0
    weighted = weighted_kernel_distances(x, np.ones((1, 40)), y)
    assert weighted[0] == pytest.approx(direct_kernel_distance(x, y), rel=1e-10)


def test_the_weighted_kernel_distance_leaves_pairs_with_itself_out() -> None:
    x, y = normal(2, 12, 4), normal(3, 9, 4)
    weights = draws(12, 5)
    found = weighted_kernel_distances(x, weights, y)
    d = 4
    kx = (x.astype(np.float64) @ x.T / d + 1) ** 3
    kxy = (x.astype(np.float64) @ y.T / d + 1) ** 3
    ky = (y.astype(np.float64) @ y.T / d + 1) ** 3
    np.fill_diagonal(kx, 0)
    np.fill_diagonal(ky, 0)
    for w, value in zip(weights, found, strict=True):
        pairs = np.outer(w, w)
        np.fill_diagonal(pairs, 0)
        expected = (pairs * kx).sum() / pairs.sum() - 2 * (w @ kxy).sum() / (12 * 9)
        assert value == pytest.approx(expected + ky.sum() / 72, rel=1e-9)


def test_the_kernel_distance_is_unbiased_and_reproducible() -> None:
    # Both sets from one distribution: the mean over many is 0, unlike the biased estimate's.
    values = [kernel_distance(normal(s, 30, 4), normal(s + 99, 30, 4), subsets=1)[0]
              for s in range(300)]  # fmt: skip
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)
    x, y = normal(0, 300, 4), normal(1, 200, 4)
    assert kernel_distance(x, y, subsets=5, subset_size=50) == kernel_distance(
        x, y, subsets=5, subset_size=50
    )


# Precision and recall.


def test_precision_and_recall_of_constructed_sets() -> None:
    # Real: two clusters. Generated: one of them, and a far point.
    cluster = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    real = np.concatenate([cluster, cluster + 100])
    fake = np.concatenate([cluster + 0.1, np.array([[500, 500]], np.float32)])
    assert inside_manifold(fake, real, 3).tolist() == [True] * 4 + [False]
    # With k = 3 the far point's ball reaches the cluster, but not the one at 100.
    assert inside_manifold(real, fake[:4], 3).tolist() == [True] * 4 + [False] * 4
    assert inside_manifold(real, real, 1).all()


def test_the_manifold_is_that_of_a_direct_search() -> None:
    points, probes = normal(0, 60, 3), normal(1, 50, 3) * 1.5
    apart = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
    radii = np.sort(apart, axis=1)[:, 3]
    to_points = np.linalg.norm(probes[:, None].astype(float) - points[None], axis=2)
    expected = (to_points <= radii).any(1)
    np.testing.assert_array_equal(inside_manifold(probes, points, 3), expected)
    assert 0 < expected.sum() < len(expected)


# Inception score.


def test_the_score_of_one_hot_predictions_is_the_number_of_classes() -> None:
    one_hot = np.eye(7)[np.arange(700) % 7]
    scores = split_scores(one_hot, np.ones((1, 700)))
    np.testing.assert_allclose(scores, 7, rtol=1e-12)
    equal = np.full((100, 7), 1 / 7)
    np.testing.assert_allclose(split_scores(equal, np.ones((1, 100))), 1, rtol=1e-12)


def test_the_score_is_that_of_stylegan2_adas_formula() -> None:
    p = torch.softmax(torch.from_numpy(normal(0, 95, 5)), 1).double().numpy()
    expected = []
    for part in range(10):
        rows = p[part * 95 // 10 : (part + 1) * 95 // 10]
        divergence = rows * (np.log(rows) - np.log(rows.mean(0, keepdims=True)))
        expected.append(np.exp(divergence.sum(1).mean()))
    np.testing.assert_allclose(split_scores(p, np.ones((1, 95)))[0], expected, rtol=1e-12)
    # A drawn image counts as often as it was drawn.
    weights = np.ones((1, 95))
    weights[0, :9] = [3, 0, 0, 1, 1, 1, 1, 1, 1]
    drawn = np.concatenate([p[[0, 0, 0]], p[3:9]])
    divergence = drawn * (np.log(drawn) - np.log(drawn.mean(0, keepdims=True)))
    assert split_scores(p, weights)[0, 0] == pytest.approx(np.exp(divergence.sum(1).mean()))


# Path lengths.


def test_the_trimmed_mean_leaves_the_ends_out() -> None:
    values = np.arange(1000.0)
    values[-1] = 1e9
    # The published one: percentile 1 rounded down to a value, 99 up, both kept.
    assert trimmed_mean(values) == pytest.approx(np.arange(9, 991).mean())


def test_draws_are_counts_of_n_seeds(raises_error: Callable[..., Any]) -> None:
    weights = draws(50, 20)
    assert weights.shape == (20, 50)
    assert (weights.sum(1) == 50).all()
    np.testing.assert_array_equal(weights, draws(50, 20))
    with raises_error(ConfigError, field="resamples", value=100_000):
        draws(50_000, 100_000)


def test_a_gaussian_is_compared_with_itself_on_any_device() -> None:
    real = Gaussian(np.zeros(3), np.eye(3))
    rows = normal(0, 5000, 3)
    found = resampled_distances(rows, np.ones((1, 5000)), real, torch.device("cpu"))
    assert found[0] == pytest.approx(frechet_distance(moments_of(rows), real), abs=1e-9)
