"""Opening a bundle, a folder ``NAME.segan/`` or the same as one stored zip, and reading its files.

A bundle may come from anybody: no name in it can lead outside it, every file is compared with
its SHA-256 when it is read, sizes are limited, and nothing in it is ever executed or unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segan.runtime.bundle.manifest import Manifest, decode_manifest
from segan.runtime.errors import BundleError

MANIFEST = "manifest.json"
ATTRIBUTES = "attributes.json"
#: Where a folder's next attributes.json lies while its manifest is being replaced.
PENDING_ATTRIBUTES = "attributes.json.next"

#: Largest manifest and largest other file that are read, in bytes (protobuf ends at 2 GiB).
MAX_MANIFEST_BYTES, MAX_FILE_BYTES = 16 << 20, 2 << 30

_SKIPPED_FOLDERS = {"node_modules", "__pycache__", "site-packages"}


class Bundle:
    """An open bundle. Holds no file handle, so it may be shared between threads.

    Attributes:
        path: the folder or zip file.
        manifest: what the bundle holds.
    """

    def __init__(self, path: Path, store: _Folder | _Zip) -> None:
        self.path = path
        self._store = store
        self.manifest: Manifest = self._read_manifest()

    def _read_manifest(self) -> Manifest:
        try:
            manifest = decode_manifest(self._store.read(MANIFEST, MAX_MANIFEST_BYTES))
            names = [manifest.graphs.mapping, manifest.graphs.offsets]
            names += [*manifest.graphs.synthesis.values(), *manifest.files]
            for name in names if manifest.noise is None else [*names, manifest.noise]:
                _check_name(name)
        except BundleError as error:
            raise BundleError(f"{self.path}: {error}") from None
        return manifest

    def read(self, name: str) -> bytes:
        """The bytes of one listed file, after comparing them with their SHA-256.

        Raises:
            BundleError: the manifest does not list ``name``, or the file is missing, altered, too
                large or outside the bundle.
        """
        stated = self.manifest.files.get(name)
        if stated is None:
            raise BundleError(f"{self.path}: {name!r} is not listed in manifest.json.")
        try:
            data = self._store.read(name, MAX_FILE_BYTES)
        except BundleError as error:
            raise BundleError(f"{self.path}: {error}") from None
        found = hashlib.sha256(data).hexdigest()
        if found != stated.lower() and name == ATTRIBUTES:
            # Editing names was cut off between the manifest's renaming and this file's.
            with contextlib.suppress(BundleError):
                pending = self._store.read(PENDING_ATTRIBUTES, MAX_FILE_BYTES)
                if hashlib.sha256(pending).hexdigest() == stated.lower():
                    return pending
        if found != stated.lower():
            raise BundleError(
                f"{self.path}: {name} was altered: its SHA-256 is {found[:12]}..., expected "
                f"{stated[:12]}.... Export or copy the bundle again."
            )
        return data

    def verify(self) -> None:
        """Reads and compares every listed file. Raises: BundleError, naming the first bad one."""
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
        try:
            found = json.loads(self.read(ATTRIBUTES))
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{self.path}: {ATTRIBUTES} is not JSON ({error}).") from None
        if not isinstance(found, dict):
            raise BundleError(f"{self.path}: {ATTRIBUTES} holds no JSON object.")
        return found


class _Folder:
    """Reads files from a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str, limit: int) -> bytes:
        path = self._root.joinpath(*name.split("/"))
        try:
            # A symbolic link may point anywhere; only what lies inside the folder is read.
            if not path.resolve(strict=True).is_relative_to(self._root.resolve(strict=True)):
                raise BundleError(f"{name!r} leads outside the bundle, which is not allowed.")
            with open(path, "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise BundleError(f"{name!r} is not a regular file.")
                _check_size(name, found.st_size, limit)
                return file.read(limit)
        except FileNotFoundError:
            raise BundleError(f"{name} is missing. {_NEXT_STEP}") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before 3.13
            raise BundleError(f"{name} cannot be read: {error}.") from None


class _Zip:
    """Reads stored entries from a zip file, which may wrap them all in one folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._prefix = ""
        names = self._names()
        if MANIFEST not in names:
            tops = [name.removesuffix(MANIFEST) for name in names if name.endswith(f"/{MANIFEST}")]
            tops = [top for top in tops if top.count("/") == 1]
            if len(tops) != 1:
                raise BundleError(
                    f"{path} is a zip without {MANIFEST}: not a bundle. Choose one that "
                    "'segan export' wrote."
                )
            self._prefix = tops[0]

    def _names(self) -> list[str]:
        import zipfile

        try:
            with zipfile.ZipFile(self._path) as archive:
                return archive.namelist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise BundleError(
                f"{self._path} is not a bundle, or was cut short: it cannot be read as a zip "
                f"({error}). Copy or export it again."
            ) from None

    def read(self, name: str, limit: int) -> bytes:
        # Only folders need the module, so it is imported for zips alone.
        import zipfile

        entry = self._prefix + name
        try:
            with zipfile.ZipFile(self._path) as archive:
                found = [info for info in archive.infolist() if info.filename == entry]
                if not found:
                    raise BundleError(f"{name} is missing. {_NEXT_STEP}")
                if len(found) > 1:
                    raise BundleError(f"{name} stands in the zip {len(found)} times.")
                if found[0].compress_type != zipfile.ZIP_STORED or found[0].flag_bits & 1:
                    raise BundleError(
                        f"{name} is compressed or encrypted; expected a stored entry. Unpack the "
                        "zip and use the folder, or pack it with 'zip -0'."
                    )
                _check_size(name, found[0].file_size, limit)
                with archive.open(found[0]) as file:
                    data = file.read()
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
            raise BundleError(
                f"{name} cannot be read from the zip: {error}. {_NEXT_STEP}"
            ) from None
        if len(data) != found[0].file_size:
            raise BundleError(f"{name} was cut short. {_NEXT_STEP}")
        return data


_NEXT_STEP = "Export or copy the bundle again."


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise BundleError(f"{name} has {size} bytes; expected at most {limit}.")


def _check_name(name: str) -> None:
    """Only plain relative names with forward slashes stay inside the bundle on every system."""
    parts = name.split("/")
    if name == MANIFEST or any(
        part in ("", ".", "..") or any(char in '\\:*?"<>|' or char < " " for char in part)
        for part in parts
    ):
        raise BundleError(
            f"manifest.json names the file {name!r}; expected a plain relative path inside the "
            "bundle. Do not use this bundle."
        )


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Opens a bundle and checks its manifest; the other files are checked when they are read.

    Args:
        path: a folder that holds manifest.json, or a zip with the same files, stored.

    Raises:
        BundleError: nothing is there, it is no bundle, its format is unknown, or its manifest is
            damaged, contradictory or names a path outside the bundle.
    """
    path = Path(path)
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        near = path.with_name(f"{path.name}.segan")
        if path.name and near.exists():
            raise BundleError(f"there is no bundle at {path}. Did you mean {near}?") from None
        raise BundleError(
            f"there is no bundle at {path}. Write one with: segan export -o {path}"
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}.") from None
    if stat.S_ISDIR(kind):
        if not (path / MANIFEST).is_file():
            raise BundleError(
                f"{path} is a folder without {MANIFEST}: not a bundle. Choose one that "
                "'segan export' wrote, such as NAME.segan."
            )
        return Bundle(path, _Folder(path))
    if not stat.S_ISREG(kind):
        raise BundleError(f"{path} is neither a folder nor a file: not a bundle.")
    return Bundle(path, _Zip(path))


def find_bundle(start: str | os.PathLike[str] = ".") -> Path | None:
    """The newest ``*.segan`` under a folder, by the modification time of its manifest or zip.

    Hidden folders, virtual environments, node_modules and links to folders are not searched, nor
    is anything more than six folders deep. Of equally new ones the first by name is taken.

    Returns:
        Its path, or None when there is none.
    """
    best: tuple[float, str] | None = None
    for modified, path in _bundles(os.fspath(start), depth=6):
        if best is None or (-modified, path) < (-best[0], best[1]):
            best = (modified, path)
    return None if best is None else Path(best[1])


def _bundles(folder: str, depth: int) -> Iterator[tuple[float, str]]:
    """(modification time, path) of each bundle."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # A folder that may not be listed holds no bundle that could be read.
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED_FOLDERS:
            continue
        try:
            if entry.name.endswith(".segan"):
                manifest = os.path.join(entry.path, MANIFEST)
                if entry.is_file():
                    yield entry.stat().st_mtime, entry.path
                elif os.path.isfile(manifest):
                    yield os.stat(manifest).st_mtime, entry.path
            elif (
                depth
                and entry.is_dir(follow_symlinks=False)
                # Marks a virtual environment, whatever its name is.
                and not os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))
            ):
                yield from _bundles(entry.path, depth - 1)
        except OSError:
            continue  # It went away meanwhile, or is a broken link.
