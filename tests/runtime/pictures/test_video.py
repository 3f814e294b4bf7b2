from __future__ import annotations

import io
import itertools
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.errors import BackendError, ConfigError, OutputError
from segan.runtime.pictures.video import check_animation, mp4_encoder, write_animation

if TYPE_CHECKING:
    from tests.conftest import RaisesError


def _frames(count: int, side: int = 32, channels: int = 3) -> list[NDArray[np.uint8]]:
    """A smooth field that grows brighter from frame to frame."""
    ramp = np.linspace(0, 100, side)
    field = ramp[:, None] / 2 + ramp[None, :] / 2
    frames = []
    for i in range(count):
        image = np.repeat((field + 5 * i)[..., None], channels, axis=2)
        if channels in (2, 4):
            image[..., -1] = 255
        frames.append(image.astype(np.uint8))
    return frames


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_gif_shows_every_frame_for_its_time(tmp_path: Path, channels: int) -> None:
    frames = _frames(12, channels=channels)
    path = tmp_path / "deep" / "walk.gif"
    assert write_animation(path, iter(frames), fps=30) == 12
    with Image.open(path) as found:
        assert found.size == (256, 256)
        assert found.info["loop"] == 0
        assert found.n_frames == 12  # type: ignore[attr-defined]
        total = 0
        for i, frame in enumerate(frames):
            found.seek(i)
            total += found.info["duration"]
            pixels = np.asarray(found.convert("RGB")).astype(float)
            # The mean of the frame, from 256 shared colours.
            colour = frame[..., :1] if channels < 3 else frame[..., :3]
            assert pixels.mean() == pytest.approx(colour.mean(), abs=2)
    # 12 frames at 30 a second are 400 ms, though no frame can last 33.3.
    assert total == 400


@pytest.mark.parametrize("fps", [0.5, 7, 24, 50])
def test_gif_keeps_the_rate(tmp_path: Path, fps: float) -> None:
    write_animation(tmp_path / "a.gif", _frames(9, side=16), fps=fps)
    with Image.open(tmp_path / "a.gif") as found:
        total = 0
        for i in range(9):
            found.seek(i)
            total += found.info["duration"]
    assert total == pytest.approx(9000 / fps, abs=5)


def test_gif_of_one_frame(tmp_path: Path) -> None:
    assert write_animation(tmp_path / "a.gif", _frames(1)) == 1
    with Image.open(tmp_path / "a.gif") as found:
        assert found.size == (256, 256)


def test_folder_of_frames_keeps_pixels(tmp_path: Path) -> None:
    frames = _frames(3, side=8, channels=4)
    assert write_animation(tmp_path / "walk", iter(frames)) == 3
    for i, frame in enumerate(frames):
        with Image.open(tmp_path / "walk" / f"frame{i:06d}.png") as found:
            assert np.array_equal(np.asarray(found), frame)
    write_animation(tmp_path / "walk", frames[:1])  # shorter: the others would look like its own
    assert [path.name for path in (tmp_path / "walk").iterdir()] == ["frame000000.png"]
    write_animation(tmp_path / "large", frames, scale=3)
    with Image.open(tmp_path / "large" / "frame000000.png") as found:
        assert found.size == (24, 24)


@pytest.mark.parametrize("side", [33, 300])
def test_mp4_with_pyav(tmp_path: Path, side: int) -> None:
    av = pytest.importorskip("av", reason="needs av; the bare environment has none")
    frames = _frames(20, side=side)
    path = tmp_path / "walk.mp4"
    assert write_animation(path, iter(frames), fps=25) == 20
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 25
        assert stream.codec_context.pix_fmt == "yuv420p"
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 20
    side_there = (side * (8 if side == 33 else 1)) // 2 * 2
    assert decoded[0].shape == (side_there, side_there, 3)
    for frame, found in zip(frames, decoded, strict=True):
        assert found.mean() == pytest.approx(frame.mean(), abs=3)


