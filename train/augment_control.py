"""The probability of augmentation: fixed, or steered by how far the discriminator overfits."""

from __future__ import annotations

from collections.abc import Callable

import torch

from segan.train.config import AugmentConfig


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
        sign_sum: of the real scores since the last adjustment, a scalar float32 tensor.
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

    @property
    def adaptive(self) -> bool:
        """Whether p moves, and so belongs into a checkpoint."""
        return self.config.mode == "ada"

    @torch.no_grad()
    def observe(self, real_score: torch.Tensor) -> None:
        """Takes in D's scores of (augmented) real images, of any shape, once or more a step."""
        if self.adaptive:
            self.sign_sum += real_score.sign().sum()
            self.sign_count += real_score.numel()

    @torch.no_grad()
    def end_step(
        self, step: int, reduce: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> None:
        """Adjusts p after each ``interval``-th step.

        Args:
            step: number of the step that has ended, from 0.
            reduce: sums a tensor over the ranks; called with [sum, count] when p is adjusted. None
                for one process.
        """
        if not self.adaptive or (step + 1) % self.config.interval:
            return
        observed = torch.stack([self.sign_sum, self.sign_count])
        sign_sum, sign_count = (observed if reduce is None else reduce(observed)).unbind()
        # Not a division: sums of signs are whole numbers, and 0 observations move nothing.
        direction = (sign_sum - self.config.target * sign_count).sign()
        change = direction * sign_count / (self.config.speed_kimg * 1000)
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
