"""Safetensors files, read as views of the file: a header of JSON, then the tensors' bytes.

Read here rather than by the safetensors library, whose header may have 100 MB and any number of
dimensions: every bound of ``segan.export.foreign.limits`` holds before anything is made.

Source: the format's description, github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from segan.export.foreign.inert.objects import STORAGES, StorageRecord, TensorRecord
from segan.export.foreign.limits import (
    MAX_DIMS,
    MAX_HEADER_BYTES,
    MAX_NAME,
    MAX_TENSORS,
    exceeded,
)
from segan.runtime.errors import CheckpointError

#: Its types of numbers that are read → the storage classes of torch.
_TYPES = {
    "F64": "DoubleStorage",
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I64": "LongStorage",
    "I32": "IntStorage",
    "I16": "ShortStorage",
    "I8": "CharStorage",
    "U8": "ByteStorage",
    "BOOL": "BoolStorage",
}


def _damaged(problem: str) -> CheckpointError:
    return CheckpointError(
        f"the safetensors file is truncated or damaged ({problem})",
        remedy="Download or copy the file again.",
    )


def is_safetensors(data: memoryview) -> bool:
    """Return whether a file starts as safetensors do: 8 bytes of length, then JSON."""
    return len(data) > 9 and data[8] == ord("{") and int.from_bytes(data[:8], "little") < 1 << 40


def read_safetensors(data: memoryview) -> tuple[dict[str, TensorRecord], dict[str, str]]:
    """Return the tensors by name and the metadata; no tensor is read yet.

    Args:
        data: all bytes of the file.

    Raises:
        CheckpointError: truncated, damaged, beyond a bound, or of types that are not real numbers.
    """
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise exceeded("bytes for the safetensors header", length, MAX_HEADER_BYTES)
    if length + 8 > len(data):
        raise _damaged(f"its header has {length} bytes, the file {len(data)}")
    header = _header(bytes(data[8 : 8 + length]))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _damaged("its metadata are not texts")
    if not header:
        raise CheckpointError("the safetensors file contains no tensors")
    if len(header) > MAX_TENSORS:
        raise exceeded("tensors", len(header), MAX_TENSORS)
    body = data[8 + length :]
    records, spans = {}, []
    for name, entry in header.items():
        records[name], span = _record(name, entry, body)
        spans.append(span)
    _check_spans(spans, len(body))
    return records, metadata


def _header(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise _damaged(f"its header is not JSON: {str(error)[:80]}") from None
    if not isinstance(found, dict):
        raise _damaged("its header is not an object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _damaged("its header names a tensor twice")
    return found


def _no_constant(text: str) -> Any:
    raise _damaged(f"its header holds {text}")


def _record(name: str, entry: Any, body: memoryview) -> tuple[TensorRecord, tuple[int, int]]:
    """Return a tensor, and the first byte and the end of its values."""
    shown = name[:60]
    if len(name) > MAX_NAME:
        raise exceeded("characters for the name of a tensor", len(name), MAX_NAME)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(f"{shown} is not described by dtype, shape and data_offsets")
    kind, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _whole(shape) or not _whole(span) or len(span) != 2:
        raise _damaged(f"{shown} has a shape or offsets that are not whole numbers")
    if len(shape) > MAX_DIMS:
        raise exceeded(f"dimensions for {shown}", len(shape), MAX_DIMS)
    if not isinstance(kind, str) or kind not in _TYPES:
        raise CheckpointError(
            f"{shown} in the safetensors file is of type {str(kind)[:20]}",
            expected=f"one of {', '.join(_TYPES)}",
        )
    storage = _TYPES[kind]
    count, (start, end) = math.prod(shape), span
    if not start <= end <= len(body) or end - start != count * np.dtype(STORAGES[storage]).itemsize:
        raise _damaged(
            f"{shown} {kind} {shape} at bytes {start} to {end} of {len(body)} does not fit"
        )
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    record = StorageRecord(storage, body[start:end], count)
    return TensorRecord(record, tuple(shape), strides, 0), (start, end)


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 48 for v in values)


def _check_spans(spans: Sequence[tuple[int, int]], size: int) -> None:
    """Raise CheckpointError unless the tensors cover all bytes, without holes or overlaps."""
    at = 0
    for start, end in sorted(spans):
        if start != at:
            raise _damaged(
                f"bytes {min(at, start)} to {max(at, start)} belong to no or two tensors"
            )
        at = end
    if at != size:
        raise _damaged(f"its tensors end at byte {at} of {size}")
