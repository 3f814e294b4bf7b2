"""The probability of augmentation: fixed, or steered by how far the discriminator overfits."""

from __future__ import annotations

from collections.abc import Callable

import torch

from segan.train.runs.config import AugmentConfig


class AdaptiveProbability:
    """p, and for mode ``ada`` the feedback that moves it.

    The heuristic is r_t = E[sign D(x)] over the real images of an interval: 0 when D cannot tell
    them, 1 when it knows them all. Where r_t is above the target, p rises by the images of the
    interval over ``speed_kimg``; below, it falls; all on the device, so no step waits for it.

    p stays within [0, 1]. The published code has no upper bound: past 1 nothing changes but that p
    needs as long to come back, so a bound is the same pipeline without the wait.

    Source: Karras et al. 2020a, Section 3 and Appendix D.

    Attributes:
        p: the probability, a scalar float32 tensor.
        sign_sum: of the real scores since the last adjustment, a scalar float32 tensor; of the
            steps that have ended, over all processes.
        sign_count: how many scores those were, a scalar float32 tensor.

    Args:
        config: mode, first value, target, speed and interval.
        device: of the scores.
    """

    def __init__(self, config: AugmentConfig, device: torch.device) -> None:
        self.config = config
        self.p = torch.full((), config.probability, device=device)
        self.sign_sum = torch.zeros((), device=device)
        self.sign_count = torch.zeros((), device=device)
        #: Sum and number of the signs in this step and process.
        self._seen = torch.zeros(2, device=device)

    @property
    def adaptive(self) -> bool:
        """Whether p moves, and so belongs into a checkpoint."""
        return self.config.mode == "ada"

    @torch.no_grad()
    def observe(self, real_score: torch.Tensor) -> None:
        """Takes in D's scores of (augmented) real images, of any shape, once or more a step."""
        if self.adaptive:
            self._seen[0] += real_score.sign().sum()
            self._seen[1] += real_score.numel()

    @torch.no_grad()
    def end_step(
        self, step: int, reduce: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> None:
        """Takes in what all processes saw, and adjusts p after each ``interval``-th step.

        Args:
            step: number of the step that has ended, from 0.
            reduce: sums a tensor over the processes; called with the step's [sum, count], so that
                all of them hold, and save, the same state after every step. None for one process.
        """
        if not self.adaptive:
            return
        seen = self._seen if reduce is None else reduce(self._seen)
        self.sign_sum += seen[0]
        self.sign_count += seen[1]
        self._seen.zero_()
        if (step + 1) % self.config.interval:
            return
        # Not a division: sums of signs are whole numbers, and 0 observations move nothing.
        direction = (self.sign_sum - self.config.target * self.sign_count).sign()
        change = direction * self.sign_count / (self.config.speed_kimg * 1000)
        # In place: a captured graph goes on reading the same tensor.
        self.p.add_(change).clamp_(0, 1)
        self.sign_sum.zero_()
        self.sign_count.zero_()

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds: scalars by name; empty where p does not move."""
        if not self.adaptive:
            return {}
        return {"p": self.p, "sign_sum": self.sign_sum, "sign_count": self.sign_count}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Goes on from ``tensors``, bit for bit; the names are checked by the caller."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])
