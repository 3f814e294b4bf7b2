"""Choosing the form of each upsampling site by timing it on the backend that will run it.

All forms are the same linear map, so the choice changes speed alone. Which one wins depends on the
backend, the number of channels, the resolution and the machine, so each site is timed as a graph
of its own, with its modulation and activation around it, the forms taking turns so that a busy
moment meets all of them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from segan.export.graphs.stylegan2.graphs import ConvolutionSite
from segan.export.graphs.stylegan2.lowering import LOWERINGS, Lowering
from segan.export.to_onnx import to_onnx
from segan.runtime.backends.choose import candidates, open_session
from segan.runtime.backends.session import SessionConfig
from segan.runtime.errors import ConfigError
from segan.train.networks.stylegan2.generator import Generator, SynthesisSite

#: Precisions to tune for: forms are timed as fp32 graphs, which OpenVINO also computes in bf16.
PRECISIONS = ("auto", "fp32", "bf16")

#: A form must be this much faster than the default one to be taken: less is the machine's noise.
MARGIN = 0.03


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """What to tune for.

    Attributes:
        backend: that will run the bundle; ``auto`` is the best that works here.
        precision: that synthesis will be computed in; ``auto`` is the backend's own choice.
        batch: images computed at once.
        rounds: times that every form is measured.
        seconds: of each measurement.

    Raises:
        ConfigError: a number out of its range.
    """

    backend: str = "auto"
    precision: str = "auto"
    batch: int = 8
    rounds: int = 5
    seconds: float = 0.1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"precision to tune for is {self.precision!r}; expected one of "
                f"{', '.join(PRECISIONS)}: the forms are timed as fp32 graphs."
            )
        for name in ("batch", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more.")
        if not self.seconds > 0:
            raise ConfigError(f"seconds is {self.seconds}; expected more than 0.")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was measured.

    Attributes:
        backend: that was timed.
        precision: that it computed in.
        batch: images computed at once.
        milliseconds: median time of a batch, by site and form.
        lowering: the form of each site that follows from it.
    """

    backend: str
    precision: str
    batch: int
    milliseconds: dict[str, dict[str, float]]
    lowering: dict[str, Lowering]

    def as_dict(self) -> dict[str, Any]:
        """For the manifest's provenance."""
        return {
            "backend": self.backend,
            "precision": self.precision,
            "batch": self.batch,
            "milliseconds": self.milliseconds,
        }


def tune_lowering(
    generator: Generator,
    default: Mapping[str, Lowering],
    config: TuneConfig | None = None,
    *,
    on_site: Callable[[str], None] | None = None,
) -> Tuning:
    """Times every form of every upsampling site, and picks the fastest.

    Args:
        generator: on the CPU, float32, in evaluation mode.
        default: form of each upsampling site that is kept unless another is clearly faster.
        config: what to tune for.
        on_site: called with the name of each site before it is timed.

    Raises:
        ConfigError: an unknown backend or precision.
        BackendError: the backend does not work here.
    """
    config = config or TuneConfig()
    # The timed graphs are fp32; a backend may be told to compute them in another precision.
    choice = candidates(config.backend, config.precision, ("fp32",))[0]
    found: dict[str, dict[str, float]] = {}
    lowering: dict[str, Lowering] = {}
    # What a backend compiles of these graphs is of no use to anybody later.
    with tempfile.TemporaryDirectory() as folder:
        session = SessionConfig(precision=choice.precision, cache=Path(folder))
        for name, site in _up_sites(generator):
            if on_site is not None:
                on_site(name)
            found[name] = _time_site(name, site, choice.backend, session, config)
    for name in found:
        best = cast(Lowering, min(found[name], key=lambda form: found[name][form]))
        usual = default[name]
        clearly = found[name][best] < (1 - MARGIN) * found[name][usual]
        lowering[name] = best if clearly else usual
    return Tuning(
        backend=choice.backend,
        precision=choice.precision,
        batch=config.batch,
        milliseconds=found,
        lowering=lowering,
    )


def _up_sites(generator: Generator) -> list[tuple[str, SynthesisSite]]:
    """The upsampling sites, with their names, in order."""
    found = []
    for block in generator.synthesis.block_list():
        if block.conv0 is not None:
            found.append((f"b{block.resolution}.conv0", block.conv0))
    return found


class _TimedSite(nn.Module):
    """One upsampling site that makes its input and reduces its output: a GPU copies little."""

    x: torch.Tensor

    def __init__(self, site: SynthesisSite, form: Lowering, resolution: int) -> None:
        super().__init__()
        self.site = ConvolutionSite(site, form, 1.0)
        random = torch.Generator().manual_seed(0)
        shape = (1, site.weight.shape[1], resolution, resolution)
        self.register_buffer("x", torch.randn(shape, generator=random))

    def forward(self, scale: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """scale [N, 1] of the image's feature map and w [N, w_dim] → [N, O]."""
        y: torch.Tensor = self.site(self.x * scale.view(-1, 1, 1, 1), w, None)
        return y.amax(dim=(2, 3))


def _time_site(
    name: str, site: SynthesisSite, backend: str, session: SessionConfig, config: TuneConfig
) -> dict[str, float]:
    """Median milliseconds of a batch, by form."""
    resolution = int(name.partition(".")[0][1:]) // 2
    shapes = {"scale": (1,), "w": (site.affine.weight.shape[1],)}
    random = np.random.RandomState(0)
    feeds = {
        key: random.standard_normal((config.batch, *shape)).astype(np.float32)
        for key, shape in shapes.items()
    }
    examples = {key: torch.zeros(2, *shape) for key, shape in shapes.items()}
    times: dict[str, list[float]] = {form: [] for form in LOWERINGS}
    opened = {}
    try:
        for form in LOWERINGS:
            model = to_onnx(_TimedSite(site, form, resolution), examples, ["y"])
            opened[form] = open_session(
                model, backend, name=f"{name} {form}", config=replace(session)
            )
            opened[form].run(feeds)
        for _ in range(config.rounds):
            for form, graph in opened.items():
                times[form].append(_milliseconds(lambda graph=graph: graph.run(feeds), config))  # type: ignore[misc]
    finally:
        for graph in opened.values():
            graph.close()
    return {form: round(statistics.median(values), 4) for form, values in times.items()}


def _milliseconds(run: Callable[[], object], config: TuneConfig) -> float:
    """Mean time of a run over ``config.seconds``, at least one."""
    start, count = time.perf_counter(), 0
    while True:
        run()
        count += 1
        passed = time.perf_counter() - start
        if passed >= config.seconds:
            return 1000 * passed / count
