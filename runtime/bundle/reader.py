"""Opening a bundle, a folder ``NAME.segan/`` or the same as one stored zip, and reading its files.

Bundles come from unknown sources: no name in one leads outside it, every file is compared with
its SHA-256 when it is read, sizes are limited, and nothing in it is executed or unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segan.runtime.bundle.manifest import Manifest, decode_manifest
from segan.runtime.commands import command
from segan.runtime.errors import BundleError
from segan.runtime.files.json_record import check_json_size
from segan.runtime.files.whole_folder import restore, restore_all
from segan.runtime.files.zips import DamagedZipError, open_zip

if TYPE_CHECKING:
    from zipfile import ZipFile

MANIFEST = "manifest.json"
ATTRIBUTES = "attributes.json"
SUFFIX = ".segan"
#: The next attributes.json of a folder, while its manifest is being replaced.
PENDING_ATTRIBUTES = "attributes.json.next"

#: Largest manifest and largest other file that are read, in bytes (protobuf ends at 2 GiB).
MAX_MANIFEST_BYTES, MAX_FILE_BYTES = 16 << 20, 2 << 30
#: Largest attributes.json: 2000 directions with all their figures take 1 MiB.
MAX_ATTRIBUTES_BYTES = 16 << 20

_SKIPPED_FOLDERS = {"node_modules", "__pycache__", "site-packages"}


class Bundle:
    """An open bundle. It holds no file handle, so threads may share it.

    Attributes:
        path: the folder or zip file.
        manifest: what the bundle holds.
    """

    def __init__(self, path: Path, store: _Folder | _Zip) -> None:
        self.path = path
        self._store = store
        data = store.read(MANIFEST, MAX_MANIFEST_BYTES)
        self.manifest: Manifest = decode_manifest(data, f"{path}: {MANIFEST}")
        for name in (*self.manifest.file_names(), *self.manifest.files):
            _check_name(path, name)

    def read(self, name: str) -> bytes:
        """Return the bytes of one listed file, after comparing them with their SHA-256.

        Raises:
            BundleError: the manifest does not list ``name``, or the file is missing, altered, too
                large or outside the bundle.
        """
        stated = self.manifest.files.get(name)
        if stated is None:
            raise _unusable(self.path, f"{name!r} is not listed in {MANIFEST}", remedy="")
        limit = MAX_ATTRIBUTES_BYTES if name == ATTRIBUTES else MAX_FILE_BYTES
        data = self._store.read(name, limit)
        found = hashlib.sha256(data).hexdigest()
        if found != stated.lower() and name == ATTRIBUTES:
            # Editing names was cut off between the manifest's renaming and this file's.
            with contextlib.suppress(BundleError):
                pending = self._store.read(PENDING_ATTRIBUTES, limit)
                if hashlib.sha256(pending).hexdigest() == stated.lower():
                    return pending
        if found != stated.lower():
            problem = f"{name} was altered: its SHA-256 is {found[:12]}..."
            raise _unusable(self.path, problem, expected=f"{stated[:12]}...")
        return data

    def verify(self) -> None:
        """Read and compare every listed file. Raises: BundleError, naming the first bad one."""
        for name in self.manifest.files:
            self.read(name)

    @property
    def attributes(self) -> dict[str, Any]:
        """``attributes.json``, the named directions; empty when the bundle has none.

        Raises:
            BundleError: the file is missing, altered or not a JSON object.
        """
        if ATTRIBUTES not in self.manifest.files:
            return {}
        data = self.read(ATTRIBUTES)
        try:
            check_json_size(data)
            found = json.loads(data.decode())
        except (ValueError, RecursionError) as error:
            raise _unusable(self.path, f"{ATTRIBUTES} is not JSON ({error})") from None
        if not isinstance(found, dict):
            raise _unusable(self.path, f"{ATTRIBUTES} is not a JSON object")
        return found


def check_same_generator(opened: Bundle, now: Bundle) -> None:
    """Raise BundleError if another generator has taken a bundle's place since it was opened."""
    files = [
        {name: digest for name, digest in bundle.manifest.files.items() if name != ATTRIBUTES}
        for bundle in (opened, now)
    ]
    if files[0] != files[1]:
        problem = "another generator was written here in the meantime"
        raise _unusable(now.path, problem, remedy="Run the command again.")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class _Folder:
    """Reads files from a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str, limit: int) -> bytes:
        path = self._root.joinpath(*name.split("/"))
        try:
            # A symbolic link may point anywhere; only files inside the folder are read.
            if not path.resolve(strict=True).is_relative_to(self._root.resolve(strict=True)):
                raise _unusable(self._root, f"{name!r} leads outside the bundle", remedy=_REFUSED)
            # A pipe without a writer would be waited for.
            with open(path, "rb", opener=_open_at_once) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise _unusable(self._root, f"{name!r} is not a regular file")
                _check_size(self._root, name, found.st_size, limit)
                # Memory is taken for as many bytes as are asked for.
                return file.read(found.st_size)
        except FileNotFoundError:
            raise _unusable(self._root, f"{name} is missing") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before 3.13
            raise _unusable(self._root, f"{name} cannot be read: {error}") from None


class _Zip:
    """Reads stored entries from a zip file, which may hold them all in one folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        prefix = _zip_prefix(path)
        if prefix is None:
            raise BundleError(
                f"{path} is a zip without {MANIFEST}, so it is not a bundle",
                field="bundle",
                value=path,
                remedy="Choose one that 'segan export' wrote.",
            )
        self._prefix = prefix

    def read(self, name: str, limit: int) -> bytes:
        entry = self._prefix + name
        with _open_zip(self._path, f"{self._path}: {name} cannot be read from the zip") as archive:
            found = [info for info in archive.infolist() if info.filename == entry]
            if not found:
                raise _unusable(self._path, f"{name} is missing")
            if len(found) > 1:
                raise _unusable(self._path, f"{name} is in the zip {len(found)} times")
            if found[0].compress_type or found[0].flag_bits & 1:  # 0 is zipfile.ZIP_STORED
                raise _unusable(
                    self._path,
                    f"{name} is compressed or encrypted",
                    expected="a stored entry",
                    remedy="Unpack the zip and use the folder, or pack it with 'zip -0'.",
                )
            # A stored entry has one size, and is part of the file.
            size = found[0].file_size
            if size != found[0].compress_size or size > self._path.stat().st_size:
                raise _unusable(self._path, f"{name} is damaged: its sizes contradict each other")
            _check_size(self._path, name, size, limit)
            with archive.open(found[0]) as file:
                data = file.read()
        if len(data) != size:
            raise _unusable(self._path, f"{name} was truncated")
        return data


