from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from segan.cli import main
from segan.runtime.errors import BundleError, ConfigError


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes 'segan info' raise what it is given."""

    def use(error: BaseException) -> None:
        @click.command("info")
        def command() -> None:
            raise error

        real = importlib.import_module
        monkeypatch.setattr(
            importlib,
            "import_module",
            lambda name: (
                SimpleNamespace(command=command) if name == "segan.cli.info" else real(name)
            ),
        )

    return use


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("psi is 2; expected 0 to 1."), 2, "segan: psi is 2; expected 0 to 1.\n"),
        (BundleError("it is damaged."), 1, "segan: it is damaged.\n"),
        (KeyboardInterrupt(), 130, "segan: interrupted.\n"),
        (click.UsageError("no such thing"), 2, "segan: no such thing\n"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            1,
            "segan: this command needs torch, which is not installed. "
            "Run: pip install 'segan[train]'\n",
        ),
        (
            ModuleNotFoundError("No module named 'onnxscript.x'", name="onnxscript.x"),
            1,
            "segan: this command needs onnxscript.x, which is not installed. "
            "Run: pip install 'segan[export]'\n",
        ),
        (
            ModuleNotFoundError("No module named 'somewhere'", name="somewhere"),
            1,
            "segan: this command needs somewhere, which is not installed. "
            "Run: pip install 'segan'\n",
        ),
        (OSError(36, "File name too long", "xxx"), 1, "segan: xxx: File name too long.\n"),
        (KeyError("gone"), 1, "segan: unexpected KeyError: 'gone'\nThis is a bug in segan."),
    ],
)
def test_errors_become_a_line_and_a_status(
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    message: str,
) -> None:
    failing(error)
    assert main.run(["info"]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.lstrip("\n").startswith(message)


def test_debug_shows_the_traceback(failing: Callable[[BaseException], None]) -> None:
    failing(BundleError("it is damaged."))
    for arguments in (["--debug", "info"], ["info", "--debug"]):
        with pytest.raises(BundleError, match="damaged"):
            main.run(arguments)


def test_a_reader_that_goes_away_is_no_error(toy_bundle: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # before anything is written: the first write fails
    command = [sys.executable, "-m", "segan.cli.main", "info", str(toy_bundle)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistyped_command_is_corrected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["genrate"]) == 2
    assert "no command 'genrate'. Did you mean 'generate'?" in capsys.readouterr().err
    assert main.run(["xyzzy"]) == 2
    assert "See 'segan --help'." in capsys.readouterr().err


def test_a_mistyped_option_points_to_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sweep", "--layr", "3"]) == 2
    errors = capsys.readouterr().err
    assert "--layr" in errors
    assert "See: segan sweep --help" in errors


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("segan ")


def test_arguments_come_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["segan", "nothing"])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2
    assert "no command 'nothing'" in capsys.readouterr().err
