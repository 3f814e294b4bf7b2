"""``generation.json``: the request that a folder of generated images belongs to.

The same request continues an interrupted batch; another request is refused, so that images of two
requests are never mixed in one folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from segan.runtime.errors import ConfigError
from segan.runtime.files.atomic import output_error, write_atomic
from segan.runtime.files.json_record import decode_record, encode_record
from segan.runtime.files.target import check_not_source
from segan.runtime.latents.seeds import SeedList
from segan.runtime.pictures.encode import FAST_LEVEL

RECORD_NAME = "generation.json"
FORMAT: Literal["segan.generation/1"] = "segan.generation/1"

#: Longer lists of seeds are recorded by their SHA-256.
_MAX_SEEDS_TEXT = 200

_IMAGE = re.compile(r"seed\d{6,10}\.(png|webp|jpg)")
_SHARD = re.compile(r"shard-\d{6,}\.(npz|zip|tar)")
_SUBFOLDER = re.compile(r"\d{4,6}")
_TEMPORARY = re.compile(r"\.(seed\d{6,10}|shard-\d{6,}|generation)\..+\.\d+-[0-9a-f]{8}\.tmp")


class GenerationRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a file's name or its bytes depend on.

    Attributes:
        format: ``segan.generation/1``.
        bundle: the bundle's name, for people.
        bundle_sha256: SHA-256 of the bundle's manifest, which holds the hashes of its files.
        backend: the session that made the images.
        seeds: as ranges, or their number and SHA-256 when that would be long; image files of
            further seeds may join a folder, shards are tied to their seeds.
        options: as ``options_to_json`` gives them; in the file they stand among the other fields.
        files: how images are stored: png, webp, jpeg, npz, zip or tar.
        quality: of webp and jpeg, else None.
        compress_level: of png, also within zip and tar, else None.
        layout: of image files: ``flat``, or ``subfolders`` of 10,000 seeds.
        shard_size: images in a shard, or None.
        precision: what synthesis was computed in.
        encoder: what packed the images, with its version, or None for npz and older records.
    """

    format: Literal["segan.generation/1"] = FORMAT
    bundle: str
    bundle_sha256: str
    backend: str
    seeds: str
    options: dict[str, Any]
    files: str
    quality: int | None
    compress_level: int | None
    layout: Literal["flat", "subfolders"]
    shard_size: int | None
    precision: str = "fp32"
    encoder: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as ``generation.json`` holds it, with the options among the other fields."""
        entries: dict[str, Any] = msgspec.to_builtins(self)
        entries |= entries.pop("options")
        order = [*_ORDER, *(name for name in entries if name not in _ORDER)]
        return {name: entries[name] for name in order}

    def differences(self, other: GenerationRecord) -> list[str]:
        """The fields that keep ``other`` out of this folder, as ``psi is 0.7 there, 1.0 here``."""
        mine, theirs = self.to_json(), other.to_json()
        ignored = {"format", "bundle"}
        if self.encoder is None and _packed_as_before(other):
            ignored.add("encoder")
        if self.shard_size is None and other.shard_size is None:
            ignored.add("seeds")
        return [
            f"{name} is {_there(name, mine[name])} there, {_show(theirs[name])} here"
            for name in mine
            if name not in ignored and mine[name] != theirs[name]
        ]


#: Fields of ``generation.json`` in the order in which they are written; newer ones follow.
_ORDER = (
    *("format", "bundle", "bundle_sha256", "backend", "seeds"),
    *("psi", "cutoff", "coords", "sliders", "noise", "class_index"),
    *("files", "quality", "compress_level", "layout", "shard_size"),
    *("latents", "precision", "encoder", "psi_layers", "mix"),
)


def _read_record(path: Path, defaults: dict[str, Any], remedy: str) -> GenerationRecord:
    """Read a folder's record; options that it lacks have the values of ``defaults``."""
    data = path.read_bytes()
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entries = msgspec.json.decode(data)
        if isinstance(entries, dict):
            options = {name: entries.pop(name, value) for name, value in defaults.items()}
            data = msgspec.json.encode({**entries, "options": options})
    return decode_record(
        data, GenerationRecord, name=str(path), format=FORMAT, error=ConfigError, remedy=remedy
    )


def _there(name: str, value: object) -> str:
    if name == "encoder" and value is None:
        return "that of an older segan"
    return _show(value)


def _packed_as_before(record: GenerationRecord) -> bool:
    """Whether today's encoder writes the same bytes as the one before encoders were recorded."""
    is_png = record.files in ("png", "zip", "tar")
    if is_png:
        return record.compress_level != FAST_LEVEL
    return record.files == "jpeg" or (record.files == "webp" and record.quality != 100)


