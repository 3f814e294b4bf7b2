"""Graphs that a backend must not see, and that those of the toy bundles pass."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segan.runtime.backends.onnxruntime import OnnxRuntimeSession
from segan.runtime.backends.session import SessionConfig
from segan.runtime.bundle.graph_files import graph_interfaces, read_graph
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import BackendError, BundleError
from segan.runtime.graphs.check import (
    Interface,
    InterfaceError,
    SafeModel,
    check_model,
    safe_model,
)
from segan.runtime.graphs.messages import (
    Attribute,
    Dimension,
    Graph,
    Model,
    Node,
    OperatorSet,
    Tensor,
    TensorShape,
    TensorType,
    Type,
    ValueInfo,
    encode,
)
from segan.runtime.graphs.tensors import (
    BFLOAT16,
    FLOAT,
    FLOAT16,
    INT8,
    INT64,
    make_tensor,
    tensor_values,
)
from segan.runtime.graphs.wire import MalformedModelError, tag, varint

TOYS = Path(__file__).parents[2] / "data"

#: Seconds that a refusal may take on a busy machine.
SOON = 1.0


def info(name: str, *sizes: int, kind: int = FLOAT, batch: int | None = None) -> ValueInfo:
    """An input or output [batch, *sizes], whose batch is open."""
    dims = [Dimension(dim_param="N") if batch is None else Dimension(dim_value=batch)]
    dims += [Dimension(dim_value=size) for size in sizes]
    shape = TensorShape(dim=dims)
    return ValueInfo(name=name, type=Type(tensor_type=TensorType(elem_type=kind, shape=shape)))


def node(kind: str, inputs: str, output: str, **attributes: int | float | str | list[int]) -> Node:
    """One operator; inputs and outputs are names between blanks."""
    found = []
    for name, value in attributes.items():
        entry = Attribute(name=name)
        if isinstance(value, int):
            entry.i, entry.type = value, 2
        elif isinstance(value, float):
            entry.f, entry.type = value, 1
        elif isinstance(value, str):
            entry.s, entry.type = value.encode(), 3
        else:
            entry.ints, entry.type = value, 7
        found.append(entry)
    return Node(input=inputs.split(), output=output.split(), op_type=kind, attribute=found)


def integers(name: str, *values: int) -> Tensor:
    return make_tensor(name, np.array(values, np.int64), INT64)


def floats(name: str, *shape: int) -> Tensor:
    return make_tensor(name, np.zeros(shape, np.float32), FLOAT)


def model(
    nodes: list[Node],
    constants: list[Tensor],
    inputs: list[ValueInfo] | None = None,
    outputs: list[ValueInfo] | None = None,
    **fields: Any,
) -> bytes:
    """x [N, 4, 8, 8] → y, of the same shape unless said."""
    graph = Graph(
        node=nodes,
        name="g",
        initializer=constants,
        input=[info("x", 4, 8, 8)] if inputs is None else inputs,
        output=[info("y", 4, 8, 8)] if outputs is None else outputs,
    )
    base: dict[str, Any] = {"ir_version": 8, "opset_import": [OperatorSet(domain="", version=18)]}
    return encode(Model(graph=graph, **{**base, **fields}))


def synthesis(resolution: int = 8) -> Interface:
    shape = (4, resolution, resolution)
    return Interface(inputs={"x": shape}, outputs={"y": shape}, pixels=resolution**2)


def test_a_small_graph_is_returned_as_it_is_and_computes() -> None:
    plain = model([node("Add", "x one", "y")], [floats("one", 4, 1, 1)])
    found = check_model(plain, synthesis())
    assert (found, type(found)) == (plain, SafeModel)
    session = OnnxRuntimeSession(plain, name="sum", config=SessionConfig(threads=1))
    x = np.ones((2, 4, 8, 8), np.float32)
    np.testing.assert_array_equal(session.run({"x": x})["y"], x)


@pytest.mark.parametrize("name", ["toy", "toy_plain", "toy_shifts"])
def test_the_graphs_of_a_bundle_are_the_same_bytes_again(name: str) -> None:
    bundle = open_bundle(TOYS / f"{name}.segan")
    files = {"mapping": "mapping.onnx", "offsets": "offsets.onnx", "synthesis": "synthesis.onnx"}
    for graph, file in files.items():
        assert read_graph(bundle, graph) == bundle.read(file)


def test_a_checked_model_is_not_checked_again() -> None:
    found = check_model((TOYS / "toy.segan" / "mapping.onnx").read_bytes())
    assert safe_model(found, "mapping") is found
    with pytest.raises(BackendError, match="mapping graph"):
        safe_model(bytes(found)[:-1], "mapping")


# Encodings.


def _external(location: bytes, number: int = 13) -> bytes:
    """A tensor k, float32 [4], in another file; the field that says so has any number."""
    entry = tag(1, 2) + varint(8) + b"location" + tag(2, 2) + varint(len(location)) + location
    tensor = encode(Tensor(dims=[4], data_type=1, name="k"))
    key = varint(number << 3 | 2)
    return tensor + key + varint(len(entry)) + entry + tag(14, 0) + b"\x01"


def _with_tensor(tensor: bytes) -> bytes:
    graph = encode(
        Graph(node=[node("Add", "x k", "y")], input=[info("x", 4)], output=[info("y", 4)])
    )
    graph += tag(5, 2) + varint(len(tensor)) + tensor
    head = encode(Model(ir_version=8, opset_import=[OperatorSet(version=18)]))
    return head + tag(7, 2) + varint(len(graph)) + graph


@pytest.mark.parametrize(
    "number",
    [13, 13 + (1 << 29), 13 + (1 << 32), 13 + (1 << 58)],
    ids=["plain", "29 bits", "32 bits", "58 bits"],
)
def test_weights_in_another_file_are_refused_in_any_spelling(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.bin").write_bytes(np.arange(4, dtype="<f4").tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError):
        OnnxRuntimeSession(_with_tensor(_external(b"secret.bin", number)), name="add")


def test_weights_in_another_file_after_a_group_or_a_second_tensor(tmp_path: Path) -> None:
    held = encode(floats("k", 4))
    for data in (
        _with_tensor(held + tag(14, 0) + b"\x01"),
        _with_tensor(held + tag(99, 3) + _external(b"x") + tag(99, 4)),
        _with_tensor(held + tag(8, 2) + b"\x01k"),
    ):
        with pytest.raises(MalformedModelError):
            check_model(data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", [8, 9, 10])
def test_graphs_that_older_versions_wrote_are_read(version: int) -> None:
    data = model([node("Identity", "x", "y")], [], ir_version=version)
    assert check_model(data, synthesis()) == data


@pytest.mark.parametrize(
    "fields",
    [
        {"ir_version": 7},
        {"ir_version": 11},
        {"ir_version": None},
        {"opset_import": []},
        {"opset_import": [OperatorSet(domain="", version=17)]},
        {"opset_import": [OperatorSet(domain="", version=23)]},
        {"opset_import": [OperatorSet(domain="com.microsoft", version=1)]},
        {"opset_import": [OperatorSet(version=18), OperatorSet(domain="x", version=1)]},
    ],
)
def test_other_versions_and_domains(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedModelError, match=r"version|operator sets"):
        check_model(model([node("Identity", "x", "y")], [], **fields))


# Operators.


@pytest.mark.parametrize(
    "kind",
    [
        *("Loop", "If", "Scan", "SequenceMap", "SequenceConstruct", "Optional", "StringConcat"),
        *("ConstantOfShape", "Expand", "Tile", "Resize", "Range", "Shape", "NonZero", "OneHot"),
        *("RandomNormal", "RandomUniformLike", "Bernoulli", "Constant", "Einsum", "F29", ""),
    ],
)
def test_operators_that_segan_does_not_write(kind: str) -> None:
    with pytest.raises(MalformedModelError, match=f"operator '{kind}' is not one"):
        check_model(model([node(kind, "x", "y")], []))


def test_operators_of_another_domain_and_with_other_settings() -> None:
    custom = node("Add", "x x", "y")
    custom.domain = "com.example"
    cases = {
        "domain": custom,
        "attribute 'a'": node("Add", "x x", "y", a=1),
        "another type": node("Concat", "x", "y", axis=1.0),
        "3 inputs": node("Add", "x x x", "y"),
        "outputs": node("Add", "x x", "y z"),
        "not made before": node("Add", "x later", "y"),
        "made twice": node("Add", "x x", "x"),
    }
    for problem, given in cases.items():
        with pytest.raises(MalformedModelError, match=problem):
            check_model(model([given], []))
    twice = node("Concat", "x", "y", axis=1)
    twice.attribute *= 2
    with pytest.raises(MalformedModelError, match="twice"):
        check_model(model([twice], []))


# Shapes, by hand.

SHAPES: list[tuple[Node, list[Tensor], list[int | None]]] = [
    (node("Conv", "x w", "y"), [floats("w", 6, 4, 3, 3)], [None, 6, 6, 6]),
    (
        node("Conv", "x w", "y", pads=[1, 1, 1, 1], strides=[2, 2]),
        [floats("w", 6, 4, 3, 3)],
        [None, 6, 4, 4],
    ),
    (node("Conv", "x w", "y", group=4), [floats("w", 8, 1, 2, 2)], [None, 8, 7, 7]),
    (
        node("ConvTranspose", "x w", "y", strides=[2, 2]),
        [floats("w", 4, 5, 3, 3)],
        [None, 5, 17, 17],
    ),
    (
        node("ConvTranspose", "x w", "y", strides=[2, 2], pads=[1, 1, 1, 1], group=4),
        [floats("w", 4, 1, 4, 4)],
        [None, 4, 16, 16],
    ),
    (node("DepthToSpace", "x", "y", blocksize=2, mode="CRD"), [], [None, 1, 16, 16]),
    (node("Reshape", "x s", "y"), [integers("s", -1, 256)], [None, 256]),
    (node("Reshape", "x s", "y"), [integers("s", 0, 2, -1)], [None, 2, 128]),
    (node("Reshape", "x s", "y"), [integers("s", -1, 1, 4, 64)], [None, 1, 4, 64]),
    (node("Transpose", "x", "y", perm=[0, 2, 3, 1]), [], [None, 8, 8, 4]),
    (node("Gather", "x i", "y", axis=1), [integers("i", 3, 0)], [None, 2, 8, 8]),
    (
        node("Slice", "x a b c", "y"),
        [integers("a", 1, -3), integers("b", 99, -1), integers("c", 1, 3)],
        [None, 3, 8, 2],
    ),
    (node("Unsqueeze", "x a", "y"), [integers("a", 1, -1)], [None, 1, 4, 8, 8, 1]),
    (node("Concat", "x x", "y", axis=1), [], [None, 8, 8, 8]),
    (node("Pad", "x p", "y"), [integers("p", 0, 0, 1, 1, 0, 0, 2, 2)], [None, 4, 11, 11]),
    (node("ReduceMax", "x a", "y", keepdims=0), [integers("a", 2, -1)], [None, 4]),
    (node("ReduceMean", "x a", "y"), [integers("a", 1)], [None, 1, 8, 8]),
    (node("MatMul", "x m", "y"), [floats("m", 8, 3)], [None, 4, 8, 3]),
    (node("MatMul", "m x", "y"), [floats("m", 3, 8)], [None, 4, 3, 8]),
    (node("Clip", "x low", "y"), [floats("low")], [None, 4, 8, 8]),
    (node("GlobalAveragePool", "x", "y"), [], [None, 4, 1, 1]),
    (node("Flatten", "x", "y"), [], [None, 256]),
]


@pytest.mark.parametrize(
    ("given", "constants", "sizes"), SHAPES, ids=[given.op_type or "" for given, *_ in SHAPES]
)
def test_shapes_are_those_that_onnx_runtime_computes(
    given: Node, constants: list[Tensor], sizes: list[int]
) -> None:
    data = model([given], constants, outputs=[info("y", *sizes[1:])])
    assert check_model(data) == data
    session = OnnxRuntimeSession(data, name="one", config=SessionConfig(threads=1))
    found = session.run({"x": np.zeros((3, 4, 8, 8), np.float32)})["y"]
    assert found.shape == (3, *sizes[1:])
    for place in range(1, len(sizes)):
        wrong = [*sizes[1:]]
        wrong[place - 1] += 1
        with pytest.raises(MalformedModelError, match="stated as another"):
            check_model(model([given], constants, outputs=[info("y", *wrong)]))


@pytest.mark.parametrize(
    ("given", "constants"),
    [
        # Sizes that would depend on the batch, or grow with its square.
        (node("Reshape", "x s", "y"), [integers("s", -1, 64)]),
        (node("Reshape", "x s", "y"), [integers("s", 256, 1)]),
        (node("Reshape", "x x", "y"), []),
        (node("Concat", "x x", "y", axis=0), []),
        (node("Slice", "x a b", "y"), [integers("a", 0), integers("b", 1)]),
        (node("Split", "x a", "y z"), [integers("a", 1, 1)]),
        (node("Pad", "x p", "y"), [integers("p", 9, 0, 0, 0, 0, 0, 0, 0)]),
        (node("Gather", "x i", "y"), [integers("i", 0)]),
        (node("MatMul", "x t", "y"), [floats("t", 7, 3)]),
        # Attributes of convolutions without a use.
        (node("Conv", "x w", "y", dilations=[10**9] * 2), [floats("w", 4, 4, 1, 1)]),
        (node("Conv", "x w", "y", strides=[10**9] * 2), [floats("w", 4, 4, 1, 1)]),
        (node("Conv", "x w", "y", pads=[10**9] * 4), [floats("w", 4, 4, 3, 3)]),
        (node("Conv", "x w", "y", pads=[-1] * 4), [floats("w", 4, 4, 3, 3)]),
        (node("Conv", "x w", "y", auto_pad="SAME_UPPER"), [floats("w", 4, 4, 3, 3)]),
        (node("Conv", "x w", "y", group=0), [floats("w", 4, 4, 3, 3)]),
        (node("Conv", "x w", "y", group=-4), [floats("w", 4, 4, 3, 3)]),
        (node("Conv", "x w", "y"), [floats("w", 4, 4, 9, 9)]),
        (node("Conv", "x x", "y"), []),
        (
            node("ConvTranspose", "x w", "y", strides=[2, 2], output_padding=[2, 2]),
            [floats("w", 4, 4, 1, 1)],
        ),
        (node("ConvTranspose", "x w", "y", strides=[2**40] * 2), [floats("w", 4, 4, 1, 1)]),
        (node("DepthToSpace", "x", "y", blocksize=0), []),
        (node("DepthToSpace", "x", "y", blocksize=3), []),
        # Axes and indices that are not there.
        (node("Gather", "x i", "y", axis=1), [integers("i", 4)]),
        (
            node("Gather", "x i", "y", axis=1),
            [make_tensor("i", np.array([[10**7]], np.int64), INT64)],
        ),
        (node("Gather", "x i", "y", axis=4), [integers("i", 0)]),
        (node("Transpose", "x", "y", perm=[0, 1, 2, 2]), []),
        (node("Unsqueeze", "x a", "y"), [integers("a", *range(1, 6))]),
        (node("Unsqueeze", "x a", "y"), [integers("a", 1, 1)]),
        (node("Slice", "x a b c", "y"), [integers("a", 8), integers("b", 8), integers("c", 2)]),
        (node("Clip", "x low", "y"), [floats("low", 4)]),
        (node("Cast", "x", "y", to=8), []),
        (node("Cast", "x", "y"), []),
        (node("Pow", "x i", "y"), [integers("i", 2)]),
    ],
    ids=lambda value: value.op_type if isinstance(value, Node) else "",
)
def test_shapes_that_cannot_be_are_refused(given: Node, constants: list[Tensor]) -> None:
    start = time.monotonic()
    with pytest.raises(MalformedModelError, match=str(given.op_type)):
        check_model(model([given], constants))
    assert time.monotonic() - start < SOON


# Bounds.


def _bombs() -> dict[str, bytes]:
    """Small graphs [N, 4, 8, 8] → the same that would take gigabytes or hours."""
    tall, wide = floats("tall", 1 << 15, 1), floats("wide", 1, 1 << 15)
    end = [node("Mul", "x zero", "z"), node("Add", "z bomb", "t"), node("ReduceMax", "t a", "y")]
    doubling = [node("Concat", "x x", "d0", axis=1)]
    doubling += [node("Concat", f"d{n} d{n}", f"d{n + 1}", axis=1) for n in range(40)]
    matrices = [node("MatMul", "x square", "m0")]
    matrices += [node("MatMul", f"m{n} square", f"m{n + 1}") for n in range(9000)]
    kept = [node("Concat", "x x", "k0", axis=1)]
    kept += [node("Concat", "x x x x x x x x", f"p{n}", axis=1) for n in range(3000)]
    pads = [node("Pad", "x p", "big"), node("Slice", "big a b c", "y")]
    far = 1 << 20
    return {
        "an outer product": model(
            [node("MatMul", "tall wide", "bomb"), *end],
            [tall, wide, floats("zero"), integers("a", 1)],
        ),
        "a broadcast sum": model(
            [node("Add", "tall wide", "bomb"), *end], [tall, wide, floats("zero")]
        ),
        "a gather of everything": model(
            [
                node("Gather", "wide many", "bomb", axis=1),
                node("Gather", "bomb many", "b", axis=0),
                *end,
            ],
            [wide, make_tensor("many", np.zeros((256, 256)), INT64), floats("zero")],
        ),
        "doubled forty times": model([*doubling, node("Identity", "d40", "y")], []),
        "huge pads": model(
            pads,
            [
                integers("p", *[0, 0, far, far] * 2),
                *(integers(*part) for part in (("a", 0, 0), ("b", 8, 8), ("c", 2, 3))),
            ],
        ),
        "many products": model(
            [*matrices, node("Identity", "m9000", "y")],
            [make_tensor("square", np.zeros((8, 8), np.float32), FLOAT)],
        ),
        "too many nodes": model(
            [node("Identity", "x", f"i{n}") for n in range(10_001)],
            [],
            outputs=[info("i0", 4, 8, 8)],
        ),
        "a huge input": model(
            [node("Identity", "x", "y")], [], [info("x", 1 << 40)], [info("y", 1 << 40)]
        ),
        "kept alive": model(
            [*kept, *(node("Add", f"p{n} p{n + 1}", f"q{n}") for n in range(2999))],
            [],
            outputs=[info("q0", 32, 8, 8)],
        ),
    }


BOMBS = _bombs()


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(name: str) -> None:
    start = time.monotonic()
    with pytest.raises(MalformedModelError):
        check_model(BOMBS[name], synthesis() if "input" not in name else None)
    assert time.monotonic() - start < SOON


def test_a_bomb_names_its_node_and_shape() -> None:
    with pytest.raises(MalformedModelError, match=r"MatMul\) makes float32 \[32768, 32768\]"):
        check_model(BOMBS["an outer product"], synthesis())


def test_what_a_large_generator_needs_is_allowed() -> None:
    """A layer of 1024² with 32 channels, a block before it, and 512 channels at 64²."""
    for channels, resolution in ((32, 1024), (512, 64)):
        nodes = [
            node("ConvTranspose", "x up", "a", strides=[2, 2]),
            node("Conv", "a fir", "b", group=channels, pads=[1, 1, 1, 1]),
            node("Conv", "b w", "c", pads=[1, 1, 1, 1]),
            node("Conv", "c rgb", "y"),
        ]
        half = resolution // 2
        constants = [
            floats("up", 2 * channels, channels, 3, 3),
            floats("fir", channels, 1, 4, 4),
            floats("w", channels, channels, 3, 3),
            floats("rgb", 3, channels, 1, 1),
        ]
        inputs, outputs = [info("x", 2 * channels, half, half)], [info("y", 3, *[resolution] * 2)]
        wanted = Interface(
            inputs={"x": (2 * channels, half, half)},
            outputs={"y": (3, resolution, resolution)},
            pixels=resolution**2,
        )
        check_model(model(nodes, constants, inputs, outputs), wanted)


# Constants.


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(dims=[4], data_type=1, name="k", raw_data=b"\0" * 15),
        Tensor(dims=[1 << 40], data_type=1, name="k", raw_data=b"\0" * 16),
        Tensor(dims=[-4], data_type=1, name="k", raw_data=b"\0" * 16),
        Tensor(dims=[0], data_type=1, name="k", raw_data=b""),
        Tensor(dims=[4], data_type=1, name="k"),
        Tensor(dims=[4], data_type=1, name="k", raw_data=b"\0" * 16, float_data=b"\0" * 16),
        Tensor(dims=[4], data_type=1, name="k", int32_data=b"\0" * 4),
        Tensor(dims=[4], data_type=8, name="k", raw_data=b"\0" * 16),
        Tensor(dims=[4], data_type=None, name="k", raw_data=b"\0" * 16),
        Tensor(dims=[1] * 9, data_type=1, name="k", raw_data=b"\0" * 4),
        Tensor(dims=[4], data_type=1, name="", raw_data=b"\0" * 16),
        Tensor(dims=[4], data_type=1, name="x", raw_data=b"\0" * 16),
        Tensor(dims=[4], data_type=1, name="k", raw_data=b"\0" * 16, data_location=1),
    ],
)
def test_constants_hold_what_their_shape_states(tensor: Tensor) -> None:
    with pytest.raises(MalformedModelError):
        check_model(model([node("Identity", "x", "y")], [tensor]))


@pytest.mark.parametrize("kind", [FLOAT, FLOAT16, BFLOAT16, INT8, INT64])
def test_values_of_constants(kind: int) -> None:
    values = np.array([[1, -2, 3], [0, 5, -128]], np.float32)
    np.testing.assert_array_equal(tensor_values(make_tensor("k", values, kind)), values)
    packed = Tensor(dims=[3], data_type=INT8, name="k", int32_data=b"\x05\x00" + varint(2**64 - 7))
    np.testing.assert_array_equal(tensor_values(packed), [5, 0, -7])


# Interfaces.


@pytest.mark.parametrize(
    ("inputs", "outputs", "problem"),
    [
        ({"x": (4, 8, 9)}, {"y": (4, 8, 8)}, r"input x float32 \[N, 4, 8, 8\]"),
        ({"x": (4, 8, 8), "c": (2,)}, {"y": (4, 8, 8)}, "inputs x"),
        ({}, {"y": (4, 8, 8)}, "inputs x"),
        ({"x": (4, 8, 8)}, {"z": (4, 8, 8)}, "outputs y"),
        ({"x": (4, 8, 8)}, {"y": (4, 8, 7)}, r"output y float32 \[N, 4, 8, 8\]"),
    ],
)
def test_a_graph_takes_and_gives_what_the_manifest_says(
    inputs: Any, outputs: Any, problem: str
) -> None:
    data = model([node("Identity", "x", "y")], [])
    with pytest.raises(InterfaceError, match=problem):
        check_model(data, Interface(inputs=inputs, outputs=outputs, pixels=64))


def test_a_fixed_batch_or_another_type_is_another_interface() -> None:
    wanted = Interface(inputs={"x": (4,)}, outputs={"y": (4,)}, pixels=1)
    same = [node("Identity", "x", "y")]
    for given in ({"batch": 2}, {"kind": FLOAT16}):
        data = model(same, [], [info("x", 4, **given)], [info("y", 4, **given)])
        check_model(data)
        with pytest.raises(InterfaceError):
            check_model(data, wanted)
    # An output that does not depend on the batch.
    data = model(
        [node("Identity", "k", "y")], [floats("k", 1, 4)], [info("x", 4)], [info("y", 4, batch=1)]
    )
    with pytest.raises(InterfaceError):
        check_model(data, wanted)


def test_every_graph_of_a_manifest_has_an_interface() -> None:
    manifest = open_bundle(TOYS / "toy_shifts.segan").manifest
    found = graph_interfaces(manifest)
    assert dict(found["mapping"].inputs) == {"z": (8,), "c": (3,)}
    assert dict(found["synthesis"].inputs) == {"ws": (6, 8), "shifts": (4, 6)}
    assert dict(found["synthesis"].outputs) == {"image": (1, 16, 16)}
    assert math.prod(found["synthesis"].outputs["image"]) == found["synthesis"].pixels


def test_a_bundle_with_a_bad_graph_names_the_file(toy_bundle: Path, replace_file: Any) -> None:
    bad = model([node("Loop", "z", "w")], [], [info("z", 8)], [info("w", 8)])
    replace_file(toy_bundle, "mapping.onnx", bad)
    bundle = open_bundle(toy_bundle)
    with pytest.raises(BundleError, match=r"toy\.segan: the mapping graph \(mapping\.onnx\).*Loop"):
        read_graph(bundle, "mapping")
