"""Paths of the repository and ``segan.…`` names in documentation, docstrings and comments exist."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("train", "export", "runtime", "cli")
FOLDERS = (*ROOMS, "tests", "benchmarks", "demo", "docs")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
BUILD = [ROOT / name for name in ("Makefile", "pyproject.toml", "mkdocs.yml", ".ci/run")]

#: A file or folder of the repository, written from its root.
PATH = re.compile(rf"(?<![\w./$-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w/?)(?![\w*{{<])")
#: A module, or something in one. Formats such as segan.bundle/1 are no modules.
NAME = re.compile(rf"(?<![\w./-])(segan\.(?:{'|'.join(ROOMS)})(?:\.\w+)*)\b(?!/)")


def prose(path: Path) -> Iterator[str]:
    """What a person reads of a file: all of a page; of code its docstrings and comments."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield text
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


#: (title of the file, text of a piece of it). This file's own examples of wrong names are no names.
PROSE = [
    (path.relative_to(ROOT).as_posix(), text)
    for path in [*PAGES, *CODE, *BUILD]
    if path != Path(__file__)
    for text in prose(path)
]


@cache
def defined(module: Path) -> dict[str, ast.AST]:
    """Names at the top of a module, with what defines them."""
    tree = ast.parse(module.read_bytes())
    found: dict[str, ast.AST] = {}
    for node in ast.walk(tree):
        # Also below "if TYPE_CHECKING:" and within tables of public names.
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name): node for alias in node.names}
    for node in tree.body:
        found |= dict.fromkeys(bound(node), node)
    return found


def bound(node: ast.stmt) -> list[str]:
    """Names that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    return [
        name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
    ]


def exists(name: str) -> bool:
    """Whether ``segan.room.…`` is a package, a module, or something in a module."""
    place, rest = ROOT, name.split(".")[1:]
    while rest and (place / rest[0]).is_dir():
        place = place / rest.pop(0)
    if not rest:
        return True
    module = place / f"{rest[0]}.py"
    if module.is_file():
        rest.pop(0)
    else:
        module = place / "__init__.py"
    if not rest:
        return True
    node = defined(module).get(rest.pop(0))
    if node is None or not rest:
        return node is not None
    # A name within a class; what an import brings is looked up no further.
    if not isinstance(node, ast.ClassDef):
        return isinstance(node, ast.Import | ast.ImportFrom)
    members = {name for below in node.body for name in bound(below)}
    return rest[0] in members or bool(node.bases)


def test_paths_exist() -> None:
    named = {(name, title) for title, text in PROSE for name in PATH.findall(text)}
    missing = {(name, title) for name, title in named if not (ROOT / name).exists()}
    # NAME stands for any name.
    assert not sorted(found for found in missing if not re.search(r"/[A-Z]+\b", found[0]))


def test_names_exist() -> None:
    named = {(name, title) for title, text in PROSE for name in NAME.findall(text)}
    assert not sorted(found for found in named if not exists(found[0]))


def test_the_checks_find_what_is_missing() -> None:
    assert PATH.findall("`train/metrics` and (docs/cli.md) in runtime/latents/draws.py.") == [
        "train/metrics",
        "docs/cli.md",
        "runtime/latents/draws.py",
    ]
    assert PATH.findall("/tmp/docs/x.md, tests/*.py, $OUT/train/x") == []
    assert exists("segan.runtime.load")
    assert exists("segan.runtime.errors.ConfigError")
    assert exists("segan.runtime.generate.generator.Generator.generate")
    assert not exists("segan.train.metrics")
    assert not exists("segan.runtime.errors.NoError")
    assert not exists("segan.runtime.bundle.sliders.Sliders.no_method")
    assert NAME.findall("segan.bundle/1 of segan.runtime.bundle.reader") == [
        "segan.runtime.bundle.reader"
    ]
