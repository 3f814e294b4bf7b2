"""Building a TensorRT engine from an ONNX graph: profile, pixel outputs, settings and progress.

The network is strongly typed: the graph determines the precision. Multiplications of fp32 are fp32,
not TF32. A graph with an output ``image`` gets two more outputs, so that the GPU returns pixels and
not floats:

    pixels     [N, H, W, C] uint8 = clip(floor(127.5 image + 128), 0, 255)
    unfinite   [N] float32, how many values of an image are NaN or infinite
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from segan.runtime.backends.tensorrt.library import Library, library_error
from segan.runtime.backends.tensorrt.settings import EngineSettings
from segan.runtime.errors import BackendError
from segan.runtime.graphs.check import BROADCAST_INPUTS, safe_model
from segan.runtime.machine.gpus import CudaDevice

#: Increased when engines are built in another way, so that older ones are built again.
BUILD_FORMAT = 1

IMAGE, PIXELS, UNFINITE = "image", "pixels", "unfinite"

#: Called with the share that is done, 0 to 1, and a few words.
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an engine is built for: the GPU of this machine, or GPUs of other machines.

    Attributes:
        capabilities: compute capabilities that the engine runs on, such as ``8.9``.
        gpu: name of the GPU; None when built ahead of time.
        driver: newest CUDA version of its driver; None when built ahead of time.
    """

    capabilities: tuple[str, ...]
    gpu: str | None = None
    driver: str | None = None

    @classmethod
    def of(cls, device: CudaDevice) -> Target:
        """Return the target of the GPU of this machine."""
        return cls(
            capabilities=(f"{device.capability[0]}.{device.capability[1]}",),
            gpu=device.name,
            driver=f"{device.driver[0]}.{device.driver[1]}",
        )

    def __str__(self) -> str:
        listed = ", ".join(self.capabilities)
        return self.gpu or f"GPUs of compute capability {listed}"

    def runs_on(self, other: Target) -> bool:
        """Return whether an engine for this target runs on the GPU ``other``."""
        return self == other or (
            self.gpu is None and set(other.capabilities) <= {*self.capabilities}
        )


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """A serialized engine.

    Attributes:
        plan: its bytes.
        profile: smallest, best and largest shape of each input.
        timings: the timing cache after the build; None where there is none.
        seconds: duration of the build.
    """

    plan: bytes
    profile: dict[str, tuple[tuple[int, ...], ...]]
    timings: bytes | None
    seconds: float


def build_engine(
    library: Library,
    model: bytes,
    *,
    name: str,
    target: Target,
    settings: EngineSettings,
    timings: bytes = b"",
    on_progress: Progress | None = None,
) -> BuiltEngine:
    """Build an engine.

    Args:
        library: that builds the engine and will run it.
        model: the serialized ONNX model, with its weights inside and a dynamic batch.
        name: of the graph, for messages.
        target: the GPU that the engine is for.
        settings: how to build.
        timings: an earlier build's timing cache.
        on_progress: called repeatedly, from the thread that builds.

    Raises:
        BackendError: the graph stores weights in another file or cannot be parsed, or the library
            cannot build it for this target.
    """
    start = time.perf_counter()
    model = safe_model(model, name)
    trt = library.module
    library.log.take()
    builder = trt.Builder(library.log)
    flags = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flags is None else 1 << int(flags))
    # Builder, network and parser share memory, so all three are kept until the end.
    parser = trt.OnnxParser(network, library.log)
    if not parser.parse(model):
        reasons = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        reason = (reasons or [library.first_error()])[0][:400].rstrip(". ")
        raise BackendError(
            f"{library.name} {library.version} cannot read the {name} graph: {reason}"
        )
    constants: list[Any] = []  # The builder reads weights from these arrays.
    pixels = _add_pixels(trt, network, constants)
    config = builder.create_builder_config()
    _configure(library, config, settings, target)
    profile = builder.create_optimization_profile()
    shapes = _profile(network, name, settings.batches(pixels))
    for tensor, (smallest, best, largest) in shapes.items():
        profile.set_shape(tensor, smallest, best, largest)
    config.add_optimization_profile(profile)
    cache = None
    if not library.is_rtx:
        cache = config.create_timing_cache(timings)
        if not config.set_timing_cache(cache, False):
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, False)
    monitor = None
    if on_progress is not None and hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = monitor = _monitor(trt, on_progress)
    plan = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise library_error(
            library, f"{library.name} {library.version} cannot build the {name} engine for {target}"
        )
    return BuiltEngine(
        plan=bytes(memoryview(plan)),
        profile=shapes,
        timings=None if cache is None else bytes(memoryview(cache.serialize())),
        seconds=time.perf_counter() - start,
    )


