"""Animations: gif, mp4 (H.264) with PyAV or an ffmpeg program, or a folder of frames."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.errors import BackendError, ConfigError
from segan.runtime.files.atomic import atomic_file, output_error, write_atomic, writing
from segan.runtime.files.target import check_file, kind_of_ending
from segan.runtime.pictures.encode import ImageEncoding, encode_image, to_pil
from segan.runtime.pictures.gif import MAX_GIF_FPS, gif_delays, write_gif
from segan.runtime.pictures.sheets import enlarge

#: Shorter side, in pixels, up to which small frames of a gif or mp4 are enlarged.
MIN_FRAME = 256

MAX_FPS = 120

_FRAME = re.compile(r"frame\d{6,}\.png")


def mp4_encoder() -> str | None:
    """``av`` (PyAV), ``ffmpeg`` (a program on the PATH), or None."""
    try:
        import av  # noqa: F401
    except ImportError:
        return "ffmpeg" if shutil.which("ffmpeg") else None
    return "av"


def check_animation(path: str | Path, fps: float) -> None:
    """Check the arguments of ``write_animation`` before any frame is computed.

    Raises:
        ConfigError: an unknown ending, or fps out of 0.1 to 120.
        BackendError: mp4 without an encoder.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".gif", ".mp4", ""):
        raise ConfigError(
            f"{path} ends in {suffix!r}",
            field="out",
            value=path,
            expected=".gif, .mp4, or a folder for png frames",
        )
    if not 0.1 <= fps <= MAX_FPS:
        raise ConfigError(field="fps", value=fps, expected=f"0.1 to {MAX_FPS}")
    if suffix == ".mp4" and mp4_encoder() is None:
        raise BackendError(
            "no mp4 encoder is installed",
            field="out",
            value=path,
            remedy="Run: pip install 'segan[video]', install ffmpeg, or write a .gif.",
        )


def check_frames(folder: Path, *, overwrite: bool, sources: Iterable[Path | None]) -> None:
    """Check, before any frame is computed, that png frames may be written into a folder.

    Args:
        folder: may be missing, or hold other files.
        overwrite: whether an earlier walk's frames may be replaced.
        sources: what the frames are made from.

    Raises:
        OutputError: it is a file, or a frame in it may not be replaced; see ``check_file``.
    """
    sources = [*sources]
    with writing(folder):
        found = sorted(folder.glob("frame*.png")) if folder.is_dir() else []
    frames = [path for path in found if _FRAME.fullmatch(path.name)]
    for path in {_frame_path(folder, 0), *frames}:
        check_file(path, kind_of_ending(path), overwrite=overwrite, sources=sources)


def playing_time(path: str | Path, frames: int, fps: float) -> float:
    """Return how many seconds an animation of so many frames lasts, as its file says."""
    if Path(path).suffix.lower() == ".gif":
        return sum(delay for _, delay in gif_delays(frames, fps)) / 100
    return frames / fps


def dropped_frames(path: str | Path, frames: int, fps: float) -> str:
    """Return a sentence about the frames that a gif does not show; empty where it shows all."""
    if Path(path).suffix.lower() != ".gif" or fps <= MAX_GIF_FPS:
        return ""
    shown = len(gif_delays(frames, fps))
    return (
        f"{path} shows {shown} of {frames} frames: browsers play a gif of more than "
        f"{MAX_GIF_FPS:g} frames a second too slowly. An mp4 shows all."
    )


