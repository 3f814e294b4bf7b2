"""Writing a bundle so that it appears whole and verified, or not at all.

Files go to ``NAME.segan.tmp-…`` beside the place where the bundle shall stand. Only ``commit``
renames that folder; until then an older bundle of the same name stays as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from segan.runtime.bundle.manifest import Manifest, encode_manifest
from segan.runtime.bundle.reader import MANIFEST
from segan.runtime.errors import ConfigError, OutputError
from segan.runtime.files.atomic import atomic_file, output_error, sync_folder, write_atomic

SUFFIX = ".segan"

#: zip's earliest date: the time of day would make the bytes of every export different.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

_MARK = b'"segan.bundle/'


def check_target(out: Path) -> None:
    """Makes sure that a bundle may be written to ``out``, a folder NAME.segan.

    Raises:
        ConfigError: the name does not end in .segan.
        OutputError: something that is not a bundle stands there.
    """
    if out.suffix != SUFFIX or out.name == SUFFIX:
        raise ConfigError(f"the output is {out}; expected a name that ends in {SUFFIX}.")
    try:
        _check_replaceable(out)
    except OSError as error:
        raise output_error(out, error) from error


def bundle_name(text: str) -> str:
    """A file name for a bundle of that name: ``faces 64`` → ``faces-64.segan``."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', text).strip('.-') or 'model'}{SUFFIX}"


def zip_path(out: Path) -> Path:
    """Where the zip of the bundle ``out`` is written: NAME.segan.zip beside it."""
    return out.with_name(f"{out.name}.zip")


def _check_replaceable(path: Path) -> None:
    """Raises OutputError if replacing ``path`` could destroy anything but a bundle."""
    if not path.exists():
        return
    if path.is_dir():
        manifest = path / MANIFEST
        found = manifest.read_bytes() if manifest.is_file() else b""
        if _MARK in found or not any(path.iterdir()):
            return
    elif zipfile.is_zipfile(path):
        # A zip that was cut short is no zip any more, and stays too: better safe.
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if Path(name).name == MANIFEST]
            if any(_MARK in archive.read(name) for name in names):
                return
    raise OutputError(
        f"{path} exists and is not a bundle, so it is not replaced. Choose another name, or "
        "remove it."
    )


class DraftFolder:
    """The files of a bundle in the making.

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
        """Writes one file. Raises: OutputError."""
        write_atomic(self.path / name, data)
        self.files[name] = hashlib.sha256(data).hexdigest()

    def remove(self, name: str) -> None:
        """Takes one file out again. Raises: OutputError."""
        try:
            (self.path / name).unlink()
        except OSError as error:
            raise output_error(self.path / name, error) from error
        del self.files[name]

    def write_manifest(self, manifest: Manifest) -> None:
        """Writes or replaces manifest.json. Raises: OutputError."""
        manifest.check()
        write_atomic(self.path / MANIFEST, encode_manifest(manifest))


class BundleDraft(DraftFolder):
    """A bundle in the making. Use as a context manager; without ``commit`` nothing remains.

    Args:
        out: where the bundle shall stand.

    Attributes:
        path: the temporary folder.
        files: sha256 of the files so far, by name.

    Raises:
        ConfigError: see ``check_target``.
        OutputError: ``out`` is taken, or its folder cannot be written.
    """

    def __init__(self, out: Path) -> None:
        check_target(out)
        # A link is followed, so that the bundle that it points to is replaced, not the link.
        self._out = Path(os.path.realpath(out))
        self._told = out
        super().__init__(self._beside("tmp"))

    def _beside(self, kind: str) -> Path:
        return self._out.with_name(f"{self._out.name}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")

    def __enter__(self) -> Self:
        try:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._tidy()
            self.path.mkdir()
        except OSError as error:
            raise output_error(self._told, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _tidy(self) -> None:
        """Undoes what killed exports to the same place left: drafts, and a bundle moved aside."""
        name = re.escape(self._out.name)
        for path in list(self._out.parent.iterdir()):
            match = re.fullmatch(rf"{name}\.(tmp|old)-(\d+)-[0-9a-f]{{8}}", path.name)
            if match is None or _alive(int(match[2])):
                continue
            if match[1] == "old" and not self._out.exists():
                os.rename(path, self._out)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for files that the bundle shall not have; gone with the block, or the draft.

        Raises:
            OutputError: it cannot be made.
        """
        folder = self.path / "scratch"
        try:
            folder.mkdir()
        except OSError as error:
            raise output_error(self._told, error) from error
        yield folder
        shutil.rmtree(folder)

    def check_zip(self) -> None:
        """Raises OutputError when something that is not a bundle stands in the zip's place."""
        target = zip_path(self._out)
        try:
            _check_replaceable(target)
        except OSError as error:
            raise output_error(target, error) from error

    def write_zip(self) -> None:
        """Writes the committed bundle as one zip with stored entries, beside the folder.

        Raises:
            OutputError: it cannot be written.
        """
        target = zip_path(self._out)
        with atomic_file(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in (MANIFEST, *self.files):
                entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, (self._out / name).read_bytes())

    def commit(self) -> None:
        """Puts the bundle in its place; an older one is replaced. Raises: OutputError."""
        sync_folder(self.path)
        old = self._beside("old")
        try:
            replaces = self._out.exists()
            if replaces:
                os.rename(self._out, old)
            try:
                os.rename(self.path, self._out)
            except OSError:
                if replaces:
                    os.rename(old, self._out)
                raise
        except OSError as error:
            raise output_error(self._told, error) from error
        sync_folder(self._out.parent)
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    """Whether a process of this number runs; in doubt, yes."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
