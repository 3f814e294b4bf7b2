"""Options that several commands share, and how each is read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

import click

from segan.cli.option_values import (
    parse_attributes,
    parse_cutoff,
    parse_mix,
    parse_psi_layers,
    parse_sliders,
)
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList, parse_seeds

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator
    from segan.runtime.latents.files import Latents

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Decorator = Callable[[_Function], _Function]


class Style(TypedDict):
    """The settings that every way of generating has; pass them on as ``**style``."""

    psi: float
    cutoff: int | str | None
    coords: Literal["sampled", "zero"]
    sliders: Mapping[Slider | str, float]
    noise: Literal["const", "random", "none"]
    class_index: int | str | None
    psi_layers: Mapping[str | int, float]
    mix: Mapping[str | int, int]


@dataclass(frozen=True)
class BundleSource:
    """Which bundle to open, and how.

    Attributes:
        path: as given; None is the newest under the current folder, or the one that ships.
        backend: ``auto``, or a backend's name.
        precision: ``auto``, fp32, fp16, bf16 or int8.
        threads: of the backend; None lets it choose.
        verbose: whether to say more on stderr.
    """

    path: Path | None
    backend: str
    precision: str
    threads: int | None
    verbose: bool

    def open(self, noise: str = "const") -> Generator:
        """Opens the bundle; says which when it was not named.

        Args:
            noise: the mode that was asked for; where it can make no difference, that is said.

        Raises:
            BundleError: none is there, or it is damaged.
            ConfigError: an unknown backend or precision, or threads out of range.
        """
        path = self.path or newest_bundle()
        from segan.runtime.generate.generator import load

        generator = load(path, self.backend, precision=self.precision, threads=self.threads)
        training = generator.manifest.provenance.get("training")
        if noise != "const" and isinstance(training, dict) and training.get("noise") is False:
            click.echo(
                f"--noise {noise} changes nothing here: this generator was trained without noise",
                err=True,
            )
        if self.verbose:
            height, width, channels = generator.image_shape
            click.echo(
                f"backend: {generator.backend}, {generator.precision}; "
                f"images: {height} x {width}, {channels} channel{'s' if channels > 1 else ''}",
                err=True,
            )
            for name, reason in generator.passed_over.items():
                click.echo(f"not {name}: {reason}", err=True)
        return generator


def newest_bundle() -> Path:
    """The newest bundle under the current folder, else the one that ships with segan.

    Says on stderr which it is.

    Raises:
        BundleError: there is neither.
    """
    from segan.runtime.bundle.shipped import is_shipped, newest_or_shipped

    path = newest_or_shipped(Path("."))
    if is_shipped(path):
        click.echo(
            f"bundle: {path.stem}, which ships with segan (train and export your own to replace "
            "it)",
            err=True,
        )
    else:
        click.echo(f"bundle: {path}", err=True)
    return path


def bundle_options(function: _Function) -> _Function:
    """Adds BUNDLE, --backend, --precision, --threads and --verbose, as ``source: BundleSource``."""

    @functools.wraps(function)
    def collected(
        *args: Any,
        bundle: Path | None,
        backend: str,
        precision: str,
        threads: int | None,
        verbose: bool,
        **rest: Any,
    ) -> Any:
        source = BundleSource(bundle, backend, precision, threads, verbose)
        return function(*args, source=source, **rest)

    decorated: _Function = _decorate(
        collected,
        click.argument("bundle", type=click.Path(path_type=Path), required=False),
        click.option(
            "--backend",
            default="auto",
            show_default=True,
            metavar="NAME",
            help="What computes: auto (the best that works here), tensorrt, cuda, openvino or cpu.",
        ),
        click.option(
            "--precision",
            default="auto",
            show_default="fp16 on a GPU where the bundle has it, else fp32",
            metavar="NAME",
            help="What synthesis is computed in: fp32, fp16, bf16 or int8.",
        ),
        click.option(
            "--threads",
            type=int,
            default=None,
            show_default="physical cores",
            help="CPU threads of the backend.",
        ),
        click.option("-v", "--verbose", is_flag=True, help="Say more on stderr."),
    )
    return decorated


def style_options(function: _Function) -> _Function:
    """Adds the options from --psi to --class; passes ``style: Style``."""

    @functools.wraps(function)
    def collected(*args: Any, swept: tuple[str, ...], **rest: Any) -> Any:
        if swept:
            raise ConfigError(f"--attr {swept[0]!r} has no value; expected one, {swept[0]}=1.5.")
        return function(*args, **rest)

    help_text = (
        "Add to a slider by its name: smile=1.5,hair_color=-1. Repeatable. 'segan info' lists the "
        "names."
    )
    decorated: _Function = _style_options(collected, "NAME=VALUE", help_text)
    return decorated


def sweep_style_options(function: _Function) -> _Function:
    """As ``style_options``; names in --attr without a value are passed as ``swept``, a tuple."""
    help_text = (
        "Sweep the slider of this name, over the name's range. NAME=VALUE adds to another. "
        "Repeatable. 'segan info' lists the names."
    )
    decorated: _Function = _style_options(function, "NAME", help_text)
    return decorated


def _style_options(function: Any, attr_metavar: str, attr_help: str) -> Any:
    @functools.wraps(function)
    def collected(
        *args: Any,
        psi: float,
        cutoff: str | None,
        coords: Literal["sampled", "zero"],
        sliders: tuple[str, ...],
        attributes: tuple[str, ...],
        noise: Literal["const", "random", "none"],
        class_index: int | str | None,
        psi_layers: tuple[str, ...],
        mixed: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        named, swept = parse_attributes(attributes)
        style = Style(
            psi=psi,
            cutoff=parse_cutoff(cutoff),
            coords=coords,
            sliders={**parse_sliders(sliders), **named},
            noise=noise,
            class_index=class_index,
            psi_layers=parse_psi_layers(psi_layers),
            mix=parse_mix(mixed),
        )
        return function(*args, style=style, swept=swept, **rest)

    return _decorate(
        collected,
        click.option(
            "--psi",
            type=float,
            default=1.0,
            show_default=True,
            help="Truncation, 0 to 1: less variety, fewer failures; 1 is off, 0 the mean image.",
        ),
        click.option(
            "--cutoff",
            default=None,
            show_default="none",
            metavar="RES|SITE",
            help="Truncate up to this resolution (16) or site (b16.conv0) only.",
        ),
        click.option(
            "--psi-layers",
            multiple=True,
            metavar="LAYERS=PSI",
            help="Truncation of single layers, whatever --psi says: 0-1=0.5,3=1. Repeatable.",
        ),
        click.option(
            "--coords",
            type=click.Choice(["sampled", "zero"]),
            default="sampled",
            show_default=True,
            help="Subspace coordinates: drawn from each seed, or 0.",
        ),
        click.option(
            "--set",
            "sliders",
            multiple=True,
            metavar="L3N0D5=1.5",
            help="Add to one slider: layer 3, index 0, dim 5. Repeatable.",
        ),
        click.option("--attr", "attributes", multiple=True, metavar=attr_metavar, help=attr_help),
        click.option(
            "--mix",
            "mixed",
            multiple=True,
            metavar="LAYERS=SEED",
            help="Take these layers' style from another seed: 0-1=17,3=5. Repeatable.",
        ),
        click.option(
            "--noise",
            type=click.Choice(["const", "random", "none"]),
            default="const",
            show_default=True,
            help="Stochastic detail: the same for all, drawn from each seed, or none.",
        ),
        class_option("none", "Class of a conditional generator, by name or number from 0."),
    )


def class_option(shown: str, help_text: str) -> _Decorator[Any]:
    """--class, passed as ``class_index: int | str | None``; ``shown`` describes the default."""
    return click.option(
        "--class",
        "class_index",
        default=None,
        show_default=shown,
        callback=_read_class,
        metavar="NAME|NUMBER",
        help=help_text,
    )


def _read_class(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> int | str | None:
    return None if value is None else parse_class(value)


def parse_class(text: str) -> int | str:
    """Numbers as numbers: a class whose name is a number is named by its position."""
    try:
        return int(text)
    except ValueError:
        return text


def latents_option(function: _Function) -> _Function:
    """--latents, passed as ``latents: tuple[Path, ...]``; see ``open_latents``."""
    decorate: _Decorator[_Function] = click.option(
        "--latents",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILE",
        help="Generate from projected latents: npz, npy or pt of W or W+. Seeds are then their "
        "positions, from 0. Repeatable.",
    )
    return decorate(function)


def open_latents(paths: tuple[Path, ...], generator: Generator) -> Latents | None:
    """The files' latents, one after the other; None without files.

    Raises:
        DataError: a file is missing, damaged, unsafe or of another generator.
    """
    if not paths:
        return None
    from segan.runtime.latents.files import is_tensor_file, join_latents, read_latents

    parts = []
    for path in paths:
        if is_tensor_file(path):
            # Only these need torch.
            from segan.export.foreign.latent_tensors import read_tensor_latents

            parts.append(read_tensor_latents(path, generator.manifest))
        else:
            parts.append(read_latents(path, generator.manifest))
    return join_latents(parts, generator.manifest)


def all_latents(latents: Latents | None) -> SeedList | None:
    """The positions of all latents; None without latents."""
    return None if latents is None else parse_seeds(f"0-{len(latents) - 1}")


def seeds_option(
    default: str | None, help_text: str = "Seeds, such as 0-63,70.", shown: str | None = None
) -> _Decorator[Any]:
    """--seeds, read as a lazy list of ranges; ``shown`` describes the default None."""
    return click.option(
        "--seeds",
        default=default,
        show_default=shown or True,
        callback=read_seeds,
        metavar="LIST",
        help=help_text,
    )


def read_seeds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> SeedList | None:
    """Click callback for a list of seeds. Raises: ConfigError."""
    return None if value is None else parse_seeds(value)


def batch_size_option(function: _Function) -> _Function:
    """--batch-size."""
    decorate: _Decorator[_Function] = click.option(
        "--batch-size", type=int, default=16, show_default=True, help="Images computed at once."
    )
    return decorate(function)


def json_option(function: _Function) -> _Function:
    """--json, passed as ``as_json``."""
    decorate: _Decorator[_Function] = click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON."
    )
    return decorate(function)


def scale_option(function: _Function) -> _Function:
    """--scale."""
    decorate: _Decorator[_Function] = click.option(
        "--scale",
        type=int,
        default=None,
        show_default="small images to a readable size",
        help="Whole factor by which images are enlarged.",
    )
    return decorate(function)


def _decorate(function: Any, *decorators: Callable[[Any], Any]) -> Any:
    """Applies decorators so that their options are listed in the order given."""
    for decorator in reversed(decorators):
        function = decorator(function)
    return function