def write_animation(
    path: str | Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    fps: float = 30,
    scale: int | None = None,
) -> int:
    """Write frames as they are computed; no partial file is left.

    Args:
        path: ``.gif``, ``.mp4``, or without an ending: a folder of ``frame000000.png``.
        frames: uint8 [H, W, C] each, all of one shape, at least one.
        fps: frames a second. A gif's frames last whole hundredths of a second, so at 30 they last
            3 or 4, and 3.33 on average. It shows 50 a second at most, and drops the others.
        scale: whole factor of enlargement; None enlarges small frames of a gif or mp4 to 256
            pixels, and does not change png frames.

    Returns:
        How many frames the file or folder shows.

    Raises:
        ConfigError: no frames, an unknown ending, or a number out of range.
        BackendError: no mp4 encoder, or it failed.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    check_animation(path, fps)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ConfigError("`frames` is empty", field="frames", expected="1 or more")
    counter = itertools.count()
    counted = _counted(itertools.chain([first], iterator), counter)
    suffix = path.suffix.lower()
    if suffix == "":
        _write_frames(path, counted, scale)
    elif suffix == ".gif":
        return write_gif(path, counted, fps, scale=scale, min_side=MIN_FRAME)
    elif mp4_encoder() == "av":
        with atomic_file(path, follow=True) as file:
            _write_av(file, _even(_pictures(counted, scale)), fps)
    else:
        _write_ffmpeg(path, _even(_pictures(counted, scale)), fps)
    return next(counter)


def _counted(
    frames: Iterable[NDArray[np.uint8]], counter: Iterator[int]
) -> Iterator[NDArray[np.uint8]]:
    for frame in frames:
        next(counter)
        yield frame


def _pictures(frames: Iterable[NDArray[np.uint8]], scale: int | None) -> Iterator[Image.Image]:
    for frame in frames:
        yield enlarge(to_pil(frame), scale, min_side=MIN_FRAME)


def _write_frames(folder: Path, frames: Iterable[NDArray[np.uint8]], scale: int | None) -> None:
    """Write the frames, and remove frames that remain from an earlier, longer walk."""
    encoding = ImageEncoding()
    count = 0
    for frame in frames:
        if scale is not None and scale > 1:
            frame = np.asarray(enlarge(to_pil(frame), scale))
        data = encode_image(frame, encoding)
        write_atomic(_frame_path(folder, count), data, sync=False, follow=True)
        count += 1
    for i in itertools.count(count):
        try:
            _frame_path(folder, i).unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise output_error(_frame_path(folder, i), error) from error


def _frame_path(folder: Path, number: int) -> Path:
    return folder / f"frame{number:06d}.png"


def _even(pictures: Iterator[Image.Image]) -> Iterator[Image.Image]:
    """Crop an odd last row or column, since H.264 with 4:2:0 colour needs even sides."""
    for picture in pictures:
        width, height = picture.width // 2 * 2, picture.height // 2 * 2
        yield picture.crop((0, 0, width, height))


def _write_av(file: BinaryIO, pictures: Iterator[Image.Image], fps: float) -> None:
    from fractions import Fraction

    import av

    try:
        with av.open(file, mode="w", format="mp4") as container:
            stream = None
            for picture in pictures:
                if stream is None:
                    stream = container.add_stream(
                        "libx264", rate=Fraction(fps).limit_denominator(1001)
                    )
                    stream.width, stream.height = picture.size
                    stream.pix_fmt = "yuv420p"
                    stream.options = {"crf": "16", "preset": "medium"}
                frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
                container.mux(stream.encode(frame))
            if stream is not None:
                container.mux(stream.encode())
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise BackendError(
            f"the mp4 encoder failed: {error}", remedy="Write a .gif instead."
        ) from error


def _write_ffmpeg(path: Path, pictures: Iterator[Image.Image], fps: float) -> None:
    """Pipe raw frames through the ffmpeg program into a temporary file, then copy the file."""
    first = next(pictures)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "animation.mp4"
        command = [
            "ffmpeg", "-loglevel", "error", "-y",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{first.width}x{first.height}",
            "-r", f"{fps:g}", "-i", "-",
            "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "16", "-movflags", "+faststart",
            str(made),
        ]  # fmt: skip
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
            assert process.stdin is not None
            try:
                for picture in itertools.chain([first], pictures):
                    process.stdin.write(picture.tobytes())
            except BrokenPipeError:
                # ffmpeg ended early; its log, read below, holds the reason.
                pass
            except BaseException:
                process.kill()
                raise
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                process.wait()
            log.seek(0)
            output = log.read().decode("utf-8", "replace").strip()
        if process.returncode or not made.exists():
            last = output.splitlines()[-1] if output else f"exit status {process.returncode}"
            raise BackendError(f"ffmpeg failed: {last}", remedy="Write a .gif instead.")
        try:
            with atomic_file(path, follow=True) as file, open(made, "rb") as source:
                shutil.copyfileobj(source, file)
        except OSError as error:
            raise output_error(path, error) from error
