"""Tells whether an ONNX model wants weights from another file.

A bundle's graphs hold their weights. A model that names an external file could make a backend read
any file beside the working folder, unchecked, so such a model is refused before a backend sees it.
The few protobuf messages on the way to a tensor are walked here, since onnx is not a dependency of
the runtime; weights are skipped over, not copied.
"""

from __future__ import annotations

from segan.runtime.errors import BackendError
from segan.runtime.protobuf import MalformedModelError, read_fields

__all__ = ["MalformedModelError", "check_self_contained", "has_external_data"]

# Message → {field number: message within it}, from onnx.proto3.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def has_external_data(model: bytes) -> bool:
    """Whether any tensor of a serialized ONNX model lies in another file.

    Raises:
        MalformedModelError: the bytes are not a protobuf message.
    """
    waiting: list[tuple[str, memoryview]] = [("model", memoryview(model))]
    while waiting:
        message, data = waiting.pop()
        for number, value in read_fields(data):
            if message == "tensor" and (
                number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)
            ):
                return True
            inner = _FIELDS[message].get(number)
            if inner is not None and isinstance(value, memoryview):
                waiting.append((inner, value))
    return False


def check_self_contained(model: bytes, name: str) -> None:
    """Makes sure that a backend may be given a model.

    Args:
        model: a serialized ONNX model.
        name: what the graph is, for messages.

    Raises:
        BackendError: it is no ONNX model, or wants weights from another file.
    """
    try:
        external = has_external_data(model)
    except MalformedModelError as error:
        raise BackendError(f"the {name} graph is not an ONNX model: {error}.") from None
    if external:
        raise BackendError(
            f"the {name} graph wants weights from another file (ONNX external data), which is "
            "not allowed in a bundle. Export it with its weights inside."
        )
