"""``segan train``."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.errors import option_text
from segan.cli.new_run import offering_a_new_run
from segan.cli.progress import LateProgress, progress
from segan.cli.standard_streams import echo, going_on_unread, say
from segan.cli.train_settings import SETTINGS
from segan.runtime.commands import command as segan
from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    from segan.train.data.dataset import ImageDataset
    from segan.train.loop.trainer import Trainer

#: Options of a new run alone → what they are.
_ONLY_NEW = {
    "runs": "the folder of a new run",
    "initial_checkpoint": "the checkpoint that a new run takes its weights from",
}


@click.command(
    epilog="Example: segan train --mode 2\n\n"
    "Example: segan train --data photos.zip --preset paper --kimg 5000\n\n"
    "Example: segan train --resume runs/00000-faces-mode2-tiny --kimg 200\n\n"
    "Example: segan train --initial-checkpoint runs/00000-faces-mode2-tiny --resolution 64\n\n"
    "Example: torchrun --standalone --nproc-per-node 4 -m segan.cli train --preset paper"
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Training zip, or folder or zip of square images of one size.  [default: built-in faces]",
)
@click.option(
    "--mode",
    type=click.IntRange(0, 3),
    default=2,
    show_default=True,
    help="Where the subspaces act: 0 nowhere, 1 on feature maps, 2 on w, 3 on w by importance.",
)
@click.option(
    "--subspace",
    "kind",
    type=click.Choice(["eigen", "diagonal"]),
    default="eigen",
    show_default=True,
    help="How the subspaces act: along an orthonormal basis, or dimension by dimension.",
)
@click.option(
    "--preset",
    type=click.Choice(["tiny", "paper", "auto"]),
    default="tiny",
    show_default=True,
    help="tiny: minutes on two cores. paper: the published setting. auto: scales with the data.",
)
@click.option("--kimg", type=float, help="Length, in thousand real images.  [default: preset's]")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Resume this run or checkpoint exactly where it stopped.",
)
@click.option(
    "--initial-checkpoint",
    type=click.Path(path_type=Path),
    help="Start with the weights of this run or checkpoint, on other data or at another "
    "resolution; layers that only the new networks have are drawn from --seed.",
)
@click.option(
    "--resolution",
    type=int,
    help="Resolution of the built-in faces.  [default: 32 for tiny, else 64]",
)
@click.option(
    "--faces", type=int, default=20_000, show_default=True, help="How many built-in faces to draw."
)
@click.option(
    "--cond",
    is_flag=True,
    help="Train on the data's labels (class-conditional). The labels of the built-in faces are "
    "their glasses: none, round, square.",
)
@click.option("--mirror", is_flag=True, help="Mirror real images at random.")
@click.option(
    "--dims", type=int, help="Coordinates of each subspace in modes 1 and 2, eigen.  [default: 6]"
)
@click.option(
    "--shared-coords",
    type=float,
    help="Probability, such as 0.25, that a group of fakes which the discriminator compares shares "
    "its coordinates, so that only z varies within it.  [default: 0]",
)
@click.option(
    "--jacobian-weight",
    type=float,
    help="Weight, such as 5, of the penalty that keeps the effects of different coordinates on an "
    "image orthogonal.  [default: 0, none]",
)
@click.option(
    "--architecture",
    type=click.Choice(["skip", "residual", "original"]),
    default="skip",
    show_default=True,
    help="How the layers' images are combined.",
)
@click.option(
    "--batch-size",
    type=int,
    help="Images per step of all processes together.  [default: preset's]",
)
@click.option("--learning-rate", type=float, help="Learning rate of Adam.  [default: preset's]")
@click.option("--r1-gamma", type=float, help="Weight of the R1 penalty.  [default: preset's]")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of weights and all draws."
)
@click.option("--snapshot-kimg", type=float, help="kimg between checkpoints.  [default: preset's]")
@click.option(
    "--keep-checkpoints",
    type=int,
    help="How many of the newest checkpoints are kept, in addition to the best; 0 = all.  "
    "[default: 3]",
)
@click.option(
    "--metric-images",
    type=int,
    help="Images for the sliced Wasserstein distance of each checkpoint to the data, which finds "
    "the best checkpoint; 0 = no distance.  [default: 1024]",
)
@click.option(
    "--augment",
    type=click.Choice(["off", "fixed", "ada"]),
    help="Augment the discriminator's input: off, fixed probability --augment-p, or ada, which "
    "adapts the probability (for small data).  [default: ada for preset auto, else off]",
)
@click.option(
    "--augment-p", type=float, help="Probability of fixed; first value of ada.  [default: 0]"
)
@click.option(
    "--augment-target",
    type=float,
    help="Mean sign of D on real images that ada aims at.  [default: 0.6]",
)
@click.option(
    "--augment-kimg",
    type=float,
    help="kimg in which ada can raise the probability from 0 to 1.  [default: 500]",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="Number format of the convolutions; auto: bf16 where the device supports it.",
)
@click.option(
    "--reduced-from",
    type=int,
    help="Lowest resolution computed in --precision; lower ones use fp32.  [default: 8]",
)
@click.option("--tf32", is_flag=True, help="Let CUDA round the factors of fp32 products.")
@click.option(
    "--compile",
    is_flag=True,
    help="Use torch.compile for the phases without second derivatives; slower on CPUs.",
)
@click.option(
    "--batch-gpu",
    type=int,
    help="Maximum number of images that one device computes at once; its share of the batch is "
    "divided into equal parts of whole groups of 4.  [default: its whole share]",
)
@click.option(
    "--data-cache",
    type=click.Choice(["auto", "memory", "disk"]),
    default="auto",
    show_default=True,
    help="Where decoded images of --data are kept; auto: on the disk when they need more than half "
    "of the free memory.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder in which the run's folder is created.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, or cuda:N. With several processes on a machine each uses its own GPU.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each tick.")
def command(
    data: Path | None,
    resume: Path | None,
    initial_checkpoint: Path | None,
    runs: Path,
    device: str,
    as_json: bool,
    **_options: Any,
) -> int:
    """Train a generator and write it to runs/00000-….

    Without --data it trains on the built-in cartoon faces. Ctrl-C saves a checkpoint and prints
    the command that continues. --resume uses the run's own settings;
    of these only --kimg, --keep-checkpoints and --batch-gpu may change.

    On several GPUs or machines the same command is started once for each GPU, by torchrun (with -m
    segan.cli train) or by Slurm's srun. The processes share each batch of --batch-size images.
    """
    from segan.train.loop.plan import resume_run, start_run
    from segan.train.runs.data import Drawing

    given = _given()
    settings = {SETTINGS[name]: value for name, value in given.items() if name in SETTINGS}
    bar = LateProgress("faces")
    drawing = Drawing(lambda n, r: bar.start(n, f"drawing faces of {r}²"), bar.update)
    with contextlib.ExitStack() as stack:
        stack.enter_context(bar)
        if resume is None:
            for name in ("preset", "resolution", "cond"):  # start_run takes these apart
                settings.pop(SETTINGS[name], None)
            context = click.get_current_context()
            run = start_run(
                data,
                preset=context.params["preset"],
                settings=settings,
                conditional=context.params["cond"],
                faces=given.get("faces"),
                resolution=given.get("resolution"),
                data_cache=given.get("data_cache"),
                initial_checkpoint=initial_checkpoint,
                runs=runs,
                device=device,
                drawing=drawing,
            )
        else:
            for name, use in _ONLY_NEW.items():
                if name in given:
                    raise ConfigError(
                        f"`{name}` is {use}, and --resume continues in {resume}",
                        field=name,
                        value=given[name],
                        remedy="Leave one of them out.",
                    )
            run = resume_run(
                resume,
                data=data,
                settings=settings,
                faces=given.get("faces"),
                data_cache=given.get("data_cache"),
                device=device,
                drawing=drawing,
            )
        with offering_a_new_run(resume, given):
            trainer = stack.enter_context(run)
        if trainer.world.is_first:
            _introduce(trainer, resumed=resume is not None, length_given="kimg" in given)
        return _train(trainer, as_json)


def _introduce(trainer: Trainer, *, resumed: bool, length_given: bool) -> None:
    """Print what is trained, on which data, and where the run starts."""
    from segan.train.runs.checkpoint import read_meta

    config, dataset, size = trainer.config, trainer.dataset, trainer.world.size
    at, run = trainer.state.cur_nimg, trainer.run_folder
    # A run's last batch may reach past its length.
    if resumed and length_given and at - config.batch_size >= config.total_kimg * 1000:
        say(
            f"{run} is at {at / 1000:g} kimg, past the {config.total_kimg:g} of --kimg: "
            "nothing is left to train"
        )
    processes = "" if size == 1 else f"{size} x "
    say(
        f"{dataset.name}: {len(dataset)} images of {dataset.resolution}²"
        f"{_classes(dataset, config.network.c_dim)}; mode "
        f"{config.subspace.mode} ({config.subspace.kind}), preset {config.preset}, "
        f"{config.total_kimg:g} kimg, on {processes}{trainer.device.type}. "
        f"Run: {run}"
    )
    if dataset.passed_over:
        say(f"other files of the data, not read: {', '.join(map(str, dataset.passed_over))}")
    if trainer.transfer is not None:
        meta, drawn = trainer.transfer
        new = f"; new are {', '.join(drawn)}" if drawn else ""
        say(
            f"it starts with the weights of {meta.name} at {meta.config.network.resolution}², "
            f"{meta.cur_nimg / 1000:g} kimg{new}"
        )
    if resumed and trainer.checkpoint is None:
        say("it starts again: it ended before its first checkpoint")
    elif trainer.checkpoint is not None:
        say(f"it continues from kimg {at / 1000:g}")
    if trainer.aside:
        names = ", ".join(path.name for path in trainer.aside)
        say(f"newer checkpoints ({names}) are set aside, in {trainer.aside[0].parent}")
    ranks = size if trainer.checkpoint is None else read_meta(trainer.checkpoint).ranks
    if ranks != size:
        say(
            f"it was trained by {ranks} and continues with {size} processes: the same "
            "gradients, except for rounding"
        )


def _classes(dataset: ImageDataset, c_dim: int) -> str:
    """How the run uses the data's labels, for its first line; empty without labels."""
    names = ", ".join(dataset.class_names[:8]) + (", …" if len(dataset.class_names) > 8 else "")
    if c_dim:
        return f"; {c_dim} class{'es' if c_dim > 1 else ''} ({names})"
    if dataset.class_names:
        return f"; its labels ({names}) are not used, --cond trains on them"
    return ""


