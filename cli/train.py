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
from segan.cli.progress import progress
from segan.cli.standard_streams import going_on_unread, say
from segan.cli.train_plan import Plan, find_device, lock, new_plan, old_plan, take_over

if TYPE_CHECKING:
    from segan.train.data.dataset import ImageDataset
    from segan.train.loop.trainer import Trainer


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
    help="Training zip or folder of equal square images.  [default: the built-in faces]",
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
    help="Go on with this run or checkpoint, exactly where it stopped.",
)
@click.option(
    "--initial-checkpoint",
    type=click.Path(path_type=Path),
    help="Start with the weights of this run or checkpoint, on other data or at another "
    "resolution; layers that only the new networks have are drawn from --seed.",
)
@click.option(
    "--resolution", type=int, help="Of the built-in faces.  [default: 32 for tiny, else 64]"
)
@click.option(
    "--faces", type=int, default=20_000, show_default=True, help="How many built-in faces to draw."
)
@click.option(
    "--cond",
    is_flag=True,
    help="Train on the data's labels (class-conditional); those of the built-in faces are their "
    "glasses: none, round, square.",
)
@click.option("--mirror", is_flag=True, help="Mirror real images at random.")
@click.option(
    "--dims", type=int, help="Coordinates of each subspace in modes 1 and 2, eigen.  [default: 6]"
)
@click.option(
    "--shared-coords",
    type=float,
    help="Probability that the fakes which the discriminator compares share their coordinates, so "
    "that z makes what varies among them, such as 0.25.  [default: 0]",
)
@click.option(
    "--jacobian-weight",
    type=float,
    help="Weight of the penalty that keeps the changes which different coordinates make to an "
    "image orthogonal, such as 5.  [default: 0, none]",
)
@click.option(
    "--architecture",
    type=click.Choice(["skip", "residual", "original"]),
    default="skip",
    show_default=True,
    help="How the layers' images are joined.",
)
@click.option(
    "--batch-size",
    type=int,
    help="Images per step, of all processes together.  [default: preset's]",
)
@click.option("--learning-rate", type=float, help="Adam's.  [default: preset's]")
@click.option("--r1-gamma", type=float, help="Weight of R1.  [default: preset's]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and all draws.")
@click.option("--snapshot-kimg", type=float, help="Between checkpoints.  [default: preset's]")
@click.option(
    "--keep-checkpoints",
    type=int,
    help="How many of the newest checkpoints stay, beside the best; 0 = all.  [default: 3]",
)
@click.option(
    "--metric-images",
    type=int,
    help="Images that each checkpoint's sliced Wasserstein distance to the data is taken on, to "
    "know the best; 0 = none.  [default: 1024]",
)
@click.option(
    "--augment",
    type=click.Choice(["off", "fixed", "ada"]),
    help="What D sees is augmented: never, with probability --augment-p, or adaptively (for small "
    "data).  [default: ada for preset auto, else off]",
)
@click.option(
    "--augment-p", type=float, help="Probability of fixed; where ada starts.  [default: 0]"
)
@click.option(
    "--augment-target",
    type=float,
    help="Mean sign of D on real images that ada steers to.  [default: 0.6]",
)
@click.option(
    "--augment-kimg",
    type=float,
    help="kimg in which ada takes the probability from 0 to 1.  [default: 500]",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="Number format of the convolutions; auto: bf16 where the device computes in it.",
)
@click.option(
    "--reduced-from",
    type=int,
    help="Lowest resolution that computes in --precision; below it fp32.  [default: 8]",
)
@click.option("--tf32", is_flag=True, help="Let CUDA round the factors of fp32 products.")
@click.option(
    "--compile",
    is_flag=True,
    help="Build the phases without second derivatives by torch.compile; on CPUs slower.",
)
@click.option(
    "--batch-gpu",
    type=int,
    help="Most images that one device computes at once; the batch is made of several equal parts, "
    "of whole groups of 4.  [default: all of its share]",
)
@click.option(
    "--data-cache",
    type=click.Choice(["auto", "memory", "disk"]),
    default="auto",
    show_default=True,
    help="Where decoded images of --data are kept; auto: on the disk when they would take more "
    "than half of the free memory.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder in which the run's folder is made.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, or cuda:N. Of several processes on a machine each takes its own GPU.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each tick.")
