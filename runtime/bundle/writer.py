"""Writing a bundle completely and verified, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from segan.runtime.bundle.manifest import Manifest, encode_manifest
from segan.runtime.bundle.reader import MANIFEST, MAX_MANIFEST_BYTES, SUFFIX
from segan.runtime.errors import ConfigError, OutputError
from segan.runtime.files.atomic import atomic_file, write_atomic, writing
from segan.runtime.files.whole_folder import WholeFolder, recover
from segan.runtime.files.zips import DamagedZipError, open_zip

#: Earliest date of a zip entry: with the time of day each export would have other bytes.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

_MARK = b'"segan.bundle/'

#: Temporary names of older versions; see ``recover``.
_FORMER_NAME = r"(?P<name>{name})\.(?:tmp|(?P<old>old))-(?P<process>\d+)-[0-9a-f]{{8}}"


def check_target(out: Path) -> None:
    """Make sure that a bundle may be written to ``out``, a folder NAME.segan.

    Raises:
        ConfigError: the name does not end in .segan.
        OutputError: something that is not a bundle is there.
    """
    check_suffix(out)
    with writing(out):
        _check_replaceable(out)


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


def _check_replaceable(path: Path) -> None:
    """Raise OutputError if replacing ``path`` could destroy anything but a bundle."""
    if not path.exists():
        return
    if path.is_dir():
        manifest = path / MANIFEST
        found = manifest.read_bytes() if manifest.is_file() else b""
        if _MARK in found or not any(path.iterdir()):
            return
    elif zipfile.is_zipfile(path):
        # A zip that was truncated is not recognised, and is not replaced either.
        with contextlib.suppress(DamagedZipError), open_zip(path) as archive:
            for name in archive.namelist():
                if Path(name).name == MANIFEST:
                    with archive.open(name) as file:
                        if _MARK in file.read(MAX_MANIFEST_BYTES):
                            return
    raise OutputError(
        f"{path} exists and is not a bundle, so it is not replaced",
        field="out",
        value=path,
        remedy="Choose another name, or remove it.",
    )


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

    Attributes:
        path: the temporary folder.
        files: sha256 of the files so far, by name.

    Raises:
        ConfigError: see ``check_target``.
        OutputError: ``out`` is taken, or its folder cannot be written.
    """

    def __init__(self, out: Path) -> None:
        check_target(out)
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

    def check_zip(self) -> None:
        """Raise OutputError when something that is not a bundle is in the zip's place."""
        target = zip_path(self._out)
        with writing(target):
            _check_replaceable(target)

    def write_zip(self) -> None:
        """Write the committed bundle as one zip with stored entries, next to the folder.

        Raises:
            OutputError: it cannot be written.
        """
        target = zip_path(self._out)
        with atomic_file(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in (MANIFEST, *self.files):
                archive.writestr(zip_entry(name), (self._out / name).read_bytes())

    def commit(self) -> None:
        """Give the bundle its name; an older one is replaced. Raises: OutputError."""
        self._folder.commit()
