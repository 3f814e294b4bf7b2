"""``make demo``: from nothing to a page of faces whose attributes change along learned subspaces.

Every step is a command that a user would type; it is shown, run and timed, and the first failure
ends the demo with that command's own message. The page is written by ``demo_page``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from demo_page import Step, write_page

#: Seeds of the sample sheet and of the walk.
SAMPLES, WALK = "0-63", "3,11,19,27"

#: Exit status of a command that was asked to stop, and of the demo itself.
INTERRUPTED = 130

#: What the demo writes into its folder.
MADE = (
    *("faces.zip", "faces.segan", "runs", "samples", "index.html"),
    *("shipped.png", "data.png", "sweep-layer*.png", "mix.png", "walk.gif"),
)


class Demo:
    """Runs the steps one after another in ``out`` and remembers them for the page.

    Args:
        out: where everything goes; a relative path keeps the shown commands short.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.steps: list[Step] = []
        # 'segan' is the one beside this Python, whether or not its environment is activated.
        self._segan = str(Path(sys.executable).parent / "segan")

    def run(self, title: str, *arguments: object, limit_s: float | None = None) -> Step:
        """Shows and runs ``segan ARGUMENTS``.

        Args:
            title: what the step does, for the screen.
            *arguments: of segan.
            limit_s: after this many seconds the command is asked to stop, as Ctrl-C does.
        """
        words = [str(argument) for argument in arguments]
        command = shlex.join(["segan", *words])
        print(f"\n== {title}\n$ {command}", flush=True)
        start = time.monotonic()
        status, stopped = self._call(words, limit_s)
        seconds = time.monotonic() - start
        if status and not (stopped and status == INTERRUPTED):
            quit_demo(f"the demo stopped: {command!r} ended with status {status}.", status)
        print(f"   {seconds:.1f} s", flush=True)
        self.steps.append(Step(title=title, command=command, seconds=seconds))
        return self.steps[-1]

    def _call(self, words: list[str], limit_s: float | None) -> tuple[int, bool]:
        """Exit status, and whether the command was stopped for its time."""
        process = subprocess.Popen([self._segan, *words])
        try:
            return process.wait(limit_s), False
        except subprocess.TimeoutExpired:
            print(f"   {limit_s:.0f} s are over: saving and going on with what is learned")
            process.send_signal(signal.SIGINT)
            return process.wait(), True
        except KeyboardInterrupt:
            # The terminal has sent Ctrl-C to the command as well; it saves what it has.
            process.wait()
            quit_demo("the demo was interrupted.", INTERRUPTED)


def quit_demo(message: str, status: int) -> NoReturn:
    """Ends the demo with a message on stderr."""
    print(f"\n{message}", file=sys.stderr)
    sys.exit(status)


def main() -> None:
    """Parses the options and runs the demo."""
    parser = argparse.ArgumentParser(description="Train, export, generate and sweep; write a page.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for everything")
    parser.add_argument("--kimg", type=float, default=50, help="thousand images to train on")
    parser.add_argument("--minutes", type=float, default=8, help="most minutes to train for")
    parser.add_argument("--faces", type=int, default=20_000, help="faces to draw")
    options = parser.parse_args()
    if options.kimg <= 0 or options.minutes <= 0:
        quit_demo("--kimg and --minutes must be more than 0, such as --kimg 50 --minutes 8.", 2)
    clean(options.out)
    print(
        f"This draws {options.faces} cartoon faces, trains on {options.kimg:g} thousand images "
        f"(at most {options.minutes:g} minutes), exports and sweeps.\nAbout 10 minutes in all on "
        f"two cores. Everything goes to {options.out}/; Ctrl-C stops it.",
        flush=True,
    )
    start = time.monotonic()
    page = make(Demo(options.out), options.kimg, options.minutes * 60, options.faces)
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    print(f"\nDone in {minutes}:{seconds:02}. Open this page: {page.resolve().as_uri()}")


def clean(out: Path) -> None:
    """Removes what an earlier demo made in ``out``; anything else there stays."""
    out.mkdir(parents=True, exist_ok=True)
    for name in MADE:
        for path in out.glob(name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def make(demo: Demo, kimg: float, limit_s: float, faces: int) -> Path:
    """All steps; returns the page."""
    from segan.runtime.bundle.shipped import shipped_bundle

    out = demo.out
    data, bundle, runs = out / "faces.zip", out / "faces.segan", out / "runs"
    shipped = os.path.relpath(shipped_bundle())
    sweep = ("sweep", shipped, "--attr", "hair_length", "-o", out / "shipped.png")
    demo.run("Sweep the model that ships with segan", *sweep)
    demo.run("Draw faces", "data", "render", data, "--count", faces, "--resolution", 32)
    draw_data_sheet(demo, data, out / "data.png")
    demo.run(
        "Train mode 2",
        *("train", "--data", data, "--mode", 2, "--preset", "tiny"),
        *("--kimg", f"{kimg:g}", "--runs", runs),
        limit_s=limit_s,
    )
    if not any(runs.glob("*/checkpoints/*/checkpoint.json")):
        quit_demo("training had no time to save anything. Allow it more: --minutes 8", 1)
    (run,) = runs.iterdir()
    demo.run("Export three ONNX graphs, and verify them", "export", run, "-o", bundle)
    demo.run("Show what the bundle holds", "info", bundle)
    samples = ("generate", bundle, "--seeds", SAMPLES, "-o", out / "samples", "--sheet")
    demo.run("Generate", *samples)
    for layer in swept_layers(bundle):
        sheet = out / f"sweep-layer{layer}.png"
        demo.run(f"Sweep layer {layer}", "sweep", bundle, "--layer", layer, "-o", sheet)
    mix = ("--rows", "0-3", "--cols", "10-14", "--layers", "0-1", "-o", out / "mix.png")
    demo.run("Mix styles", "mix", bundle, *mix)
    walk = ("--seeds", WALK, "--frames", 20, "--fps", 20, "--loop", "-o", out / "walk.gif")
    demo.run("Walk between faces", "interpolate", bundle, *walk)
    return write_page(out, run, bundle, demo.steps)


def draw_data_sheet(demo: Demo, data: Path, path: Path) -> None:
    """A sheet of the first 64 training images: no command draws one, four lines of Python do."""
    from segan.runtime.pictures.sheets import grid, write_sheet
    from segan.train.data.dataset import open_dataset

    start = time.monotonic()
    images = open_dataset(data).images[:64].transpose(0, 2, 3, 1)
    write_sheet(path, grid(images))
    code = f'grid(open_dataset("{data}").images[:64].transpose(0, 2, 3, 1)).save("{path}")'
    demo.steps.append(Step(title="Show faces", command=code, seconds=time.monotonic() - start))


def swept_layers(bundle: Path) -> list[int]:
    """The layers that have sliders."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    return sorted({subspace["layer"] for subspace in manifest["subspaces"]})


if __name__ == "__main__":
    # Training draws on both cores; the commands after it are quick either way.
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    try:
        main()
    except KeyboardInterrupt:
        quit_demo("the demo was interrupted.", INTERRUPTED)
