"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("train", "export", "runtime", "cli")
MAX_LINES = 450

MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in MODULES]


def imported(path: Path) -> list[tuple[str, int]]:
    """(module, relative level) of every import in a file, also within functions."""
    tree = ast.parse(path.read_bytes())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


def test_the_rooms_are_there() -> None:
    assert {name.partition("/")[0] for name in NAMES} == set(ROOMS)
    assert len(NAMES) > 50


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_file_is_about_one_thing(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{lines} lines; split it by concept"
    assert path.stem not in ("utils", "util", "helpers", "helper", "misc", "common")


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_are_absolute(path: Path) -> None:
    for module, level in imported(path):
        assert level == 0, f"from {'.' * level}{module}"
        # 'import train' works in the repository's root and makes a second module of each.
        assert module.partition(".")[0] not in ROOMS, module


@pytest.mark.parametrize("path", sorted((ROOT / "runtime").rglob("*.py")), ids=lambda p: p.name)
def test_the_runtime_never_names_torch_or_onnx(path: Path) -> None:
    heads = {module.partition(".")[0] for module, _ in imported(path)}
    assert not heads & {"torch", "torchvision", "onnx", "onnxscript"}


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_nothing_runs_what_it_reads(path: Path) -> None:
    heads = {module.partition(".")[0] for module, _ in imported(path)}
    assert not heads & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in ("eval", "exec"), called
            if called == "torch.load":
                assert given.get("weights_only") == "True"
            if called in ("np.load", "numpy.load"):
                assert given.get("allow_pickle") == "False"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("room", ROOMS)
def test_type_checkers_find_the_rooms(room: str) -> None:
    link = ROOT / ".src" / "segan" / room
    assert link.is_symlink()
    assert os.readlink(link) == f"../../{room}"


def test_there_is_no_package_above_the_rooms() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert not (ROOT / ".src" / "segan" / "__init__.py").exists()


def test_imports_point_one_way() -> None:
    script = Path(sys.executable).parent / "lint-imports"
    command = [str(script), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_one_place_opens_pictures() -> None:
    folders = ["cli", "export", "runtime", "train", "demo"]
    found = []
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node).endswith(
                ("Image.open", "ImageFile.Parser", "imread", "imdecode")
            ):
                found.append(path.relative_to(ROOT).as_posix())
    assert found == ["runtime/pictures/decode.py"]
