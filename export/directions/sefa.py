"""Closed-form factorisation: the directions of w that change the styles of a layer most.

Shen & Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs": a style is A w + b; the
unit vectors that maximise ‖A d‖² are the eigenvectors of AᵀA with the largest eigenvalues.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segan.export.directions.rows import DirectionRow, build_row, check_dims, group_sites, oriented
from segan.export.directions.statistics import WStatistics
from segan.runtime.bundle.graph_files import read_graph
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ExportError
from segan.runtime.generate.generator import Generator
from segan.runtime.graphs.check import read_model
from segan.runtime.graphs.tensors import tensor_values

F64 = NDArray[np.float64]

#: Name of a site's style affine in synthesis.onnx (docs/reference/bundle.md).
AFFINE_NAME = "{site}.affine.weight"


def read_style_affines(model: bytes, manifest: Manifest) -> dict[int, F64]:
    """Read the style affine of every site from the initialisers of ``synthesis.onnx``.

    Args:
        model: the serialized fp32 synthesis graph.
        manifest: manifest of the bundle.

    Returns:
        Site number → A, [channels, w_dim] float64.

    Raises:
        ExportError: an affine is missing or has another shape: segan did not write the graph.
    """
    tensors = {tensor.name: tensor for tensor in read_model(model).initializer}
    found = {}
    for number, site in enumerate(manifest.sites):
        name = AFFINE_NAME.format(site=site.name)
        tensor = tensors.get(name)
        if tensor is None or len(tensor.dims) != 2 or tensor.dims[1] != manifest.w_dim:
            found_shape = "missing" if tensor is None else f"{list(tensor.dims)}"
            raise ExportError(
                f"the synthesis graph's tensor {name!r} is {found_shape}",
                field="bundle",
                value=name,
                expected=f"[channels, {manifest.w_dim}]",
                remedy="Export the bundle again, or use `method pca`.",
            )
        found[number] = tensor_values(tensor).astype(np.float64)
    return found


def style_gains(generator: Generator) -> F64:
    """Return the factor of w at each site's affine: [num_sites, w_dim] float64.

    The factor is 1 except where a diagonal subspace multiplies w, which changes AᵀA.
    """
    manifest = generator.manifest
    ones = np.ones((manifest.num_sites, manifest.w_dim))
    if manifest.subspace != "diagonal" or manifest.mode not in (2, 3):
        return ones
    at_one, _ = generator.style(ones[None])
    at_zero, _ = generator.style(0 * ones[None])
    gains: F64 = np.subtract(at_one[0], at_zero[0], dtype=np.float64)
    return gains


def factorize(matrix: F64, dims: int) -> tuple[F64, F64]:
    """Return the ``dims`` leading eigenvectors of AᵀA.

    Args:
        matrix: A, [rows, w_dim] float64.
        dims: 1 to w_dim.

    Returns:
        Unit vectors [dims, w_dim], and the share of ‖A‖²_F of each, [dims], largest first.
    """
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    order = np.argsort(values)[::-1][:dims]
    shares = np.maximum(values[order], 0) / max(float(np.maximum(values, 0).sum()), 1e-300)
    return oriented(vectors[:, order].T), shares


def sefa_rows(
    generator: Generator,
    statistics: WStatistics,
    groups: Sequence[Sequence[int]],
    dims: int,
) -> list[DirectionRow]:
    """Factorise the stacked affines of each group of layers.

    Raises:
        ConfigError: ``dims`` is out of its range.
        ExportError: see ``read_style_affines``.
        DataError: w does not vary along a direction.
    """
    manifest = generator.manifest
    check_dims(manifest, dims)
    affines = read_style_affines(read_graph(generator.bundle, "synthesis"), manifest)
    gains = style_gains(generator)
    rows = []
    for group in groups:
        sites = group_sites(manifest, group)
        stacked = np.concatenate([affines[site] * gains[site] for site in sites])
        vectors, shares = factorize(stacked, dims)
        rows.append(
            build_row(manifest, statistics, sites, vectors, method="sefa", explained=shares)
        )
    return rows
