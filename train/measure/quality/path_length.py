"""Perceptual path length: how much an image changes as its latent changes a little.

E[d(G(a(t)), G(a(t + ε))) / ε²], where d is LPIPS with VGG16 and a is a path between two latents
(Karras et al. 2019, Section 4.1, Eq. 2 and 3). As StyleGAN2-ADA computes it: ε = 1e-4, 50,000
pairs, fp32 images cropped to the middle (for FFHQ's faces) and averaged down to 256² where larger,
slerp in z or lerp in w, t uniform (``full``) or 0 (``end``), and the mean of the values between the
1st and the 99th percentile.

Different from it, coordinates, noise and class come from the pair's first seed and are the same at
both ends, so that only the path counts. Pair i has the seeds first + 2 i and first + 2 i + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch

from segan.runtime.latents.draws import sample_z, slerp
from segan.train.measure.models.model import MeasuredModel, uniform_of_seeds
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.features import DetectorKind
from segan.train.measure.quality.metric import Metric, Score

Array = npt.NDArray[np.float64]
Images = npt.NDArray[np.float32]

#: Larger images are averaged down to this side.
MAX_SIDE = 256
#: Distances outside these percentiles are excluded from the mean.
TRIM = (1.0, 99.0)


@dataclass(frozen=True, kw_only=True)
class PathConfig:
    """One kind of path.

    Attributes:
        space: ``z`` or ``w``.
        sampling: ``full``, t uniform on [0, 1), or ``end``, t = 0.
        epsilon: the step in t.
        crop: take the middle of the image, rows 3/8 to 7/8 and columns 2/8 to 6/8.
    """

    space: Literal["z", "w"]
    sampling: Literal["full", "end"]
    epsilon: float = 1e-4
    crop: bool = True


#: The path of the published SEGAN: slerp in z, ε = 1e-2. That t is uniform and images are not
#: cropped is an assumption.
SEGAN_PATH = PathConfig(space="z", sampling="full", epsilon=1e-2, crop=False)


class PathLengthMetric(Metric):
    """Perceptual path length of n pairs. Lower is smoother.

    Args:
        name: as the user wrote it.
        n: pairs.
        path: kind of path.
    """

    data = "unused"
    detector: ClassVar[DetectorKind | None] = "vgg16"
    default_n = 50_000
    crop: ClassVar[bool] = True

    def __init__(self, name: str, n: int, path: PathConfig) -> None:
        super().__init__(name, n)
        self.path = path

    @classmethod
    def from_name(cls, name: str, groups: Mapping[str, Any]) -> Metric:
        """See ``Metric``; a name without a space, such as ``ppl_segan30k``, has SEGAN's path."""
        path = SEGAN_PATH
        if "space" in groups:
            path = PathConfig(space=groups["space"], sampling=groups["sampling"], crop=cls.crop)
        return cls(name, cls.n_of(groups), path)

    @property
    def seeds_used(self) -> int:
        """Two seeds for each pair."""
        return 2 * self.n

    def resize(self, context: MetricContext) -> str:
        """See ``Metric``."""
        middle = "the middle part, " if self.path.crop else ""
        return f"{middle}averaged down where larger than {MAX_SIDE} x {MAX_SIDE}"

    def settings(self, context: MetricContext) -> dict[str, Any]:
        """See ``Metric``."""
        return {"path": f"{self.path.space}{self.path.sampling}", "epsilon": self.path.epsilon}

    def features(self, context: MetricContext, images: torch.Tensor) -> torch.Tensor:
        """Return features [N, D], compared by squared distance, of images [N, C, R, R]."""
        return context.detectors.vgg16().lpips(prepared(images, crop=self.path.crop))

    def compute(self, context: MetricContext) -> Score:
        """See ``Metric``."""
        found = path_distances(
            context, self.path, self.n, lambda images: self.features(context, images)
        )
        context.cache[self.name] = found
        return Score(trimmed_mean(found), {})

    def resampled(self, context: MetricContext, weights: Array) -> Array:
        """See ``Metric``."""
        distances: Array = context.cache[self.name]
        return np.array([trimmed_mean(np.repeat(distances, line.astype(int))) for line in weights])


