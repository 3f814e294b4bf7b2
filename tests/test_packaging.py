"""What pip installs: every package, every module, the type marker, and pinned versions that fit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
ROOMS = ("train", "export", "runtime", "cli")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def package_folders() -> list[Path]:
    """Folders with Python files in the four rooms, relative to the root."""
    found = {
        path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py")
    }
    return sorted(found)


def test_every_folder_with_modules_is_a_listed_package() -> None:
    names = [f"segan.{'.'.join(folder.parts)}" for folder in package_folders()]
    setuptools = PROJECT["tool"]["setuptools"]
    assert setuptools["packages"] == sorted(names)
    assert setuptools["package-dir"] == {f"segan.{room}": room for room in ROOMS}


def test_every_package_is_marked_as_typed() -> None:
    for folder in package_folders():
        assert (ROOT / folder / "__init__.py").is_file(), folder
    # One marker holds for a package and all below it (PEP 561).
    assert all((ROOT / room / "py.typed").is_file() for room in ROOMS)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the working tree, built without the network."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(work)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = work.glob("segan-*.whl")
    return found


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("segan/")}
    expected = {
        f"segan/{path.relative_to(ROOT).as_posix()}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".segan", ".onnx", ".html", ".css", ".js")
        or path.name == "py.typed"
        or path.parent.parent.name == "attribute_networks"
    }
    assert held == expected
    assert "segan/__init__.py" not in held  # a namespace package: the rooms stand side by side


def test_every_module_imports_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = Path(__file__).parent / "import_every_module.py"
    # A path on the command line goes before the editable installation.
    code = (
        "import runpy, sys; sys.path.insert(0, sys.argv[1]); script = sys.argv.pop();"
        "runpy.run_path(script, run_name='__main__')"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"\d{2,} modules of train, export, runtime, cli imported", done.stdout)


def constraints() -> dict[str, str]:
    """Pinned version by canonical name."""
    pins = dict[str, str]()
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert canonicalize_name(name) not in pins, name
            pins[canonicalize_name(name)] = version
    return pins


def requirements() -> list[Requirement]:
    """What the project and the extras that the Makefile installs ask for."""
    project = PROJECT["project"]
    wanted = list(project["dependencies"])
    for extra in ("train", "export", "metrics", "video", "dev", "docs"):
        wanted += project["optional-dependencies"][extra]
    return [found for found in map(Requirement, wanted) if found.name != "segan"]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_pinned_version_is_in_the_stated_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(constraints()[canonicalize_name(requirement.name)])


def test_torch_is_pinned_without_a_local_part() -> None:
    # '2.13.0' admits '2.13.0+cpu'; '2.13.0+cpu' would shut out every other build.
    assert re.fullmatch(r"\d+\.\d+\.\d+", constraints()["torch"])


def test_every_extra_is_described_and_resolves() -> None:
    from segan.cli.doctor import _EXTRAS

    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) == {
        *("train", "export", "metrics", "openvino", "tensorrt", "tensorrt-rtx", "video", "heic"),
        *("dev", "docs", "all"),
    }
    assert set(_EXTRAS) == set(extras) - {"dev", "docs", "all"}
    for wanted in extras.values():
        for requirement in map(Requirement, wanted):
            if requirement.name == "segan":
                assert requirement.extras <= set(extras)


def test_no_extra_brings_a_second_package_for_a_module_that_is_there() -> None:
    # onnxruntime-gpu and its like own the folder of onnxruntime, which the core requires: whichever
    # is installed last overwrites the other. docs/guides/backends.md says how to swap them.
    named = [
        *PROJECT["project"]["dependencies"],
        *(line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra),
    ]
    packages = {canonicalize_name(Requirement(line).name) for line in named}
    assert {name for name in packages if name.startswith("onnxruntime")} == {"onnxruntime"}
    for package in ("opencv-python", "opencv-python-headless"):
        assert package not in packages


def test_the_script_and_the_version_agree() -> None:
    script = Path(sys.executable).parent / "segan"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"segan {PROJECT['project']['version']}"
