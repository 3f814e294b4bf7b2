"""The ``segan`` command: finds the sub-command, and prints errors in one or two lines.

Sub-commands are imported when they are used, so that ``segan --help`` stays fast and torch is
imported only where it is needed.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import Any

import click

from segan.cli.errors import error_text
from segan.cli.standard_streams import echo, make_streams_printable, printable_streams, silence
from segan.runtime.errors import ConfigError, SeganError
from segan.runtime.printable import one_line

#: Command name → (module, one-line help). The module holds a click command named ``command``.
COMMANDS = {
    "data": ("segan.cli.data", "Render the built-in faces, or convert images to a training zip."),
    "train": ("segan.cli.train", "Train a generator."),
    "export": ("segan.cli.export", "Write a run's generator as a verified ONNX bundle."),
    "directions": ("segan.cli.directions", "Add sliders to any bundle: sefa, pca or vectors."),
    "import": ("segan.cli.import_", "Write another project's StyleGAN2 as a bundle."),
    "generate": ("segan.cli.generate", "Generate images in batches."),
    "sweep": ("segan.cli.sweep", "Sweep one attribute, or two, over their ranges."),
    "atlas": ("segan.cli.atlas", "Show what every slider does: a page of pictures and figures."),
    "name": ("segan.cli.name", "Name a slider, for use with --attr."),
    "mix": ("segan.cli.mix", "Mix the styles of two sets of seeds."),
    "interpolate": ("segan.cli.interpolate", "Walk between latents: frames, gif or mp4."),
    "project": ("segan.cli.project", "Find the latent of a photo."),
    "metrics": ("segan.cli.metrics", "Score a run, a checkpoint or a bundle: FID, KID, PPL ..."),
    "benchmark": ("segan.cli.benchmark", "Measure speed, memory and error of every backend."),
    "report": ("segan.cli.report", "Show runs on a page: curves, samples and metrics."),
    "info": ("segan.cli.info", "Show what a bundle, run, checkpoint or data set holds."),
    "doctor": ("segan.cli.doctor", "Show what this machine can run and what to install."),
}


class LazyGroup(click.Group):
    """A group that imports commands on first use and suggests the nearest name."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that stops (``segan info | head``) is not an error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            silence(sys.stdout)
            return ctx.exit(0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of a user's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for a name that does not exist."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else " See 'segan --help'."
            raise click.UsageError(f"no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        # Imported here: it takes a quarter of the time of --help.
        from importlib.metadata import version

        echo(f"segan {version('segan')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try: segan sweep --layer 3 --dim 5. To train: segan train --mode 2, segan export.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def root(debug: bool) -> None:
    """Train, edit, export and serve style-based GANs with learned linear subspaces."""


def run(args: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, 1 for failure, 2 for incorrect usage."""
    with printable_streams():
        return _run(list(sys.argv[1:] if args is None else args))


def _run(args: list[str]) -> int:
    # --debug may stand before or after the command's name.
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    try:
        result = root.main(args=args, prog_name="segan", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        if debug:
            raise
        _show_usage_error(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        echo("segan: interrupted.", err=True)
        return 130
    except SeganError as error:
        if debug:
            raise
        if not error.is_reported:
            echo(f"segan: {error_text(error, root, args)}", err=True)
        return 2 if isinstance(error, ConfigError) else 1
    except ModuleNotFoundError as error:
        if debug:
            raise
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        wanted = "segan" if extra is None else f"segan[{extra}]"
        echo(
            f"segan: this command needs {error.name}, which is not installed. "
            f"Run: pip install '{wanted}'",
            err=True,
        )
        return 1
    except OSError as error:
        if debug:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        echo(f"segan: {where}{error.strerror or error}.", err=True)
        return 1
    except Exception as error:
        if debug:
            raise
        echo(
            f"segan: unexpected {type(error).__name__}: {one_line(str(error))}",
            "This is a bug in segan. Report it with the output of the same command with --debug.",
            err=True,
        )
        return 1


#: The extra that brings a missing module.
_EXTRA_OF = {
    "torch": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "onnx": "export",
    "onnxscript": "export",
    "av": "video",
    "openvino": "openvino",
}


def _show_usage_error(error: click.ClickException) -> None:
    """One line for the mistake, one for where to read on."""
    echo(f"segan: {error.format_message()}", err=True)
    context: Any = getattr(error, "ctx", None)
    if context is not None:
        echo(f"See: {context.command_path} --help", err=True)


def main() -> None:
    """Entry point of the ``segan`` script."""
    make_streams_printable()
    sys.exit(run())


if __name__ == "__main__":
    main()
