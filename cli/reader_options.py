"""Options of ``segan directions --method attributes``: what is read, and by which reader."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.option_values import parse_range
from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator
    from segan.runtime.readings.reading import Reader


@dataclass(frozen=True, kw_only=True)
class ReaderChoice:
    """What the reader options say; None for what is not given.

    Attributes:
        reader: file of a network.
        names: of its scores, separated by commas.
        size: height and width of its images.
        value_range: black and white, ``0,1``.
        mean: three numbers, ``R,G,B``.
        std: three numbers.
        attributes: names of those that get a direction, separated by commas.
    """

    reader: Path | None
    names: str | None
    size: int | None
    value_range: str | None
    mean: str | None
    std: str | None
    attributes: str | None

    def check_unused(self, method: str) -> None:
        """Raise ConfigError for an option that another method has no use for."""
        for option, value in (
            ("reader", self.reader),
            ("names", self.names),
            ("reader_size", self.size),
            ("reader_range", self.value_range),
            ("reader_mean", self.mean),
            ("reader_std", self.std),
            ("only", self.attributes),
        ):
            if value is not None:
                raise ConfigError(
                    f"`method {method}` reads no attributes",
                    field=option,
                    value=value,
                    remedy=f"Pass `method attributes`, or leave `{option}` out.",
                )

    def wanted(self) -> tuple[str, ...] | None:
        """The names of attributes that get a direction; None for all."""
        return None if self.attributes is None else _words(self.attributes)

    def open(self, generator: Generator) -> tuple[Reader, dict[str, Any]]:
        """Load the reader, and say what it is. Raises: ConfigError, DataError."""
        if self.reader is None or str(self.reader) == "faces":
            return _face_reader(generator, self)
        from segan.export.directions.attributes.onnx_reader import OnnxReader, Preprocessing

        low, high = (0.0, 1.0) if self.value_range is None else parse_range(self.value_range)
        found = OnnxReader(
            self.reader,
            None if self.names is None else _words(self.names),
            Preprocessing(
                size=self.size,
                low=low,
                high=high,
                mean=_channels("reader_mean", self.mean, 0.0),
                std=_channels("reader_std", self.std, 1.0),
            ),
        )
        return found, found.describe()


def _face_reader(generator: Generator, choice: ReaderChoice) -> tuple[Reader, dict[str, Any]]:
    """The reader of the built-in faces, for a generator of such faces."""
    from segan.train.measure.control.name_proposals import other_data

    for option, value in (("names", choice.names), ("reader_size", choice.size)):
        if value is not None:
            raise ConfigError(
                f"`{option}` is for a reader of your own",
                field=option,
                value=value,
                remedy="Add `reader FILE.onnx`.",
            )
    other = other_data(generator)
    shipped = "shipped_model" in generator.manifest.provenance
    if choice.reader is None and other is not None and not shipped:
        raise ConfigError(
            f"no reader is given, and segan's own reads the built-in faces, but {other}",
            field="reader",
            remedy="Pass `reader FILE.onnx`, a network that computes scores from images; or "
            "`reader faces`, if the images are such faces.",
        )
    from segan.train.measure.control.face_reader import FaceReader

    found = FaceReader(generator.manifest.resolution)
    return found, found.describe()


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _channels(field: str, text: str | None, default: float) -> tuple[float, float, float]:
    """Return three numbers of R,G,B. Raises: ConfigError."""
    if text is None:
        return (default, default, default)
    try:
        red, green, blue = (float(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(
            field=field, value=text, expected="three numbers, such as 0.485,0.456,0.406"
        ) from None
    return (red, green, blue)


def reader_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as ``choice``."""

    @functools.wraps(function)
    def collected(
        *args: Any,
        reader: Path | None,
        names: str | None,
        reader_size: int | None,
        reader_range: str | None,
        reader_mean: str | None,
        reader_std: str | None,
        only: str | None,
        **rest: Any,
    ) -> Any:
        choice = ReaderChoice(
            reader=reader,
            names=names,
            size=reader_size,
            value_range=reader_range,
            mean=reader_mean,
            std=reader_std,
            attributes=only,
        )
        return function(*args, choice=choice, **rest)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected


_OPTIONS = (
    click.option(
        "--reader",
        type=click.Path(path_type=Path),
        default=None,
        show_default="segan's network, for the built-in faces",
        metavar="FILE",
        help="attributes: ONNX network that computes scores [N, K] from images [N, 3, H, W]; or "
        "faces, segan's own.",
    ),
    click.option(
        "--names",
        default=None,
        show_default="score 0, score 1, …",
        metavar="A,B,…",
        help="Names of the reader's scores.",
    ),
    click.option(
        "--reader-size",
        type=int,
        default=None,
        show_default="the network's own",
        help="Height and width of the reader's images.",
    ),
    click.option(
        "--reader-range",
        default=None,
        show_default="0,1",
        metavar="LOW,HIGH",
        help="The reader's values of black and white.",
    ),
    click.option(
        "--reader-mean",
        default=None,
        show_default="0,0,0",
        metavar="R,G,B",
        help="Is subtracted from the channels, in units of --reader-range.",
    ),
    click.option(
        "--reader-std",
        default=None,
        show_default="1,1,1",
        metavar="R,G,B",
        help="Divides the channels afterwards.",
    ),
    click.option(
        "--only",
        default=None,
        show_default="all that the reader reads",
        metavar="A,B,…",
        help="attributes: the ones that get a direction.",
    ),
)
