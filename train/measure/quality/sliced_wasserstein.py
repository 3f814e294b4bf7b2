"""Sliced Wasserstein distance between the patches of two sets of images, level by level.

It needs no trained network and applies to images of any kind. Karras et al. 2018 (Progressive
Growing of GANs, Sec. 5) define it: 7×7 patches of each level of a Laplacian pyramid are projected
on random directions, where sorting solves optimal transport. This is a faster variant for comparing
the checkpoints of one run, and its values are not comparable with published ones: it uses fewer
images and patches; it scales both sets by the real set's mean and deviation of each channel,
instead of each set by its own, so that a wrong contrast or tint counts; and it has no factor of
1000.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F

#: Height and width of a patch.
PATCH = 7
#: Resolution of the pyramid's coarsest level; smaller images have one level.
COARSEST = 16
#: Smallest deviation that a level's channel is scaled by: one step of 8 bits, in [-1, 1].
_LEAST_DEVIATION = 2 / 255


def laplacian_pyramid(images: torch.Tensor) -> list[torch.Tensor]:
    """Split images into bands of detail.

    Args:
        images: [N, C, R, R].

    Returns:
        The detail that each resolution adds to the next coarser one, finest first: [N, C, R, R],
        [N, C, R/2, R/2], …; the last is the coarsest image, at 16² (at R² for R below 16).

    The filters are those of Burt and Adelson (1983), 5×5 binomial with mirrored edges.
    """
    levels = [images]
    while levels[-1].shape[2] > COARSEST:
        finer = levels[-1]
        coarser = _blur(finer)[:, :, ::2, ::2]
        levels[-1] = finer - _enlarge(coarser)
        levels.append(coarser)
    return levels


def _blur(images: torch.Tensor) -> torch.Tensor:
    channels = images.shape[1]
    row = images.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (row[:, None] * row).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def _enlarge(images: torch.Tensor) -> torch.Tensor:
    n, channels, height, width = images.shape
    spread = images.new_zeros(n, channels, height * 2, width * 2)
    spread[:, :, ::2, ::2] = images
    return _blur(spread) * 4


def unit_directions(count: int, width: int, random: torch.Generator) -> torch.Tensor:
    """Draw directions uniformly from the sphere: [width, count]."""
    drawn = torch.randn(width, count, generator=random, device=random.device)
    return F.normalize(drawn, dim=0)


def sorted_projections(points: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Project points [n, d] on directions [d, k], and sort each column: [n, k]."""
    return (points @ directions).sort(dim=0).values


def sliced_distance(one: torch.Tensor, two: torch.Tensor) -> float:
    """Return the mean 1-Wasserstein distance over directions.

    In one dimension, optimal transport between n points and n points joins them in order.

    Args:
        one: ``sorted_projections`` [n, k] of the first set.
        two: of the second set.
    """
    return float((one - two).abs().mean())


class SlicedWasserstein:
    """Distance of generated images from a fixed set of real images, which is projected once.

    Args:
        real: batches [N, C, R, R] in [-1, 1], float32, R at least 8.
        count: number of images in all batches.
        random: a stream on the CPU, for the positions of patches and the directions.
        patches: per image and level.
        directions: number of directions to project on.
    """

    def __init__(
        self,
        real: Iterable[torch.Tensor],
        count: int,
        random: torch.Generator,
        *,
        patches: int = 16,
        directions: int = 128,
    ) -> None:
        self.count = count
        self._random, self._patches = random, patches
        self._corners: list[torch.Tensor] = []  # by level: [2, count, patches]
        points = self._points(real)
        self._scales, self._directions, self._real = [], [], []
        for level in points:
            mean = level.mean(dim=(0, 2), keepdim=True)
            deviation = level.std(dim=(0, 2), keepdim=True).clamp_min(_LEAST_DEVIATION)
            self._scales.append((mean, deviation))
            width = level.shape[1] * level.shape[2]
            self._directions.append(unit_directions(directions, width, random).to(level.device))
        self._real = self._project(points)

    def levels(self, fake: Iterable[torch.Tensor]) -> list[float]:
        """Return the distance at each level of the pyramid, finest first.

        Args:
            fake: batches as of the real images, with as many images in all.
        """
        projected = self._project(self._points(fake))
        return [sliced_distance(one, two) for one, two in zip(self._real, projected, strict=True)]

    def distance(self, fake: Iterable[torch.Tensor]) -> float:
        """Return the mean over all levels: 0 for equal sets, in deviations of the real pixels."""
        levels = self.levels(fake)
        return sum(levels) / len(levels)

    def _project(self, points: list[torch.Tensor]) -> list[torch.Tensor]:
        return [
            sorted_projections(((level - mean) / deviation).flatten(1), directions)
            for level, (mean, deviation), directions in zip(
                points, self._scales, self._directions, strict=True
            )
        ]

    def _points(self, batches: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """The patches of each level: [count · patches, C, 49]."""
        found: list[list[torch.Tensor]] = []
        first = 0
        for images in batches:
            for number, level in enumerate(laplacian_pyramid(images)):
                if number == len(found):
                    found.append([])
                found[number].append(self._cut(number, level, first))
            first += len(images)
        if first != self.count:
            raise ValueError(f"{first} images were given; expected {self.count}")
        return [torch.cat(parts) for parts in found]

    def _cut(self, number: int, level: torch.Tensor, first: int) -> torch.Tensor:
        """Patches of a batch whose first image is number ``first`` of the set."""
        n, channels, size, _ = level.shape
        if number == len(self._corners):
            shape = (2, self.count, self._patches)
            self._corners.append(torch.randint(size - PATCH + 1, shape, generator=self._random))
        corners = self._corners[number][:, first : first + n].to(level.device)
        y, x = corners[:, :, :, None] + torch.arange(PATCH, device=level.device)  # [n, p, 7]
        image = torch.arange(n, device=level.device)[:, None, None, None, None]
        channel = torch.arange(channels, device=level.device)[:, None, None]
        # [n, p, C, 7, 7]
        cut = level[image, channel, y[:, :, None, :, None], x[:, :, None, None, :]]
        return cut.flatten(0, 1).flatten(2)


def in_8_bits(images: torch.Tensor) -> torch.Tensor:
    """Clip images to [-1, 1] and round them to 256 levels, as they are stored."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def in_batches(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most ``size`` that cover 0 … count - 1."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
