"""Checks that a model may be given to a backend, which sees only what was checked.

A model may come from anyone. It is decoded strictly, every operator must be one that segan writes,
and the shapes of all tensors are inferred, so that memory and work are known before anything is
loaded. The result is written again from what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from segan.runtime.errors import BackendError
from segan.runtime.graphs.messages import Graph, Model, Node, ValueInfo, decode, encode
from segan.runtime.graphs.operators import find_operator, read_attributes
from segan.runtime.graphs.shapes import BATCH, ROWS, Call, Value
from segan.runtime.graphs.tensors import FLOAT, INT64, MAX_AXES, TYPES, check_tensor, tensor_values
from segan.runtime.graphs.wire import MalformedModelError, shortened

#: Inputs that may hold one row for the whole batch.
BROADCAST_INPUTS: Final = frozenset({"noise"})

#: Versions that are read: opset 18 with IR 8 is what segan writes, and 22 with IR 10 for bf16.
IR_VERSIONS, OPSETS = range(8, 11), range(18, 23)

#: Most elements of one tensor, for one image: so many for each pixel, and for each weight. At 1024²
#: StyleGAN2 has 32 for a pixel. All tensors that are alive at once may have ``_ALIVE`` times that.
_PER_PIXEL, _PER_WEIGHT, _ALIVE = 128, 8, 4
_FEW_ELEMENTS = 1 << 16

#: Most multiply-adds for one image: each weight so often at each pixel (1 in StyleGAN2, 4 with
#: folded upsampling, filters aside), some work for the pixels themselves, and never more than the
#: largest, 40 s on two cores: StyleGAN2 takes 7.4e10 at 1024².
_WEIGHT_USES, _PIXEL_WORK, _MAX_WORK = 4, 1 << 12, 4 * 10**12
_FEW_WORK = 1 << 22

#: Most elements and multiply-adds of what backends compute once, while they load: nodes whose
#: inputs are constants. segan folds its own; int8 weights become float.
_FOLDED_PER_WEIGHT = 4

#: Longest constant whose numbers are used as a shape, indices or axes.
_MAX_NUMBERS = 4096


class InterfaceError(MalformedModelError):
    """A graph takes or gives something else than its manifest says.

    Attributes:
        problem: what the graph has, to follow its name.
        expected: what the manifest says.
    """

    def __init__(self, problem: str, expected: str) -> None:
        super().__init__(f"it {problem}; expected {expected}, by the manifest")
        self.problem, self.expected = shortened(problem), f"{shortened(expected)}, by the manifest"


class SafeModel(bytes):
    """A model that was checked, or that segan itself made: what a backend may load."""


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What a graph must take and give, and how much it may cost.

    Attributes:
        inputs: sizes of each input by name, without the batch; all are float32.
        outputs: the same for each output.
        pixels: how many places of one image a weight is used at: R² of a synthesis, and for
            graphs without images their rows.
    """

    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    pixels: int


def safe_model(model: bytes, name: str) -> SafeModel:
    """Return the model as a backend may see it; one that was checked before is returned as it is.

    Args:
        model: a serialized ONNX model.
        name: of the graph, for messages.

    Raises:
        BackendError: see ``check_model``.
    """
    if isinstance(model, SafeModel):
        return model
    try:
        return check_model(model)
    except MalformedModelError as error:
        raise BackendError(
            f"the {name} graph is not an ONNX model that segan writes: {error}"
        ) from None


def check_model(model: bytes, interface: Interface | None = None) -> SafeModel:
    """Check a model of unknown origin and write it again.

    Args:
        model: a serialized ONNX model.
        interface: what it must take and give; None for any.

    Raises:
        MalformedModelError: it is not in the one spelling that is read; holds a field, an operator
            or an attribute that segan does not write; has a shape that cannot be inferred or is
            too large for the interface and its weights; takes or gives something else.
    """
    found = decode(Model, memoryview(model))
    _check_versions(found)
    assert found.graph is not None
    _Inference(found.graph, interface).run()
    return SafeModel(encode(found))


def read_model(model: bytes) -> Graph:
    """Return the graph of a model, decoded strictly. Raises: MalformedModelError."""
    found = decode(Model, memoryview(model)).graph
    return Graph() if found is None else found


