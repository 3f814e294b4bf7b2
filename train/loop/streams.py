"""The random streams of a run: all draws of a step depend on (seed, step) alone.

A run can therefore stop and resume after any step, bit for bit, without a generator's state.
"""

from __future__ import annotations

import numpy as np
import torch

#: Numbers of the streams by their use. A change of a number changes what a seed means.
WEIGHTS, STEP, ORDER, MONITOR = 0, 1, 2, 3
METRIC = 16


def torch_random(seed: int, stream: int, number: int, device: torch.device) -> torch.Generator:
    """Return a torch generator for one step, or other numbered use, of a stream."""
    state = np.random.SeedSequence((seed, stream, number)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)


class DataOrder:
    """The infinite order of the real images: one permutation after another.

    Args:
        num_images: images in the data set.
        seed: of the run.
    """

    def __init__(self, num_images: int, seed: int) -> None:
        self.num_images, self.seed = num_images, seed
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def indices(self, start: int, count: int) -> np.ndarray:
        """Return the indices of the images at positions start … start + count - 1, int64."""
        positions = np.arange(start, start + count)
        found = np.empty(count, np.int64)
        for epoch in range(start // self.num_images, (start + count - 1) // self.num_images + 1):
            if epoch != self._epoch:
                bits = np.random.MT19937(np.random.SeedSequence((self.seed, ORDER, epoch)))
                self._permutation = np.random.RandomState(bits).permutation(self.num_images)
                self._epoch = epoch
            here = positions // self.num_images == epoch
            found[here] = self._permutation[positions[here] % self.num_images]
        return found
