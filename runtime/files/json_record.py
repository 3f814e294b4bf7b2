"""JSON records that carry their format's name: manifests, checkpoints, batches."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from segan.runtime.errors import SeganError

Record = TypeVar("Record", bound=msgspec.Struct)


def encode_record(record: msgspec.Struct) -> bytes:
    """The record as indented JSON, ending in a newline."""
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
    """Reads what ``encode_record`` wrote, and says which way it is wrong if it is.

    Args:
        data: the file's bytes.
        kind: the record's type.
        name: of the file, for messages.
        format: what its ``format`` field must be.
        error: what to raise.
        remedy: the next step, a sentence.

    Raises:
        error: not JSON, another format version, or a missing, unknown or mistyped field.
    """
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise error(f"{name} is cut short or not JSON ({problem}). {remedy}") from None
    stated = found.get("format") if isinstance(found, dict) else None
    if stated != format:
        raise error(
            f"{name}: format is {stated!r}; this segan reads {format!r}. {remedy} "
            "Or install the segan that wrote it."
        )
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as problem:
        raise error(f"{name}: {problem}. {remedy}") from None
