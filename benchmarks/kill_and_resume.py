"""Kills a training run at random moments, resumes it, and compares it with one left in peace.

    python benchmarks/kill_and_resume.py --kills 20
    python benchmarks/kill_and_resume.py --kills 20 --ranks 2 --victim one
    python benchmarks/kill_and_resume.py --kills 20 -- --preset paper --mirror

Every kill is a SIGKILL: to every second one a moment is drawn from the whole length of the run, and
the others come while a checkpoint is being written. A run that ends before its kill is compared and
counts, and another one starts, until there were as many kills as asked for. All tensors of all
checkpoints and the log (without what depends on the clock) have to be equal, bit for bit. What
follows ``--`` is given to ``segan train``, after a small run's settings.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from segan.train.runs.checkpoint import GENERATOR, TRAINING, list_checkpoints, read_meta
from segan.train.runs.folder import read_log
from segan.train.runs.tensors import read_tensors

#: A run at 8², in fp32 on every machine.
SMALL = [
    *("--faces", "64", "--resolution", "8", "--metric-images", "32", "--seed", "3"),
    *("--precision", "fp32"),
]
#: Its steps, the steps between checkpoints, and the images that each process computes in a step.
STEPS, SNAPSHOT, SHARE = 60, 5, 4


def lengths(ranks: int) -> list[str]:
    """Options that give as many steps for any number of processes."""
    batch = SHARE * ranks
    return [
        *("--batch-size", f"{batch}", "--kimg", f"{STEPS * batch / 1000}"),
        *("--snapshot-kimg", f"{SNAPSHOT * batch / 1000}"),
    ]


#: Seconds that the other ranks have to notice that one died, before they are killed too.
PATIENCE = 120.0


class Run:
    """A training run in a folder of its own, which is started and resumed.

    Args:
        folder: where ``runs`` is made.
        args: of ``segan train``.
        ranks: processes that train together.
    """

    def __init__(self, folder: Path, args: list[str], ranks: int) -> None:
        self.folder, self._args, self._ranks = folder, args, ranks
        folder.mkdir(parents=True)
        self._output = folder / "output.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._leftovers: set[Path] = set()

    @property
    def path(self) -> Path | None:
        """The run's own folder, once it is there."""
        return next(iter(sorted(self.folder.glob("runs/*"))), None)

    def start(self) -> None:
        """Starts it, or continues with it."""
        path = self.path
        if path is not None and not (path / "config.json").is_file():
            shutil.rmtree(path)  # killed before its folder was whole
            path = None
        launcher = [sys.executable]
        if self._ranks > 1:
            launcher += ["-m", "torch.distributed.run", "--standalone"]
            launcher += ["--nproc-per-node", str(self._ranks)]
        words = [*launcher, "-m", "segan.cli", "train", *self._args]
        if path is not None:
            words += ["--resume", str(path.relative_to(self.folder))]
        self._leftovers = self._half_written()
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        with open(self._output, "ab") as output:
            self._process = subprocess.Popen(
                words, cwd=self.folder, env=env, stdout=output, stderr=output
            )

    def running(self) -> bool:
        """Whether it runs. Exits with its output when it failed."""
        assert self._process is not None
        status = self._process.poll()
        if status not in (None, 0):
            sys.exit(f"{self._output.read_text()}\nthe run ended with status {status}")
        return status is None

    def is_writing(self) -> bool:
        """Whether a checkpoint is being written, or was when the run was killed."""
        return bool(self._half_written() - self._leftovers)

    def _half_written(self) -> set[Path]:
        return set(self.folder.glob("runs/*/checkpoints/.nimg*.tmp"))

    def kill(self, one_rank: random.Random | None) -> bool:
        """Kills every process, or a rank drawn by ``one_rank``.

        Returns:
            Whether the other ranks ended by themselves; True when all were killed.
        """
        assert self._process is not None
        tree = [self._process.pid, *_descendants(self._process.pid)]
        ended = True
        if one_rank is not None and len(tree) > 1:
            _kill([one_rank.choice(tree[1:])])
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                ended = False
            tree += _descendants(self._process.pid)
        _kill(tree)
        self._process.wait()
        return ended


