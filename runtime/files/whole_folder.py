"""Folders that are written completely: bundles, checkpoints, and results that list their own files.

A folder is written under a hidden temporary name next to its final path, ``.NAME.PID-TOKEN.tmp``,
and renamed when it is complete. Where another folder has that name, the two are exchanged in one
step, and the older one, now ``.NAME.PID-TOKEN.old.tmp``, is removed. Where the system cannot
exchange folders, the older one gets that name first, and nothing is there between two renames.
``recover`` removes what a killed process left, and gives a folder its name back where that is
missing; ``restore`` does only the latter, for readers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from segan.runtime.errors import OutputError
from segan.runtime.files.atomic import output_error, sync_folder, temporary_name, writing
from segan.runtime.files.exchange import exchange

#: Seconds that a reader waits for a running process between its two renames.
_BETWEEN = 2.0

_TEMPORARY = r"\.(?P<name>{name})\.(?P<process>\d+)-[0-9a-f]{{8}}\.(?P<old>old\.)?tmp"


class WholeFolder:
    """A folder that is being written. Use as a context manager; without ``commit`` nothing remains.

    An OSError or OutputError about a file in the temporary folder leaves the block as an
    OutputError that names the file's place in the final folder.

    Args:
        final: where the folder appears; an existing folder is replaced.
        shown: how error messages name ``final``; None for ``final`` itself.

    Attributes:
        path: the temporary folder to write into.

    Raises:
        OutputError: the temporary folder cannot be made.
    """

    def __init__(self, final: Path, shown: Path | None = None) -> None:
        self._final, self._shown = final, shown or final
        self.path = temporary_name(final)

    def __enter__(self) -> Self:
        with writing(self._shown):
            self.path.mkdir(parents=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        if isinstance(error, OutputError):
            place, cause = error.value, error.__cause__
        elif isinstance(error, OSError):
            place, cause = error.filename, error
        else:
            return
        if isinstance(cause, OSError) and isinstance(place, str | Path):
            with contextlib.suppress(ValueError):  # Not a file of this folder.
                place = self._shown / Path(place).relative_to(self.path)
                raise output_error(place, cause) from cause

    def commit(self) -> None:
        """Give the folder its final name; what it replaces stays there if that fails.

        Raises:
            OutputError: the folder cannot be renamed.
        """
        sync_folder(self.path)
        aside = temporary_name(self._final, ".old.tmp")
        with writing(self._shown):
            if not os.path.lexists(self._final):
                os.rename(self.path, self._final)
                sync_folder(self._final.parent)
                return
            # After the exchange the older folder has this name, by which ``recover`` knows it.
            try:
                os.rename(self.path, aside)
                exchanged = exchange(aside, self._final)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.rename(aside, self.path)
                raise
            if not exchanged:
                try:
                    os.rename(aside, self.path)
                    os.rename(self._final, aside)
                    os.rename(self.path, self._final)
                except BaseException:
                    # Whichever of the two is aside now.
                    back = self.path if os.path.lexists(self._final) else self._final
                    with contextlib.suppress(OSError):
                        os.rename(aside, back)
                    raise
        sync_folder(self._final.parent)
        remove_whole(aside, self._final)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_whole(path: Path, final: Path | None = None) -> None:
    """Remove a folder or file so that a kill in between leaves only what ``recover`` removes.

    What cannot be renamed stays as it is.

    Args:
        path: the folder or file.
        final: the final folder that it belongs to; None for ``path`` itself.
    """
    hidden = temporary_name(final or path)
    with contextlib.suppress(OSError):
        os.rename(path, hidden)
        _remove(hidden)


def recover(
    parent: Path,
    name: str,
    *,
    locked: bool = False,
    may_remove: Callable[[Path], bool] = lambda _: True,
    former_names: Sequence[str] = (),
) -> None:
    """Put right what killed processes left: drafts, and folders that were being replaced.

    Folders whose name has more than 220 bytes are left alone.

    Args:
        parent: the folder that holds the final folders; it may be missing.
        name: regular expression of the final folders' names.
        locked: the caller holds a lock, so that no other process writes here; otherwise what
            belongs to a running process is left alone.
        may_remove: whether a replaced folder may be removed, where its successor is in place.
        former_names: temporary names that older versions wrote, as regular expressions with the
            groups ``name``, ``process`` and ``old``; ``{name}`` stands for ``name``.

    Raises:
        OSError: ``parent`` cannot be read, or a folder cannot be renamed.
    """
    if not parent.is_dir():
        return
    patterns = [re.compile(form.format(name=name)) for form in (_TEMPORARY, *former_names)]
    for path in sorted(parent.iterdir()):
        found = next(filter(None, (pattern.fullmatch(path.name) for pattern in patterns)), None)
        if found is None or path.is_symlink():
            continue
        if not locked and _is_running(int(found["process"])):
            continue
        final = parent / found["name"]
        if found["old"] and not os.path.lexists(final):
            os.rename(path, final)
        elif not found["old"] or may_remove(path):
            remove_whole(path, final)


def restore(final: Path) -> bool:
    """Give a folder its name back that a killed process left between two renames.

    A running process is given the time for its second rename. Readers call this when ``final`` is
    missing; it removes nothing.

    Returns:
        Whether ``final`` is there now.
    """
    pattern = re.compile(_TEMPORARY.format(name=re.escape(final.name)))
    end = time.monotonic() + _BETWEEN
    while True:
        try:
            names = [name for name in os.listdir(final.parent) if pattern.fullmatch(name)]
        except OSError:
            return False
        found = [entry for entry in map(pattern.fullmatch, sorted(names)) if entry and entry["old"]]
        if os.path.lexists(final) or not found:
            return os.path.lexists(final)
        ended = [entry for entry in found if not _is_running(int(entry["process"]))]
        if ended:
            with contextlib.suppress(OSError):  # Another reader was first.
                os.rename(final.with_name(ended[0].string), final)
        elif time.monotonic() > end:
            return False
        time.sleep(0.01)


def restore_all(parent: Path, name: str) -> None:
    """Call ``restore`` for the folders in ``parent`` whose name matches a regular expression."""
    pattern = re.compile(_TEMPORARY.format(name=name))
    with contextlib.suppress(OSError):
        for entry in filter(None, map(pattern.fullmatch, os.listdir(parent))):
            if entry["old"]:
                restore(parent / entry["name"])


def _is_running(process: int) -> bool:
    """Whether a process of this number runs; True where the system does not say.

    On Windows the answer is always True, since ``os.kill`` ends the process there.
    """
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


class FolderKind(NamedTuple):
    """A kind of result: a folder with a record, a JSON file that lists the folder's files.

    Files that the record does not list belong to the user, and a folder that holds one is not
    replaced.

    Attributes:
        what: the kind in error messages, with its article: ``an atlas``.
        record: name of the record.
        format: what the record states as ``format``.
    """

    what: str
    record: str
    format: str

    def listed_files(self, folder: Path) -> set[str] | None:
        """Return the files that the record lists, as relative paths; None without a record."""
        try:
            stated = json.loads((folder / self.record).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(stated, dict) or stated.get("format") != self.format:
            return None
        files = stated.get("files")
        return {str(name) for name in files} if isinstance(files, list) else None

    def lists_all(self, folder: Path) -> bool:
        """Return whether the folder is of this kind and holds nothing else."""
        listed = self.listed_files(folder)
        return listed is not None and files_in(folder) <= listed


def files_in(folder: Path) -> set[str]:
    """Return all files and links below a folder, as paths relative to it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def check_folder(out: Path, kind: FolderKind) -> None:
    """Make sure that results at ``out`` replace nothing but older results of the same kind.

    What a killed process left next to ``out`` is repaired first.

    Raises:
        OutputError: ``out`` is something else, holds other files, or is the current folder.
    """
    with writing(out):
        place = Path(os.path.abspath(out))
        recover(place.parent, re.escape(place.name), may_remove=kind.lists_all)
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
                f"{out} exists and is not {kind.what}, so it is not replaced",
                field="out",
                value=out,
                remedy="Pass another `out`, or remove it.",
            )
        foreign = sorted(files_in(out) - files)
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise OutputError(
            f"{out} holds {foreign[0]}{more}, which {kind.what} does not list, so it is not "
            "replaced",
            field="out",
            value=out,
            remedy="Move that file away, or pass another `out`.",
        )


@contextlib.contextmanager
def folder_draft(out: Path, kind: FolderKind) -> Iterator[Path]:
    """Yield a folder to write results into, which takes the name ``out`` when the block ends.

    The block writes the record, too. An older folder of the kind is replaced; it stays as it is
    when the block raises.

    Raises:
        OutputError: something else is at ``out``, or it cannot be written.
    """
    check_folder(out, kind)
    with writing(out), WholeFolder(Path(os.path.abspath(out)), out) as draft:
        yield draft.path
        check_folder(out, kind)  # A file may have been put there in the meantime.
        draft.commit()


def _check_current(out: Path) -> None:
    """Raise OutputError for the current folder and those above it: a shell works there."""
    if Path.cwd().is_relative_to(out.resolve()):
        raise OutputError(
            f"{out} is the current folder, or one above it, which cannot be replaced",
            field="out",
            value=out,
            remedy="Pass an `out` below it, or work in another folder.",
        )
