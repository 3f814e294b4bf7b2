"""Checkpoints: tensors as safetensors, the rest as JSON, in one folder that appears whole.

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
    output_error,
    sha256_file,
    write_atomic,
)
from segan.runtime.files.json_record import decode_record, encode_record
from segan.runtime.files.whole_folder import WholeFolder, recover, remove_whole
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
        class_names: names of the classes, or empty.
        data_fingerprint: sha256 of the data set's images and labels.
        config: the run's configuration.
        versions: of segan and torch.
        files: sha256 of the two tensor files.
        scores: measures of the exported weights, by name; ``swd``, less is better. Empty when none
            was taken, and in checkpoints of older versions.
        ranks: processes that trained together.
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
    """The moving average of a run's generator, in evaluation mode, on the CPU."""

    generator: Generator
    config: TrainConfig
    meta: Meta


def checkpoint_name(cur_nimg: int) -> str:
    """Folder name of a checkpoint; names sort by progress."""
    return f"nimg{cur_nimg:08d}"


def list_checkpoints(run: Path) -> list[Path]:
    """A run's complete checkpoints, oldest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(
        (path for path in found if (path / RECORD).is_file()),
        key=lambda path: int(path.name.removeprefix("nimg")),
    )


def best_checkpoint(run: Path) -> Path | None:
    """The run's checkpoint with the lowest ``swd``; of equal ones the oldest. None without any."""
    scored = []
    for path in list_checkpoints(run):
        with contextlib.suppress(CheckpointError):  # a damaged one is not the best
            score = read_meta(path).scores.get(SCORE)
            if score is not None:
                scored.append((score, path))
    return min(scored, key=lambda pair: pair[0])[1] if scored else None


def find_run(start: Path) -> Path | None:
    """The newest run folder under ``start`` or ``start/runs`` that has a checkpoint."""
    runs = [
        path
        for parent in (start, start / "runs")
        if parent.is_dir()
        for path in parent.iterdir()
        if re.fullmatch(r"\d{5,}-.*", path.name) and list_checkpoints(path)
    ]
    return max(runs, key=lambda path: (path / "checkpoints").stat().st_mtime, default=None)


def resolve_checkpoint(path: Path | None, *, best: bool = False) -> Path:
    """Finds the checkpoint folder that the user means.

    Args:
        path: a run folder (one of its checkpoints is taken), a checkpoint folder, a file inside
            one, or None for the newest run under the current folder.
        best: take the run's checkpoint with the lowest ``swd`` instead of its newest one.

    Raises:
        CheckpointError: nothing there, no complete checkpoint, or ``best`` where none is scored.
    """
    if path is None:
        run = find_run(Path.cwd())
        if run is None:
            raise CheckpointError(
                f"no training run under {Path.cwd()}. Train one (segan train --mode 2), "
                "or give a run folder."
            )
        path = run
    if path.is_file() and path.name in (GENERATOR, TRAINING, RECORD):
        path = path.parent
    if path.is_file():
        from segan.train.runs.tensors import check_tensor_file

        check_tensor_file(path)
        raise CheckpointError(
            f"{path} is a single file; expected a run folder or a checkpoint folder, such as "
            "runs/00000-faces-mode2-tiny."
        )
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist. Give a run folder (runs/00000-...) or a checkpoint folder."
        )
    if (path / RECORD).is_file():
        if best:
            raise CheckpointError(
                f"{path} is one checkpoint, and --best chooses among those of a run. "
                "Give the run's folder, or leave --best out."
            )
        return path
    checkpoints = list_checkpoints(path)
    if not checkpoints:
        raise CheckpointError(
            f"{path} holds no checkpoint ({RECORD} is missing). "
            "Give a run folder that segan train wrote."
        )
    if not best:
        return checkpoints[-1]
    found = best_checkpoint(path)
    if found is None:
        raise CheckpointError(
            f"no checkpoint of {path} has a score ({SCORE}): it was trained with "
            "--metric-images 0 or by an older segan, or has not trained yet. Leave --best out."
        )
    return found


def read_meta(checkpoint: Path) -> Meta:
    """Reads ``checkpoint.json``; imports no torch.

    Raises:
        CheckpointError: unreadable, not JSON, another format version, or a bad configuration.
    """
    path = checkpoint / RECORD
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing. Give a checkpoint folder.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    meta = decode_record(
        data,
        Meta,
        name=str(path),
        format=FORMAT,
        error=CheckpointError,
        remedy="Use another checkpoint of the run.",
    )
    missing = [name for name in (GENERATOR, TRAINING) if name not in meta.files]
    if missing:
        raise CheckpointError(f"{path}: files has no entry for {', '.join(missing)}.")
    shown = meta.step * meta.config.batch_size
    if meta.step < 0 or meta.cur_nimg != shown:
        raise CheckpointError(
            f"{path}: cur_nimg is {meta.cur_nimg} and step {meta.step}; expected {shown} images "
            f"after {meta.step} steps of {meta.config.batch_size}, and neither below 0. It was "
            "altered; use another checkpoint of the run."
        )
    return meta


def check_file(checkpoint: Path, meta: Meta, name: str) -> Path:
    """The path of one of the checkpoint's tensor files, after comparing its sha256.

    Raises:
        CheckpointError: missing, a pickle, or not the bytes that were written.
    """
    from segan.train.runs.tensors import check_tensor_file

    path = checkpoint / name
    check_tensor_file(path)
    if sha256_file(path) != meta.files[name]:
        raise CheckpointError(
            f"{path} was altered or cut short after it was written (its sha256 differs from "
            f"{RECORD}). Use another checkpoint of the run."
        )
    return path


def load_generator(checkpoint: Path) -> LoadedGenerator:
    """Loads the exported weights of a checkpoint folder.

    Raises:
        CheckpointError: missing, altered, cut short, a pickle, or of another network.
    """
    from segan.train.networks.family import build_generator
    from segan.train.runs.tensors import matching_state, read_tensors

    meta = read_meta(checkpoint)
    path = check_file(checkpoint, meta, GENERATOR)
    generator = build_generator(meta.config.network, meta.config.subspace)
    state = matching_state(read_tensors(path), generator.state_dict(), str(path))
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
    """Writes a checkpoint that appears whole or not at all, then removes old ones.

    Args:
        run: the run's folder.
        generator: tensors of the moving average.
        training: tensors of everything else.
        keep: how many of the newest checkpoints stay; 0 = all. The best stays whatever its age.
        **meta: fields of ``Meta`` but format and files.

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
    """Moves checkpoints past ``cur_nimg`` away, where the run goes on from an older one.

    What the run then writes is its newest, and no checkpoint of the path that was left is taken
    for it. Call it while holding the run's lock.

    Returns:
        Where they are now, newest first.

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
        try:
            os.rename(path, to)
        except OSError as error:
            raise output_error(path, error) from error
        moved.append(to)
    return moved


def remove_leftovers(run: Path) -> None:
    """Remove what a killed process left half written; call it while holding the run's lock.

    A whole checkpoint that was just being replaced gets its name back.

    Raises:
        OutputError: a checkpoint cannot be renamed.
    """
    folder = run / "checkpoints"
    try:
        recover(folder, _NAME.pattern, locked=True, former_names=[_FORMER_NAME])
    except OSError as error:
        raise output_error(folder, error) from error


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
