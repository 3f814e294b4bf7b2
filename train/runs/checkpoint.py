"""Checkpoints: tensors as safetensors, the rest as JSON, in one folder that is written completely.

    RUN/checkpoints/nimg00040000/
        generator.safetensors   the moving average: what is exported
        training.safetensors    both networks, both optimisers, the path length mean
        checkpoint.json         format, counters, configuration, scores, sha256 of the two
    RUN/checkpoints/set-aside/  those that a run left behind when it went on from an older one

All randomness of a step derives from the run's seed and the step's number, so these two numbers
are the whole random state. A folder is written under a temporary name, synced and renamed.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from segan.runtime.errors import CheckpointError
from segan.runtime.files.atomic import (
    make_folder,
    sha256_file,
    write_atomic,
    writing,
)
from segan.runtime.files.json_record import decode_record, encode_record
from segan.runtime.files.whole_folder import WholeFolder, recover, remove_whole, restore_all
from segan.train.runs.config import TrainConfig

if TYPE_CHECKING:
    import torch

    from segan.train.networks.stylegan2.generator import Generator

FORMAT: Literal["segan.checkpoint/1"] = "segan.checkpoint/1"
GENERATOR, TRAINING, RECORD = "generator.safetensors", "training.safetensors", "checkpoint.json"
ASIDE = "set-aside"
#: The score by which checkpoints are compared; less is better.
SCORE = "swd"
_NAME = re.compile(r"nimg\d{8,}")
#: Temporary names of older versions; see ``recover``.
_FORMER_NAME = r"\.(?P<name>{name})\.(?P<process>\d+)\.(?P<old>old\.)?tmp"


class Meta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``checkpoint.json``.

    Attributes:
        format: ``segan.checkpoint/1``.
        name: of the data that the run was trained on.
        cur_nimg: real images shown so far.
        step: training steps done so far.
        class_names: names of the data's classes; empty without labels.
        data_fingerprint: sha256 of the data set's images and labels.
        config: the run's configuration.
        versions: of segan and torch.
        files: sha256 of the two tensor files.
        scores: of the exported weights, by name: ``swd``, less is better. Empty where none was
            computed, and in checkpoints of older versions.
        ranks: number of processes that trained together.
    """

    format: Literal["segan.checkpoint/1"] = FORMAT
    name: str
    cur_nimg: int
    step: int
    class_names: tuple[str, ...]
    data_fingerprint: str
    config: TrainConfig
    versions: dict[str, str]
    files: dict[str, str]
    scores: dict[str, float] = {}
    ranks: int = 1

    @property
    def sha256(self) -> str:
        """sha256 of the exported weights."""
        return self.files[GENERATOR]


class LoadedGenerator(NamedTuple):
    """What ``load_generator`` returns.

    Attributes:
        generator: the moving average of G, in evaluation mode, on the CPU.
        config: the run's settings.
        meta: the checkpoint's record.
    """

    generator: Generator
    config: TrainConfig
    meta: Meta


def checkpoint_name(cur_nimg: int) -> str:
    """Return the folder name of a checkpoint; names sort by progress."""
    return f"nimg{cur_nimg:08d}"


def list_checkpoints(run: Path) -> list[Path]:
    """Return a run's complete checkpoints, oldest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(
        (path for path in found if (path / RECORD).is_file()),
        key=lambda path: int(path.name.removeprefix("nimg")),
    )


def best_checkpoint(run: Path) -> Path | None:
    """Return the run's checkpoint with the lowest ``swd``, of equal ones the oldest, or None."""
    scored = []
    for path in list_checkpoints(run):
        with contextlib.suppress(CheckpointError):  # a damaged one is not the best
            score = read_meta(path).scores.get(SCORE)
            if score is not None:
                scored.append((score, path))
    return min(scored, key=lambda pair: pair[0])[1] if scored else None


def find_run(start: Path) -> Path | None:
    """Return the newest run folder under ``start`` or ``start/runs`` with a checkpoint, or None."""
    runs = [
        path
        for parent in (start, start / "runs")
        if parent.is_dir()
        for path in parent.iterdir()
        if re.fullmatch(r"\d{5,}-.*", path.name) and list_checkpoints(path)
    ]
    return max(runs, key=lambda path: (path / "checkpoints").stat().st_mtime, default=None)


