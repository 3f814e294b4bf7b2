"""JSON records that state their format's name: manifests, checkpoints, batches."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from segan.runtime.errors import SeganError

#: Most values of a record. An empty list of three bytes takes twenty times as much in Python.
MAX_JSON_VALUES = 2_000_000

Record = TypeVar("Record", bound=msgspec.Struct)


def encode_record(record: msgspec.Struct | dict[str, Any]) -> bytes:
    """Return the record as indented JSON that ends in a newline."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def decode_record(
    data: bytes,
    kind: type[Record],
    *,
    name: str,
    format: str,
    error: type[SeganError],
    remedy: str,
) -> Record:
    """Read what ``encode_record`` wrote.

    Args:
        data: the file's bytes.
        kind: the record's type.
        name: of the file, for messages.
        format: what the record's ``format`` must be.
        error: the type of error to raise.
        remedy: the next step, a sentence.

    Raises:
        error: not JSON, another format version, or a missing, unknown or mistyped field.
    """
    place: dict[str, str] = {"field": "path", "value": name, "remedy": remedy}
    try:
        check_json_size(data)
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        raise error(f"{name} is truncated or not JSON ({problem})", **place) from None
    stated = found.get("format") if isinstance(found, dict) else None
    if stated != format:
        raise error(
            f"{name}: format is {stated!r}",
            field="format",
            value=stated,
            expected=repr(format),
            remedy=f"{remedy} Or install the segan that wrote it.",
        )
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as problem:
        raise error(f"{name}: {plain_text(problem)}", **place) from None


def check_json_size(data: bytes) -> None:
    """Raise ValueError when a text of unknown origin would make too many Python objects."""
    values = sum(data.count(mark) for mark in (b",", b"[", b"{"))
    if values > MAX_JSON_VALUES:
        raise ValueError(f"it holds {values} values; expected at most {MAX_JSON_VALUES}")


def plain_text(problem: msgspec.ValidationError) -> str:
    """Return msgspec's message without backticks, which mark settings in our errors."""
    return str(problem).replace("`", "'")