def _check_versions(model: Model) -> None:
    if model.graph is None:
        raise MalformedModelError("there is no graph in it")
    if model.ir_version not in IR_VERSIONS:
        expected = f"{IR_VERSIONS.start} to {IR_VERSIONS.stop - 1}"
        raise MalformedModelError(f"its IR version is {model.ir_version}; expected {expected}")
    sets = [(entry.domain or "", entry.version) for entry in model.opset_import]
    if len(sets) != 1 or sets[0][0] or sets[0][1] not in OPSETS:
        listed = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in sets)
        expected = f"ai.onnx {OPSETS.start} to {OPSETS.stop - 1}"
        raise MalformedModelError(f"its operator sets are {listed or 'none'}; expected {expected}")


class _Inference:
    """Infers every shape of a graph, in the order of its nodes, and keeps within the bounds."""

    def __init__(self, graph: Graph, interface: Interface | None) -> None:
        self._graph, self._interface = graph, interface
        self._values: dict[str, Value] = {}
        self._weights = 0

    def run(self) -> None:
        """Raise MalformedModelError unless the graph may be loaded."""
        graph = self._graph
        for tensor in graph.initializer:
            kind, shape = check_tensor(tensor)
            numbers = None
            if kind == INT64 and len(shape) < 2 and sum(shape) <= _MAX_NUMBERS:
                numbers = tuple(int(number) for number in tensor_values(tensor).reshape(-1))
            value = Value(kind=kind, shape=shape, numbers=numbers, constant=True)
            self._weights += value.count
            self._add(str(tensor.name), value)
        self._set_bounds()
        for info in graph.input:
            self._add_input(info)
        if self._interface is not None:
            self._check_interface(self._interface)
        self._walk()
        for info in (*graph.output, *graph.value_info):
            self._check_stated(info)
        for name, sizes in ({} if self._interface is None else self._interface.outputs).items():
            self._check_shape("output", name, sizes)

    def _set_bounds(self) -> None:
        # Without an interface the graph is one of segan's own, of any resolution.
        pixels = 1 << 20 if self._interface is None else self._interface.pixels
        weights = self._weights
        self._most_elements = _FEW_ELEMENTS + _PER_PIXEL * pixels + _PER_WEIGHT * weights
        self._most_work = min(
            _MAX_WORK, _FEW_WORK + (_WEIGHT_USES * weights + _PIXEL_WORK) * pixels
        )
        self._most_folded = _FEW_ELEMENTS + _FOLDED_PER_WEIGHT * weights

    def _add(self, name: str, value: Value) -> None:
        if not name or name in self._values:
            raise MalformedModelError(f"the tensor {name!r} is made twice, or has no name")
        self._values[name] = value

    def _add_input(self, info: ValueInfo) -> None:
        name, kind, sizes = _stated(info)
        if not sizes:
            raise MalformedModelError(f"the input {name!r} has no batch")
        first = sizes[0] or (ROWS if name in BROADCAST_INPUTS else BATCH)
        rest = tuple(size for size in sizes[1:] if size is not None)
        if len(rest) < len(sizes) - 1 or 0 in rest:
            raise MalformedModelError(f"the input {name!r} has open sizes other than the batch")
        value = Value(kind=kind, shape=(first, *rest))
        if value.count > self._most_elements:
            raise MalformedModelError(f"the input {name!r} is {value}, {self._limit()}")
        self._add(name, value)

    def _limit(self) -> str:
        return f"more than the {self._most_elements} elements that its image and weights justify"

    def _check_interface(self, wanted: Interface) -> None:
        """Compare the names of inputs and outputs, and the sizes of the inputs."""
        graph = self._graph
        for kind, infos, named in (
            ("input", graph.input, wanted.inputs),
            ("output", graph.output, wanted.outputs),
        ):
            names = sorted(str(info.name) for info in infos)
            if names != sorted(named):
                raise InterfaceError(
                    f"has the {kind}s {', '.join(names)}", f"{', '.join(sorted(named))}"
                )
        for name, sizes in wanted.inputs.items():
            self._check_shape("input", name, sizes)

    def _check_shape(self, kind: str, name: str, sizes: tuple[int, ...]) -> None:
        found = self._values[name]
        if found.kind != FLOAT or found.shape[1:] != sizes or isinstance(found.shape[0], int):
            expected = Value(kind=FLOAT, shape=(BATCH, *sizes))
            raise InterfaceError(f"has the {kind} {name} {found}", f"{name} {expected}")

    def _walk(self) -> None:
        """Infer the outputs of every node, and count elements and work."""
        last = {name: number for number, node in enumerate(self._graph.node) for name in node.input}
        kept = {str(info.name) for info in self._graph.output}
        alive = work = folded = 0
        for number, node in enumerate(self._graph.node):
            try:
                found, cost = self._infer(node)
            except MalformedModelError as error:
                where = f"the node {node.name or number!r} ({node.op_type})"
                raise MalformedModelError(f"{where}: {error}") from None
            size = sum(value.count for value in found)
            if all(value.constant for value in found):
                folded += max(size, cost)
                if folded > self._most_folded:
                    raise _too_much(node, found, "constants that fold", self._most_folded)
                continue
            alive, work = alive + size, work + cost
            if size > self._most_elements or alive > _ALIVE * self._most_elements:
                raise _too_much(node, found, "elements", self._most_elements)
            if work > self._most_work:
                raise _too_much(node, found, "multiply-adds", self._most_work)
            done = {name for name in node.input if name and last[name] == number} - kept
            for name in done:
                value = self._values[name]
                alive -= 0 if value.constant else value.count
            alive -= sum(
                value.count
                for name, value in zip(node.output, found, strict=True)
                if name not in last and name not in kept
            )

    def _infer(self, node: Node) -> tuple[list[Value], int]:
        operator = find_operator(node)
        attributes = read_attributes(node, operator)
        missing = [name for name in node.input if name and name not in self._values]
        if missing:
            raise MalformedModelError(f"its input {missing[0]!r} is not made before it")
        inputs = tuple(self._values[name] if name else None for name in node.input)
        found, cost = operator.rule(Call(inputs, attributes, len(node.output)))
        if len(found) != len(node.output):
            raise MalformedModelError(f"it has {len(node.output)} outputs")
        for name, value in zip(node.output, found, strict=True):
            self._add(name, value)
        return found, cost

    def _check_stated(self, info: ValueInfo) -> None:
        """Compare what the graph says of a tensor with what was inferred."""
        name, kind, sizes = _stated(info)
        value = self._values.get(name)
        if value is None:
            raise MalformedModelError(f"the output {name!r} is not made")
        fits = len(sizes) == len(value.shape) and all(
            size is None or size == inferred
            for size, inferred in zip(sizes, value.shape, strict=True)
        )
        if kind != value.kind or not fits:
            raise MalformedModelError(f"the tensor {name!r} is stated as another than {value}")


