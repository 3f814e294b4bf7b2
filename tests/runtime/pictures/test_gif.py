from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.pictures.gif import gif_delays, write_gif
from segan.runtime.pictures.video import dropped_frames, playing_time, write_animation


def _walk(count: int, side: int) -> list[NDArray[np.uint8]]:
    """Frames of a walk from one noise image to another."""
    first, last = np.random.RandomState(0).randint(0, 256, (2, side, side, 3))
    shares = np.linspace(0, 1, count)
    return [(first * (1 - share) + last * share).astype(np.uint8) for share in shares]


def _read(path: Path) -> tuple[list[NDArray[np.uint8]], list[int]]:
    """The pictures and their delays in milliseconds."""
    pictures, delays = [], []
    with Image.open(path) as found:
        for number in range(getattr(found, "n_frames", 1)):
            found.seek(number)
            pictures.append(np.asarray(found.convert("RGB")))
            delays.append(found.info["duration"])
    return pictures, delays


@pytest.mark.parametrize("fps", [0.1, 7, 24, 30, 49, 50, 50.1, 59.94, 60, 75, 99, 100, 101, 120])
@pytest.mark.parametrize("frames", [1, 2, 3, 59, 60, 601])
def test_no_delay_is_shorter_than_browsers_show(fps: float, frames: int) -> None:
    shown = gif_delays(frames, fps)
    numbers, delays = zip(*shown, strict=True)
    assert min(delays) >= 2
    assert sum(delays) == pytest.approx(100 * frames / fps, abs=2)
    assert numbers[0] == 0
    assert sorted(set(numbers)) == list(numbers)
    if fps <= 50:
        assert len(shown) == frames
        return
    starts = np.cumsum([0, *delays])[:-1]
    # Each is the frame that a film of this rate shows at that time.
    assert np.abs(starts * fps / 100 - numbers).max() < 1 + 1e-9


@pytest.mark.parametrize(
    ("fps", "count", "seconds"), [(60, 50, 1.0), (120, 25, 0.5), (30, 60, 2.0)]
)
def test_the_stated_time_is_the_files(
    tmp_path: Path, fps: float, count: int, seconds: float
) -> None:
    path = tmp_path / "a.gif"
    assert write_animation(path, _walk(60, 16), fps=fps) == count
    pictures, delays = _read(path)
    assert (len(pictures), sum(delays) / 1000) == (count, seconds)
    assert playing_time(path, 60, fps) == seconds
    assert (f"shows {count} of 60 frames" in dropped_frames(path, 60, fps)) == (fps > 50)
    assert dropped_frames(tmp_path / "a.mp4", 60, fps) == ""


def test_pixels_and_times_are_those_of_pillows_own_writer(tmp_path: Path) -> None:
    frames = _walk(7, 24)
    frames[3] = frames[4] = frames[2]  # a pause, which is one block
    assert write_gif(tmp_path / "a.gif", iter(frames), 24, scale=2, min_side=1) == 7
    sample = Image.fromarray(np.concatenate(frames))
    palette = sample.quantize(256, Image.Quantize.MEDIANCUT)
    first, *rest = [
        Image.fromarray(frame)
        .resize((48, 48), Image.Resampling.LANCZOS)
        .quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        for frame in frames
    ]
    delays = [10 * delay for _, delay in gif_delays(7, 24)]
    first.save(
        tmp_path / "b.gif", save_all=True, append_images=rest, duration=delays, loop=0,
        optimize=False,
    )  # fmt: skip
    ours, theirs = _read(tmp_path / "a.gif"), _read(tmp_path / "b.gif")
    assert ours[1] == theirs[1]
    assert len(ours[0]) == len(theirs[0]) == 5
    for mine, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_pause_longer_than_a_block_can_last(tmp_path: Path) -> None:
    frame = _walk(1, 16)[0]
    write_gif(tmp_path / "a.gif", [frame] * 70, 0.1, scale=1, min_side=1)
    assert _read(tmp_path / "a.gif")[1] == [650_000, 50_000]  # 700 s; a block holds 655.35


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process from /proc")
@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_memory_does_not_grow_with_the_length(tmp_path: Path, ending: str) -> None:
    if ending == ".mp4":
        pytest.importorskip("av", reason="needs PyAV; the bare environment has none")
    code = (
        "import re, sys, numpy as np\n"
        "from segan.runtime.pictures.video import write_animation\n"
        "frames = (np.full((96, 96, 3), i % 251, np.uint8) for i in range(int(sys.argv[2])))\n"
        "write_animation(sys.argv[1], frames, fps=30, scale=1)\n"
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])\n"
    )

    def peak(count: int) -> int:
        words = [sys.executable, "-c", code, str(tmp_path / f"{count}{ending}"), str(count)]
        return int(subprocess.run(words, capture_output=True, check=True).stdout) // 1024

    # 3000 frames are 83 MB, and half as much again as pictures of 256 colours.
    assert peak(3000) - peak(200) < 12
