"""The report's folder: it appears whole, and replaces nothing but a report."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segan.runtime.files import write_atomic
from segan.runtime.result_folder import FolderKind, check_folder, files_in, folder_draft

PAGE, RECORD = "index.html", "report.json"
REPORT = FolderKind("a report", RECORD, "segan.report/1")


def check_target(out: Path) -> None:
    """Raises OutputError if a report at ``out`` would destroy anything but an older report."""
    check_folder(out, REPORT)


@contextlib.contextmanager
def report_draft(out: Path, record: dict[str, Any]) -> Iterator[Path]:
    """A folder to write a report into, which takes the name ``out`` when the block ends.

    Args:
        out: where the report shall stand; an older one is replaced.
        record: goes to report.json, with the format's name and the list of files.

    Raises:
        OutputError: something else stands there, or it cannot be written.
    """
    with folder_draft(out, REPORT) as draft:
        yield draft
        whole = {"format": REPORT.format, **record, "files": sorted({*files_in(draft), RECORD})}
        write_atomic(draft / RECORD, json.dumps(whole, indent=2).encode() + b"\n")
