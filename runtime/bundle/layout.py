"""Tables of a generator's sites and subspaces, which training, export and serving share.

A *site* is one modulated convolution, in synthesis order. A *layer* is one resolution block,
counted from 0 (layer 3 is 32²). A *subspace* is the basis at one site; a layer may hold several,
numbered by ``index``. A *slider* is one coordinate of a subspace, written ``L3N0D5`` for layer 3,
index 0, dim 5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from segan.runtime.errors import ConfigError

SiteKind = Literal["conv", "up", "rgb"]
Architecture = Literal["skip", "residual", "original"]
Prior = Literal["uniform", "normal", "zero"]

#: Smallest and largest resolution that a generator can have.
MIN_RESOLUTION, MAX_RESOLUTION = 8, 1024


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One modulated convolution.

    Attributes:
        name: for example ``b8.conv0``, ``b8.conv1`` or ``b8.to_rgb``.
        layer: the resolution block, counted from 0 at 4².
        resolution: height and width of the site's output, in pixels.
        kind: ``up`` doubles the resolution, ``conv`` keeps it, ``rgb`` makes an image.
    """

    name: str
    layer: int
    resolution: int
    kind: SiteKind


class Subspace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One subspace: a row of ``coords``.

    Attributes:
        site: position of its site in the site table.
        layer: the site's layer.
        index: its number within the layer, from 0.
        dims: how many coordinates it has (K); at most the width of ``coords``.
        prior: how a coordinate is drawn from an image's seed: ``uniform`` on
            [-sqrt 3, sqrt 3], ``normal`` N(0, 1), or ``zero`` (always 0).
        low: lower end of the range that a sweep covers.
        high: upper end of the range that a sweep covers.
    """

    site: int
    layer: int
    index: int
    dims: int
    prior: Prior
    low: float
    high: float


class Slider(NamedTuple):
    """One coordinate of one subspace: layer, index within the layer, dim within the subspace."""

    layer: int
    index: int  # type: ignore[assignment]  # hides tuple.index
    dim: int

    def __str__(self) -> str:
        return f"L{self.layer}N{self.index}D{self.dim}"

    @staticmethod
    def parse(text: str) -> Slider:
        """Read ``L3N1D5``. Raises: ConfigError."""
        match = re.fullmatch(r"[Ll](\d{1,4})[Nn](\d{1,4})[Dd](\d{1,6})", text.strip())
        if match is None:
            raise ConfigError(
                f"slider {text!r} is not understood",
                field="slider",
                value=text,
                expected="layer, index and dim as in L3N0D5",
            )
        return Slider(*(int(group) for group in match.groups()))


def check_resolution(resolution: int) -> None:
    """Raise ConfigError unless ``resolution`` is a power of two from 8 to 1024."""
    if not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION or resolution & (resolution - 1):
        expected = f"a power of two from {MIN_RESOLUTION} to {MAX_RESOLUTION}, such as 64"
        raise ConfigError(field="resolution", value=resolution, expected=expected)


def build_sites(resolution: int, architecture: Architecture = "skip") -> tuple[Site, ...]:
    """Return the site table in synthesis order.

    With ``skip`` every layer has a to_rgb, so there are 2 + 3 (log2 R - 2) sites; ``residual``
    and ``original`` have one to_rgb, at the end.
    """
    check_resolution(resolution)
    sites = []
    for layer in range(resolution.bit_length() - 2):
        res = 4 << layer
        if layer:
            sites.append(Site(name=f"b{res}.conv0", layer=layer, resolution=res, kind="up"))
        sites.append(Site(name=f"b{res}.conv1", layer=layer, resolution=res, kind="conv"))
        if architecture == "skip" or res == resolution:
            sites.append(Site(name=f"b{res}.to_rgb", layer=layer, resolution=res, kind="rgb"))
    return tuple(sites)


def noise_sizes(sites: Sequence[Site]) -> tuple[int, ...]:
    """Return the noise values per site: r² for each convolution and 0 for to_rgb.

    The ``noise`` input concatenates them in site order, each in row-major order.
    """
    return tuple(0 if site.kind == "rgb" else site.resolution**2 for site in sites)
