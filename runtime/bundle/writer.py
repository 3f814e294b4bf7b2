"""Writing a bundle completely and verified, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from segan.runtime.bundle.manifest import Manifest, encode_manifest
from segan.runtime.bundle.reader import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    PENDING_ATTRIBUTES,
    SUFFIX,
    Bundle,
    open_bundle,
)
from segan.runtime.errors import BundleError, ConfigError
from segan.runtime.files.atomic import atomic_file, follow_link, write_atomic, writing
from segan.runtime.files.lock import locked
from segan.runtime.files.target import exists_already, not_replaced
from segan.runtime.files.whole_folder import WholeFolder, files_in, recover
from segan.runtime.files.zips import DamagedZipError, open_zip

#: Earliest date of a zip entry: with the time of day each export would have other bytes.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

#: Seconds to wait for another change of the same bundle: adding directions takes the longest.
CHANGE_WAIT = 60.0

_MARK = b'"segan.bundle/'

#: Temporary names of older versions; see ``recover``.
_FORMER_NAME = r"(?P<name>{name})\.(?:tmp|(?P<old>old))-(?P<process>\d+)-[0-9a-f]{{8}}"


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Keep other changes of a bundle out while the block reads, changes and writes it.

    Args:
        path: of the bundle, a folder or zip, which exists. A link is followed.

    Raises:
        ConfigError: another process is changing it for longer than ``CHANGE_WAIT``.
    """
    goal = Path(os.path.realpath(path))
    with locked(goal, "another process is changing", wait=CHANGE_WAIT):
        yield


def check_target(out: Path, *, overwrite: bool = True) -> None:
    """Make sure that a bundle may be written to ``out``, a folder NAME.segan.

    Raises:
        ConfigError: the name does not end in .segan.
        OutputError: something that is not a bundle is there; or one is, and ``overwrite`` is False.
    """
    check_suffix(out)
    check_replaceable(out, overwrite=overwrite)


def check_suffix(out: Path) -> None:
    """Raise ConfigError unless a bundle's path is NAME.segan."""
    if out.suffix != SUFFIX or out.name == SUFFIX:
        raise ConfigError(field="out", value=out, expected=f"a name that ends in {SUFFIX}")


def bundle_name(text: str) -> str:
    """Return a file name for a bundle of that name: ``faces 64`` → ``faces-64.segan``."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', text).strip('.-') or 'model'}{SUFFIX}"


def zip_path(out: Path) -> Path:
    """Return the path of the zip of the bundle ``out``: NAME.segan.zip next to it."""
    return out.with_name(f"{out.name}.zip")


def zip_entry(name: str) -> zipfile.ZipInfo:
    """Return the entry of a file in a bundle's zip, the same on every machine and day."""
    entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
    entry.external_attr = 0o644 << 16
    return entry


def check_replaceable(path: Path, *, overwrite: bool = True) -> None:
    """Raise OutputError if a bundle at ``path`` would replace anything else, or may not.

    Args:
        path: of a folder or zip. An empty folder counts as nothing.
        overwrite: whether an existing bundle may be replaced.
    """
    with writing(path):
        goal = follow_link(path)
        if not os.path.lexists(goal) or (goal.is_dir() and not any(goal.iterdir())):
            return
        is_bundle = _is_marked(goal)
    if not is_bundle:
        raise not_replaced(path, "exists and is not a bundle")
    if not overwrite:
        raise exists_already(path)
    if goal.is_dir():
        foreign = _foreign_files(goal)
        if foreign:
            raise not_replaced(path, f"holds {foreign[0]}, which its manifest does not list")


def _foreign_files(folder: Path) -> list[str]:
    """Return the files of a bundle's folder that are not the bundle's: its user's."""
    try:
        stated = json.loads((folder / MANIFEST).read_bytes())["files"]
        listed = {MANIFEST, PENDING_ATTRIBUTES, *stated}
    except (ValueError, KeyError, TypeError, RecursionError):
        return []  # A damaged bundle, whose files are not known.
    return sorted(
        name
        for name in files_in(folder) - listed
        if not name.startswith("engines/") and not Path(name).name.startswith(".")
    )


