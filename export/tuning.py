"""Choosing the form of each upsampling site by timing it on the backend that will run it.

All forms are the same linear map, so the choice changes speed alone. The fastest one depends on the
backend, the number of channels, the resolution and the machine. Each site is timed as a graph of
its own, with its modulation and activation. The forms take turns, so that load on the machine
affects all of them alike.
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

from segan.export.graphs.family import GeneratorGraphs, graphs_of
from segan.export.graphs.lowering import LOWERINGS, Lowering
from segan.export.to_onnx import to_onnx
from segan.runtime.backends.choose import candidates, open_session
from segan.runtime.backends.session import SessionConfig
from segan.runtime.errors import ConfigError
from segan.train.networks.family import Generator

#: Precisions to tune for: forms are timed as fp32 graphs, which OpenVINO also computes in bf16.
PRECISIONS = ("auto", "fp32", "bf16")

#: Share by which a form must be faster than the default one to be taken; less may be noise.
MARGIN = 0.03


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """What to tune the upsampling sites for.

    Attributes:
        backend: backend that will run the bundle; ``auto`` is the best that works here.
        precision: precision of synthesis on that backend, ``fp32``, or on OpenVINO ``bf16``;
            ``auto`` is the backend's own choice.
        batch: images computed at once.
        rounds: how often each form is measured.
        seconds: length of each measurement.

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
                field="precision",
                value=self.precision,
                expected=f"one of {', '.join(PRECISIONS)}",
                remedy="The forms are timed as fp32 graphs.",
            )
        for name in ("batch", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(field=name, value=getattr(self, name), expected="1 or more")
        if not self.seconds > 0:
            raise ConfigError(field="seconds", value=self.seconds, expected="more than 0")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was measured.

    Attributes:
        backend: backend that was timed.
        precision: its precision.
        batch: images computed at once.
        milliseconds: median time of a batch, by site and form.
        lowering: the chosen form of each site.
    """

    backend: str
    precision: str
    batch: int
    milliseconds: dict[str, dict[str, float]]
    lowering: dict[str, Lowering]

    def as_dict(self) -> dict[str, Any]:
        """Return the measurement for the manifest's provenance."""
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
    """Time every form of every upsampling site, and choose the fastest.

    Args:
        generator: on the CPU, float32, in evaluation mode.
        default: form of each upsampling site, kept unless another one is faster by ``MARGIN``.
        config: what to tune for; None takes the defaults.
        on_site: called with the name of each site before it is timed.

    Raises:
        ConfigError: an unknown backend or precision.
        BackendError: the backend does not work here.
    """
    config = config or TuneConfig()
    # The timed graphs are fp32; a backend may be configured to compute them in another precision.
    choice = candidates(config.backend, config.precision, ("fp32",))[0]
    found: dict[str, dict[str, float]] = {}
    lowering: dict[str, Lowering] = {}
    # Graphs that a backend compiles here are not needed later.
    with tempfile.TemporaryDirectory() as folder:
        session = SessionConfig(precision=choice.precision, cache=Path(folder))
        graphs, w_dim = graphs_of(generator), generator.network.w_dim
        for name in default:
            if on_site is not None:
                on_site(name)
            found[name] = _time_site(graphs, name, w_dim, choice.backend, session, config)
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


def _time_site(
    graphs: GeneratorGraphs,
    name: str,
    w_dim: int,
    backend: str,
    session: SessionConfig,
    config: TuneConfig,
) -> dict[str, float]:
    """Return the median milliseconds of a batch, by form."""
    shapes = {"scale": (1,), "w": (w_dim,)}
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
            model = to_onnx(graphs.timed_site(name, form), examples, ["y"])
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
    """Return the mean milliseconds of a run over ``config.seconds``, at least one run."""
    start, count = time.perf_counter(), 0
    while True:
        run()
        count += 1
        passed = time.perf_counter() - start
        if passed >= config.seconds:
            return 1000 * passed / count
