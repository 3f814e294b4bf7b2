"""``generation.json``: what a folder of generated images was asked to hold.

It lets an interrupted batch be finished by the same command, and keeps a different command from
mixing its images with those that are there.
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
        precision: that it computed in.
        seeds: as ranges, or their number and SHA-256 when that would be long; image files of
            further seeds may join a folder, shards are tied to their seeds.
        psi: truncation strength.
        cutoff: last resolution or site that psi acts on; None for all.
        coords: ``sampled`` or ``zero``.
        sliders: what was added to coordinates, by slider.
        noise: ``const``, ``random`` or ``none``.
        class_index: the class label, or None.
        latents: SHA-256 of the latents that seeds are positions in, or None.
        files: how images are stored: png, webp, jpeg, npz, zip or tar.
        quality: of webp and jpeg, else None.
        compress_level: of png, also within zip and tar, else None.
        psi_layers: truncation strength of single layers, by their numbers.
        mix: seeds that single layers are taken from, by the layers' numbers.
        encoder: what packed the images, with its version, or None for npz and older records.
        layout: of image files: ``flat``, or ``subfolders`` of 10,000 seeds.
        shard_size: images in a shard, or None.
    """

    format: Literal["segan.generation/1"] = FORMAT
    bundle: str
    bundle_sha256: str
    backend: str
    seeds: str
    psi: float
    cutoff: int | str | None
    coords: str
    sliders: dict[str, float]
    noise: str
    class_index: int | None
    files: str
    quality: int | None
    compress_level: int | None
    layout: Literal["flat", "subfolders"]
    shard_size: int | None
    latents: str | None = None
    precision: str = "fp32"
    encoder: str | None = None
    psi_layers: dict[str, float] = msgspec.field(default_factory=dict)
    mix: dict[str, int] = msgspec.field(default_factory=dict)

    def differences(self, other: GenerationRecord) -> list[str]:
        """Which fields keep ``other`` out of this folder, as ``psi is 0.7 there, 1.0 here``."""
        mine: dict[str, Any] = msgspec.to_builtins(self)
        theirs: dict[str, Any] = msgspec.to_builtins(other)
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


def _there(name: str, value: object) -> str:
    if name == "encoder" and value is None:
        return "that of an older segan"
    return _show(value)


def _packed_as_before(record: GenerationRecord) -> bool:
    """Whether files made before the encoder was noted have the bytes that are written today."""
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
    """The seeds as ``0-63,70``, or as their number and SHA-256 when that would be long."""
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


def claim_folder(folder: Path, record: GenerationRecord, *, overwrite: bool) -> bool:
    """Makes ``folder`` the home of the batch that ``record`` describes.

    Args:
        folder: exists already.
        record: the request.
        overwrite: remove an earlier batch's images first.

    Returns:
        True when an earlier run of the same request is to be continued.

    Raises:
        ConfigError: the folder holds another batch, or images of unknown origin.
        OutputError: the folder cannot be written.
    """
    path = folder / RECORD_NAME
    try:
        if overwrite:
            remove_generated(folder)
        elif path.exists():
            _check_same(path, record)
            _remove(folder, temporaries_only=True)
            # The latest seeds are the ones recorded: files of earlier ones stay.
            write_atomic(path, encode_record(record))
            return True
        elif any(_generated(folder)):
            raise ConfigError(
                f"{folder} holds generated images but no {RECORD_NAME}, so what they show is "
                "unknown. Choose another folder, or pass --overwrite to replace them."
            )
        write_atomic(path, encode_record(record))
    except OSError as error:
        raise output_error(folder, error) from error
    return False


def _check_same(path: Path, record: GenerationRecord) -> None:
    advice = "Choose another folder, or pass --overwrite to start anew."
    there = decode_record(
        path.read_bytes(),
        GenerationRecord,
        name=str(path),
        format=FORMAT,
        error=ConfigError,
        remedy=advice,
    )
    differences = there.differences(record)
    if differences:
        raise ConfigError(f"{path.parent} holds another batch: {'; '.join(differences)}. {advice}")


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
            # Not empty: something else lies there, and stays.
            with contextlib.suppress(OSError):
                sub.rmdir()


def _generated(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Files of a batch in the folder and its sub-folders, and whether each is a left-over."""
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