def resolve_checkpoint(path: Path | None, *, best: bool = False) -> Path:
    """Find the checkpoint folder of a path.

    Args:
        path: a run folder, a checkpoint folder, or a file inside one; None = the newest run under
            the current folder. Of a run the newest checkpoint is taken.
        best: take the run's checkpoint with the lowest ``swd`` instead of the newest.

    Raises:
        CheckpointError: there is no complete checkpoint, or with ``best`` none that has a score.
    """

    def refuse(problem: str, remedy: str, expected: str = "") -> CheckpointError:
        return CheckpointError(
            problem, field="checkpoint", value=path, expected=expected, remedy=remedy
        )

    if path is None:
        path = find_run(Path.cwd())
        if path is None:
            remedy = "Train one (segan train --mode 2), or give a run folder."
            raise refuse(f"no training run under {Path.cwd()}", remedy)
    if path.is_file() and path.name in (GENERATOR, TRAINING, RECORD):
        path = path.parent
    if path.is_file():
        from segan.train.runs.tensors import check_tensor_file

        check_tensor_file(path)
        expected = "a run folder or a checkpoint folder, such as runs/00000-faces-mode2-tiny"
        raise refuse(f"{path} is a single file", "", expected)
    if not path.exists():
        remedy = "Give a run folder (runs/00000-...) or a checkpoint folder."
        raise refuse(f"{path} does not exist", remedy)
    if (path / RECORD).is_file():
        if best:
            raise refuse(
                f"{path} is one checkpoint, and `best` chooses among those of a run",
                "Give the run's folder, or leave `best` out.",
            )
        return path
    restore_all(path / "checkpoints", _NAME.pattern)
    checkpoints = list_checkpoints(path)
    if not checkpoints:
        problem = f"{path} contains no checkpoint ({RECORD} is missing)"
        raise refuse(problem, "Give a run folder that segan train wrote.")
    if not best:
        return checkpoints[-1]
    found = best_checkpoint(path)
    if found is None:
        raise refuse(
            f"no checkpoint of {path} has a score ({SCORE}): it was trained with metric_images 0 "
            "or by an older segan, or has not trained yet",
            "Leave `best` out.",
        )
    return found


def read_meta(checkpoint: Path) -> Meta:
    """Read ``checkpoint.json``; imports no torch.

    Raises:
        CheckpointError: unreadable, not JSON, another format version, or a bad configuration.
    """
    path = checkpoint / RECORD
    remedy = "Use another checkpoint of the run."

    def refuse(problem: str, remedy: str = "", expected: str = "") -> CheckpointError:
        return CheckpointError(
            f"{path} {problem}", field="path", value=path, expected=expected, remedy=remedy
        )

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise refuse("is missing", "Give a checkpoint folder.") from None
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}") from None
    meta = decode_record(
        data,
        Meta,
        name=str(path),
        format=FORMAT,
        error=CheckpointError,
        remedy=remedy,
    )
    missing = [name for name in (GENERATOR, TRAINING) if name not in meta.files]
    if missing:
        raise refuse(f"has no sha256 of {', '.join(missing)}", remedy)
    shown = meta.step * meta.config.batch_size
    if meta.step < 0 or meta.cur_nimg != shown:
        raise refuse(
            f"was altered: cur_nimg is {meta.cur_nimg} and step {meta.step}",
            remedy,
            f"{shown} images after {meta.step} steps of {meta.config.batch_size}, and 0 or more of "
            "both",
        )
    return meta


def check_file(checkpoint: Path, meta: Meta, name: str) -> Path:
    """Return the path of one of the checkpoint's tensor files, after comparing its sha256.

    Raises:
        CheckpointError: it is missing, a pickle, or differs from what was written.
    """
    from segan.train.runs.tensors import check_tensor_file

    path = checkpoint / name
    check_tensor_file(path)
    if sha256_file(path) != meta.files[name]:
        raise CheckpointError(
            f"{path} was altered or truncated after it was written (its sha256 differs from "
            f"{RECORD})",
            field="path",
            value=path,
            remedy="Use another checkpoint of the run.",
        )
    return path


