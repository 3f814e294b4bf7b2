"""Folders of results: they appear whole, and replace nothing but what segan itself wrote.

A record in the folder, a JSON file, states its format and lists its files. What is not listed is
somebody else's, and a folder that holds such a file is not replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from segan.runtime.errors import OutputError
from segan.runtime.files.atomic import output_error, sync_folder

#: Of a longer name only so much comes into the names of what lies beside it.
_NAME_LENGTH = 100


class FolderKind(NamedTuple):
    """A kind of folder.

    Attributes:
        what: as it is called in errors: ``an atlas``.
        record: the name of its record.
        format: what the record states as ``format``.
    """

    what: str
    record: str
    format: str

    def listed_files(self, folder: Path) -> set[str] | None:
        """The files that the record lists, as paths from the folder; None where it is no such."""
        try:
            stated = json.loads((folder / self.record).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(stated, dict) or stated.get("format") != self.format:
            return None
        files = stated.get("files")
        return {str(name) for name in files} if isinstance(files, list) else None


def files_in(folder: Path) -> set[str]:
    """All files and links below a folder, as paths from it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def check_folder(out: Path, kind: FolderKind) -> None:
    """Raises OutputError if results at ``out`` would destroy anything but older ones of the kind.

    What a run that was killed left beside ``out`` is put back or removed first.
    """
    try:
        _recover(Path(os.path.abspath(out)), kind)
        _check_current(out)
        if not os.path.lexists(out):
            return
        files: set[str] | None = None
        if out.is_dir() and not out.is_symlink():
            if not any(out.iterdir()):
                return
            files = kind.listed_files(out)
        if files is None:
            raise OutputError(
                f"{out} exists and is not {kind.what}, so it is not replaced. Choose another "
                "folder with -o, or remove it."
            )
        foreign = sorted(files_in(out) - files)
    except OSError as error:
        raise output_error(out, error) from error
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise OutputError(
            f"{out} holds {foreign[0]}{more}, not written by {kind.what}, so it is not replaced. "
            "Move that away, or choose another folder with -o."
        )


@contextlib.contextmanager
def folder_draft(out: Path, kind: FolderKind) -> Iterator[Path]:
    """A folder beside ``out`` to write into, which takes that name when the block ends.

    The block writes the record, too. An older folder of the kind is replaced; it stays as it is
    when the block raises.

    Raises:
        OutputError: something else stands there, or it cannot be written.
    """
    check_folder(out, kind)
    out = Path(os.path.abspath(out))
    tag = f".{out.name[:_NAME_LENGTH]}.{os.getpid()}-{secrets.token_hex(4)}"
    draft, aside = out.with_name(f"{tag}.tmp"), out.with_name(f"{tag}.old.tmp")
    try:
        draft.mkdir(parents=True)
        yield draft
        check_folder(out, kind)  # Somebody may have put a file there in the meantime.
        _put(draft, out, aside)
        sync_folder(out.parent)
    except OSError as error:
        raise output_error(out, error) from error
    except OutputError as error:  # The draft is gone when the user looks.
        raise OutputError(str(error).replace(str(draft), str(out))) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put(draft: Path, out: Path, aside: Path) -> None:
    """Renames the draft to where it shall be; what stands there is put back if that fails."""
    replaces = os.path.lexists(out)
    if replaces:
        os.rename(out, aside)
    try:
        os.rename(draft, out)
    except BaseException:
        if replaces:
            with contextlib.suppress(OSError):
                os.rename(aside, out)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _check_current(out: Path) -> None:
    """Raises OutputError for the current folder and those above it: a shell stands in them."""
    if Path.cwd().is_relative_to(out.resolve()):
        raise OutputError(
            f"{out} is the current folder, or one above it, which cannot be replaced while a shell "
            "stands in it. Choose a folder below with -o, or call the command from elsewhere."
        )


def _recover(out: Path, kind: FolderKind) -> None:
    """Puts an older folder back that a killed run had renamed, and removes that run's drafts."""
    if len(out.name) > _NAME_LENGTH or not out.parent.is_dir():
        return
    pattern = re.compile(rf"\.{re.escape(out.name)}\.(\d+)-[0-9a-f]{{8}}\.(old\.)?tmp")
    for path in sorted(out.parent.iterdir()):
        found = pattern.fullmatch(path.name)
        if found is None or path.is_symlink() or _runs(int(found[1])):
            continue
        if found[2] is None:
            shutil.rmtree(path, ignore_errors=True)
        elif not os.path.lexists(out):
            os.rename(path, out)
        elif (files := kind.listed_files(path)) is not None and files_in(path) <= files:
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    """Whether a process of this number runs; on Windows, where asking is harmful, always."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