def _configure(library: Library, config: Any, settings: EngineSettings, target: Target) -> None:
    trt = library.module
    # TF32 is on by default and rounds the mantissa of fp32 to 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    # Otherwise 0 · x may be replaced by 0, which hides a NaN.
    strict = getattr(trt.BuilderFlag, "STRICT_NANS", None)
    if strict is not None:  # Not in every TensorRT 10.
        config.set_flag(strict)
    config.builder_optimization_level = settings.level
    if settings.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace)
    if library.is_rtx:
        config.num_compute_capabilities = len(target.capabilities)
        for number, capability in enumerate(target.capabilities):
            kind = f"SM{capability.replace('.', '')}"
            if target.gpu is not None and kind not in trt.ComputeCapability.__members__:
                kind = "CURRENT"
            config.set_compute_capability(trt.ComputeCapability.__members__[kind], number)


def _profile(
    network: Any, name: str, batches: tuple[int, int, int]
) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Return the smallest, the optimum and the largest shape of each input."""
    shapes = {}
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        first, *rest = tuple(tensor.shape)
        if first != -1 or -1 in rest:
            raise BackendError(
                f"the {name} graph: {tensor.name} has the shape {[first, *rest]}",
                expected="a dynamic batch and no other dynamic dimension",
                remedy="Export the bundle again.",
            )
        smallest, best, largest = batches
        # An input that may have one row for the whole batch is optimised for one row.
        sizes = (smallest, smallest if tensor.name in BROADCAST_INPUTS else best, largest)
        shapes[tensor.name] = tuple((size, *rest) for size in sizes)
    return shapes


def _add_pixels(trt: Any, network: Any, constants: list[Any]) -> int | None:
    """Add ``pixels`` and ``unfinite`` after ``image``; return H · W, or None without an image."""
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    image = next((tensor for tensor in outputs if tensor.name == IMAGE), None)
    if image is None:
        return None
    operation, unary = trt.ElementWiseOperation, trt.UnaryOperation

    def constant(value: float) -> Any:
        constants.append(np.full((1, 1, 1, 1), value, np.float32))
        return network.add_constant((1, 1, 1, 1), trt.Weights(constants[-1])).get_output(0)

    def apply(kind: Any, left: Any, right: Any) -> Any:
        return network.add_elementwise(left, right, kind).get_output(0)

    def change(kind: Any, value: Any) -> Any:
        return network.add_unary(value, kind).get_output(0)

    x = image if image.dtype == trt.float32 else network.add_cast(image, trt.float32).get_output(0)
    x = apply(operation.SUM, apply(operation.PROD, x, constant(127.5)), constant(128))
    bad = apply(operation.OR, change(unary.ISNAN, x), change(unary.ISINF, x))
    counts = network.add_cast(bad, trt.float32).get_output(0)
    count = network.add_reduce(counts, trt.ReduceOperation.SUM, 0b1110, False).get_output(0)
    x = apply(
        operation.MIN, apply(operation.MAX, change(unary.FLOOR, x), constant(0)), constant(255)
    )
    turned = network.add_shuffle(x)
    turned.first_transpose = trt.Permutation([0, 2, 3, 1])
    pixels = network.add_cast(turned.get_output(0), trt.uint8).get_output(0)
    for tensor, name in ((pixels, PIXELS), (count, UNFINITE)):
        tensor.name = name
        network.mark_output(tensor)
    return int(image.shape[2] * image.shape[3])


def _monitor(trt: Any, on_progress: Progress) -> Any:
    """Return a progress monitor that turns the builder's nested phases into one number."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.interrupted = False
            self._phases: dict[str, _Phase] = {}
            self._highest = 0.0

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            above = self._phases.get(parent or "")
            self._phases[name] = _Phase(above=above, steps=max(1, steps))
            self._tell(name, self._phases[name].share())

        def step_complete(self, name: str, step: int) -> bool:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done = min(step + 1, phase.steps)
                self._tell(name, phase.share())
            # An exception must not pass through the library's C++ code.
            return not self.interrupted

        def phase_finish(self, name: str) -> None:
            self._phases.pop(name, None)

        def _tell(self, name: str, share: float) -> None:
            # Phases of different lengths overlap; the reported share never decreases.
            self._highest = max(self._highest, min(share, 1.0))
            try:
                on_progress(self._highest, name)
            except KeyboardInterrupt:
                self.interrupted = True

    return Monitor()


@dataclass(kw_only=True)
class _Phase:
    above: _Phase | None
    steps: int
    done: int = 0

    def share(self) -> float:
        """Return the share of the whole build that is done."""
        own = self.done / self.steps
        if self.above is None:
            return own
        return self.above.share() + own / self.above.steps * self.above.width()

    def width(self) -> float:
        """Return the share of the whole build that this phase is."""
        return 1.0 if self.above is None else self.above.width() / self.above.steps
