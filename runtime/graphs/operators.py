"""The operators that may be in a graph: those that segan writes, each with a rule for its shapes.

None of them has a sub-graph, a state, a random number or a sequence, and none makes a tensor out of
a shape. A new family of generators adds its operators here; a test compares the table with every
kind of graph that segan writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from segan.runtime.graphs import shapes
from segan.runtime.graphs.messages import Attribute, Node
from segan.runtime.graphs.wire import MalformedModelError

#: Types of attributes: AttributeProto.type.
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7
#: Type → the field that holds the value, and what reads it.
_VALUES: dict[int, tuple[str, Any]] = {
    _FLOAT: ("f", float),
    _INT: ("i", int),
    _STRING: ("s", lambda value: str(value, "ascii", "replace")),
    _INTS: ("ints", tuple),
}


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of the default domain.

    Attributes:
        rule: gives the shapes of its outputs, and its work.
        inputs: fewest and most inputs.
        outputs: most outputs.
        attributes: type of each attribute that it may have.
    """

    rule: shapes.Rule
    inputs: tuple[int, int] = (1, 1)
    outputs: int = 1
    attributes: Mapping[str, int] = field(default_factory=dict)


_UNARY = Operator(rule=shapes.elementwise)
_BINARY = Operator(rule=shapes.elementwise, inputs=(2, 2))
_SEVERAL = Operator(rule=shapes.elementwise, inputs=(1, 8))
_REDUCE = Operator(
    rule=shapes.reduce,
    inputs=(1, 2),
    attributes={"keepdims": _INT, "noop_with_empty_axes": _INT},
)
_CONV = {
    "auto_pad": _STRING,
    "dilations": _INTS,
    "group": _INT,
    "kernel_shape": _INTS,
    "pads": _INTS,
    "strides": _INTS,
}

OPERATORS: Final[dict[str, Operator]] = {
    # Element by element.
    "Abs": _UNARY,
    "Identity": _UNARY,
    "LeakyRelu": Operator(rule=shapes.elementwise, attributes={"alpha": _FLOAT}),
    "Neg": _UNARY,
    "Reciprocal": _UNARY,
    "Sqrt": _UNARY,
    "Tanh": _UNARY,
    "Add": _BINARY,
    "Div": _BINARY,
    "Mul": _BINARY,
    "Pow": _BINARY,
    "Sub": _BINARY,
    "Max": _SEVERAL,
    "Min": _SEVERAL,
    "Clip": Operator(rule=shapes.clip, inputs=(1, 3)),
    "Less": Operator(rule=shapes.compare, inputs=(2, 2)),
    "Not": _UNARY,
    "Cast": Operator(rule=shapes.cast, attributes={"to": _INT}),
    "QuantizeLinear": Operator(rule=shapes.quantize, inputs=(3, 3), attributes={"axis": _INT}),
    "DequantizeLinear": Operator(rule=shapes.quantize, inputs=(3, 3), attributes={"axis": _INT}),
    # Products and sums.
    "Conv": Operator(rule=shapes.conv, inputs=(2, 3), attributes=_CONV),
    "ConvTranspose": Operator(
        rule=shapes.conv_transpose, inputs=(2, 3), attributes={**_CONV, "output_padding": _INTS}
    ),
    "Gemm": Operator(
        rule=shapes.gemm,
        inputs=(2, 3),
        attributes={"alpha": _FLOAT, "beta": _FLOAT, "transA": _INT, "transB": _INT},
    ),
    "MatMul": Operator(rule=shapes.matmul, inputs=(2, 2)),
    "GlobalAveragePool": Operator(rule=shapes.global_average_pool),
    "ReduceMax": _REDUCE,
    "ReduceMean": _REDUCE,
    "ReduceSum": _REDUCE,
    # The same elements elsewhere.
    "Concat": Operator(rule=shapes.concat, inputs=(1, 64), attributes={"axis": _INT}),
    "DepthToSpace": Operator(
        rule=shapes.depth_to_space, attributes={"blocksize": _INT, "mode": _STRING}
    ),
    "Flatten": Operator(rule=shapes.flatten, attributes={"axis": _INT}),
    "Gather": Operator(rule=shapes.gather, inputs=(2, 2), attributes={"axis": _INT}),
    "Pad": Operator(rule=shapes.pad, inputs=(2, 2), attributes={"mode": _STRING}),
    "Reshape": Operator(rule=shapes.reshape, inputs=(2, 2), attributes={"allowzero": _INT}),
    "Slice": Operator(rule=shapes.slice_, inputs=(3, 5)),
    "Split": Operator(
        rule=shapes.split, inputs=(1, 2), outputs=64, attributes={"axis": _INT, "num_outputs": _INT}
    ),
    "Transpose": Operator(rule=shapes.transpose, attributes={"perm": _INTS}),
    "Unsqueeze": Operator(rule=shapes.unsqueeze, inputs=(2, 2)),
}


def find_operator(node: Node) -> Operator:
    """Return the table's entry for a node. Raises: MalformedModelError, where there is none."""
    found = None if node.domain else OPERATORS.get(node.op_type or "")
    if found is None:
        where = f" of the domain {node.domain!r}" if node.domain else ""
        raise MalformedModelError(
            f"the operator {node.op_type!r}{where} is not one that segan writes"
        )
    if not found.inputs[0] <= len(node.input) <= found.inputs[1]:
        raise MalformedModelError(f"it has {len(node.input)} inputs")
    if not 1 <= len(node.output) <= found.outputs or not all(node.output):
        raise MalformedModelError(f"it has the outputs {', '.join(node.output) or 'none'}")
    return found


def read_attributes(node: Node, operator: Operator) -> dict[str, Any]:
    """Return a node's attributes by name.

    Raises:
        MalformedModelError: an attribute that the operator has not, one of another type, or twice.
    """
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        name = attribute.name or ""
        kind = operator.attributes.get(name)
        if kind is None or name in found:
            raise MalformedModelError(f"it has the attribute {name!r}, unknown or twice")
        found[name] = _value(attribute, kind)
    return found


def _value(attribute: Attribute, kind: int) -> Any:
    place, read = _VALUES[kind]
    held = [
        part
        for part in ("f", "i", "s", "floats", "ints")
        if getattr(attribute, part) not in (None, [])
    ]
    if attribute.type != kind or held not in ([place], [] if kind == _INTS else [place]):
        raise MalformedModelError(f"its attribute {attribute.name!r} has another type")
    return read(getattr(attribute, place))