def command(
    data: Path | None,
    resume: Path | None,
    initial_checkpoint: Path | None,
    faces: int,
    data_cache: str,
    runs: Path,
    device: str,
    as_json: bool,
    **settings: Any,
) -> int:
    """Train a generator and write it to runs/00000-….

    Without --data it trains on the built-in cartoon faces. Ctrl-C saves a checkpoint and says how
    to go on. With --resume every setting is the run's own; --kimg may change its length,
    --keep-checkpoints what it keeps, and --batch-gpu how a batch is divided.

    On several GPUs or machines the same command is started once for each GPU, by torchrun (with -m
    segan.cli train) or by Slurm's srun. The processes share each batch of --batch-size images.
    """
    from segan.train.loop.processes.agreement import check_same_start
    from segan.train.loop.processes.launch import find_place
    from segan.train.loop.processes.world import joined
    from segan.train.loop.trainer import Trainer
    from segan.train.runs.folder import new_run_folder, write_config

    given = _given()
    with joined(find_place()) as world, contextlib.ExitStack() as held:
        torch_device = world.together(lambda: find_device(device, world.place))
        world.first(lambda: None if resume is None else take_over(resume, given, held))
        if resume is None:
            plan = world.together(
                lambda: new_plan(
                    data,
                    faces,
                    data_cache,
                    initial_checkpoint,
                    settings,
                    given,
                    torch_device,
                    world,
                )
            )
        else:
            plan = world.together(
                lambda: old_plan(resume, data, faces, data_cache, given, torch_device, world)
            )
        config, dataset, checkpoint = plan.config, plan.dataset, plan.checkpoint
        check_same_start(world, config, dataset, torch_device, checkpoint)

        def make() -> str:
            made = new_run_folder(runs, config, dataset.name, plan.origin)
            lock(made, held)
            return str(made)

        run = plan.run
        if run is None:
            run = Path(world.gather(world.first(make))[0])
        else:
            resumed = run
            world.first(lambda: write_config(resumed, config))  # a kill keeps what was changed
        trainer = Trainer(
            run,
            config,
            dataset,
            device=torch_device,
            checkpoint=checkpoint,
            initial=plan.initial,
            world=world,
        )
        plan = plan._replace(initial=None)  # the other run's tensors are needed no more
        if world.is_first:
            _introduce(trainer, plan)
        return _train(trainer, as_json)


def _introduce(trainer: Trainer, plan: Plan) -> None:
    """Says what is trained, on what, and where it begins."""
    config, dataset, size = trainer.config, trainer.dataset, trainer.world.size
    processes = "" if size == 1 else f"{size} x "
    say(
        f"{dataset.name}: {len(dataset)} images of {dataset.resolution}²"
        f"{_classes(dataset, config.network.c_dim)}; mode "
        f"{config.subspace.mode} ({config.subspace.kind}), preset {config.preset}, "
        f"{config.total_kimg:g} kimg, on {processes}{trainer.device.type}. "
        f"Run: {trainer.run_folder}"
    )
    if trainer.transfer is not None:
        meta, anew = trainer.transfer
        new = f"; new are {', '.join(anew)}" if anew else ""
        say(
            f"it starts with the weights of {meta.name} at {meta.config.network.resolution}², "
            f"{meta.cur_nimg / 1000:g} kimg{new}"
        )
    if plan.run is not None:
        at = f"goes on from kimg {trainer.state.cur_nimg / 1000:g}"
        if plan.checkpoint is None:
            at = "begins again: it was ended before its first checkpoint"
        say(f"it {at}")
    if trainer.aside:
        names = ", ".join(path.name for path in trainer.aside)
        say(f"newer checkpoints ({names}) are set aside, in {trainer.aside[0].parent}")
    if plan.ranks is not None and plan.ranks != size:
        say(
            f"it was trained by {plan.ranks} and goes on with {size} processes: the same "
            "gradients, but for rounding"
        )


def _classes(dataset: ImageDataset, c_dim: int) -> str:
    """What the run makes of the data's labels, for its first line; empty without any."""
    names = ", ".join(dataset.class_names[:8]) + (", …" if len(dataset.class_names) > 8 else "")
    if c_dim:
        return f"; {c_dim} class{'es' if c_dim > 1 else ''} ({names})"
    if dataset.class_names:
        return f"; its labels ({names}) are not used, --cond trains on them"
    return ""


def _train(trainer: Trainer, as_json: bool) -> int:
    """Runs the loop, under a progress bar in the first process; 130 when it was interrupted."""
    tells = trainer.world.is_first
    interrupted = False

    def stop(_signum: int, _frame: types.FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        if tells:
            say("\nstopping after this step; once more to stop at once")
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
                            click.echo(json.dumps(report.entry))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if tells:
        _conclude(trainer, left, last)
    return 130 if trainer.stopped else 0


def _stopping_signals() -> list[signal.Signals]:
    """Ctrl-C, a request to end, and a terminal that is closed, unless nohup said to ignore that."""
    found = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        found.append(hangup)
    return found


def _conclude(trainer: Trainer, left: int, last: dict[str, Any]) -> None:
    """Says how the run ended, and what comes next."""
    from segan.train.runs.checkpoint import list_checkpoints

    run = trainer.run_folder
    if trainer.stopped and not trainer.state.step and not list_checkpoints(run):
        say(
            f"stopped before the first step: there is no checkpoint. "
            f"Begin again: {trainer.world.place.resume_command(run)}"
        )
        return
    if trainer.stopped:
        say(
            f"stopped at kimg {trainer.state.cur_nimg / 1000:g}; everything is saved. "
            f"Go on: {trainer.world.place.resume_command(run)}"
        )
        return
    if left <= 0:
        say(f"{run} is complete already; give a larger --kimg to go on.")
    if "dead_coords" in last:
        say(f"{last['coords'] - last['dead_coords']} of {last['coords']} coordinates are alive")
    say(f"Samples and curves: {run}. Next: segan export {run}")


def _warn(entry: dict[str, Any] | None) -> None:
    """Print the alarms of a line of the log."""
    from segan.train.runs.alarms import coordinate_alarms

    if entry is not None:
        for alarm in coordinate_alarms(entry):
            say(f"kimg {entry['kimg']:g}: {option_text(alarm.text)}")


def _given() -> dict[str, Any]:
    """The options that the user wrote, by name: those that stand at a default are left out."""
    context = click.get_current_context()
    written = click.core.ParameterSource.COMMANDLINE
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is written
    }
