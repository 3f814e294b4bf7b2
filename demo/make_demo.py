"""``make demo``: trains, exports and sweeps a generator of faces, and writes a page about it.

Every step is a command as a user would type it. The demo shows, runs and times it, and ends at the
first failure with the command's own message. ``demo_page`` writes the page.
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

#: Exit status of a command that was interrupted, and of the demo itself.
INTERRUPTED = 130

#: Where training starts: these faces after 80 thousand images, about 13 minutes on two quiet cores.
#: From nothing, a slow or busy machine would have only smears to show within the demo's time.
YOUNG = Path(__file__).parent / "young"

#: What the demo writes into its folder.
MADE = (
    *("faces.zip", "faces.segan", "runs", "samples", "before", "index.html"),
    *("shipped.png", "data.png", "sweep-layer*.png", "mix.png", "walk.gif"),
)


class Demo:
    """Runs the steps in order and records them for the page.

    Args:
        out: the folder of all results; a relative path keeps the shown commands short.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.steps: list[Step] = []
        # The script beside this Python, whether or not its environment is activated.
        self._segan = str(Path(sys.executable).parent / "segan")

    def run(self, title: str, *arguments: object, limit_s: float | None = None) -> Step:
        """Show and run ``segan ARGUMENTS``.

        Args:
            title: what the step does, for the screen.
            *arguments: of segan.
            limit_s: seconds after which the command is interrupted, as by Ctrl-C.
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
        """Return the exit status, and whether the command ran into its time limit."""
        process = subprocess.Popen([self._segan, *words])
        try:
            return process.wait(limit_s), False
        except subprocess.TimeoutExpired:
            print(f"   {limit_s:.0f} s have passed: training saves and stops here")
            process.send_signal(signal.SIGINT)
            return process.wait(), True
        except KeyboardInterrupt:
            # The terminal has sent Ctrl-C to the command, too, which saves its state.
            process.wait()
            quit_demo("the demo was interrupted.", INTERRUPTED)


def quit_demo(message: str, status: int) -> NoReturn:
    """End the demo with a message on stderr."""
    print(f"\n{message}", file=sys.stderr)
    sys.exit(status)


def main() -> None:
    """Parse the options and run the demo."""
    parser = argparse.ArgumentParser(description="Train, export, generate and sweep; write a page.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of all results")
    parser.add_argument("--kimg", type=float, default=40, help="thousand images to train on")
    parser.add_argument("--minutes", type=float, default=6, help="most minutes of training")
    parser.add_argument("--from-nothing", action="store_true", help="do not use demo/young")
    parser.add_argument("--faces", type=int, default=10_000, help="faces to draw")
    options = parser.parse_args()
    if options.kimg <= 0 or options.minutes <= 0:
        quit_demo("--kimg and --minutes must be more than 0, such as --kimg 40 --minutes 6.", 2)
    clean(options.out)
    print(
        f"The demo draws {options.faces} cartoon faces, trains on {options.kimg:g} thousand images "
        f"(at most {options.minutes:g} minutes), exports and sweeps.\nIt takes about 8 minutes on "
        f"two cores. Results: {options.out}/. Ctrl-C stops it.",
        flush=True,
    )
    start = time.monotonic()
    young = None if options.from_nothing else YOUNG
    page = make(Demo(options.out), options.kimg, options.minutes * 60, options.faces, young)
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    print(f"\nDone in {minutes}:{seconds:02}. Open this page: {page.resolve().as_uri()}")


def clean(out: Path) -> None:
    """Remove the results of an earlier demo from ``out``; other files stay."""
    out.mkdir(parents=True, exist_ok=True)
    for name in MADE:
        for path in out.glob(name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def make(demo: Demo, kimg: float, limit_s: float, faces: int, young: Path | None) -> Path:
    """Run all steps and return the page's path; ``young`` is the checkpoint to start with."""
    from segan.runtime.bundle.shipped import shipped_bundle

    out = demo.out
    data, bundle, runs = out / "faces.zip", out / "faces.segan", out / "runs"
    shipped = os.path.relpath(shipped_bundle())
    sweep = ("sweep", shipped, "--attr", "hair_length", "-o", out / "shipped.png")
    demo.run("Sweep the model that ships with segan", *sweep)
    demo.run("Draw faces", "data", "render", data, "--count", faces, "--resolution", 32)
    draw_data_sheet(demo, data, out / "data.png")
    start = () if young is None else ("--initial-checkpoint", os.path.relpath(young))
    demo.run(
        "Train mode 2",
        *("train", "--data", data, "--mode", 2, "--preset", "tiny", *start),
        *("--kimg", f"{kimg:g}", "--runs", runs),
        limit_s=limit_s,
    )
    if not any(runs.glob("*/checkpoints/*/checkpoint.json")):
        quit_demo("training stopped before its first checkpoint. Train longer: --minutes 6", 1)
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
    return write_page(out, run, bundle, demo.steps, young)


def draw_data_sheet(demo: Demo, data: Path, path: Path) -> None:
    """Draw a sheet of the first 64 training images, for which there is no command."""
    from segan.runtime.pictures.sheets import grid, write_sheet
    from segan.train.data.dataset import open_dataset

    start = time.monotonic()
    images = open_dataset(data).images[:64].transpose(0, 2, 3, 1)
    write_sheet(path, grid(images))
    code = f'grid(open_dataset("{data}").images[:64].transpose(0, 2, 3, 1)).save("{path}")'
    demo.steps.append(Step(title="Show faces", command=code, seconds=time.monotonic() - start))


def swept_layers(bundle: Path) -> list[int]:
    """Return the layers that have sliders."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    return sorted({subspace["layer"] for subspace in manifest["subspaces"]})


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    try:
        main()
    except KeyboardInterrupt:
        quit_demo("the demo was interrupted.", INTERRUPTED)
