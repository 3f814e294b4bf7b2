from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator

import click
import pytest

from segan.cli.main import COMMANDS, root

#: The commands whose module this environment can import and that are built.
_BUILT = [name for name, (module, _) in COMMANDS.items() if importlib.util.find_spec(module)]


def _commands(name: str) -> Iterator[tuple[str, click.Command]]:
    """The command and, of a group, its sub-commands."""
    command = root.get_command(click.Context(root), name)
    assert command is not None
    yield name, command
    if isinstance(command, click.Group):
        for sub in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), sub)
            assert found is not None
            yield f"{name} {sub}", found


def test_every_command_is_built() -> None:
    assert list(COMMANDS) == _BUILT


@pytest.mark.parametrize("name", _BUILT)
def test_every_command_says_what_it_does_with_an_example(name: str) -> None:
    for spelled, command in _commands(name):
        assert command.help, spelled
        assert command.help.strip().endswith(".") or "\n" in command.help, spelled
        if not isinstance(command, click.Group):
            assert command.epilog, spelled
            assert "Example" in command.epilog, spelled
            assert f"segan {spelled}" in command.epilog, spelled


@pytest.mark.parametrize("name", _BUILT)
def test_every_option_has_help_and_shows_its_default(name: str) -> None:
    for spelled, command in _commands(name):
        for option in command.params:
            if not isinstance(option, click.Option):
                continue
            where = f"{spelled} {option.opts[0]}"
            assert option.help, where
            sentence = option.help.partition("[default:")[0].rstrip()
            assert sentence.endswith("."), where
            if option.is_flag or option.multiple or option.required:
                continue
            if option.to_info_dict()["default"] is not None:
                assert option.show_default, where


def test_examples_parse() -> None:
    for name in _BUILT:
        for spelled, command in _commands(name):
            if isinstance(command, click.Group):
                continue
            assert command.epilog is not None
            examples = re.findall(rf"segan {spelled}((?: (?!Example)\S+)*)", command.epilog)
            assert examples, spelled
            for example in examples:
                # Parses the options, and runs nothing.
                words = shlex.split(example.rstrip(".,"))
                # Click keeps the first help option that it makes, so it has to be segan's own.
                command.make_context(spelled, words, **root.context_settings)


def test_help_imports_neither_torch_nor_numpy(segan: Callable[..., object]) -> None:
    for arguments in ([], *([name] for name in _BUILT)):
        done = segan(*arguments, "--help")
        assert isinstance(done, subprocess.CompletedProcess)
        assert done.returncode == 0, done.stderr
        assert "Usage: segan" in done.stdout or "Usage:" in done.stdout
    code = (
        "import sys; from segan.cli.main import run; run(['sweep', '--help']);"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_list_of_commands_is_complete(segan: Callable[..., object]) -> None:
    done = segan("--help")
    assert isinstance(done, subprocess.CompletedProcess)
    for name, (_, text) in COMMANDS.items():
        assert name in done.stdout
        assert text.partition(" ")[0] in done.stdout