def load_generator(path: str | os.PathLike[str], *, best: bool = False) -> LoadedGenerator:
    """Load the exported weights of a checkpoint: the moving average of G.

    Examples:
        >>> generator, config, meta = segan.train.load_generator("runs/00000-faces-mode2-tiny")
        >>> z = torch.randn(16, config.network.z_dim)
        >>> images = generator(z)  # [16, 3, R, R], about -1 to 1

    Args:
        path: a run folder, of which the newest checkpoint is taken, or a checkpoint folder.
        best: take the run's checkpoint with the lowest sliced Wasserstein distance instead.

    Returns:
        The generator in evaluation mode without gradients, on the CPU; the run's settings; and
        the checkpoint's record, such as ``cur_nimg`` and ``class_names``.

    Raises:
        CheckpointError: missing, altered, truncated, a pickle, or of another network.
    """
    from segan.train.networks.family import build_generator
    from segan.train.runs.tensors import matching_state, read_tensors

    checkpoint = resolve_checkpoint(Path(path), best=best)
    meta = read_meta(checkpoint)
    file = check_file(checkpoint, meta, GENERATOR)
    generator = build_generator(meta.config.network, meta.config.subspace)
    state = matching_state(read_tensors(file), generator.state_dict(), str(file))
    generator.load_state_dict(state)
    return LoadedGenerator(generator.eval().requires_grad_(False), meta.config, meta)


def save_checkpoint(
    run: Path,
    generator: dict[str, torch.Tensor],
    training: dict[str, torch.Tensor],
    *,
    keep: int = 0,
    **meta: Any,
) -> Path:
    """Write a checkpoint completely or not at all, then remove old ones.

    Args:
        run: the run's folder.
        generator: tensors of the moving average.
        training: tensors of everything else.
        keep: how many of the newest checkpoints are kept besides the best; 0 = all.
        **meta: fields of ``Meta`` except format and files.

    Returns:
        The checkpoint's folder.

    Raises:
        OutputError: no room or no permission; older checkpoints are untouched.
    """
    from segan.train.runs.tensors import write_tensors

    final = make_folder(run / "checkpoints") / checkpoint_name(meta["cur_nimg"])
    # The same progress again, after a resume from an older checkpoint, replaces the first one.
    with WholeFolder(final) as draft:
        write_tensors(draft.path / GENERATOR, generator)
        write_tensors(draft.path / TRAINING, training)
        files = {name: sha256_file(draft.path / name) for name in (GENERATOR, TRAINING)}
        record = Meta(files=files, **meta)
        write_atomic(draft.path / RECORD, encode_record(record))
        draft.commit()
    if keep:
        stay = (best_checkpoint(run), final)
        for old in list_checkpoints(run)[:-keep]:
            if old not in stay:
                remove_whole(old)
    return final


def set_newer_aside(run: Path, cur_nimg: int) -> list[Path]:
    """Move checkpoints past ``cur_nimg`` away, when the run continues from an older one.

    The checkpoints that the run writes next are then its newest. Call it while holding the run's
    lock.

    Returns:
        Their new paths, newest first.

    Raises:
        OutputError: one cannot be moved; it and the older ones are untouched.
    """
    moved = []
    for path in reversed(list_checkpoints(run)):
        if int(path.name.removeprefix("nimg")) <= cur_nimg:
            break
        folder = make_folder(path.parent / ASIDE)
        to, number = folder / path.name, 1
        while to.exists():
            to, number = folder / f"{path.name}-{number}", number + 1
        with writing(path):
            os.rename(path, to)
        moved.append(to)
    return moved


def remove_leftovers(run: Path) -> None:
    """Remove what a killed process left half written; call it while holding the run's lock.

    A whole checkpoint that was just being replaced gets its name back.

    Raises:
        OutputError: a checkpoint cannot be renamed.
    """
    folder = run / "checkpoints"
    with writing(folder):
        recover(folder, _NAME.pattern, locked=True, former_names=[_FORMER_NAME])


def describe(path: Path) -> dict[str, Any]:
    """What ``segan info`` shows of a run or checkpoint; imports no torch.

    Raises:
        CheckpointError: see ``resolve_checkpoint`` and ``read_meta``.
    """
    checkpoint = resolve_checkpoint(path)
    meta = read_meta(checkpoint)
    config = meta.config
    run = checkpoint.resolve().parent.parent
    best = best_checkpoint(run)
    return {
        "checkpoint": str(checkpoint),
        "checkpoints": len(list_checkpoints(run)),
        "best": None if best is None else best.name,
        "scores": {} if best is None else read_meta(best).scores,
        "data": meta.name,
        "kimg": meta.cur_nimg / 1000,
        "total_kimg": config.total_kimg,
        "preset": config.preset,
        "mode": config.subspace.mode,
        "subspace": config.subspace.kind,
        "resolution": config.network.resolution,
        "img_channels": config.network.img_channels,
        "classes": config.network.c_dim,
        "class_names": list(meta.class_names) if config.network.c_dim else [],
        "architecture": config.network.architecture,
        "versions": meta.versions,
    }
