"""One training step: discriminator, generator, and the lazily applied regularisers.

Both networks learn on the same fakes: first D on detached fakes, then G through the updated D. R1
and the path length penalty take separate optimiser steps every few steps, scaled by their interval
(lazy regularisation, Karras et al. 2020b, Appendix B).

Processes, and the micro-batches of each, share a step: all draw the latents of the whole batch from
the same stream and take their share, and the gradients add up to those of the whole batch.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from segan.train.loop.augment.pipe import AugmentParameters, AugmentPipe
from segan.train.loop.augment.probability import AdaptiveProbability
from segan.train.loop.latents import Latents, draw_latents, mix_styles, share_coords
from segan.train.loop.losses import (
    discriminator_logistic,
    generator_logistic,
    information_loss,
    jacobian_overlap,
    moved_one_by_one,
    path_length_penalty,
    path_lengths,
    pick_coordinates,
    r1_penalty,
)
from segan.train.loop.phase_clock import PhaseClock
from segan.train.loop.processes.shares import divide, regular_batch
from segan.train.loop.processes.world import ALONE, World
from segan.train.loop.streams import STEP, WEIGHTS, torch_random
from segan.train.networks.family import build
from segan.train.networks.stylegan2.discriminator import Judgement
from segan.train.networks.stylegan2.precision import allow_tf32, set_precision
from segan.train.networks.stylegan2.subspace import orthonormality_penalty
from segan.train.runs.config import TrainConfig, compares_coordinates

Module = TypeVar("Module", bound=nn.Module)


class Reals(NamedTuple):
    """Real images and their labels."""

    images: torch.Tensor  # [n, C, R, R] float32 in [-1, 1]
    labels: torch.Tensor | None  # [n, c_dim]


class Augmentations(NamedTuple):
    """Augmentations of the images that D sees in a step; None without augmentation."""

    fake_d: AugmentParameters | None = None
    real_d: AugmentParameters | None = None
    real_r1: AugmentParameters | None = None
    fake_g: AugmentParameters | None = None

    def take(self, index: torch.Tensor) -> Augmentations:
        """Return the augmentations of some of the N images."""
        return Augmentations(*(None if part is None else part.take(index) for part in self))


class Micro(NamedTuple):
    """The part of a batch that one process computes at once."""

    latents: Latents
    reals: Reals
    augmentations: Augmentations


def _adam(module: nn.Module, config: TrainConfig, interval: int) -> torch.optim.Adam:
    """Adam, corrected for the extra step of a lazy regulariser every ``interval`` steps."""
    ratio = interval / (interval + 1) if interval else 1.0
    return torch.optim.Adam(
        module.parameters(),
        lr=config.learning_rate * ratio,
        betas=(config.beta1**ratio, config.beta2**ratio),
        eps=1e-8,
        fused=True,
    )


def _placed(module: Module, device: torch.device) -> Module:
    """Move the module to its device, channels last: the fastest layout for convolutions.

    On CPUs it halves the time; tensor cores use it too.
    """
    for parameter in module.to(device).parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


class TrainingState:
    """Both networks, the moving average, the optimisers and the counters of a run.

    Args:
        config: the run's configuration.
        device: where to train.
        world: the processes that share each batch.

    Raises:
        ConfigError: the batch cannot be divided among processes and micro-batches.

    Attributes:
        generator: G, being trained.
        discriminator: D, being trained.
        ema: the moving average of G: what is shown, exported and measured.
        augment: probability of the discriminator's augmentation.
        pl_mean: running mean path length, a scalar.
        clock: seconds by phase.
        largest_part: images that this process computes at once.
        memory_format: of the images that enter.
        step: steps done.
        cur_nimg: real images shown.
    """

    def __init__(self, config: TrainConfig, device: torch.device, world: World = ALONE) -> None:
        self.config, self.device, self.world = config, device, world
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(
                torch_random(config.seed, WEIGHTS, 0, torch.device("cpu")).initial_seed()
            )
            generator, discriminator = build(config.network, config.subspace)
        self.generator = _placed(generator, device)
        self.discriminator = _placed(discriminator, device)
        self.ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        set_precision(self.generator, self.discriminator, config.compute)
        if device.type == "cuda":
            allow_tf32(config.compute.tf32)
        self._synthesize: Callable[..., torch.Tensor] = self.generator.synthesis
        self._judge_compiled: Callable[..., Judgement] = self.discriminator
        if config.compute.compile:
            # Not for R1 and path lengths: compiled graphs have no second derivative.
            self._synthesize = torch.compile(self.generator.synthesis, dynamic=False)
            self._judge_compiled = torch.compile(self.discriminator, dynamic=False)
        self.optimizer_g = _adam(self.generator, config, config.pl_interval)
        self.optimizer_d = _adam(self.discriminator, config, config.r1_interval)
        self._pipe: AugmentPipe | None = None
        if config.augment.mode != "off":
            network = config.network
            self._pipe = AugmentPipe(config.augment, network.resolution, network.img_channels)
            self._pipe.to(device)
        self.augment = AdaptiveProbability(config.augment, device)
        self.pl_mean = torch.zeros((), device=device)
        self.clock = PhaseClock(device)
        self.memory_format = torch.channels_last
        self.step, self.cur_nimg = 0, 0
        self._compares = compares_coordinates(config)
        self._divide()

    def _divide(self) -> None:
        """Set this process's samples of a batch, and their micro-batches."""
        division = divide(self.config, self.world.rank, self.world.size)
        #: Positions in the batch of the images that this process computes, int64.
        self.share = torch.cat(division.batch)
        self._micros = [part.to(self.device) for part in division.batch]
        self.largest_part = max(len(part) for part in self._micros)
        self._num_regular = regular_batch(self.config)
        self._regular_micros = [part.to(self.device) for part in division.regular]
        self._scale = 1 / division.parts

    def train_step(
        self,
        real: torch.Tensor,
        real_labels: torch.Tensor | None,
        fake_labels: torch.Tensor | None,
        random: torch.Generator,
    ) -> dict[str, torch.Tensor]:
        """Train on one batch.

        Args:
            real: [n, C, R, R] float32 in [-1, 1]: the batch's images at the positions ``share``.
            real_labels: their labels, one-hot [n, c_dim], or None.
            fake_labels: one-hot [N, c_dim] for the fakes of the whole batch, or None.
            random: the step's stream from ``step_random``, the same in every process.

        Returns:
            Losses and scores of the whole batch, detached scalars by name.
        """
        config, stats = self.config, dict[str, torch.Tensor]()
        latents = self._share(self._draw(config.batch_size, fake_labels, random), random)
        augmentations = self._draw_augmentations(random)
        real = real.contiguous(memory_format=self.memory_format)
        sizes = [len(part) for part in self._micros]
        images = real.split(sizes)
        labels = [None] * len(sizes) if real_labels is None else list(real_labels.split(sizes))
        micros = [
            Micro(latents.take(part), Reals(shown, label), augmentations.take(part))
            for part, shown, label in zip(self._micros, images, labels, strict=True)
        ]
        self.generator.requires_grad_(True)
        # A single micro-batch keeps its fakes for both networks; several compute them twice.
        kept = self._discriminator_phase(micros, stats)
        if self.step % config.r1_interval == 0 and config.r1_gamma > 0:
            self._r1_phase(micros, stats)
        self._generator_phase(micros, kept, stats, fake_labels, random)
        regularized = config.pl_interval and config.pl_weight > 0
        if regularized and self.step % config.pl_interval == 0:
            self._path_length_phase(fake_labels, random, stats)

        self.augment.end_step(self.step, self.world.sum)
        self.cur_nimg += config.batch_size
        self.step += 1
        with self.clock.phase("average"):
            self._update_ema()
        self.world.sum_(list(stats.values()))
        if self.augment.adaptive:
            stats["augment/p"] = self.augment.p.clone()
        return stats

    def step_random(self) -> torch.Generator:
        """Return the random stream of the next step."""
        return torch_random(self.config.seed, STEP, self.step, self.device)

    def _draw(self, n: int, labels: torch.Tensor | None, random: torch.Generator) -> Latents:
        return draw_latents(self.generator, self.config, n, labels, random)

    def _share(self, latents: Latents, random: torch.Generator) -> Latents:
        """The latents, in which some of the groups that D compares share their coordinates."""
        p, group = self.config.subspace.shared_coords, self.config.network.mbstd_group
        if latents.coords is None or p == 0:
            return latents
        return latents._replace(coords=share_coords(latents.coords, group, p, random))

    def _draw_augmentations(self, random: torch.Generator) -> Augmentations:
        if self._pipe is None:
            return Augmentations()
        n, p = self.config.batch_size, self.augment.p
        return Augmentations(*(self._pipe.draw(n, p, random) for _ in range(4)))

    def _fakes(self, latents: Latents) -> tuple[torch.Tensor, torch.Tensor]:
        """Fakes [N, C, R, R], and the mean of w [w_dim] without gradient."""
        w, w_sites = mix_styles(self.generator, latents)
        ws, shifts = self.generator.offsets(w_sites, latents.coords)
        return self._synthesize(ws, shifts, latents.noise), w.detach().mean(dim=0)

    def _augmented(
        self, images: torch.Tensor, parameters: AugmentParameters | None
    ) -> torch.Tensor:
        if self._pipe is None or parameters is None:
            return images
        return self._pipe.apply_to(images, parameters)

    def _judge(
        self, images: torch.Tensor, labels: torch.Tensor | None, augment: AugmentParameters | None
    ) -> Judgement:
        return self._judge_compiled(self._augmented(images, augment), labels)

    def _discriminator_phase(
        self, micros: list[Micro], stats: dict[str, torch.Tensor]
    ) -> torch.Tensor | None:
        """Train D; return the fakes with their graph when there is one micro-batch."""
        keep = len(micros) == 1
        w_mean = torch.zeros_like(self.generator.w_avg)
        with self.clock.phase("discriminator"), self._update(self.optimizer_d):
            self.discriminator.requires_grad_(True)
            for latents, reals, augment in micros:
                with contextlib.nullcontext() if keep else torch.no_grad():
                    fake, mean = self._fakes(latents)
                w_mean += mean * self._scale
                on_fake = self._judge(fake.detach(), latents.labels, augment.fake_d)
                on_real = self._judge(reals.images, reals.labels, augment.real_d)
                loss = discriminator_logistic(on_fake.score, on_real.score)
                self._record(stats, "loss/discriminator", loss)
                self._record(stats, "score/fake", on_fake.score.mean())
                self._record(stats, "score/real", on_real.score.mean())
                self._record(stats, "score/real_sign", on_real.score.sign().mean())
                self.augment.observe(on_real.score)
                if on_fake.coords is not None and latents.coords is not None:
                    information = information_loss(on_fake.coords, latents.coords)
                    loss = loss + self.config.subspace.information_weight * information
                (loss * self._scale).backward()
        self.world.sum_([w_mean])
        self.generator.w_avg.lerp_(w_mean, 1 - self.config.w_avg_beta)
        return fake if keep else None

    def _r1_phase(self, micros: list[Micro], stats: dict[str, torch.Tensor]) -> None:
        with self.clock.phase("r1"), self._update(self.optimizer_d):
            for _, reals, augment in micros:
                images = reals.images.detach().requires_grad_(True)
                shown = self._augmented(images, augment.real_r1)
                score = self.discriminator(shown, reals.labels).score
                penalty = r1_penalty(score, images, self.config.r1_gamma)
                (penalty * self.config.r1_interval * self._scale).backward()
                self._record(stats, "loss/r1", penalty)

    def _generator_phase(
        self,
        micros: list[Micro],
        kept: torch.Tensor | None,
        stats: dict[str, torch.Tensor],
        labels: torch.Tensor | None,
        random: torch.Generator,
    ) -> None:
        self.discriminator.requires_grad_(False)
        subspace = self.config.subspace
        with self.clock.phase("generator"), self._update(self.optimizer_g):
            for latents, _, augment in micros:
                fake = self._fakes(latents)[0] if kept is None else kept
                judged = self._judge(fake, latents.labels, augment.fake_g)
                loss = generator_logistic(judged.score)
                self._record(stats, "loss/generator", loss)
                if judged.coords is not None and latents.coords is not None:
                    information = information_loss(judged.coords, latents.coords)
                    loss = loss + subspace.information_weight * information
                    each = information / latents.coords[0].numel()
                    self._record(stats, "loss/information", each)
                bases = self.generator.eigen_bases()
                if bases:
                    penalty = orthonormality_penalty(bases)
                    loss = loss + subspace.orthonormality_weight * penalty
                    self._record(stats, "loss/orthonormality", penalty)
                (loss * self._scale).backward()
            if self._compares and self.step % subspace.jacobian_interval == 0:
                self._jacobian_penalty(labels, random, stats)

    def _jacobian_penalty(
        self,
        labels: torch.Tensor | None,
        random: torch.Generator,
        stats: dict[str, torch.Tensor],
    ) -> None:
        """Add the gradients of the penalty on the overlap of coordinates' effects."""
        subspace, generator = self.config.subspace, self.generator
        latents = self._draw(self._num_regular, labels, random)
        total = generator.coords_shape[0] * generator.coords_shape[1]
        m = min(subspace.jacobian_coords, total)
        chosen = pick_coordinates(self._num_regular, m, total, random)
        # Every image is computed m + 1 times, at most a micro-batch at once.
        most = max(self.config.compute.micro_batch // (m + 1), 1)
        whole = self.config.compute.micro_batch == 0
        for share in self._regular_micros:
            for part in [share] if whole else share.split(most):
                overlap = self._overlap(latents.take(part), chosen[part]) * len(part) / len(share)
                weight = subspace.jacobian_weight * subspace.jacobian_interval
                (overlap * weight * self._scale).backward()
                self._record(stats, "loss/jacobian", overlap)

    def _overlap(self, latents: Latents, positions: torch.Tensor) -> torch.Tensor:
        """Mean overlap of the effects of the coordinates at positions [n, m] on n images."""
        assert latents.coords is not None
        moved = moved_one_by_one(latents.coords, positions)
        coords = torch.cat([latents.coords[:, None], moved], 1)
        each = coords.shape[1]
        w_sites = mix_styles(self.generator, latents)[1].repeat_interleave(each, 0)
        ws, shifts = self.generator.offsets(w_sites, coords.flatten(0, 1))
        noise = None if latents.noise is None else latents.noise.repeat_interleave(each, 0)
        images = self._synthesize(ws, shifts, noise).unflatten(0, (-1, each))
        return jacobian_overlap(images[:, 0], images[:, 1:])

    def _path_length_phase(
        self,
        labels: torch.Tensor | None,
        random: torch.Generator,
        stats: dict[str, torch.Tensor],
    ) -> None:
        config, generator = self.config, self.generator
        latents = self._draw(self._num_regular, labels, random)
        shape = (self._num_regular, config.network.img_channels, *[config.network.resolution] * 2)
        y = torch.randn(shape, generator=random, device=self.device)
        with self.clock.phase("path_length"), self._update(self.optimizer_g):
            mean_length = torch.zeros_like(self.pl_mean)
            for part in self._regular_micros:
                micro = latents.take(part)
                ws, shifts = generator.offsets(mix_styles(generator, micro)[1], micro.coords)
                image = generator.synthesis(ws, shifts, micro.noise)
                lengths = path_lengths(image, ws, y[part])
                penalty = path_length_penalty(lengths, self.pl_mean)
                (penalty * config.pl_weight * config.pl_interval * self._scale).backward()
                mean_length += lengths.detach().mean() * self._scale
                self._record(stats, "loss/path_length", penalty)
        self.world.sum_([mean_length])
        self.pl_mean = self.pl_mean.lerp(mean_length, config.pl_decay)
        stats["path_length"] = self.pl_mean / self.world.size  # summed over the processes later

    @contextlib.contextmanager
    def _update(self, optimizer: torch.optim.Adam) -> Iterator[None]:
        """Sum the gradients of the block over the processes; then step the optimiser."""
        optimizer.zero_grad(set_to_none=True)
        yield
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.world.sum_(gradients)
        if self.config.compute.precision == "fp16":
            for gradient in gradients:
                torch.nan_to_num(gradient, nan=0, posinf=1e5, neginf=-1e5, out=gradient)
        optimizer.step()

    def _record(self, stats: dict[str, torch.Tensor], name: str, value: torch.Tensor) -> None:
        """Add a micro-batch's share to the batch's mean."""
        part = value.detach() * self._scale
        stats[name] = stats[name] + part if name in stats else part

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Move the average towards G's weights, and copy G's buffers."""
        config = self.config
        half_life = config.ema_kimg * 1000
        if config.ema_rampup:
            half_life = min(half_life, self.cur_nimg * config.ema_rampup)
        weight = 1 - 0.5 ** (config.batch_size / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), weight)
        for mine, theirs in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            mine.copy_(theirs)
