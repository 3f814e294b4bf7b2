"""The engine cache: TensorRT engines, each with a sealed side file.

Loading an engine runs code that is in it, so an engine from another person's bundle must never be
loaded. Beside each engine is a JSON file that states everything the engine depends on and its
SHA-256. The file is sealed: it holds an HMAC-SHA256 under a secret that was drawn on this machine
and that only this user can read. No other user can write a side file that is accepted, so an engine
that was not built here, or was changed, is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from segan.runtime.backends.tensorrt.build import BuiltEngine, Target
from segan.runtime.backends.tensorrt.settings import EngineSettings
from segan.runtime.errors import OutputError
from segan.runtime.files.atomic import make_folder, output_error, write_atomic
from segan.runtime.files.cache import cache_folder
from segan.runtime.files.lock import locked

FORMAT: Final = "segan.engine/1"

#: Largest side file and largest engine that are read, in bytes.
_MAX_RECORD_BYTES, _MAX_ENGINE_BYTES = 1 << 20, 16 << 30

_SECRET_BYTES = 32

#: Reports builds of engines; warnings go to stderr unless the program configures logging.
logger = logging.getLogger("segan.engines")


class EngineKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that an engine depends on, except its target.

    Attributes:
        graph: ``mapping``, ``offsets`` or ``synthesis``.
        precision: of the graph.
        onnx_sha256: of the graph's file.
        library: ``tensorrt`` or ``tensorrt_rtx``.
        library_version: of the library.
        settings: how it is built.
        build_format: increased when segan builds in another way.
    """

    graph: str
    precision: str
    onnx_sha256: str
    library: str
    library_version: str
    settings: EngineSettings
    build_format: int

    def digest(self, target: Target) -> str:
        """Return the SHA-256 of the key and the target, 64 hexadecimal digits."""
        return hashlib.sha256(_canonical([self, target])).hexdigest()


class EngineRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A side file.

    Attributes:
        format: ``segan.engine/1``.
        key: what the engine depends on.
        target: the GPU that the engine is for.
        profile: smallest, optimum and largest shape of each input.
        size: bytes of the engine.
        sha256: of the engine.
        seconds: duration of the build.
        seal: HMAC-SHA256 of all other fields under the user's secret, in hexadecimal.
    """

    format: Literal["segan.engine/1"]
    key: EngineKey
    target: Target
    profile: dict[str, tuple[tuple[int, ...], ...]]
    size: int
    sha256: str
    seconds: float
    seal: str = ""

    def sealed(self, secret: bytes) -> EngineRecord:
        """Return the same record with its seal."""
        bare = msgspec.structs.replace(self, seal="")
        seal = hmac.new(secret, _canonical(bare), hashlib.sha256).hexdigest()
        return msgspec.structs.replace(self, seal=seal)

    def is_genuine(self, secret: bytes) -> bool:
        """Return whether the seal was made with this secret and nothing was changed since."""
        # As bytes, since compare_digest accepts only ASCII strings, and a seal may be any text.
        return hmac.compare_digest(self.seal.encode(), self.sealed(secret).seal.encode())


@dataclass(frozen=True, kw_only=True)
class StoredEngine:
    """An engine that may be loaded.

    Attributes:
        plan: its bytes.
        record: its side file.
        path: of its file; None when it could not be stored.
        was_built: whether it was built by this call.
    """

    plan: bytes
    record: EngineRecord
    path: Path | None
    was_built: bool


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def engine_secret() -> bytes:
    """Return the user's secret, and draw one where there is none.

    It is stored in the cache as ``keys/engines.key``. Copy it to another machine to use engines
    there that were built here.

    Raises:
        OutputError: it cannot be written or read, or others can read it.
    """
    path = cache_folder("keys") / "engines.key"
    try:
        if not path.exists():
            # Written to a draft and linked, so that two processes use the same secret.
            draft = path.with_name(f".{secrets.token_hex(8)}.tmp")
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(secrets.token_bytes(_SECRET_BYTES))
                with contextlib.suppress(FileExistsError):
                    os.link(draft, path)
            finally:
                draft.unlink()
        found = path.stat()
        secret = path.read_bytes()
    except OSError as error:
        raise output_error(path, error) from error
    if hasattr(os, "getuid") and (
        found.st_uid != os.getuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ):
        raise _unusable_secret(path, "can be read by other users, so it cannot be trusted")
    if len(secret) != _SECRET_BYTES:
        raise _unusable_secret(path, f"holds {len(secret)} bytes, not {_SECRET_BYTES}")
    return secret


def _unusable_secret(path: Path, problem: str) -> OutputError:
    return OutputError(
        f"{path} {problem}",
        field="path",
        value=path,
        remedy="Remove it: engines are then built again.",
    )


def engine_folder(bundle: Path) -> Path:
    """Return the folder of a bundle's engines: in the bundle, or in the cache if it is read-only.

    Args:
        bundle: a bundle's folder or zip.

    Raises:
        OutputError: neither can be written.
    """
    inside = bundle / "engines"
    # A link could lead anywhere, and a write must not leave the bundle.
    if bundle.is_dir() and os.access(bundle, os.W_OK) and not inside.is_symlink():
        with contextlib.suppress(OutputError):
            make_folder(inside)
            if os.access(inside, os.W_OK):
                return inside
    return cache_folder("engines")


def engine_path(folder: Path, key: EngineKey, target: Target) -> Path:
    """Return the file of an engine, by its graph, precision and the digest of its key."""
    return folder / f"{key.graph}.{key.precision}.{key.digest(target)[:16]}.engine"


def obtain_engine(
    folder: Path,
    key: EngineKey,
    target: Target,
    build: Callable[[], BuiltEngine],
    *,
    rebuild: bool = False,
) -> StoredEngine:
    """Load the engine for a key, or build it where there is none that may be loaded.

    Two processes that need the same engine build it once: the second waits and loads it.

    Args:
        folder: of the engines.
        key: what the engine depends on.
        target: the GPU that the engine is for.
        build: builds it.
        rebuild: build also where there is a stored engine.

    Raises:
        BackendError: building failed.
    """
    with contextlib.ExitStack() as stack:
        secret: bytes | None = None
        try:
            secret = engine_secret()
            found = None if rebuild else find_engine(folder, key, target, secret)
            if found is not None:
                return found
            stack.enter_context(locked(folder, on_wait=lambda: _tell_waiting(key)))
            # Another process may have built it in the meantime.
            found = None if rebuild else find_engine(folder, key, target, secret, notice=True)
            if found is not None:
                return found
        except OutputError as error:
            _tell_not_kept(key, error)
            secret = None
        logger.warning("building the %s engine (%s) for %s", key.graph, key.precision, target)
        built = build()
        record = _record(key, target, built)
        path: Path | None = None
        if secret is not None:
            try:
                path, record = _keep(folder, record, built.plan, secret)
            except OutputError as error:
                _tell_not_kept(key, error)
        return StoredEngine(plan=built.plan, record=record, path=path, was_built=True)


def _tell_not_kept(key: EngineKey, error: OutputError) -> None:
    logger.warning(
        "the %s engine is not stored and will be built again next time: %s", key.graph, error
    )


def _tell_waiting(key: EngineKey) -> None:
    logger.warning("another process builds engines here; the %s engine waits for it", key.graph)


def _record(key: EngineKey, target: Target, built: BuiltEngine) -> EngineRecord:
    return EngineRecord(
        format=FORMAT,
        key=key,
        target=target,
        profile=built.profile,
        size=len(built.plan),
        sha256=hashlib.sha256(built.plan).hexdigest(),
        seconds=round(built.seconds, 3),
    )


def _keep(
    folder: Path, record: EngineRecord, plan: bytes, secret: bytes
) -> tuple[Path, EngineRecord]:
    """Write the engine, then its side file; an engine without a side file is never loaded."""
    path, record = engine_path(folder, record.key, record.target), record.sealed(secret)
    for file in (path, _side_file(path)):
        # A link in a bundle may lead to any file of the user, and a write would follow it.
        with contextlib.suppress(OSError):
            mode = os.lstat(file).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                file.unlink()
    write_atomic(path, plan)
    text = msgspec.json.format(msgspec.json.encode(record), indent=2)
    write_atomic(_side_file(path), text + b"\n")
    return path, record


def _side_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def find_engine(
    folder: Path, key: EngineKey, target: Target, secret: bytes, *, notice: bool = False
) -> StoredEngine | None:
    """Return an undamaged engine that was built here for this key and runs on the target, or None.

    Args:
        folder: of the engines.
        key: what the engine depends on.
        target: a GPU, or GPUs to build for.
        secret: see ``engine_secret``.
        notice: log why other engines of this graph are not loaded.
    """
    own = engine_path(folder, key, target)
    others = sorted(folder.glob(f"{key.graph}.{key.precision}.*.engine"))
    for path in [own, *(path for path in others if path != own)]:
        reason, record = _examine(path, key, target, secret)
        plan = None
        if reason is None and record is not None:
            plan = _read(path, min(record.size, _MAX_ENGINE_BYTES))
            if plan is None or hashlib.sha256(plan).hexdigest() != record.sha256:
                reason = "is missing, truncated or altered"
            else:
                return StoredEngine(plan=plan, record=record, path=path, was_built=False)
        if notice and reason is not None:
            logger.warning("the engine %s %s, so it is not loaded", path, reason)
    return None


def _examine(
    path: Path, key: EngineKey, target: Target, secret: bytes
) -> tuple[str | None, EngineRecord | None]:
    """Return why an engine is not loaded, for the log, or its record if it may be loaded."""
    data = _read(_side_file(path), _MAX_RECORD_BYTES)
    if data is None:
        return ("has no side file" if path.exists() else None), None
    try:
        record = msgspec.json.decode(data, type=EngineRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "has a side file that cannot be read", None
    if not record.is_genuine(secret):
        return "was not built here, or its side file was altered", None
    if record.key != key:
        return f"is stale: it was built from or with another {_difference(record.key, key)}", None
    # An engine for another GPU needs no warning.
    return None, (record if record.target.runs_on(target) else None)


def _difference(old: EngineKey, new: EngineKey) -> str:
    names = {
        "onnx_sha256": "graph",
        "library": "library",
        "library_version": "version of the library",
        "settings": "setting",
        "build_format": "version of segan",
    }
    return next(
        (text for name, text in names.items() if getattr(old, name) != getattr(new, name)), "name"
    )


def _read(path: Path, limit: int) -> bytes | None:
    """Return a regular file's bytes if there are no more than ``limit``, else None."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
                return None
            return file.read(found.st_size)
    except OSError:
        return None


def _without_waiting(path: str, flags: int) -> int:
    # Opening a named pipe would block.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
