"""Principal components of w, applied layer by layer.

Härkönen et al. 2020, "GANSpace: Discovering Interpretable GAN Controls": the eigenvectors of the
covariance of many mapped w. Moving only some layers along one of them separates its effects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segan.export.directions.rows import DirectionRow, build_row, check_dims, group_sites, oriented
from segan.export.directions.statistics import WStatistics
from segan.runtime.bundle.manifest import Manifest

F64 = NDArray[np.float64]


def principal_components(statistics: WStatistics, dims: int) -> tuple[F64, F64]:
    """Return the directions of largest variance.

    Returns:
        Unit vectors [dims, w_dim], and the share of the variance of each, [dims], largest first.
    """
    values, vectors = np.linalg.eigh(statistics.covariance)
    order = np.argsort(values)[::-1][:dims]
    total = max(float(np.maximum(values, 0).sum()), 1e-300)
    return oriented(vectors[:, order].T), np.maximum(values[order], 0) / total


def pca_rows(
    manifest: Manifest, statistics: WStatistics, groups: Sequence[Sequence[int]], dims: int
) -> list[DirectionRow]:
    """Return a row of the same components for each group of layers.

    Raises:
        ConfigError: ``dims`` is out of its range.
        DataError: w varies along fewer directions than ``dims``.
    """
    check_dims(manifest, dims)
    vectors, shares = principal_components(statistics, dims)
    return [
        build_row(
            manifest,
            statistics,
            group_sites(manifest, group),
            vectors,
            method="pca",
            explained=shares,
        )
        for group in groups
    ]
