"""One training step: discriminator, generator, and the lazily applied regularisers.

The fakes of a step serve both networks: first D learns on them detached, then G through the
updated D. R1 and the path length penalty have steps of their own every few steps, scaled by their
interval (lazy regularisation, Karras et al. 2020b, Appendix B).
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import nn

from segan.train.config import TrainConfig
from segan.train.discriminator import Discriminator
from segan.train.generator import Generator
from segan.train.losses import (
    discriminator_logistic,
    generator_logistic,
    information_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from segan.train.streams import STEP, WEIGHTS, torch_random
from segan.train.subspace import orthonormality_penalty


class Latents(NamedTuple):
    """What a batch of fakes is made from."""

    z: torch.Tensor  # [N, z_dim]
    z_other: torch.Tensor  # [N, z_dim], for style mixing
    crossover: torch.Tensor  # [N], first site that follows z_other
    coords: torch.Tensor | None  # [N, num_subspaces, K]
    noise: torch.Tensor | None  # [N, num_noise]
    labels: torch.Tensor | None  # [N, c_dim]


def _adam(module: nn.Module, config: TrainConfig, interval: int) -> torch.optim.Adam:
    """Adam, adjusted for the extra step that a lazy regulariser takes every ``interval`` steps."""
    ratio = interval / (interval + 1) if interval else 1.0
    return torch.optim.Adam(
        module.parameters(),
        lr=config.learning_rate * ratio,
        betas=(config.beta1**ratio, config.beta2**ratio),
        eps=1e-8,
    )


class TrainingState:
    """Both networks, the moving average, the optimisers and the counters of a run.

    Attributes:
        generator: G, being trained.
        discriminator: D, being trained.
        ema: the moving average of G: what is shown, exported and measured.
        pl_mean: running mean path length, a scalar.
        step: steps done.
        cur_nimg: real images shown.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(
                torch_random(config.seed, WEIGHTS, 0, torch.device("cpu")).initial_seed()
            )
            self.generator = Generator(config.network, config.subspace).to(device)
            subspace = config.subspace
            rows, dims = self.generator.coords_shape
            informed = subspace.sampled and subspace.information_weight > 0
            self.discriminator = Discriminator(config.network, rows * dims if informed else 0)
            self.discriminator.to(device)
        self.ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.optimizer_g = _adam(self.generator, config, config.pl_interval)
        self.optimizer_d = _adam(self.discriminator, config, config.r1_interval)
        self.pl_mean = torch.zeros((), device=device)
        self.step, self.cur_nimg = 0, 0

    def train_step(
        self,
        real: torch.Tensor,
        real_labels: torch.Tensor | None,
        fake_labels: torch.Tensor | None,
        random: torch.Generator,
    ) -> dict[str, torch.Tensor]:
        """Trains on one batch.

        Args:
            real: [N, C, R, R] float32 in [-1, 1].
            real_labels: one-hot [N, c_dim], or None.
            fake_labels: one-hot [N, c_dim] for the fakes, or None.
            random: the step's stream; see ``step_random``.

        Returns:
            Losses and scores, detached scalars by name.
        """
        config, stats = self.config, dict[str, torch.Tensor]()
        latents = self._draw(config.batch_size, fake_labels, random)
        self.generator.requires_grad_(True)
        fake, _ = self._generate(latents, track_w=True)

        self._discriminator_phase(real, real_labels, fake.detach(), latents, stats)
        if self.step % config.r1_interval == 0 and config.r1_gamma > 0:
            self._r1_phase(real, real_labels, stats)
        self._generator_phase(fake, latents, stats)
        if config.pl_interval and self.step % config.pl_interval == 0 and config.pl_weight > 0:
            self._path_length_phase(fake_labels, random, stats)

        self.cur_nimg += config.batch_size
        self.step += 1
        self._update_ema()
        return stats

    def step_random(self) -> torch.Generator:
        """The random stream of the coming step."""
        return torch_random(self.config.seed, STEP, self.step, self.device)

    def _draw(self, n: int, labels: torch.Tensor | None, random: torch.Generator) -> Latents:
        generator, network = self.generator, self.config.network

        def normal(width: int) -> torch.Tensor:
            return torch.randn(n, width, generator=random, device=self.device)

        num_sites = len(network.sites)
        crossover = torch.randint(1, num_sites, (n,), generator=random, device=self.device)
        mixed = torch.rand(n, generator=random, device=self.device) < self.config.style_mixing
        return Latents(
            z=normal(network.z_dim),
            z_other=normal(network.z_dim),
            crossover=torch.where(mixed, crossover, num_sites),
            coords=generator.sample_coords(n, random),
            noise=normal(generator.synthesis.num_noise) if self.config.noise else None,
            labels=None if labels is None else labels[:n],
        )

    def _generate(
        self, latents: Latents, *, track_w: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fakes [N, C, R, R] and the styles [N, num_sites, w_dim] that made them."""
        generator = self.generator
        w = generator.mapping(latents.z, latents.labels)
        if track_w:
            with torch.no_grad():
                generator.w_avg.lerp_(w.mean(dim=0), 1 - self.config.w_avg_beta)
        other = generator.mapping(latents.z_other, latents.labels)
        site = torch.arange(len(self.config.network.sites), device=self.device)
        follows_other = (site >= latents.crossover[:, None])[:, :, None]  # [N, num_sites, 1]
        w_sites = torch.where(follows_other, other[:, None], w[:, None])
        ws, shifts = generator.offsets(w_sites, latents.coords)
        return generator.synthesis(ws, shifts, latents.noise), ws

    def _discriminator_phase(
        self,
        real: torch.Tensor,
        real_labels: torch.Tensor | None,
        fake: torch.Tensor,
        latents: Latents,
        stats: dict[str, torch.Tensor],
    ) -> None:
        self.discriminator.requires_grad_(True)
        self.optimizer_d.zero_grad(set_to_none=True)
        on_fake = self.discriminator(fake, latents.labels)
        on_real = self.discriminator(real, real_labels)
        loss = discriminator_logistic(on_fake.score, on_real.score)
        stats["loss/discriminator"] = loss.detach()
        if on_fake.coords is not None and latents.coords is not None:
            information = information_loss(on_fake.coords, latents.coords)
            loss = loss + self.config.subspace.information_weight * information
        loss.backward()
        self.optimizer_d.step()
        stats["score/fake"] = on_fake.score.detach().mean()
        stats["score/real"] = on_real.score.detach().mean()
        stats["score/real_sign"] = on_real.score.detach().sign().mean()

    def _r1_phase(
        self,
        real: torch.Tensor,
        real_labels: torch.Tensor | None,
        stats: dict[str, torch.Tensor],
    ) -> None:
        self.optimizer_d.zero_grad(set_to_none=True)
        real = real.detach().requires_grad_(True)
        score = self.discriminator(real, real_labels).score
        penalty = r1_penalty(score, real, self.config.r1_gamma)
        (penalty * self.config.r1_interval).backward()
        self.optimizer_d.step()
        stats["loss/r1"] = penalty.detach()

    def _generator_phase(
        self, fake: torch.Tensor, latents: Latents, stats: dict[str, torch.Tensor]
    ) -> None:
        self.discriminator.requires_grad_(False)
        self.optimizer_g.zero_grad(set_to_none=True)
        judged = self.discriminator(fake, latents.labels)
        loss = generator_logistic(judged.score)
        stats["loss/generator"] = loss.detach()
        subspace = self.config.subspace
        if judged.coords is not None and latents.coords is not None:
            information = information_loss(judged.coords, latents.coords)
            loss = loss + subspace.information_weight * information
            stats["loss/information"] = information.detach() / latents.coords[0].numel()
        bases = self.generator.eigen_bases()
        if bases:
            penalty = orthonormality_penalty(bases)
            loss = loss + subspace.orthonormality_weight * penalty
            stats["loss/orthonormality"] = penalty.detach()
        loss.backward()
        self.optimizer_g.step()

    def _path_length_phase(
        self,
        labels: torch.Tensor | None,
        random: torch.Generator,
        stats: dict[str, torch.Tensor],
    ) -> None:
        config = self.config
        self.optimizer_g.zero_grad(set_to_none=True)
        n = max(config.batch_size // config.pl_batch_shrink, 1)
        image, ws = self._generate(self._draw(n, labels, random))
        y = torch.randn(image.shape, generator=random, device=self.device)
        lengths = path_lengths(image, ws, y)
        penalty, self.pl_mean = path_length_penalty(lengths, self.pl_mean, config.pl_decay)
        (penalty * config.pl_weight * config.pl_interval).backward()
        self.optimizer_g.step()
        stats["loss/path_length"] = penalty.detach()
        stats["path_length"] = self.pl_mean

    @torch.no_grad()
    def _update_ema(self) -> None:
        """G's weights drift into the moving average; its buffers are copied."""
        config = self.config
        half_life = config.ema_kimg * 1000
        if config.ema_rampup:
            half_life = min(half_life, self.cur_nimg * config.ema_rampup)
        weight = 1 - 0.5 ** (config.batch_size / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), weight)
        for mine, theirs in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            mine.copy_(theirs)
