"""What commands print is printable, in any encoding, on a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CLI = Path(__file__).parents[2] / "cli"
#: Escape sequences of two kinds, a bidirectional control, a zero-width and a line of our own.
EVIL = "n\x1b]0;T\x07\x9b2J\u202e\u200b\nsegan: all is well"
ENCODINGS = ["cp1252", "cp932", "latin-1", "ascii"]

Replace = Callable[[Path, str, bytes], None]
Segan = Callable[..., subprocess.CompletedProcess[str]]


def run(
    *arguments: object, cwd: Path, terminal: bool = False, **environment: Any
) -> tuple[int, str]:
    """The exit status and all that a command prints, as bytes read as Latin-1 if not UTF-8."""
    command = [sys.executable, "-m", "segan.cli.main", *map(str, arguments)]
    options: dict[str, Any] = {
        "cwd": cwd,
        "env": {**os.environ, "OMP_NUM_THREADS": "1", **environment},
    }
    if not terminal:
        done = subprocess.run(command, capture_output=True, timeout=120, **options)
        return done.returncode, _text(done.stdout + done.stderr)
    import pty

    ours, its = pty.openpty()
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, **options)
    os.close(its)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # Linux tells the end of a terminal as an error
        pass
    os.close(ours)
    return process.wait(timeout=120), _text(seen)


def _text(seen: bytes) -> str:
    try:
        return seen.decode()
    except UnicodeDecodeError:
        return seen.decode("latin-1")


def assert_printable(text: str) -> None:
    """No line of the text is another's, and no character is invisible."""
    assert not re.search(r"^segan: all is well", text, re.MULTILINE)
    kinds = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not [c for c in text if unicodedata.category(c) in kinds and c not in "\r\n"]


@pytest.fixture
def evil_bundle(toy_bundle: Path, replace_file: Replace) -> Path:
    """A bundle whose name, sliders' names and provenance hold escape sequences."""
    entries = [{"name": EVIL, "layer": 1, "dim": 2, "range": [-1, 1.5], "sign": 1}]
    replace_file(toy_bundle, "attributes.json", json.dumps({"attributes": entries}).encode())
    manifest = json.loads((toy_bundle / "manifest.json").read_bytes())
    manifest["name"] = EVIL
    manifest["class_names"] = [EVIL, "b"]
    manifest["provenance"] |= {EVIL: EVIL}
    (toy_bundle / "manifest.json").write_text(json.dumps(manifest))
    return Path(toy_bundle.rename(toy_bundle.with_name("e\x1b[2J\n.segan")))


COMMANDS = [
    ["info", "B"],
    ["info", "B", "--json"],
    ["info", "B", "--check"],
    ["sweep", "B", "--layer", "1", "--dim", "2", "--steps", "2", "--seeds", "0"],
    ["sweep", "B", "--attr", EVIL],
    ["sweep", "B", "--attr", "none"],
    ["sweep", "B", EVIL],
    ["generate", "B", "--seeds", "0-1", "-o", EVIL],
    ["generate", "B", "--backend", EVIL],
    ["generate", f"{EVIL}.segan"],
    ["interpolate", "B", "--seeds", "0-1", "--frames", "2", "-o", "w.gif"],
    ["mix", "B", "--rows", "0", "--cols", "1", "--layers", "0", "-o", f"{EVIL}.png"],
    ["name", "B", "L1N0D2", f"{EVIL}2"],
    ["atlas", "B", "--seeds", "0-1", "-o", "atlas"],
    ["data", "convert", "photos", "o.zip", "--resolution", "16", "--on-bad", "skip"],
    ["data", "convert", "photos", f"{EVIL}.zip", "--resolution", "16"],
    ["info", "photos"],
    ["report", EVIL],
    [EVIL],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: f"{words[0][:9]} {len(words)}")
def test_foreign_text_is_printable(
    command: list[str], evil_bundle: Path, segan_here: Segan, tmp_path: Path
) -> None:
    photos = tmp_path / "photos" / EVIL
    photos.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(photos / f"good{EVIL}.png")
    (photos / f"bad{EVIL}.png").write_bytes(b"\x89PNG")
    done = segan_here(*(evil_bundle.name if word == "B" else word for word in command))
    assert_printable(done.stdout + done.stderr)
    assert "This is a bug" not in done.stderr


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "command", [COMMANDS[0], COMMANDS[3], COMMANDS[5], ["--debug", "info", EVIL]]
)
def test_the_bytes_are_printable(command: list[str], terminal: bool, evil_bundle: Path) -> None:
    words = [evil_bundle.name if word == "B" else word for word in command]
    _, seen = run(*words, cwd=evil_bundle.parent, terminal=terminal)
    assert seen
    assert_printable(seen)


def test_names_of_people_stay(toy_bundle: Path, segan_here: Segan) -> None:
    path = toy_bundle.rename(toy_bundle.with_name("日本 été 👨‍👩‍👧.segan"))
    assert f"{path.name}: a bundle" in segan_here("info", path.name).stdout


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("terminal", [False, True])
def test_an_encoding_without_a_character_stops_nothing(
    encoding: str, terminal: bool, tmp_path: Path
) -> None:
    photos = tmp_path / "bad"
    photos.mkdir()
    Image.new("RGB", (16, 16)).save(photos / "写真 été.png")
    (photos / "写真 2.jpg").write_bytes(b"no image")
    (photos / os.fsdecode(b"\xff.jpg")).write_bytes(b"no image")
    status, seen = run(
        *("data", "convert", "bad", "o.zip", "--resolution", 16, "--on-bad", "skip"),
        cwd=tmp_path,
        terminal=terminal,
        PYTHONIOENCODING=encoding,
    )
    assert status == 0, seen
    assert (tmp_path / "o.zip").exists()
    assert "2 images" in seen
    assert r"\udcff.jpg" in seen
    if encoding != "cp932":  # which has these
        assert r"\u5199\u771f 2.jpg" in seen


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", ["sweep", "train"])
def test_help_in_any_encoding(encoding: str, command: str, tmp_path: Path) -> None:
    status, seen = run(command, "--help", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert status == 0
    assert "Usage: segan" in seen
    assert encoding != "ascii" or seen.isascii()


def test_the_locale_c(toy_bundle: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    sheet = ("sweep", toy_bundle.name, "--layer", 1, "--dim", 2, "--seeds", "0")
    status, seen = run(*sheet, cwd=toy_bundle.parent, terminal=False, **locale)
    assert (status, seen.isascii()) == (0, True), seen


def test_our_own_signs_are_replaced_by_words() -> None:
    assert "32²…×".encode("ascii", "segan.plain") == b"32^2...x"


def test_all_output_goes_through_one_place() -> None:
    for path in CLI.glob("*.py"):
        if path.name not in ("standard_streams.py", "progress.py"):
            ways = r"click\.(s?echo|style)|\bprint\(|sys\.std\w+\.write"
            assert re.search(ways, path.read_text()) is None, path.name