class UncroppedPathLengthMetric(PathLengthMetric):
    """PPL2: path length of whole images (Karras et al. 2020)."""

    crop = False


class FacesPathLengthMetric(PathLengthMetric):
    """Path length by the attribute network's features instead of LPIPS: another scale, not PPL."""

    detector = "faces"
    crop = False

    def resize(self, context: MetricContext) -> str:
        """See ``Metric``."""
        return context.detectors.faces().resize

    def features(self, context: MetricContext, images: torch.Tensor) -> torch.Tensor:
        """See ``PathLengthMetric``."""
        return context.detectors.faces().features(images)


#: Images [N, C, R, R], nominally in [-1, 1], on the detectors' device → features [N, D].
Features = Callable[[torch.Tensor], torch.Tensor]


def path_distances(context: MetricContext, path: PathConfig, n: int, features: Features) -> Array:
    """Return d / ε² of n pairs, [n]; d is the squared distance of features.

    Raises:
        DataError: the detector cannot compute the features.
        BackendError: the backend failed.
    """
    device = context.detectors.device
    found = []
    with (
        torch.inference_mode(),
        context.ahead(_image_pairs(context, path, n)) as pairs,
    ):
        for images in pairs:
            begin, end = features(torch.from_numpy(images).to(device)).double().chunk(2)
            found.append(((begin - end).square().sum(1) / path.epsilon**2).cpu().numpy())
            context.on_images(len(images))
    distances: Array = np.concatenate(found)
    return distances


def _image_pairs(context: MetricContext, path: PathConfig, n: int) -> Any:
    """Images of the pairs in batches: all beginnings, then all ends, [2 m, C, H, W]."""
    model = context.model
    seeds = context.seeds(2 * n)
    size = max(1, model.batch_size // 2)
    for start in range(0, n, size):
        chunk = seeds[2 * start : 2 * min(start + size, n)]
        yield _render_pairs(model, chunk[0::2], chunk[1::2], path)


def _render_pairs(model: MeasuredModel, one: range, two: range, path: PathConfig) -> Images:
    z_dim, renderer = model.manifest.z_dim, model.renderer
    a, b = sample_z(one, z_dim), sample_z(two, z_dim)
    labels = model.labels_of(one)
    t = uniform_of_seeds(one) if path.sampling == "full" else np.zeros(len(one))
    twice = np.concatenate([t, t + path.epsilon])
    both = None if labels is None else np.concatenate([labels, labels])
    if path.space == "w":
        w = renderer.map(np.concatenate([a, b]), both).astype(np.float64)
        begin, end = np.split(w, 2)
        along = np.tile(begin, (2, 1)) + twice[:, None] * np.tile(end - begin, (2, 1))
        points = along.astype(np.float32)
    else:
        # On the unit sphere, as published: the mapping network normalises z anyway.
        unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (a, b)]
        z = slerp(np.tile(unit[0], (2, 1)), np.tile(unit[1], (2, 1)), twice)
        points = renderer.map(z, both)
    coords = np.tile(model.settings.coords_of(one), (2, 1, 1))
    noise = renderer.noise_of(one, model.settings)
    if noise is not None and len(noise) > 1:
        noise = np.tile(noise, (2, 1))
    return renderer.render_float(points, coords, noise, model.settings)


def prepared(images: torch.Tensor, *, crop: bool) -> torch.Tensor:
    """Prepare images for the detector: [N, C, R, R] in [-1, 1] → [N, 3, h, w] from 0 to 255."""
    side = images.shape[2]
    if crop:
        eighth = side // 8
        images = images[:, :, 3 * eighth : 7 * eighth, 2 * eighth : 6 * eighth]
    factor = side // MAX_SIDE
    if factor > 1:
        images = torch.nn.functional.avg_pool2d(images, factor)
    images = (images + 1) * 127.5
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def trimmed_mean(distances: Array) -> float:
    """Return the mean of the values from the 1st to the 99th percentile, both included."""
    low = np.percentile(distances, TRIM[0], method="lower")
    high = np.percentile(distances, TRIM[1], method="higher")
    return float(distances[(distances >= low) & (distances <= high)].mean())