def _is_marked(path: Path) -> bool:
    """Whether a folder or zip has the manifest of a bundle."""
    if path.is_dir():
        manifest = path / MANIFEST
        if not manifest.is_file():
            return False
        with open(manifest, "rb") as file:
            return _MARK in file.read(MAX_MANIFEST_BYTES)
    # A zip that was truncated is not recognised, and is not replaced either.
    with contextlib.suppress(DamagedZipError), open_zip(path) as archive:
        for name in archive.namelist():
            if Path(name).name == MANIFEST:
                with archive.open(name) as file:
                    if _MARK in file.read(MAX_MANIFEST_BYTES):
                        return True
    return False


class BundleFiles:
    """The files of a bundle that is being written.

    Args:
        path: a folder, which exists.

    Attributes:
        path: the folder.
        files: sha256 of the files so far, by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, str] = {}

    def add(self, name: str, data: bytes) -> None:
        """Write one file. Raises: OutputError."""
        write_atomic(self.path / name, data)
        self.files[name] = hashlib.sha256(data).hexdigest()

    def remove(self, name: str) -> None:
        """Remove one file. Raises: OutputError."""
        with writing(self.path / name):
            (self.path / name).unlink()
        del self.files[name]

    def write_manifest(self, manifest: Manifest) -> None:
        """Write or replace manifest.json. Raises: OutputError."""
        manifest.check()
        write_atomic(self.path / MANIFEST, encode_manifest(manifest))


class BundleDraft(BundleFiles):
    """A bundle that is being written. Use as a context manager; without ``commit`` nothing remains.

    What killed exports to the same place left is put right first. An older bundle stays as it is
    until ``commit``.

    Args:
        out: where the bundle appears. A link is followed: the bundle that it points to is replaced.
        overwrite: whether an older bundle may be replaced.
        in_place: the bundle at ``out`` is changed, and stays one file if it is a zip.

    Attributes:
        path: the temporary folder.
        files: sha256 of the files so far, by name.

    Raises:
        ConfigError: see ``check_target``.
        OutputError: ``out`` is taken, or its folder cannot be written.
    """

    def __init__(self, out: Path, *, overwrite: bool = True, in_place: bool = False) -> None:
        self._overwrite, self._as_zip = overwrite, in_place and out.is_file()
        check_replaceable(out, overwrite=overwrite)
        if not self._as_zip:
            check_suffix(out)
        self._is_held = False
        self._out = Path(os.path.realpath(out))
        self._shown = out
        self._folder = WholeFolder(self._out, out)
        super().__init__(self._folder.path)

    def __enter__(self) -> Self:
        with writing(self._shown):
            name = re.escape(self._out.name)
            recover(self._out.parent, name, former_names=[_FORMER_NAME])
        self._folder.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a folder for files that are not part of the bundle; it is removed with the block.

        Raises:
            OutputError: it cannot be made.
        """
        folder = self.path / "scratch"
        with writing(folder):
            folder.mkdir()
        yield folder
        shutil.rmtree(folder)

    @contextlib.contextmanager
    def replacing(self) -> Iterator[Bundle | None]:
        """Yield the bundle that ``commit``, within the block, replaces: it does not change before.

        None stands for no bundle, or one that cannot be opened.

        Raises:
            ConfigError: see ``changing``.
            OutputError: what is there now may not be replaced.
        """
        with contextlib.ExitStack() as stack:
            old = None
            if os.path.lexists(self._out):
                stack.enter_context(changing(self._out))
                check_replaceable(self._shown, overwrite=self._overwrite)
                with contextlib.suppress(BundleError):
                    old = open_bundle(self._out)
            self._is_held = True
            try:
                yield old
            finally:
                self._is_held = False

    def write_zip(self) -> None:
        """Write the committed bundle as one zip with stored entries, next to the folder.

        Raises:
            ConfigError: see ``changing``.
            OutputError: it cannot be written.
        """
        with changing(self._out):
            self._pack(self._out, zip_path(self._out))

    def _pack(self, folder: Path, target: Path) -> None:
        with atomic_file(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in (MANIFEST, *self.files):
                archive.writestr(zip_entry(name), (folder / name).read_bytes())

    def commit(self) -> None:
        """Give the bundle its name; an older one is replaced.

        Raises:
            ConfigError, OutputError: see ``replacing``; or the bundle cannot be written.
        """
        with contextlib.nullcontext() if self._is_held else self.replacing():
            if self._as_zip:
                self._pack(self.path, self._out)
            else:
                self._folder.commit()