_AGAIN = "Export or copy the bundle again."
_REFUSED = "Do not use this bundle."


@contextlib.contextmanager
def _open_zip(path: Path, problem: str) -> Iterator[ZipFile]:
    """Open a zip; what zipfile raises in the block becomes a BundleError with this problem."""
    try:
        with open_zip(path) as archive:
            yield archive
    except DamagedZipError as error:
        problem = f"{problem} ({error})"
        raise BundleError(problem, field="bundle", value=path, remedy=_AGAIN) from None


def _zip_prefix(path: Path) -> str | None:
    """Return the folder within a zip that holds manifest.json, ``""`` for its top; None for none.

    Raises:
        BundleError: it is not a zip, or is damaged.
    """
    problem = f"{path} is not a bundle, or was truncated: it cannot be read as a zip"
    with _open_zip(path, problem) as archive:
        names = archive.namelist()
    if MANIFEST in names:
        return ""
    tops = [name.removesuffix(MANIFEST) for name in names if name.endswith(f"/{MANIFEST}")]
    tops = [top for top in tops if top.count("/") == 1]
    return tops[0] if len(tops) == 1 else None


def _unusable(path: Path, problem: str, *, expected: str = "", remedy: str = _AGAIN) -> BundleError:
    """Return the error of a bundle with a bad file."""
    problem = f"{path}: {problem}"
    return BundleError(problem, field="bundle", value=path, expected=expected, remedy=remedy)


