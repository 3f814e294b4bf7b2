"""The report's folder: it appears whole, and replaces nothing but a report."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segan.runtime.errors import OutputError
from segan.runtime.files import output_error, write_atomic

FORMAT = "segan.report/1"
PAGE, RECORD = "index.html", "report.json"


def check_target(out: Path) -> None:
    """Raises OutputError if a report at ``out`` would destroy anything but an older report."""
    try:
        if not out.exists() and not out.is_symlink():
            return
        if out.is_dir() and not any(out.iterdir()):
            return
        files = _files_of_report(out)
        if files is None:
            raise OutputError(
                f"{out} exists and is not a report, so it is not replaced. Choose another folder "
                "with -o, or remove it."
            )
        foreign = sorted(_files_in(out) - files)
    except OSError as error:
        raise output_error(out, error) from error
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise OutputError(
            f"{out} holds {foreign[0]}{more}, not written by a report, so it is not replaced. "
            "Move that away, or choose another folder with -o."
        )


@contextlib.contextmanager
def report_draft(out: Path, record: dict[str, Any]) -> Iterator[Path]:
    """A folder to write a report into, which takes the name ``out`` when the block ends.

    Args:
        out: where the report shall stand; an older one is replaced.
        record: goes to report.json, with the format's name and the list of files.

    Raises:
        OutputError: something else stands there, or it cannot be written.
    """
    check_target(out)
    out = Path(os.path.abspath(out))
    tag = f"{os.getpid()}-{secrets.token_hex(4)}"
    draft = out.with_name(f".{out.name[:100]}.{tag}.tmp")
    aside = out.with_name(f".{out.name[:100]}.{tag}.old.tmp")
    try:
        draft.mkdir(parents=True)
        yield draft
        whole = {"format": FORMAT, **record, "files": sorted({*_files_in(draft), RECORD})}
        write_atomic(draft / RECORD, json.dumps(whole, indent=2).encode() + b"\n")
        if not out.exists():
            os.rename(draft, out)
            return
        os.rename(out, aside)
        try:
            os.rename(draft, out)
        except OSError:
            os.rename(aside, out)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise output_error(out, error) from error
    except OutputError as error:  # the draft is gone when the user looks
        raise OutputError(str(error).replace(str(draft), str(out))) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _files_in(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def _files_of_report(out: Path) -> set[str] | None:
    """The files that report.json lists; None where it is no report's."""
    try:
        record = json.loads((out / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return None
    files = record.get("files")
    return {str(name) for name in files} if isinstance(files, list) else None