def _kill(processes: list[int]) -> None:
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _descendants(process: int) -> list[int]:
    """Children, their children and so on; each rank is in a session of its own. Linux only."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it ended in between
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, waiting = [], [process]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def wait_for_moment(run: Run, moment: float, writing: bool) -> bool:
    """Waits ``moment`` seconds, and then, if ``writing``, until a checkpoint is being written.

    Returns:
        False when the run ended before.
    """
    deadline = time.monotonic() + moment
    while time.monotonic() < deadline:
        if not run.running():
            return False
        time.sleep(min(0.01, max(deadline - time.monotonic(), 0.0)))
    while writing and not run.is_writing():
        if not run.running():
            return False
        time.sleep(0.0005)
    return run.running()


def differences(one: Path, two: Path) -> Iterator[str]:
    """In what two finished runs differ."""
    ours, theirs = (list_checkpoints(path) for path in (one, two))
    if ours[-1].name != theirs[-1].name:
        yield f"ended at {ours[-1].name} and {theirs[-1].name}"
    by_name = {checkpoint.name: checkpoint for checkpoint in theirs}
    for checkpoint in ours:
        other = by_name.get(checkpoint.name)
        if other is None:
            yield f"{checkpoint.name} is missing"
            continue
        if read_meta(checkpoint).scores != read_meta(other).scores:
            yield f"{checkpoint.name}: scores"
        for file in (GENERATOR, TRAINING):
            a, b = read_tensors(checkpoint / file), read_tensors(other / file)
            if a.keys() != b.keys():
                yield f"{checkpoint.name}/{file}: names"
            for name in a.keys() & b.keys():
                if a[name].dtype != b[name].dtype or not torch.equal(a[name], b[name]):
                    yield f"{checkpoint.name}/{file}: {name}"
    if _timeless_log(one) != _timeless_log(two):
        yield "log.jsonl"


def _timeless_log(run: Path) -> list[dict[str, Any]]:
    return [
        {
            name: value
            for name, value in entry.items()
            if name != "kimg_per_s" and not name.startswith("seconds/")
        }
        for entry in read_log(run)
    ]


def main() -> None:
    """Runs, kills, resumes and compares; the exit status is 1 when anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=1, help="processes, by torch's launcher")
    parser.add_argument("--victim", choices=["all", "one"], default="all", help="of the ranks")
    parser.add_argument("--seed", type=int, help="of the moments  [default: drawn]")
    parser.add_argument("--folder", type=Path, help="kept  [default: a temporary one]")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument("train", nargs="*", help="options of segan train, after --")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    moments = random.Random(seed)

    def say(text: str) -> None:
        if not options.json:
            print(text, flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        args = [*SMALL, *lengths(options.ranks), *options.train]
        whole = Run(folder / "whole", args, options.ranks)
        start = time.monotonic()
        whole.start()
        while whole.running():
            time.sleep(0.01)
        seconds = time.monotonic() - start
        assert whole.path is not None
        say(f"seed {seed}; the run in peace took {seconds:.1f} s")
        kills, torn, runs, stuck, found = 0, 0, 0, 0, list[str]()
        while kills < options.kills:
            runs += 1
            run = Run(folder / f"killed{runs}", args, options.ranks)
            run.start()
            while kills < options.kills:
                writing = kills % 2 == 1
                moment = moments.uniform(0, seconds / (2 if writing else 1))
                if not wait_for_moment(run, moment, writing):
                    break
                ended = run.kill(moments if options.victim == "one" else None)
                within = run.is_writing()
                kills, stuck, torn = kills + 1, stuck + (not ended), torn + within
                whole_ones = [] if run.path is None else list_checkpoints(run.path)
                newest = whole_ones[-1].name if whole_ones else "nothing"
                half = ", within a checkpoint" if within else ""
                say(f"kill {kills}: run {runs}, from {moment:.2f} s on, {newest} is whole{half}")
                run.start()
            while run.running():
                time.sleep(0.01)
            assert run.path is not None
            problems = list(differences(whole.path, run.path))
            found += [f"run {runs}: {problem}" for problem in problems]
            say(f"run {runs} is {'NOT ' if problems else ''}equal: {problems[:5] or 'all bits'}")
    result = {
        "seed": seed,
        "ranks": options.ranks,
        "victim": options.victim,
        "train": options.train,
        "seconds_in_peace": round(seconds, 2),
        "kills": kills,
        "within_a_checkpoint": torn,
        "runs": runs,
        "ranks_that_did_not_end": stuck,
        "differences": found,
    }
    print(
        json.dumps(result)
        if options.json
        else f"{kills} kills, {torn} of them within a "
        f"checkpoint, in {runs} runs; {len(found)} differences"
    )
    if found or stuck:
        sys.exit(1)


if __name__ == "__main__":
    main()
