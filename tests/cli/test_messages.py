"""Every message in ``messages.txt``: commands that fail, and what they print on standard error.

The file is read as prose. To add a message, add its command, a line that starts with ``$ segan``;
``SEGAN_UPDATE_MESSAGES=1 pytest tests/cli/test_messages.py`` writes what the commands print.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Segan

GOLDEN = Path(__file__).with_name("messages.txt")
UPDATE = "SEGAN_UPDATE_MESSAGES" in os.environ
SECTIONS = re.findall(r"^## (.*)$", GOLDEN.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def files(
    tmp_path: Path,
    toy_bundle: Path,
    toy_bundle_zip: Path,
    toy_bundle_plain: Path,
    make_run: Callable[..., Path],
) -> None:
    """What the commands name: bundles, a run, data sets, and broken ones of each kind."""
    from PIL import Image

    altered = Path(shutil.copytree(toy_bundle, tmp_path / "altered.segan"))
    (altered / "offsets.onnx").write_bytes(b"altered")
    (tmp_path / "cut.segan").write_bytes(toy_bundle_zip.read_bytes()[:1000])
    (tmp_path / "empty.segan").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "small.png")
    np.savez(tmp_path / "latents.npz", w=np.zeros((2, 3)))
    (tmp_path / "pickle.pt").write_bytes(b"\x80\x02}q\x00.")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    for path in tmp_path.glob("*.segan"):  # toy.segan is the newest
        file = path / "manifest.json" if (path / "manifest.json").exists() else path
        os.utime(file, (1e9 + (path == toy_bundle), 1e9 + (path == toy_bundle)))
    make_run("00000-faces-mode2-tiny")


@pytest.mark.parametrize("section", SECTIONS)
def test_messages(section: str, files: None, segan_here: Segan, tmp_path: Path) -> None:
    if section.endswith("(torch)"):
        pytest.importorskip("torch", reason="needs torch; the bare environment has none")
    before = _listing(tmp_path)
    golden = GOLDEN.read_text(encoding="utf-8")
    heading = f"## {section}\n"
    stated = golden.split(heading)[1].split("\n## ")[0]
    blocks = []
    for command in re.findall(r"^\$ segan (.*)$", stated, re.MULTILINE):
        done = segan_here(*shlex.split(command))
        assert done.returncode in (1, 2), command
        assert "Traceback" not in done.stderr
        text = done.stderr.replace(str(tmp_path), "<here>").strip()
        blocks.append(f"$ segan {command}\n{text}\n")
    assert _listing(tmp_path) == before  # a command that fails leaves nothing behind
    found = "\n" + "\n".join(blocks)
    if UPDATE:
        GOLDEN.write_text(golden.replace(heading + stated, heading + found), encoding="utf-8")
    else:
        assert found.rstrip() == stated.rstrip()


def _listing(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))