def _show(value: object) -> str:
    if value == {}:
        return "none"
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return value[:12] + "…"
    return "none" if value is None else str(value)


def describe_seeds(seeds: Sequence[int]) -> str:
    """Describe seeds as ``0-63,70``, or by their number and SHA-256 when that would be long."""
    digest = hashlib.sha256()
    parts: list[str] = []
    length = 0
    for first, last in _ranges(seeds):
        text = str(first) if first == last else f"{first}-{last}"
        digest.update(f"{text},".encode())
        if length <= _MAX_SEEDS_TEXT:
            parts.append(text)
            length += len(text) + 1
    if length <= _MAX_SEEDS_TEXT:
        return ",".join(parts)
    return f"{len(seeds)} seeds, sha256 {digest.hexdigest()}"


def _ranges(seeds: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive seeds as (first, last)."""
    spans: Iterable[tuple[int, int]] = ((seed, seed) for seed in seeds)
    if isinstance(seeds, SeedList):
        spans = ((part[0], part[-1]) for part in seeds.ranges)
    elif isinstance(seeds, range) and seeds.step == 1 and len(seeds):
        spans = [(seeds[0], seeds[-1])]
    run: tuple[int, int] | None = None
    for first, last in spans:
        if run is not None and first == run[1] + 1:
            run = run[0], last
            continue
        if run is not None:
            yield run
        run = first, last
    if run is not None:
        yield run


def claim_folder(
    folder: Path, record: GenerationRecord, defaults: dict[str, Any], *, overwrite: bool
) -> bool:
    """Write a request's record into its folder, unless the folder holds another request's images.

    Args:
        folder: exists already.
        record: of the request.
        defaults: the options' default values, for records older than an option.
        overwrite: remove an earlier batch's images first.

    Returns:
        True when an earlier run of the same request is to be continued.

    Raises:
        ConfigError: the folder holds another batch, or images of unknown origin.
        OutputError: the folder cannot be written.
    """
    path = folder / RECORD_NAME
    data = encode_record(record.to_json())
    try:
        if overwrite and path.exists():
            _read_record(path, defaults, "Choose another folder.")  # Else it is not a batch's.
            remove_generated(folder)
        elif path.exists():
            _check_same(path, record, defaults)
            _remove(folder, temporaries_only=True)
            # The newest seeds are recorded; files of earlier seeds stay.
            write_atomic(path, data)
            return True
        elif any(_generated(folder)):
            raise ConfigError(
                f"{folder} holds generated images but no {RECORD_NAME}, so what they show is "
                "unknown",
                field="out",
                value=folder,
                remedy="Choose another folder, or remove the images.",
            )
        write_atomic(path, data)
    except OSError as error:
        raise output_error(folder, error) from error
    return False


def _check_same(path: Path, record: GenerationRecord, defaults: dict[str, Any]) -> None:
    remedy = "Choose another folder, or pass `overwrite` to replace the images."
    differences = _read_record(path, defaults, remedy).differences(record)
    if differences:
        raise ConfigError(
            f"{path.parent} holds another batch: {'; '.join(differences)}",
            field="out",
            value=path.parent,
            remedy=remedy,
        )


def check_not_generated(folder: Path, sources: Iterable[Path]) -> None:
    """Raise OutputError if an earlier batch in the folder holds a file that a new one is made from.

    Args:
        folder: whose images are to be removed; it may be missing.
        sources: latents and the bundle.
    """
    if folder.is_dir():
        kept = {source.resolve().name: source for source in sources}
        for entry, _ in _generated(folder):
            check_not_source(entry, [kept.get(entry.name)])


def remove_generated(folder: Path) -> None:
    """Removes an earlier batch's images, shards, sub-folders and record; nothing else."""
    _remove(folder, temporaries_only=False)
    (folder / RECORD_NAME).unlink(missing_ok=True)


def _remove(folder: Path, *, temporaries_only: bool) -> None:
    for entry, is_temporary in _generated(folder):
        if is_temporary or not temporaries_only:
            entry.unlink(missing_ok=True)
    if not temporaries_only:
        for sub in _subfolders(folder):
            # A folder that holds other files is not empty, and stays.
            with contextlib.suppress(OSError):
                sub.rmdir()


def _generated(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Files of a batch in the folder and its sub-folders, and whether each is temporary."""
    for place in (folder, *_subfolders(folder)):
        with os.scandir(place) as entries:
            for entry in entries:
                if _TEMPORARY.fullmatch(entry.name):
                    yield Path(entry.path), True
                elif _IMAGE.fullmatch(entry.name) or _SHARD.fullmatch(entry.name):
                    yield Path(entry.path), False


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [
            Path(entry.path)
            for entry in entries
            if _SUBFOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        ]
