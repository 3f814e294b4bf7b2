"""Linear subspaces on a generator's styles or feature maps: modes 1 to 3, both kinds.

Each site with a subspace has one module. ``forward(w, a)`` maps the site's style vector w
[N, w_dim] and coordinates a [N, K] to the style u [N, w_dim]. In mode 1 the style is unchanged:
``shift(w, a)`` returns the scaled coordinates t [N, K], and a ``FeatureBasis`` in the synthesis
network adds U t + μ to the site's output.

Sources: He, Kan, Shan 2021 (EigenGAN) for U (L ⊙ a) + μ; the published SEGAN for the diagonal kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from segan.train.networks.config import NetworkConfig, SubspaceConfig


def orthonormal(rows: int, columns: int) -> torch.Tensor:
    """Return a random [rows, columns] matrix with orthonormal columns (rows ≥ columns)."""
    basis = torch.empty(rows, columns)
    return nn.init.orthogonal_(basis)


class StyleSubspace(nn.Module):
    """Base of the subspaces that act on w; also holds mode 1's importance.

    Attributes:
        importance: L, [K].
    """

    def __init__(self, dims: int, importance_init: float) -> None:
        super().__init__()
        self.importance = nn.Parameter(torch.full((dims,), importance_init))

    def forward(self, w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """Return the style u [N, w_dim] for w [N, w_dim] and coordinates a [N, K]."""
        return w


class EigenOffset(StyleSubspace):
    """Mode 2, eigen: u = w + U (L ⊙ a) + μ, with U [w_dim, K]."""

    def __init__(self, w_dim: int, dims: int, importance_init: float) -> None:
        super().__init__(dims, importance_init)
        self.basis = nn.Parameter(orthonormal(w_dim, dims))
        self.mean = nn.Parameter(torch.zeros(w_dim))

    def forward(self, w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return w + (self.importance * a) @ self.basis.t() + self.mean


class DiagonalScale(StyleSubspace):
    """Mode 2, diagonal: u = s ⊙ L ⊙ (1 + a) ⊙ w + μ, K = w_dim; s is called ``scale``."""

    def __init__(self, w_dim: int) -> None:
        super().__init__(w_dim, 1.0)
        self.scale = nn.Parameter(torch.ones(w_dim))
        self.mean = nn.Parameter(torch.zeros(w_dim))

    def forward(self, w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.scale * self.importance * (1 + a) * w + self.mean


class EigenImportance(StyleSubspace):
    """Mode 3, eigen: u = w + L ⊙ a, K = w_dim."""

    def forward(self, w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return w + self.importance * a


class DiagonalImportance(StyleSubspace):
    """Mode 3, diagonal: u = L ⊙ (1 + a) ⊙ w, K = w_dim."""

    def forward(self, w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.importance * (1 + a) * w


class EigenShift(StyleSubspace):
    """Mode 1, eigen: t = L ⊙ a."""

    def shift(self, w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """Return the scaled coordinates t [N, K] of the feature map's basis."""
        return self.importance * a


class DiagonalShift(StyleSubspace):
    """Mode 1, diagonal: t = L ⊙ (1 + a) ⊙ w, K = w_dim."""

    def shift(self, w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """Return the scaled coordinates t [N, K] of the feature map's basis."""
        return self.importance * (1 + a) * w


class FeatureBasis(nn.Module):
    """Mode 1's part in the synthesis network: x + U t + μ on a site's output.

    Attributes:
        basis: U, [C r², K], with orthonormal columns at first.
        mean: μ, [C, r, r].
    """

    def __init__(self, channels: int, resolution: int, dims: int) -> None:
        super().__init__()
        size = channels * resolution**2
        # With fewer rows than columns, as for a grey image at 4², the rows are orthonormal instead.
        if size >= dims:
            basis = orthonormal(size, dims)
        else:
            basis = orthonormal(dims, size).t().contiguous()
        self.basis = nn.Parameter(basis)
        self.mean = nn.Parameter(torch.zeros(channels, resolution, resolution))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Add U t + μ to x [N or 1, C, r, r], for t [N, K]."""
        shift: torch.Tensor = (t @ self.basis.t()).unflatten(1, self.mean.shape)
        return x + (shift + self.mean).to(x.dtype)


def build_style_subspaces(network: NetworkConfig, config: SubspaceConfig) -> nn.ModuleList:
    """Return one module for each row of the subspace table, in its order."""
    modules: list[StyleSubspace] = []
    for row in config.table(network):
        if config.kind == "eigen":
            if config.mode == 1:
                modules.append(EigenShift(row.dims, config.importance_init))
            elif config.mode == 2:
                modules.append(EigenOffset(network.w_dim, row.dims, config.importance_init))
            else:
                shared = config.importance_init * math.sqrt(min(config.dims / row.dims, 1.0))
                modules.append(EigenImportance(row.dims, shared))
        elif config.mode == 1:
            modules.append(DiagonalShift(row.dims, 1.0))
        elif config.mode == 2:
            modules.append(DiagonalScale(network.w_dim))
        else:
            modules.append(DiagonalImportance(row.dims, 1.0))
    return nn.ModuleList(modules)


def orthonormality_penalty(bases: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return Σ ‖UᵀU - I‖²_F over bases [rows, K]; 0 without bases."""
    total = torch.zeros(())
    for basis in bases:
        gram = basis.t() @ basis
        identity = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
        total = total.to(gram) + (gram - identity).square().sum()
    return total
