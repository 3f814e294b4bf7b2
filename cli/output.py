"""Where a command writes: the files that -o names, or free names that it chooses itself.

``segan.runtime.files.target`` states the rule.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from segan.runtime.files.target import FileKind

_Function = TypeVar("_Function", bound=Callable[..., Any])


def overwrite_option(function: _Function) -> _Function:
    """Add --overwrite."""
    return click.option(
        "--overwrite",
        is_flag=True,
        help="Replace what is there, if it is of the kind that this command writes.",
    )(function)


@dataclass(frozen=True)
class Output:
    """What the user said about the output.

    Attributes:
        out: -o; None lets the command choose.
        overwrite: whether --overwrite is given.
    """

    out: Path | None
    overwrite: bool

    def file(
        self, default: Path | str, sources: Iterable[Path | None], kind: FileKind | None = None
    ) -> Path:
        """Return the one file that is written; see ``files``."""
        (path,) = self.files(Path(default), lambda path: [path], sources, kind)
        return path

    def files(
        self,
        default: Path,
        names: Callable[[Path], list[Path]],
        sources: Iterable[Path | None],
        kind: FileKind | None = None,
    ) -> list[Path]:
        """Return the files that are written, checked: call it before the work.

        Args:
            default: a file or folder; ``default-2`` and so on if anything is in the way.
            names: the files that are written, by the file or folder.
            sources: what the result is made from; None is left out.
            kind: of each file; None goes by its ending.

        Raises:
            OutputError: see ``check_file``.
        """
        from segan.runtime.files.target import check_file, free_name, kind_of_ending

        if self.out is None and not self.overwrite:
            return names(free_name(default, is_free=lambda path: not _any_exists(names(path))))
        paths, sources = names(self.out or default), [*sources]
        for path in paths:
            check_file(
                path, kind or kind_of_ending(path), overwrite=self.overwrite, sources=sources
            )
        return paths

    def folder(self, default: Path | str, check: Callable[[Path], None]) -> Path:
        """Return the folder that is written as a whole, checked: call it before the work.

        Args:
            default: its name; ``default-2`` and so on if anything is there.
            check: raises OutputError for what is never replaced.

        Raises:
            OutputError: see ``check``; or the folder exists, and --overwrite is not given.
        """
        from segan.runtime.files.target import exists_already, free_name

        if self.out is None and not self.overwrite:
            return free_name(Path(default), is_free=lambda path: not _holds_something(path))
        out = self.out or Path(default)
        check(out)
        if not self.overwrite and _holds_something(out):
            raise exists_already(out)
        return out


def _any_exists(paths: list[Path]) -> bool:
    return any(os.path.lexists(path) for path in paths)


def _holds_something(path: Path) -> bool:
    """Whether anything but an empty folder is at a path."""
    if path.is_dir() and not path.is_symlink():
        return any(path.iterdir())
    return os.path.lexists(path)
