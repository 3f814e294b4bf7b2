"""The ceilings of a machine: the rate of large convolutions, and of copies in memory.

A convolution is measured as a bundle's graphs are: as an ONNX model on the same backend, in the
same precision. Its activations are created and summed within the graph, so that inputs and outputs
are small, and several convolutions follow each other, so that a backend may keep its own layout and
type between them. The models are encoded here, since onnx is not a dependency of the runtime.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segan.runtime.backends.choose import open_session
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.backends.session import Precision, Session, SessionConfig
from segan.runtime.errors import BackendError
from segan.runtime.graphs.check import SafeModel
from segan.runtime.graphs.messages import (
    Attribute,
    Dimension,
    Graph,
    Model,
    Node,
    OperatorSet,
    TensorShape,
    TensorType,
    Type,
    ValueInfo,
    encode,
)
from segan.runtime.graphs.tensors import BFLOAT16, FLOAT, FLOAT16, INT8, make_tensor
from segan.runtime.machine.gpus import cuda_driver

#: Steps of the int8 model's activations and weights, whose values are within ± 4 and ± 1.
_STEP, _WEIGHT_STEP = 4 / 127, 1 / 127

#: Bytes of a copy, more than caches hold.
_COPY_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of a series of 3 × 3 convolutions with as many output as input channels.

    Attributes:
        channels: input and output channels.
        resolution: height and width in pixels.
        depth: number of convolutions in the series.
        batch: images at once.
    """

    channels: int
    resolution: int
    depth: int
    batch: int

    @property
    def flops(self) -> int:
        """Floating-point operations of one run, two for each multiply-add."""
        pixels = self.batch * self.resolution**2
        return 2 * 9 * self.channels**2 * pixels * self.depth

    def __str__(self) -> str:
        return f"{self.channels} channels, {self.resolution}², batch {self.batch}"


#: Shapes for a processor and for a GPU: each of them keeps it busy, and the fastest counts.
CPU_SHAPES = (
    Shape(channels=128, resolution=64, depth=2, batch=4),
    Shape(channels=256, resolution=32, depth=2, batch=4),
    Shape(channels=512, resolution=16, depth=2, batch=4),
)
GPU_SHAPES = (
    Shape(channels=256, resolution=128, depth=4, batch=16),
    Shape(channels=512, resolution=64, depth=4, batch=16),
    Shape(channels=1024, resolution=32, depth=4, batch=16),
)


def convolution_model(shape: Shape, graph: Precision) -> SafeModel:
    """Return an ONNX model of ``shape.depth`` convolutions with random weights.

    Args:
        shape: of the convolutions; the batch is dynamic.
        graph: precision of the convolutions: fp32, fp16, bf16, or int8 between QuantizeLinear and
            DequantizeLinear.

    Returns:
        The serialized model: x [N, channels, 1, 1] float32 → y [N, channels, 1, 1] float32, the
        mean over the pixels.
    """
    c, r = shape.channels, shape.resolution
    random = np.random.RandomState(0)
    # This scale keeps the variance of the activations.
    weight = random.standard_normal((c, c, 3, 3)).astype(np.float32) / math.sqrt(9 * c)
    plane = random.standard_normal((1, c, r, r)).astype(np.float32)
    tensors = [make_tensor("plane", plane, FLOAT)]
    nodes = [_node("Add", ["x", "plane"], "h")]
    last, kernel = "h", "weight"
    kind = {"fp32": FLOAT, "fp16": FLOAT16, "bf16": BFLOAT16, "int8": INT8}[graph]
    if graph == "int8":
        scaled = np.clip(np.rint(weight / np.abs(weight).max() * 127), -127, 127)
        tensors += [
            make_tensor("weight8", scaled, INT8),
            # The exact scale would cost the same.
            make_tensor("weight_step", np.float32(_WEIGHT_STEP / (3 * math.sqrt(c))), FLOAT),
            make_tensor("step", np.float32(_STEP), FLOAT),
            make_tensor("zero", np.int8(0), INT8),
        ]
        nodes.append(_node("DequantizeLinear", ["weight8", "weight_step", "zero"], "weight"))
    else:
        tensors.append(make_tensor("weight", weight, kind))
        if kind != FLOAT:
            nodes.append(_node("Cast", [last], "cast", "to", kind))
            last = "cast"
    for number in range(shape.depth):
        if graph == "int8":
            nodes += _quantized(last, number)
            last = f"d{number}"
        nodes.append(_node("Conv", [last, kernel], f"c{number}", "pads", [1, 1, 1, 1]))
        last = f"c{number}"
    if graph == "int8":
        nodes += _quantized(last, shape.depth)
        last = f"d{shape.depth}"
    elif kind != FLOAT:
        nodes.append(_node("Cast", [last], "back", "to", FLOAT))
        last = "back"
    nodes.append(_node("GlobalAveragePool", [last], "y"))
    body = Graph(
        node=nodes,
        name="convolutions",
        initializer=tensors,
        input=[_value("x", c)],
        output=[_value("y", c)],
    )
    # Conv supports bfloat16 from opset 22 on.
    ir, opset = (10, 22) if graph == "bf16" else (8, 18)
    sets = [OperatorSet(domain="", version=opset)]
    return SafeModel(encode(Model(ir_version=ir, graph=body, opset_import=sets)))


