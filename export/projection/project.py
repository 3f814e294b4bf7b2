"""Projection: the latent whose image comes closest to a given one.

Karras et al. 2020b, "Analyzing and Improving the Image Quality of StyleGAN", Appendix D: w starts
at the mean, noise that is added to it fades out over three quarters of the steps, the learning rate
rises over 5 % and falls over the last 25 % of them, and the per-pixel noise is optimised too but
kept from carrying the image by a penalty on its autocorrelation at all scales.
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
from segan.train.networks.stylegan2.generator import Generator, SynthesisSite

Images = NDArray[np.uint8]
Array = NDArray[np.float32]
Space = Literal["w", "w+", "coords"]
SPACES: tuple[str, ...] = get_args(Space)

#: Latents that give the mean and the spread of w.
_W_SAMPLES = 10_000

#: Most latents that are kept along the way, for the video.
_KEPT = 60


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """How to project; the figures are those of Karras et al. 2020b, App. D, unless said.

    Attributes:
        space: ``w``, one vector; ``w+``, one for each site; ``coords``, one vector and the
            subspace coordinates.
        steps: of the optimisation.
        learning_rate: largest step of Adam, in standard deviations of a dimension of w (ours: w
            has another scale in every generator).
        initial_noise: of the noise that is added to w at first, relative to its spread.
        noise_ramp: share of the steps over which that noise fades out.
        ramp_up: share of the steps over which the learning rate rises.
        ramp_down: share over which it falls.
        noise_weight: of the penalty on the per-pixel noise.
        coords_weight: of the mean square coordinate (ours): what w can do is left to w.
        class_index: whose mean to start from, of a conditional generator; None takes all classes.
        seed: of the noise that is added.

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
            raise ConfigError(f"space is {self.space!r}; expected one of {', '.join(SPACES)}.")
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; expected 1 or more, such as 500.")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning rate is {self.learning_rate}; expected more than 0.")

    def rate(self, step: int) -> float:
        """The learning rate's factor at a step."""
        t = step / self.steps
        ramp = min(1.0, (1.0 - t) / self.ramp_down)
        return (0.5 - 0.5 * math.cos(ramp * math.pi)) * min(1.0, t / self.ramp_up)


@dataclass(frozen=True, eq=False, kw_only=True)
class Projection:
    """What was found.

    Attributes:
        w: [num_sites, w_dim] float32, before truncation and subspaces.
        coords: [num_subspaces, coords_dim] float32 in the space ``coords``, else None.
        target: [H, W, C] uint8.
        start: the image of the mean w.
        image: the image of ``w`` and ``coords``, with the generator's constant noise.
        distances: the features' squared distance at each step.
        path: latents along the way, (w, coords) each, for a video.
        features: which features were compared.
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
    """Between uint8 images taken as [-1, 1]."""
    return float(np.square((a.astype(np.float64) - b) / 127.5).mean())


def render(generator: Generator, w: Array, coords: Array | None = None) -> Images:
    """Images with constant noise: w [N, num_sites, w_dim], coords or zeros → [N, H, W, C]."""
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
    """Finds the latent of an image.

    Args:
        generator: in evaluation mode; on its device all is computed. Not changed.
        target: [H, W, C] uint8 of the generator's size and channels.
        config: None takes the defaults.
        features: None takes pixels and gradients at several scales.
        on_step: called after each step with its distance.

    Raises:
        ConfigError: the space ``coords`` without subspaces, or a class that does not exist.
        DataError: another size, or images that are not finite.
    """
    config = config or ProjectionConfig()
    features = features or PixelGradients()
    network = generator.network
    shape = (network.resolution, network.resolution, network.img_channels)
    if target.shape != shape or target.dtype != np.uint8:
        raise DataError(
            f"the image is {target.dtype} {list(target.shape)}; expected uint8 {list(shape)}."
        )
    if config.space == "coords" and not generator.table:
        raise ConfigError(
            "space is 'coords', but this generator (mode 0) has no subspaces; expected w or w+."
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
            raise DataError("the images are not finite. Take an earlier checkpoint of the run.")
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
    """Mean w [1, 1, w_dim], and the standard deviation of each dimension, the same shape."""
    network, device = generator.network, generator.w_avg.device
    labels = None
    if config.class_index is not None and not 0 <= config.class_index < network.c_dim:
        known = f"0 to {network.c_dim - 1}" if network.c_dim else "none: there are no classes"
        raise ConfigError(f"class is {config.class_index}; expected {known}.")
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
    """The convolutions' noise as parameters, from the constant noise; None where it has no effect.

    The result is rendered with the constant noise, so that is where its optimisation starts.
    """
    sites = [
        module
        for block in generator.synthesis.block_list()
        for _, module in block.site_modules()
        if isinstance(module, SynthesisSite)
    ]
    if not any(float(site.noise_strength.abs()) for site in sites):
        return None
    return [site.noise_const.detach().clone().requires_grad_(True) for site in sites]


def _autocorrelation(noises: list[torch.Tensor]) -> torch.Tensor:
    """Σ over maps and scales down to 8² of the squared correlation of neighbours (App. D)."""
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
    """Brings every map back to mean 0 and variance 1."""
    with torch.no_grad():
        for noise in noises or ():
            noise -= noise.mean()
            noise *= noise.square().mean().clamp_min(1e-12).rsqrt()


def _state(
    generator: Generator, w: torch.Tensor, coords: torch.Tensor | None
) -> tuple[Array, Array | None]:
    """The latents of now as arrays: w for every site, and coordinates."""
    spread = w.detach()[0].expand(len(generator.network.sites), -1)
    found = spread.cpu().numpy().astype(np.float32).copy()
    return found, None if coords is None else coords.detach()[0].cpu().numpy().copy()
