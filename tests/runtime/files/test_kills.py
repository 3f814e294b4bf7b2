"""Files and folders that are written whole: killed before each system call of the change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

FOLDER = """
import json, os, shutil
from pathlib import Path
from segan.runtime.files.whole_folder import FolderKind, check_folder, folder_draft, restore

CAN_EXCHANGE, OUT = {can_exchange}, Path("out")
KIND = FolderKind("a result", "record.json", "segan.result/1")
missing = 0

def write(text):
    with folder_draft(OUT, KIND) as draft:
        (draft / "page").write_text(text)
        (draft / "record.json").write_text(
            json.dumps({{"format": KIND.format, "files": ["page", "record.json"]}})
        )

def reset():
    write("old")

def change():
    write("new")

def check(finished):
    global missing
    missing += not OUT.exists()
    assert OUT.exists() or restore(OUT)  # as a reader does
    text = (OUT / "page").read_text()
    assert (OUT / "record.json").exists()
    assert text == "new" if finished else text in ("old", "new")
    assert len(os.listdir(".")) <= 2, os.listdir(".")
    check_folder(OUT, KIND)  # as the next writer does
    assert os.listdir(".") == ["out"] and (OUT / "page").read_text() == text
    if finished:
        assert missing == (not CAN_EXCHANGE), missing
"""

FILE = """
import os, re
from pathlib import Path
from segan.runtime.files.atomic import write_atomic
from segan.runtime.files.whole_folder import recover

def reset():
    write_atomic("file", b"old")

def change():
    write_atomic("file", b"new")

def check(finished):
    data = Path("file").read_bytes()
    assert data == b"new" if finished else data in (b"old", b"new")
    recover(Path("."), "file")
    assert os.listdir(".") == ["file"]
"""


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_the_old_or_the_new_one(
    tmp_path: Path, kill_everywhere: Callable[[str, Path], int], can_exchange: bool
) -> None:
    assert kill_everywhere(FOLDER.format(can_exchange=can_exchange), tmp_path) > 10


def test_a_file_is_the_old_or_the_new_one(
    tmp_path: Path, kill_everywhere: Callable[[str, Path], int]
) -> None:
    assert kill_everywhere(FILE, tmp_path) >= 4