def _too_much(node: Node, found: list[Value], what: str, most: int) -> MalformedModelError:
    shapes = ", ".join(map(str, found))
    return MalformedModelError(
        f"the node {node.name or node.output[0]!r} ({node.op_type}) makes {shapes}, and with it "
        f"there are more than {most} {what}, which its image and weights justify"
    )


def _stated(info: ValueInfo) -> tuple[str, int, tuple[int | None, ...]]:
    """Return name, element type and sizes of an input or output; None for an open size."""
    tensor = info.type and info.type.tensor_type
    name = info.name or ""
    if not tensor or tensor.elem_type not in TYPES or tensor.shape is None:
        raise MalformedModelError(f"the tensor {name!r} is stated without type and shape")
    if len(tensor.shape.dim) > MAX_AXES:
        raise MalformedModelError(f"the tensor {name!r} has {len(tensor.shape.dim)} axes")
    sizes = tuple(dim.dim_value for dim in tensor.shape.dim)
    if any(dim.dim_value is not None and dim.dim_param is not None for dim in tensor.shape.dim):
        raise MalformedModelError(f"the tensor {name!r} has an axis with a size and a name")
    if any(size is not None and size < 1 for size in sizes):
        raise MalformedModelError(f"the tensor {name!r} has the sizes {list(sizes)}")
    return name, tensor.elem_type, sizes
