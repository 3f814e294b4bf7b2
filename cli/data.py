"""``segan data``: render the built-in faces, or convert images to a training zip."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from segan.cli.errors import option_text
from segan.cli.output import Output, overwrite_option
from segan.cli.progress import LateProgress, progress
from segan.cli.standard_streams import echo

if TYPE_CHECKING:
    from segan.train.data.convert import ConvertResult

#: Maximum number of images, classes or folders that are listed by name.
_SHOWN = 10


@click.group("data", epilog="Example: segan data render faces.zip")
def command() -> None:
    """Make the training zip that 'segan train --data' reads."""


@command.command(
    "render",
    short_help="Draw the built-in cartoon faces.",
    epilog="Example: segan data render faces.zip --count 20000 --resolution 64 --seed 0",
)
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--count", type=int, default=20_000, show_default=True, help="How many faces.")
@click.option(
    "--resolution",
    type=int,
    default=64,
    show_default=True,
    help="Height and width in pixels: a power of two from 8 to 1024.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of the set. Face i depends on the seed and i alone, so a longer set begins with the "
    "shorter one.",
)
@click.option(
    "--labels",
    type=click.Choice(["none", "glasses", "fringe"]),
    default="none",
    show_default=True,
    help="The attribute whose values are the classes, for 'segan train --cond'.",
)
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def render(
    out: Path,
    count: int,
    resolution: int,
    seed: int,
    labels: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw the built-in cartoon faces into the training zip OUT.

    Each face has 18 independent attributes, such as skin tone, hair colour, eye size, smile and
    glasses. Their values are in the zip's dataset.json.
    """
    from segan.train.data.faces.attributes import FACE_ATTRIBUTES, label_names
    from segan.train.data.faces.render import render_faces
    from segan.train.data.training_zip import TRAINING_ZIP

    Output(out, overwrite).file(out, [], TRAINING_ZIP)
    start = time.perf_counter()
    with progress(count, "images", "drawing") as bar:
        render_faces(
            out,
            count=count,
            resolution=resolution,
            seed=seed,
            labels=None if labels == "none" else labels,
            on_progress=bar.update,
        )
    class_names = () if labels == "none" else label_names(labels)
    seconds = time.perf_counter() - start
    if as_json:
        names = [attribute.name for attribute in FACE_ATTRIBUTES]
        result = {
            "path": str(out),
            "count": count,
            "resolution": resolution,
            "img_channels": 3,
            "seed": seed,
            "class_names": list(class_names),
            "attributes": names,
            "seconds": round(seconds, 3),
        }
        echo(json.dumps(result))
    else:
        echo(
            f"{out}: {count} faces of {resolution} x {resolution}, {len(FACE_ATTRIBUTES)} "
            f"attributes, {_classes(class_names)}."
        )


@command.command(
    "convert",
    short_help="Convert a folder, zip or LMDB of images.",
    epilog="Example: segan data convert photos/ photos.zip --resolution 64 --crop center",
)
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--resolution",
    type=int,
    default=64,
    show_default=True,
    help="Height and width in pixels: a power of two from 8 to 1024.",
)
@click.option(
    "--crop",
    type=click.Choice(["center", "fit", "none"]),
    default="center",
    show_default=True,
    help="center: the largest centred square. fit: pad to a square with the background. none: "
    "images must be square.",
)
@click.option(
    "--on-bad",
    type=click.Choice(["auto", "skip", "fail"]),
    default="auto",
    show_default=True,
    help="auto: leave damaged images out and name them; fail if they are more than half. skip: "
    "leave out any number. fail: stop at the first.",
)
@click.option(
    "--labels",
    type=click.Choice(["auto", "folders", "none"]),
    default="auto",
    show_default=True,
    help="folders: the sub-folder is the class. auto: the labels of SRC's dataset.json; without "
    "it the sub-folders, if there are two or more and their names are not plain numbers.",
)
@click.option(
    "--channels",
    type=click.Choice(["auto", "1", "3", "4"]),
    default="auto",
    show_default=True,
    help="1: grey. 3: RGB. 4: RGBA, keeps transparency. auto: 1 if all images are grey, else 3.",
)
@click.option(
    "--background",
    default="white",
    show_default=True,
    help="Colour behind transparent pixels: a name or #rrggbb.",
)
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def convert(
    src: Path,
    out: Path,
    resolution: int,
    crop: str,
    on_bad: str,
    labels: str,
    channels: str,
    background: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Convert SRC, a folder, zip or LMDB of images, to the training zip OUT.

    Images are turned upright, converted to sRGB by their colour profile, cropped, blended over the
    background and resized with an antialiasing filter, in the natural order of their names. PNG,
    JPEG, WebP, GIF, BMP, TIFF, PPM, AVIF and HEIC of up to 50 megapixels are read, whatever their
    names end in; JPEG up to 268. Only the first frame of an animation is used. At the end, what
    was left out is named and counted.
    """
    from segan.train.data.convert import convert_images
    from segan.train.data.training_zip import TRAINING_ZIP

    Output(out, overwrite).file(out, [src], TRAINING_ZIP)
    start = time.perf_counter()
    with LateProgress("images") as bar:
        result = convert_images(
            src,
            out,
            resolution=resolution,
            crop=cast(Any, crop),
            on_bad=cast(Any, on_bad),
            labels=cast(Any, labels),
            channels=cast(Any, channels),
            background=background,
            on_start=lambda total: bar.start(total, "converting"),
            on_progress=bar.update,
        )
    if as_json:
        fields = {
            "path": str(out),
            "count": result.count,
            "resolution": result.resolution,
            "img_channels": result.img_channels,
            "class_names": list(result.class_names),
            "class_counts": result.class_counts,
            "label_note": option_text(result.label_note),
            "skipped": [{"name": name, "reason": reason} for name, reason in result.skipped],
            "passed_over": [dataclasses.asdict(kind) for kind in result.passed_over],
            "first_frame_only": result.notes.get("first frame", 0),
            "profile_ignored": result.notes.get("profile ignored", 0),
            "seconds": round(time.perf_counter() - start, 3),
        }
        echo(json.dumps(fields))
        return
    counted = [f"{name} {count}" for name, count in result.class_counts.items()]
    echo(
        f"{out}: {_images(result.count)} of {result.resolution} x {result.resolution}, "
        f"{result.img_channels} channels, {_classes(counted)}."
    )
    if result.label_note:
        echo(option_text(result.label_note), err=True)
    _show_left_out(result)


def _show_left_out(result: ConvertResult) -> None:
    """Name and count what of the source is not in the zip, or not as it is there."""
    if result.skipped:
        echo(f"{_images(len(result.skipped))} left out:")
        for _, reason in result.skipped[:_SHOWN]:
            echo(f"  {reason}")
        if len(result.skipped) > _SHOWN:
            echo(f"  and {len(result.skipped) - _SHOWN} more; --json lists all.")
    if result.passed_over:
        echo(f"other files, not read: {', '.join(map(str, result.passed_over))}")
    frames, ignored = (result.notes.get(note, 0) for note in ("first frame", "profile ignored"))
    if frames:
        echo(f"{_images(frames)} of several frames or pages: only the first is used")
    if ignored:
        echo(
            f"{_images(ignored)} with a colour profile that cannot be used: the colours are taken "
            "for sRGB"
        )


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _classes(names: Sequence[str]) -> str:
    """``3 classes: cat 10, dog 8, fox 9``, or ``no labels``."""
    if not names:
        return "no labels"
    return f"{len(names)} class{'es' if len(names) > 1 else ''}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
