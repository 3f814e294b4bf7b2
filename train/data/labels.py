"""dataset.json: the labels of a set's images, the names of the classes, and known attributes.

    {"labels": [[name, class], ...] or null, "class_names": [...], "attributes": {...}}

The file may come from a stranger. Only these keys are decoded, each to the types it must have, so
that nothing else in it takes memory.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segan.runtime.bundle.manifest import MAX_TEXT
from segan.runtime.errors import DataError
from segan.train.data.sources import ImageSource

#: More classes than this are taken for an error in the labels.
MAX_CLASSES = 1 << 16
#: Bytes of the attributes' schema, which names them and their values.
MAX_SCHEMA_BYTES = 1 << 20
#: Bytes of a dataset.json whose keys are named when it states no labels.
_SHOWN_BYTES = 1 << 16


class _Attributes(msgspec.Struct):
    schema: msgspec.Raw = msgspec.Raw()
    values: msgspec.Raw = msgspec.Raw()


class Metadata(msgspec.Struct):
    """The keys of dataset.json that are read, as JSON.

    Attributes:
        labels: a list of [name, class], or null; empty if it is not stated.
        class_names: a list of names, or null; empty if it is not stated.
        attributes: an object; empty if it is not stated.
    """

    labels: msgspec.Raw = msgspec.Raw()
    class_names: msgspec.Raw = msgspec.Raw()
    attributes: msgspec.Raw = msgspec.Raw()


def read_metadata(source: ImageSource) -> Metadata | None:
    """Return what the source's dataset.json states; None without one. Raises: DataError."""
    data = source.metadata()
    if data is None:
        return None
    try:
        text = _as_utf8(data)
        if not text.lstrip().startswith(b"{"):
            msgspec.json.decode(text, type=msgspec.Raw)
            raise _broken(source, "contains no object", "{'labels': ...}")
        return msgspec.json.decode(text, type=Metadata)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _broken(
            source, f"is not JSON: {error}", remedy="Create the data set again."
        ) from error


def _as_utf8(data: bytes) -> bytes:
    """JSON may be in UTF-16 or UTF-32, too, or begin with a byte order mark. Raises: ValueError."""
    text = data.decode(json.detect_encoding(data[:8]))
    return text.encode()  # parts that are not read are not checked later


def _broken(source: ImageSource, problem: str, expected: str = "", remedy: str = "") -> DataError:
    """What is wrong with the source's dataset.json."""
    return DataError(
        f"dataset.json in {source.path} {problem}",
        field="path",
        value=source.path,
        expected=expected,
        remedy=remedy,
    )


def is_stated(value: msgspec.Raw) -> bool:
    """Whether a key of dataset.json is there and not null."""
    return bytes(value).strip() not in (b"", b"null")