def _stand_in_ffmpeg(folder: Path, script: str) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / "ffmpeg"
    # Not as "#!python": that line cannot hold a path with a space.
    code = shlex.quote(f"import sys\n{script}\n")
    python = shlex.quote(sys.executable)
    program.write_text(f'#!/bin/sh\nexec {python} -c {code} "$@"\n')
    program.chmod(0o755)


@pytest.fixture
def ffmpeg_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Only ``tmp_path/bin`` is on the PATH, and PyAV is not there."""
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
def test_mp4_with_the_ffmpeg_program(tmp_path: Path, ffmpeg_folder: Path) -> None:
    _stand_in_ffmpeg(
        ffmpeg_folder,
        "data = sys.stdin.buffer.read()\n"
        "open(sys.argv[-1], 'wb').write(' '.join(sys.argv).encode() + b'|' + data)",
    )
    assert mp4_encoder() == "ffmpeg"
    frames = _frames(3, side=300)
    assert write_animation(tmp_path / "a.mp4", iter(frames), fps=25) == 3
    arguments, _, pixels = (tmp_path / "a.mp4").read_bytes().partition(b"|")
    assert b"-s 300x300 -r 25 -i -" in arguments
    assert pixels == b"".join(frame.tobytes() for frame in frames)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
def test_a_failing_ffmpeg_program(
    tmp_path: Path, ffmpeg_folder: Path, raises_error: RaisesError
) -> None:
    _stand_in_ffmpeg(ffmpeg_folder, "sys.exit('Unknown encoder libx264')")
    with raises_error(BackendError, problem="Unknown encoder libx264", remedy=".gif"):
        write_animation(tmp_path / "a.mp4", _frames(50, side=300))
    assert not (tmp_path / "a.mp4").exists()


def test_mp4_without_an_encoder(
    tmp_path: Path, ffmpeg_folder: Path, raises_error: RaisesError
) -> None:
    assert mp4_encoder() is None
    with raises_error(BackendError, remedy="pip install 'segan[video]'"):
        write_animation(tmp_path / "a.mp4", _frames(2))


@pytest.mark.parametrize(
    ("name", "fps", "field", "value"),
    [
        ("a.avi", 30, "out", "a.avi"),
        ("a.gif", 0, "fps", 0),
        ("a.gif", 1000, "fps", 1000),
        ("a.gif", float("nan"), "fps", float("nan")),
    ],
)
def test_wrong_settings_are_told_first(
    name: str, fps: float, field: str, value: object, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field=field, value=value):
        check_animation(name, fps)


def test_no_frames(tmp_path: Path, raises_error: RaisesError) -> None:
    with raises_error(ConfigError, field="frames", expected="1 or more"):
        write_animation(tmp_path / "a.gif", [])


@pytest.mark.parametrize("name", ["a.gif", "a.mp4"])
def test_an_error_among_the_frames_leaves_nothing(tmp_path: Path, name: str) -> None:
    if name == "a.mp4":
        pytest.importorskip("av", reason="needs av; the bare environment has none")

    def broken() -> Iterator[NDArray[np.uint8]]:
        yield from _frames(3)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_animation(tmp_path / name, broken())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "frames"])
def test_an_unwritable_place(tmp_path: Path, name: str) -> None:
    if name == "a.mp4":
        pytest.importorskip("av", reason="needs av; the bare environment has none")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="there is a file where a folder is expected"):
        write_animation(tmp_path / "file" / name, _frames(2))


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import segan.runtime.files.atomic as files_module

    class _Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module, "open", lambda *_: _Full(), raising=False)
    for name in itertools.chain(["a.gif"], ["a.mp4"] if mp4_encoder() == "av" else []):
        with pytest.raises((OutputError, BackendError)):
            write_animation(tmp_path / name, _frames(4))
        assert os.listdir(tmp_path) == []
