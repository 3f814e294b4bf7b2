"""The probability of augmentation: fixed, or adapted to the discriminator's overfitting."""

from __future__ import annotations

from collections.abc import Callable

import torch

from segan.train.runs.config import AugmentConfig


class AdaptiveProbability:
    """p, and its adaptation in mode ``ada``.

    The heuristic is r_t = E[sign D(x)] over the real images of an interval: 0 when D cannot
    recognise them, 1 when it recognises all. If r_t is above the target, p rises by the images of
    the interval over ``speed_kimg``, else it falls. All of this runs on the device, so no step
    waits.

    p stays within [0, 1]. The published code has no upper bound. Beyond 1 the images do not change,
    but p takes longer to fall again; the bound avoids the delay.

    Source: Karras et al. 2020a, Section 3 and Appendix D.

    Attributes:
        p: the probability, a scalar float32 tensor.
        sign_sum: sum of the signs of the real scores of all processes since the last adjustment, a
            scalar float32 tensor.
        sign_count: number of these scores, a scalar float32 tensor.

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
        """Whether p adapts, so that checkpoints hold it."""
        return self.config.mode == "ada"

    @torch.no_grad()
    def observe(self, real_score: torch.Tensor) -> None:
        """Add D's scores of (augmented) real images, of any shape; several calls per step."""
        if self.adaptive:
            self._seen[0] += real_score.sign().sum()
            self._seen[1] += real_score.numel()

    @torch.no_grad()
    def end_step(
        self, step: int, reduce: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> None:
        """Add the scores of all processes, and adjust p after each ``interval``-th step.

        Args:
            step: number of the step that has ended, from 0.
            reduce: sums a tensor over the processes; called with the step's [sum, count], so that
                all processes have the same state after every step. None for a single process.
        """
        if not self.adaptive:
            return
        seen = self._seen if reduce is None else reduce(self._seen)
        self.sign_sum += seen[0]
        self.sign_count += seen[1]
        self._seen.zero_()
        if (step + 1) % self.config.interval:
            return
        # No division: sums of signs are whole numbers, and p does not change without scores.
        direction = (self.sign_sum - self.config.target * self.sign_count).sign()
        change = direction * self.sign_count / (self.config.speed_kimg * 1000)
        # In place, since a captured graph reads the same tensor.
        self.p.add_(change).clamp_(0, 1)
        self.sign_sum.zero_()
        self.sign_count.zero_()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the state for a checkpoint: scalars by name; empty where p does not adapt."""
        if not self.adaptive:
            return {}
        return {"p": self.p, "sign_sum": self.sign_sum, "sign_count": self.sign_count}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Restore the state from ``tensors``; the caller checks the names."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])