def stated_keys(source: ImageSource) -> list[str]:
    """Return the first keys of dataset.json; empty if it is large."""
    data = source.metadata() or b""
    if len(data) > _SHOWN_BYTES:
        return []
    try:
        found = msgspec.json.decode(_as_utf8(data), type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []
    return list(found)[:10]


def attribute_names(metadata: Metadata | None) -> list[str]:
    """Return the names of the known attributes; empty without."""
    if metadata is None:
        return []
    attributes = _decode(metadata.attributes, _Attributes)
    schema = b"" if attributes is None else bytes(attributes.schema)
    entries = _decode(schema, list[dict[str, Any]]) if len(schema) <= MAX_SCHEMA_BYTES else None
    return [str(entry["name"]) for entry in entries or [] if "name" in entry]


def carried_attributes(
    metadata: Metadata | None, kept: Sequence[int], count: int
) -> dict[str, Any] | None:
    """Return the known attributes of some of the images.

    Args:
        metadata: of the data set.
        kept: positions of the images.
        count: of all images; attributes of another number of values are left out.
    """
    if metadata is None:
        return None
    parts = _decode(metadata.attributes, dict[str, msgspec.Raw]) or {}
    values = parts.get("values", b"")
    columns = _decode(values, dict[str, list[float | int | str | bool | None]])
    if columns is None or any(len(column) != count for column in columns.values()):
        return None
    if sum(map(len, parts.values())) - len(values) > MAX_SCHEMA_BYTES:
        return None
    chosen = {name: [column[at] for at in kept] for name, column in columns.items()}
    try:
        return {
            name: chosen if name == "values" else msgspec.json.decode(part)
            for name, part in parts.items()
        }
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _decode(data: msgspec.Raw | bytes, kind: Any) -> Any:
    """The value of a part of dataset.json; None if it is not of this kind."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def class_counts(
    labels: Sequence[int] | npt.NDArray[np.int64] | None, class_names: Sequence[str]
) -> dict[str, int]:
    """Return the number of images of each class by its name; empty without labels."""
    if labels is None:
        return {}
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(class_names))
    return {name: int(count) for name, count in zip(class_names, counts, strict=True)}


def read_labels(
    source: ImageSource, names: list[str]
) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...]]:
    """Return the labels of the named images, and the class names, from dataset.json.

    The names in a dataset.json that lies in a sub-folder may start there or at the top.

    Returns:
        [n] int64 in the order of ``names``, or None without labels; and one name for each class.

    Raises:
        DataError: dataset.json is broken, labels missing images, leaves images without a label,
            holds a label out of range, or gives two classes one name.
    """
    metadata = read_metadata(source)
    if metadata is None or not is_stated(metadata.labels):
        return None, ()
    by_name = _labels_by_name(source, bytes(metadata.labels), names)
    absent = sorted(set(by_name) - set(names))
    if absent:
        problem = f"labels {len(absent)} images that do not exist, such as {absent[0]}"
        raise _broken(source, problem, remedy="Create the data set again.")
    missing = [name for name in names if name not in by_name]
    if missing:
        raise _broken(
            source,
            f"has no label for {len(missing)} of {len(names)} images, such as {missing[0]}",
            "a label for each, or labels null",
        )
    labels = np.array([by_name[name] for name in names], np.int64)
    if not is_stated(metadata.class_names):
        class_names = tuple(str(number) for number in range(int(labels.max()) + 1))
    else:
        given = None
        if len(bytes(metadata.class_names)) <= MAX_SCHEMA_BYTES * 4:
            given = _decode(metadata.class_names, list[str])
        if given is None:
            raise _broken(source, "has broken class_names", "a list of names")
        class_names = tuple(given)
    long = next((name for name in class_names if len(name) > MAX_TEXT), None)
    if long is not None:
        problem = f"names a class with {len(long)} characters"
        raise _broken(source, problem, f"at most {MAX_TEXT}")
    twice = [name for name, count in Counter(class_names).items() if count > 1]
    if twice:
        raise _broken(
            source,
            f"names {class_names.count(twice[0])} classes {twice[0]!r}",
            "a different name for each",
            "Rename them there.",
        )
    if labels.max() >= len(class_names):
        expected = f"0 to {len(class_names) - 1}, for {len(class_names)} class names"
        raise _broken(source, f"holds label {labels.max()}", expected)
    return labels, class_names


def _labels_by_name(source: ImageSource, text: bytes, names: list[str]) -> dict[str, int]:
    # Each label needs a bracket. More of them than images (whose names may hold some, and which
    # may stand there twice) are refused before they are decoded.
    most = 4 * (len(names) + sum(name.count("[") for name in names)) + 1000
    if text.count(b"[") > most:
        problem = f"labels more images than the {len(names)} there are"
        raise _broken(source, problem, remedy="Create the data set again.")
    try:
        pairs = msgspec.json.decode(text, type=list[tuple[str, int]])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if not text.lstrip().startswith(b"["):
            raise _broken(source, "has broken labels", "a list of [name, class] or null") from error
        where = re.search(r"\$\[(\d+)\]", str(error))
        raise _broken(
            source,
            f"holds a wrong label{f' at position {where[1]}' if where else ''} ({error})",
            "[name, class] with a whole number from 0",
        ) from error
    known, folder = set(names), source.metadata_folder
    by_name: dict[str, int] = {}
    for name, label in pairs:
        if not 0 <= label < MAX_CLASSES:
            raise _broken(source, f"gives {name} the label {label}", f"0 to {MAX_CLASSES - 1}")
        name = name.replace("\\", "/")
        if folder and folder + name in known:
            name = folder + name
        if by_name.setdefault(name, label) != label:
            raise _broken(source, f"gives {name} two labels", "one")
    return by_name