def _train(trainer: Trainer, as_json: bool) -> int:
    """Run the loop, under a progress bar in the first process; return 130 when interrupted."""
    tells = trainer.world.is_first
    interrupted = False

    def stop(_signum: int, _frame: types.FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        if tells:
            say("", "stopping after this step; press Ctrl-C again to stop at once")
        trainer.request_stop()

    previous = {number: signal.signal(number, stop) for number in _stopping_signals()}
    left = max(trainer.total_nimg - trainer.state.cur_nimg, 0)
    last: dict[str, Any] = {}
    try:
        with progress(left / 1000, "kimg", "training", quiet=not tells) as bar:
            for report in trainer.steps():
                bar.update(report.images / 1000)
                _warn(report.entry)
                if report.entry is not None:
                    last |= report.entry
                    if as_json:
                        with going_on_unread(sys.stdout):
                            echo(json.dumps(report.entry))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if tells:
        _conclude(trainer, left, last)
    return 130 if trainer.stopped else 0


def _stopping_signals() -> list[signal.Signals]:
    """Ctrl-C, a request to end, and a closed terminal, unless nohup ignores the last."""
    found = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        found.append(hangup)
    return found


def _conclude(trainer: Trainer, left: int, last: dict[str, Any]) -> None:
    """Say how the run ended, and what to do next."""
    from segan.train.runs.checkpoint import list_checkpoints

    run = trainer.run_folder
    again = trainer.world.place.resume_command(run)
    if trainer.stopped and not trainer.state.step and not list_checkpoints(run):
        say(
            "stopped before the first step: there is no checkpoint. Start again"
            # Without its first weights, which are another run's, it cannot continue.
            + (" with the same command." if trainer.config.initial_sha256 else f": {again}")
        )
        return
    if trainer.stopped:
        say(
            f"stopped at kimg {trainer.state.cur_nimg / 1000:g}; everything is saved. "
            f"Continue: {again}"
        )
        return
    if left <= 0:
        reached = max(trainer.config.total_kimg, trainer.state.cur_nimg / 1000)
        longer = f"{again} --kimg {2 * reached:g}"
        say(f"{run} is complete already. To train longer: {longer}")
    if "dead_coords" in last:
        say(f"{last['coords'] - last['dead_coords']} of {last['coords']} coordinates are alive")
    say(f"Samples and curves: {run}. Next: {segan('export', run)}")


def _warn(entry: dict[str, Any] | None) -> None:
    """Print the alarms of a line of the log."""
    from segan.train.runs.alarms import coordinate_alarms

    if entry is not None:
        for alarm in coordinate_alarms(entry):
            say(f"kimg {entry['kimg']:g}: {option_text(alarm.text)}")


def _given() -> dict[str, Any]:
    """The options that the user wrote, by name, without those that have their default."""
    context = click.get_current_context()
    written = click.core.ParameterSource.COMMANDLINE
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is written
    }