def _quantized(last: str, number: int) -> list[Node]:
    """Return the nodes to int8 and back, which a backend fuses with the convolutions."""
    return [
        _node("QuantizeLinear", [last, "step", "zero"], f"q{number}"),
        _node("DequantizeLinear", [f"q{number}", "step", "zero"], f"d{number}"),
    ]


def _node(
    kind: str, inputs: list[str], output: str, name: str = "", value: int | list[int] = 0
) -> Node:
    """Return a node, with one attribute where it has a name: an int, type 2, or ints, type 7."""
    attributes = []
    if isinstance(value, list):
        attributes.append(Attribute(name=name, ints=value, type=7))
    elif name:
        attributes.append(Attribute(name=name, i=value, type=2))
    return Node(input=inputs, output=[output], name=output, op_type=kind, attribute=attributes)


def _value(name: str, channels: int) -> ValueInfo:
    """Return an input or output: float32 [N, channels, 1, 1]."""
    dims = [Dimension(dim_param="N"), *(Dimension(dim_value=size) for size in (channels, 1, 1))]
    return ValueInfo(
        name=name, type=Type(tensor_type=TensorType(elem_type=FLOAT, shape=TensorShape(dim=dims)))
    )


class ConvolutionCeiling:
    """The fastest of several large convolutions on one backend, in one precision.

    Attributes:
        shape: of the fastest convolution.
    """

    def __init__(
        self,
        backend: str,
        graph: Precision,
        config: SessionConfig,
        shapes: tuple[Shape, ...] | None = None,
    ) -> None:
        """Load and try each shape.

        Args:
            backend: its name.
            graph: the precision of the graph that the backend reads.
            config: how to compute.
            shapes: to try; None for ``CPU_SHAPES`` or ``GPU_SHAPES``.

        Raises:
            BackendError: the backend is missing, or cannot compute any of them.
        """
        if shapes is None:
            shapes = GPU_SHAPES if BACKENDS[backend].on_gpu else CPU_SHAPES
        best: tuple[float, Shape, Session] | None = None
        problem: BackendError | None = None
        for shape in shapes:
            model = convolution_model(shape, graph)
            try:
                session = open_session(model, backend, name="convolution", config=config)
                _run(session, shape)
                rate = shape.flops / min(_run(session, shape) for _ in range(2))
            except BackendError as error:
                problem = error
                continue
            if best is None or rate > best[0]:
                if best is not None:
                    best[2].close()
                best = rate, shape, session
            else:
                session.close()
        if best is None:
            raise problem or BackendError("there is no shape to try")
        _, self.shape, self._session = best

    def measure(self, seconds: float) -> float:
        """Run for ``seconds`` and return the FLOP/s, two for each multiply-add."""
        start, runs = time.perf_counter(), 0
        while not runs or time.perf_counter() - start < seconds:
            _run(self._session, self.shape)
            runs += 1
        return runs * self.shape.flops / (time.perf_counter() - start)

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def _run(session: Session, shape: Shape) -> float:
    """Return the seconds of one run."""
    x = np.zeros((shape.batch, shape.channels, 1, 1), np.float32)
    start = time.perf_counter()
    session.run({"x": x})
    return time.perf_counter() - start


def measure_host_copy(repeats: int = 5) -> float:
    """Return the bytes a second of one thread's copies in memory, the fastest of ``repeats``."""
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.empty_like(source)
    return _fastest(lambda: np.copyto(target, source), repeats)


def measure_device_copy(repeats: int = 20) -> float:
    """Return the bytes a second of copies within the first GPU, the fastest of ``repeats``.

    Raises:
        BackendError: there is no NVIDIA driver, or it failed.
    """
    driver = cuda_driver()
    if driver is None:
        raise BackendError("no NVIDIA driver is installed here")
    context, device = ctypes.c_void_p(), ctypes.c_int()
    source, target = ctypes.c_uint64(), ctypes.c_uint64()
    size = ctypes.c_size_t(4 * _COPY_BYTES)

    def call(name: str, *arguments: object) -> None:
        status = getattr(driver, name)(*arguments)
        if status != 0:
            raise BackendError(f"the NVIDIA driver failed in {name} (error {status})")

    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        call("cuCtxPushCurrent_v2", context)
        try:
            call("cuMemAlloc_v2", ctypes.byref(source), size)
            call("cuMemAlloc_v2", ctypes.byref(target), size)

            def copy() -> None:
                call("cuMemcpyDtoD_v2", target, source, size)
                call("cuCtxSynchronize")

            copy()
            return 4 * _fastest(copy, repeats)
        finally:
            for memory in (source, target):
                if memory.value:
                    driver.cuMemFree_v2(memory)
            driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)


def _fastest(copy: Callable[[], None], repeats: int) -> float:
    """Return the bytes a second of the fastest of several copies of ``_COPY_BYTES``."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        copy()
        times.append(time.perf_counter() - start)
    return _COPY_BYTES / min(times)
