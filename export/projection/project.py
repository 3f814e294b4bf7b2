"""Projection: the latent whose image is closest to a given one.

Karras et al. 2020b, "Analyzing and Improving the Image Quality of StyleGAN", Appendix D: w starts
at the mean, with added noise that fades out over three quarters of the steps. The learning rate
rises over the first 5 % of the steps and falls over the last 25 %. The per-pixel noise is optimised
too; a penalty on its autocorrelation at all scales keeps image content out of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from segan.export.projection.features import Features, PixelGradients
from segan.runtime.backends.pixels import to_uint8
from segan.runtime.errors import ConfigError, DataError
from segan.runtime.latents.draws import sample_z
from segan.train.networks.family import Generator

Images = NDArray[np.uint8]
Array = NDArray[np.float32]
Space = Literal["w", "w+", "coords"]
SPACES: tuple[str, ...] = get_args(Space)

#: Number of latents for the mean and standard deviation of w.
_W_SAMPLES = 10_000

#: Largest number of intermediate latents that are kept for the video.
_KEPT = 60


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """Settings of a projection. Defaults are those of Karras et al. 2020b, App. D, except as noted.

    Attributes:
        space: what is optimised: ``w``, one vector; ``w+``, one vector for each site; ``coords``,
            one vector and the subspace coordinates.
        steps: steps of the optimisation, 1 or more.
        learning_rate: largest learning rate of Adam, in standard deviations of w, more than 0. (The
            paper's is absolute; the scale of w differs between generators.)
        initial_noise: initial standard deviation of the noise added to w, relative to that of w.
        noise_ramp: share of the steps over which that noise fades out.
        ramp_up: share of the steps over which the learning rate rises.
        ramp_down: share of the steps over which it falls.
        noise_weight: weight of the penalty on the per-pixel noise.
        coords_weight: weight of the mean square coordinate (not in the paper), so that coordinates
            do not take over what w can express.
        class_index: class whose mean w to start from; None takes all classes.
        seed: seed of the noise added to w.

    Raises:
        ConfigError: an unknown space, or a number out of its range.
    """

    space: Space = "w"
    steps: int = 500
    learning_rate: float = 0.2
    initial_noise: float = 0.05
    noise_ramp: float = 0.75
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    noise_weight: float = 1e5
    coords_weight: float = 1e-4
    class_index: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ConfigError(
                field="space", value=self.space, expected=f"one of {', '.join(SPACES)}"
            )
        if self.steps < 1:
            raise ConfigError(field="steps", value=self.steps, expected="1 or more, such as 500")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(
                field="learning_rate", value=self.learning_rate, expected="more than 0"
            )

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate at a step."""
        t = step / self.steps
        ramp = min(1.0, (1.0 - t) / self.ramp_down)
        return (0.5 - 0.5 * math.cos(ramp * math.pi)) * min(1.0, t / self.ramp_up)


@dataclass(frozen=True, eq=False, kw_only=True)
class Projection:
    """Result of a projection.

    Attributes:
        w: [num_sites, w_dim] float32, before truncation and subspaces.
        coords: [num_subspaces, coords_dim] float32 in the space ``coords``, else None.
        target: the given image, [H, W, C] uint8.
        start: image of the mean w, [H, W, C] uint8.
        image: image of ``w`` and ``coords`` with the generator's constant noise, [H, W, C] uint8.
        distances: squared distance of the features at each step.
        path: intermediate latents, (w, coords) each, for a video.
        features: name of the features that were compared.
    """

    w: Array
    coords: Array | None
    target: Images
    start: Images
    image: Images
    distances: tuple[float, ...]
    path: tuple[tuple[Array, Array | None], ...]
    features: str

    @property
    def start_mse(self) -> float:
        """Mean squared error of the mean image's pixels, in [-1, 1]."""
        return mean_squared_error(self.start, self.target)

    @property
    def mse(self) -> float:
        """Mean squared error of the found image's pixels, in [-1, 1]."""
        return mean_squared_error(self.image, self.target)


def mean_squared_error(a: Images, b: Images) -> float:
    """Return the mean squared error of uint8 images, scaled to [-1, 1]."""
    return float(np.square((a.astype(np.float64) - b) / 127.5).mean())


def render(generator: Generator, w: Array, coords: Array | None = None) -> Images:
    """Return images with constant noise, [N, H, W, C] uint8.

    Args:
        generator: in evaluation mode.
        w: [N, num_sites, w_dim].
        coords: [N, num_subspaces, coords_dim]; None takes zeros.
    """
    device = generator.w_avg.device
    with torch.no_grad():
        a = None if coords is None else torch.from_numpy(coords).to(device)
        ws, shifts = generator.offsets(torch.from_numpy(w).to(device), a)
        image = generator.synthesis(ws, shifts, generator.synthesis.noise_const())
    return to_uint8(image.cpu().numpy())


def project_image(
    generator: Generator,
    target: Images,
    config: ProjectionConfig | None = None,
    *,
    features: Features | None = None,
    on_step: Callable[[float], None] | None = None,
) -> Projection:
    """Find the latent whose image is closest to a given one.

        found = project_image(generator, target, ProjectionConfig(space="w+"))
        print(found.mse, found.w.shape)

    Args:
        generator: in evaluation mode; not changed. Everything is computed on its device.
        target: [H, W, C] uint8, of the generator's resolution and channels.
        config: None takes the defaults.
        features: features to compare; None takes pixels and gradients at several scales.
        on_step: called after each step with the squared distance of the features.

    Raises:
        ConfigError: the space ``coords`` without subspaces, or a class that does not exist.
        DataError: ``target`` has another shape or type, or the images are not finite.
    """
    config = config or ProjectionConfig()
    features = features or PixelGradients()
    network = generator.network
    shape = (network.resolution, network.resolution, network.img_channels)
    if target.shape != shape or target.dtype != np.uint8:
        raise DataError(
            f"the image is {target.dtype} {list(target.shape)}",
            field="target",
            value=target.shape,
            expected=f"uint8 {list(shape)}",
        )
    if config.space == "coords" and not generator.table:
        raise ConfigError(
            "`space` is 'coords', but this generator (mode 0) has no subspaces",
            field="space",
            value=config.space,
            expected="w or w+",
        )
    device = generator.w_avg.device
    center, spread = _w_statistics(generator, config)
    deviation = float(spread.square().mean().sqrt())
    wanted = torch.from_numpy(target.copy()).to(device).permute(2, 0, 1)[None].float()
    goal = features((wanted - 127.5) / 127.5).detach()

    rows = len(network.sites) if config.space == "w+" else 1
    w = center.repeat(1, rows, 1).requires_grad_(True)
    groups = [{"params": [w], "base": config.learning_rate * deviation}]
    coords: torch.Tensor | None = None
    if config.space == "coords":
        coords = torch.zeros(1, *generator.coords_shape, device=device, requires_grad=True)
        groups.append({"params": [coords], "base": config.learning_rate})
    noises = _noise_maps(generator)
    if noises is not None:
        groups.append({"params": noises, "base": 0.1})
    optimizer = torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.999))
    random = torch.Generator().manual_seed(config.seed)
    fixed = generator.synthesis.noise_const()
    every = max(1, config.steps // _KEPT)
    distances, path = [], [_state(generator, w, coords)]
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * config.rate(step)
        fade = max(0.0, 1.0 - step / config.steps / config.noise_ramp) ** 2
        added = torch.randn(w.shape, generator=random).to(device)
        ws = w + added * spread * config.initial_noise * fade
        styles, shifts = generator.offsets(ws.expand(-1, len(network.sites), -1), coords)
        noise = fixed if noises is None else torch.cat([n.flatten() for n in noises])[None]
        image = generator.synthesis(styles, shifts, noise)
        distance = (features(image) - goal).square().sum()
        loss = distance
        if noises is not None:
            loss = loss + config.noise_weight * _autocorrelation(noises)
        if coords is not None:
            loss = loss + config.coords_weight * coords.square().mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        _normalize(noises)
        distances.append(float(distance.detach()))
        if not math.isfinite(distances[-1]):
            raise DataError(
                "the generator's images are not finite",
                field="generator",
                remedy="Take an earlier checkpoint of the run.",
            )
        if (step + 1) % every == 0:
            path.append(_state(generator, w, coords))
        if on_step is not None:
            on_step(distances[-1])
    path.append(_state(generator, w, coords))
    (start_w, start_a), (found_w, found_a) = path[0], path[-1]
    return Projection(
        w=found_w,
        coords=found_a,
        target=target,
        start=render(generator, start_w[None], None if start_a is None else start_a[None])[0],
        image=render(generator, found_w[None], None if found_a is None else found_a[None])[0],
        distances=tuple(distances),
        path=tuple(path),
        features=features.name,
    )


def _w_statistics(
    generator: Generator, config: ProjectionConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of w and the standard deviation of each dimension, [1, 1, w_dim] each."""
    network, device = generator.network, generator.w_avg.device
    labels = None
    if config.class_index is not None and not 0 <= config.class_index < network.c_dim:
        known = f"0 to {network.c_dim - 1}" if network.c_dim else "none: there are no classes"
        raise ConfigError(field="class_index", value=config.class_index, expected=known)
    if network.c_dim:
        classes = torch.arange(_W_SAMPLES) % network.c_dim
        if config.class_index is not None:
            classes = torch.full_like(classes, config.class_index)
        labels = F.one_hot(classes, network.c_dim).float().to(device)
    z = torch.from_numpy(sample_z(range(_W_SAMPLES), network.z_dim)).to(device)
    with torch.no_grad():
        w = generator.mapping(z, labels)
    return w.mean(0)[None, None], w.std(0)[None, None]


def _noise_maps(generator: Generator) -> list[torch.Tensor] | None:
    """Return the noise maps [r, r] as parameters; None where noise has no effect.

    They start from the constant noise, which the result is rendered with.
    """
    sites = generator.synthesis.noise_sites()
    if not any(float(site.noise_strength.abs()) for site in sites):
        return None
    return [site.noise_const.detach().clone().requires_grad_(True) for site in sites]


def _autocorrelation(noises: list[torch.Tensor]) -> torch.Tensor:
    """Return Σ over maps and scales down to 8² of the squared neighbour correlation (App. D)."""
    total = torch.zeros((), device=noises[0].device)
    for noise in noises:
        x = noise[None, None]
        while True:
            for axis in (2, 3):
                total = total + (x * torch.roll(x, 1, dims=axis)).mean().square()
            if x.shape[2] <= 8:
                break
            x = F.avg_pool2d(x, 2)
    return total


def _normalize(noises: list[torch.Tensor] | None) -> None:
    """Scale every map to mean 0 and variance 1, in place."""
    with torch.no_grad():
        for noise in noises or ():
            noise -= noise.mean()
            noise *= noise.square().mean().clamp_min(1e-12).rsqrt()


def _state(
    generator: Generator, w: torch.Tensor, coords: torch.Tensor | None
) -> tuple[Array, Array | None]:
    """Return the current latents as arrays: w for every site, and coordinates."""
    spread = w.detach()[0].expand(len(generator.network.sites), -1)
    found = spread.cpu().numpy().astype(np.float32).copy()
    return found, None if coords is None else coords.detach()[0].cpu().numpy().copy()
