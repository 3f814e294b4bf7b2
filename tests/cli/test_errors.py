from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from segan.cli.errors import _PARAMETERS, error_text, option_text
from segan.cli.main import root
from segan.runtime.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("error", "args", "text"),
    [
        (
            ConfigError(field="psi", value=1.8, expected="0 to 1", remedy="Pass `psi 0.7`."),
            ["generate", "--psi", "1.8"],
            "--psi is 1.8; expected 0 to 1. Pass --psi 0.7.",
        ),
        # A setting that the command has no option for keeps its name.
        (ConfigError(field="frames", value=0), ["generate"], "frames is 0."),
        (
            DataError("no images; expected some.", remedy="Run it with `out a folder`."),
            ["data", "convert", "x", "y"],
            "no images; expected some. Run it with OUT 'a folder'.",
        ),
        (ConfigError("plain words"), [], "plain words."),
        (ConfigError("plain words"), ["--debug", "nonsense"], "plain words."),
    ],
)
def test_settings_are_written_as_options(error: ConfigError, args: list[str], text: str) -> None:
    assert isinstance(root, click.Group)
    assert error_text(error, root, args) == text


def test_texts_name_the_options_of_the_running_command() -> None:
    assert isinstance(root, click.Group)
    train = root.get_command(click.Context(root), "train")
    assert train is not None
    with click.Context(train):
        text = option_text("Reduce `dims`, or pass `augment ada`; `w` is no option.")
    assert text == "Reduce --dims, or pass --augment ada; w is no option."


#: Fields that no command has an option for; messages keep their names.
WITHOUT_OPTION = {
    *("MASTER_ADDR", "SEGAN_CACHE"),  # environment variables
    *("a", "b", "batch_sizes", "codes", "effects", "feeds", "folder", "generator", "image"),
    *("images", "img_channels", "initial", "initial_sha256", "level", "max_error", "maximum_batch"),
    *("mixing", "n", "optimum_batch", "p", "questions", "rank", "regressor", "run"),
    *("site_lowering", "slider", "source_path", "step", "target", "values", "w", "weights"),
}


def _parameters(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the names of all parameters of a command and its sub-commands."""
    yield from (parameter.name for parameter in command.params if parameter.name is not None)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _parameters(found, context)


def _fields(path: Path) -> Iterator[str]:
    """Yield the settings that the errors of a file name: as ``field``, or in backticks."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "field":
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                yield node.value.value
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            for part in ast.walk(node) if name.endswith("Error") else ():
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield from re.findall(r"`([a-z_][a-z0-9_.]*)(?: [^`]*)?`", part.value)


def test_every_field_is_a_parameter_or_known_to_have_none() -> None:
    known = {*_parameters(root, click.Context(root)), *_PARAMETERS}
    found: dict[str, set[str]] = {}
    for room in ("cli", "export", "train", "runtime"):
        spec = importlib.util.find_spec(f"segan.{room}")
        assert spec is not None
        assert spec.origin is not None
        for path in Path(spec.origin).parent.rglob("*.py"):
            for field in _fields(path):
                found.setdefault(field, set()).add(str(path))
    assert {"psi", "out", "layer"} <= set(found)
    unknown = {field: paths for field, paths in found.items() if field not in known}
    assert {field: unknown[field] for field in set(unknown) - WITHOUT_OPTION} == {}
    assert set(unknown) >= WITHOUT_OPTION, "no error names these any more"


def test_every_other_name_is_that_of_a_parameter() -> None:
    assert set(_PARAMETERS.values()) <= {*_parameters(root, click.Context(root))}
