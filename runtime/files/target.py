"""What may be written over: nothing but a file of the same kind, and only where that is asked for.

The rule is the same for all commands. A file that a result is made from is never its target. An
existing target is replaced only with ``overwrite``, and only if it is of the kind that is written;
an empty file counts as a free name. A name that a command chooses by itself is always a free one.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from segan.runtime.errors import OutputError
from segan.runtime.files.atomic import follow_link, output_error
from segan.runtime.files.whole_folder import recover


class FileKind(NamedTuple):
    """A kind of file that a command writes.

    Attributes:
        what: in error messages, with its article: ``a PNG``.
        recognise: whether a file, which exists and is not empty, is of the kind.
    """

    what: str
    recognise: Callable[[Path], bool]


#: Ending of a file → its format, and the bytes it starts with: (offset, bytes).
_SIGNATURES: dict[str, tuple[str, tuple[tuple[int, bytes], ...]]] = {
    ".png": ("a PNG", ((0, b"\x89PNG\r\n\x1a\n"),)),
    ".jpg": ("a JPEG", ((0, b"\xff\xd8\xff"),)),
    ".jpeg": ("a JPEG", ((0, b"\xff\xd8\xff"),)),
    ".webp": ("a WebP", ((0, b"RIFF"), (8, b"WEBP"))),
    ".gif": ("a GIF", ((0, b"GIF8"),)),
    ".mp4": ("an MP4", ((4, b"ftyp"),)),
    ".pdf": ("a PDF", ((0, b"%PDF-"),)),
    ".svg": ("an SVG", ((0, b"<?xml"),)),
    ".npz": ("an npz", ((0, b"PK"),)),
    ".json": ("a JSON record", ((0, b"{"),)),
}

#: Longest JSON record that is read to recognise it, in bytes.
_MAX_JSON = 64 << 20


def kind_of_ending(path: Path) -> FileKind:
    """Return the kind that a file's ending names, such as png, gif, pdf or json."""
    what, signature = _SIGNATURES[path.suffix.lower()]

    def recognise(found: Path) -> bool:
        with open(found, "rb") as file:
            head = file.read(16)
        return all(head[at : at + len(mark)] == mark for at, mark in signature)

    return FileKind(what, recognise)


def json_kind(what: str, *keys: str) -> FileKind:
    """Return the kind of a JSON object that has all of ``keys``."""

    def recognise(found: Path) -> bool:
        if found.stat().st_size > _MAX_JSON:
            return False
        try:
            stated = json.loads(found.read_bytes())
        except (ValueError, RecursionError):
            return False
        return isinstance(stated, dict) and all(key in stated for key in keys)

    return FileKind(what, recognise)


def check_file(
    out: Path,
    kind: FileKind,
    *,
    overwrite: bool,
    sources: Iterable[Path | None] = (),
    field: str = "out",
) -> None:
    """Make sure, before the work, that a file may be written to ``out``.

    What a killed process left next to it is removed.

    Args:
        out: the file that will be written. A link is followed.
        kind: what will be written.
        overwrite: whether an existing file of the kind may be replaced.
        sources: files and folders that the result is made from; None is left out.
        field: the argument that ``out`` was given by.

    Raises:
        OutputError: it is one of the sources, is of another kind, exists, or cannot be written.
    """
    check_not_source(out, sources, field=field)
    try:
        goal = follow_link(out)
        with contextlib.suppress(OSError):
            recover(goal.parent, re.escape(goal.name))
        if goal.is_dir():
            raise output_error(out, OSError(errno.EISDIR, ""))
        if os.path.lexists(goal) and goal.stat().st_size:
            if not kind.recognise(goal):
                raise not_replaced(out, f"exists and is not {kind.what}", field=field)
            if not overwrite:
                raise exists_already(out, field=field)
        _check_writable(out, goal)
    except OutputError as error:
        error.field = field
        raise
    except OSError as error:
        raise output_error(out, error) from error


def check_not_source(
    out: Path, sources: Iterable[Path | None], *, field: str = "out", remedy: str = ""
) -> None:
    """Raise OutputError if ``out`` is a file or folder that the result is made from.

    Two spellings of a path, links and hard links are the same file.

    Args:
        out: the target.
        sources: None is left out, and so is what does not exist.
        field: the argument that ``out`` was given by.
        remedy: the next step, a sentence; empty takes another name.
    """
    for source in sources:
        with contextlib.suppress(OSError, ValueError):
            if source is not None and os.path.samefile(source, out):
                same = "" if source == out else f"is the same as {source}, which "
                raise OutputError(
                    f"{out} {same}is read for the result, so it is not replaced",
                    field=field,
                    value=out,
                    remedy=remedy or f"Pass another `{field}`.",
                )


def exists_already(out: Path, *, field: str = "out") -> OutputError:
    """Return the error of a target that may be replaced, and was not asked to be."""
    return OutputError(
        f"{out} exists and is not replaced",
        field=field,
        value=out,
        remedy=f"Pass another `{field}`, or `overwrite` to replace it.",
    )


def not_replaced(out: Path, problem: str, *, field: str = "out") -> OutputError:
    """Return the error of a target that is never replaced; ``problem`` follows its name."""
    return OutputError(
        f"{out} {problem}, so it is not replaced",
        field=field,
        value=out,
        remedy=f"Pass another `{field}`, or remove it.",
    )


def free_name(
    first: Path,
    *others: Path,
    is_free: Callable[[Path], bool] = lambda path: not os.path.lexists(path),
) -> Path:
    """Return a path where nothing is: ``first``, one of ``others``, or ``STEM-2``, ``STEM-3`` ….

    Args:
        first: the name that a command prefers.
        others: further names, in order; the last one, or ``first``, is numbered.
        is_free: whether nothing would be replaced at a path.
    """
    last = others[-1] if others else first
    numbered = (last.with_name(f"{last.stem}-{n}{last.suffix}") for n in itertools.count(2))
    return next(filter(is_free, itertools.chain((first, *others), numbered)))


def _check_writable(out: Path, goal: Path) -> None:
    """Raise OutputError if the folder of ``goal``, or the file itself, is read-only."""
    folder = next(parent for parent in goal.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise output_error(out, OSError(errno.ENOTDIR, ""))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"cannot write {out}: the folder {folder} is read-only, and a file is replaced by "
            "renaming another one",
            field="path",
            value=out,
            remedy="Choose a folder that you may write to.",
        )
    if os.path.lexists(goal) and not os.access(goal, os.W_OK):
        raise OutputError(
            f"cannot write {out}: it is read-only",
            field="path",
            value=out,
            remedy="Allow writing to it, or choose another path.",
        )