def _check_size(path: Path, name: str, size: int, limit: int) -> None:
    if size > limit:
        problem, expected = f"{name} has {size} bytes", f"at most {limit}"
        raise _unusable(path, problem, expected=expected, remedy=_REFUSED)


def _check_name(path: Path, name: str) -> None:
    """Raise BundleError unless a name is relative and plain: it stays inside on every system."""
    parts = name.split("/")
    if name == MANIFEST or any(
        part in ("", ".", "..") or not part.isprintable() or set(part) & set('\\:*?"<>|')
        for part in parts
    ):
        raise _unusable(
            path,
            f"{MANIFEST} names the file {name!r}",
            expected="a plain relative path inside the bundle",
            remedy=_REFUSED,
        )


def is_bundle(path: Path) -> bool:
    """Return whether a path is meant as a bundle.

    It is, by the name NAME.segan, as a folder with manifest.json, or as a zip with manifest.json at
    its top or in its only folder. ``open_bundle`` tells whether the bundle can be used.
    """
    if path.suffix == SUFFIX or (path / MANIFEST).is_file():
        return True
    try:
        return path.is_file() and _zip_prefix(path) is not None
    except BundleError:
        return False


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Open a bundle and check its manifest; the other files are checked when they are read.

    Args:
        path: a folder that holds manifest.json, or a zip with the same files, stored.

    Raises:
        BundleError: nothing is there, it is not a bundle, its format is unknown, or its manifest
            is damaged, contradictory or names a path outside the bundle.
    """
    path = Path(path)
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if restore(Path(os.path.realpath(path))):
            return open_bundle(path)
        near = path.with_name(f"{path.name}{SUFFIX}")
        is_near = path.name and near.exists()
        hint = f"Did you mean {near}?" if is_near else f"Write one: {command('export', '-o', path)}"
        raise BundleError(
            f"there is no bundle at {path}", field="bundle", value=path, remedy=hint
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}", field="bundle", value=path) from None
    if stat.S_ISDIR(kind):
        if not (path / MANIFEST).is_file():
            raise BundleError(
                f"{path} is a folder without {MANIFEST}, so it is not a bundle",
                field="bundle",
                value=path,
                remedy="Choose one that 'segan export' wrote, such as NAME.segan.",
            )
        return Bundle(path, _Folder(path))
    if not stat.S_ISREG(kind):
        problem = f"{path} is neither a folder nor a file, so it is not a bundle"
        raise BundleError(problem, field="bundle", value=path)
    return Bundle(path, _Zip(path))


def find_bundle(start: str | os.PathLike[str] = ".") -> Path | None:
    """Find the newest ``*.segan`` under a folder, by the modification time of manifest or zip.

    Hidden folders, virtual environments, node_modules and links to folders are not searched, nor
    is anything more than six folders deep. Of equally new ones the first by name is taken.

    Returns:
        Its path, or None if there is none.
    """
    best: tuple[float, str] | None = None
    for modified, path in _bundles(os.fspath(start), depth=6):
        if best is None or (-modified, path) < (-best[0], best[1]):
            best = (modified, path)
    return None if best is None else Path(best[1])


def _bundles(folder: str, depth: int) -> Iterator[tuple[float, str]]:
    """Yield (modification time, path) of each bundle."""
    try:
        entries = list(os.scandir(folder))
        if any(entry.name.endswith(".old.tmp") for entry in entries):
            restore_all(Path(folder), rf".+\{SUFFIX}")
            entries = list(os.scandir(folder))
    except OSError:
        return  # No permission to list the folder.
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED_FOLDERS:
            continue
        try:
            if entry.name.endswith(SUFFIX):
                manifest = os.path.join(entry.path, MANIFEST)
                if entry.is_file():
                    yield entry.stat().st_mtime, entry.path
                elif os.path.isfile(manifest):
                    yield os.stat(manifest).st_mtime, entry.path
            elif (
                depth
                and entry.is_dir(follow_symlinks=False)
                # Marks a virtual environment of any name.
                and not os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))
            ):
                yield from _bundles(entry.path, depth - 1)
        except OSError:
            continue  # It was removed meanwhile, or is a broken link.
