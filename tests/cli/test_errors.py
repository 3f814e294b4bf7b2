from __future__ import annotations

import click
import pytest

from segan.cli.errors import error_text
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
