"""The measure by which a run's checkpoints are compared: sliced Wasserstein distance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from segan.train.data.dataset import ImageDataset
from segan.train.loop.streams import METRIC, torch_random
from segan.train.measure.quality.sliced_wasserstein import SlicedWasserstein, in_8_bits, in_batches
from segan.train.networks.stylegan2.generator import Generator
from segan.train.runs.config import TrainConfig

#: Pixels that are generated at once.
_BATCH_PIXELS = 1 << 20


class CheckpointScore:
    """The distance of the moving average from the data, always on the same images and latents.

    Its draws come from a separate stream, so that measuring does not affect training.

    Args:
        config: the run's settings; ``metric_images`` images are used, or all where there are fewer.
        dataset: the run's images.
        device: where to compute.
    """

    def __init__(self, config: TrainConfig, dataset: ImageDataset, device: torch.device) -> None:
        self._config, self._dataset, self._device = config, dataset, device
        self._count = min(config.metric_images, len(dataset))
        self._chosen: np.ndarray = np.empty(0, np.int64)
        self._metric: SlicedWasserstein | None = None

    def measure(self, generator: Generator) -> float:
        """Return the distance of the generator's images from the data, 0 or more."""
        if self._metric is None:  # the real side is prepared once
            random = torch_random(self._config.seed, METRIC, 0, torch.device("cpu"))
            chosen = torch.randperm(len(self._dataset), generator=random)[: self._count]
            self._chosen = chosen.sort().values.numpy()
            self._metric = SlicedWasserstein(self._real(), self._count, random)
        with torch.no_grad():
            return self._metric.distance(self._fake(generator))

    def _batches(self) -> Iterator[slice]:
        return in_batches(
            self._count, max(1, min(64, _BATCH_PIXELS // self._dataset.resolution**2))
        )

    def _real(self) -> Iterator[torch.Tensor]:
        for part in self._batches():
            pixels = torch.from_numpy(np.asarray(self._dataset.images[self._chosen[part]]))
            images = pixels.to(self._device).float() / 127.5 - 1
            if self._config.mirror:  # G learns mirrored images too, so every second one is mirrored
                images[::2] = images[::2].flip(3)
            yield images

    def _fake(self, generator: Generator) -> Iterator[torch.Tensor]:
        config, device = self._config, self._device
        random = torch_random(config.seed, METRIC, 1, device)
        for part in self._batches():
            n = part.stop - part.start
            z = torch.randn(n, config.network.z_dim, generator=random, device=device)
            coords = generator.sample_coords(n, random)
            noise = None
            if config.noise:
                size = generator.synthesis.num_noise
                noise = torch.randn(n, size, generator=random, device=device)
            labels = None
            if config.network.c_dim:
                assert self._dataset.labels is not None
                classes = torch.from_numpy(self._dataset.labels[self._chosen[part]]).to(device)
                labels = torch.nn.functional.one_hot(classes, config.network.c_dim).float()
            yield in_8_bits(generator(z, labels, coords, noise=noise))
