"""Options that several commands share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from segan.cli.errors import option_text
from segan.cli.option_values import (
    parse_attributes,
    parse_class,
    parse_cutoff,
    parse_mix,
    parse_psi_layers,
    parse_sliders,
)
from segan.cli.standard_streams import echo
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList, parse_seeds

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator
    from segan.runtime.latents.files import Latents
    from segan.runtime.latents.options import GenerationOptions
    from segan.runtime.latents.readings import LatentSpace

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Decorator = Callable[[_Function], _Function]


@dataclass(frozen=True)
class BundleSource:
    """Which bundle to open, and how.

    Attributes:
        path: the bundle; None is the newest under the current folder, or the one that ships.
        backend: ``auto``, or a backend's name.
        precision: ``auto``, fp32, fp16, bf16 or int8.
        threads: CPU threads of the backend; None takes the physical cores.
        verbose: whether to print the backend and the images' size on stderr.
    """

    path: Path | None
    backend: str
    precision: str
    threads: int | None
    verbose: bool

    def open(self, noise: str = "const") -> Generator:
        """Open the bundle; where it was not named, print its path on stderr.

        Args:
            noise: the mode that was asked for; a mode that has no effect is reported.

        Raises:
            BundleError: there is no bundle, or it is damaged.
            ConfigError: an unknown backend or precision, or threads out of range.
        """
        from segan.runtime.generate.generator import load

        path = self.path or newest_bundle()
        generator = load(path, self.backend, precision=self.precision, threads=self.threads)
        training = generator.manifest.provenance.get("training")
        if noise != "const" and isinstance(training, dict) and training.get("noise") is False:
            echo(
                f"--noise {noise} has no effect: this generator was trained without noise",
                err=True,
            )
        if self.verbose:
            height, width, channels = generator.image_shape
            echo(
                f"backend: {generator.backend}, {generator.precision}; "
                f"images: {height} x {width}, {channels} channel{'s' if channels > 1 else ''}",
                err=True,
            )
            for name, reason in generator.passed_over.items():
                echo(f"not {name}: {reason}", err=True)
        return generator


def newest_bundle() -> Path:
    """Return the newest bundle under the current folder, else the one that ships with segan.

    Its path is printed on stderr.

    Raises:
        BundleError: there is neither.
    """
    from segan.runtime.bundle.shipped import is_shipped, newest_or_shipped

    path = newest_or_shipped(Path("."))
    if is_shipped(path):
        echo(
            f"bundle: {path.stem}, which ships with segan (train and export your own to replace "
            "it)",
            err=True,
        )
    else:
        echo(f"bundle: {path}", err=True)
    return path


def bundle_options(function: _Function) -> _Function:
    """Add BUNDLE, --backend, --precision, --threads and --verbose, as ``source: BundleSource``."""

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
            help=f"Backend: auto (the best that works here), {', '.join(BACKENDS)}.",
        ),
        click.option(
            "--precision",
            default="auto",
            show_default="fp16 on a GPU where the bundle has it, else fp32",
            metavar="NAME",
            help="Precision of the synthesis network: fp32, fp16, bf16 or int8.",
        ),
        click.option(
            "--threads",
            type=int,
            default=None,
            show_default="physical cores",
            help="CPU threads of the backend.",
        ),
        click.option("-v", "--verbose", is_flag=True, help="Print more on stderr."),
    )
    return decorated


def generation_options(function: _Function) -> _Function:
    """Add --psi to --batch-size, passed as ``options: GenerationOptions`` without latents."""

    @functools.wraps(function)
    def collected(*args: Any, swept: tuple[str, ...], **rest: Any) -> Any:
        if swept:
            raise ConfigError(
                f"--attr {swept[0]!r} has no value",
                field="attributes",
                value=swept[0],
                expected=f"one, such as {swept[0]}=1.5",
            )
        return function(*args, **rest)

    help_text = (
        "Add to a slider by its name: smile=1.5,hair_color=-1. Repeatable. 'segan info' lists the "
        "names."
    )
    decorated: _Function = _generation_options(collected, "NAME=VALUE", help_text)
    return decorated


def sweep_options(function: _Function) -> _Function:
    """As ``generation_options``; --attr names without a value are passed as ``swept``, a tuple."""
    help_text = (
        "Sweep the slider of this name, over the name's range. NAME=VALUE adds to another. "
        "Repeatable. 'segan info' lists the names."
    )
    decorated: _Function = _generation_options(function, "NAME", help_text)
    return decorated


def _generation_options(function: Any, attr_metavar: str, attr_help: str) -> Any:
    @functools.wraps(function)
    def collected(*args: Any, attributes: tuple[str, ...], **given: Any) -> Any:
        from segan.runtime.latents.options import GenerationOptions

        named, swept = parse_attributes(attributes)
        given["sliders"] = {**given["sliders"], **named}
        names = [entry.name for entry in dataclasses.fields(GenerationOptions)]
        # --latents gives files, which need an open bundle: see ``with_latents``.
        chosen = {name: given.pop(name) for name in names if name != "latents"}
        return function(*args, options=GenerationOptions(**chosen), swept=swept, **given)

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
            callback=parsed_by(parse_cutoff),
            show_default="none",
            metavar="RES|SITE",
            help="Last resolution (16) or site (b16.conv0) that is truncated.",
        ),
        click.option(
            "--psi-layers",
            multiple=True,
            callback=parsed_by(parse_psi_layers),
            metavar="LAYERS=PSI",
            help="Truncation of single layers, in place of --psi: 0-1=0.5,3=1. Repeatable.",
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
            callback=parsed_by(parse_sliders),
            metavar="L3N0D5=1.5",
            help="Add to one slider: layer 3, index 0, dim 5. Repeatable.",
        ),
        click.option("--attr", "attributes", multiple=True, metavar=attr_metavar, help=attr_help),
        click.option(
            "--mix",
            multiple=True,
            callback=parsed_by(parse_mix),
            metavar="LAYERS=SEED",
            help="Take these layers' style from another seed: 0-1=17,3=5. Repeatable.",
        ),
        click.option(
            "--noise",
            type=click.Choice(["const", "random", "none"]),
            default="const",
            show_default=True,
            help="Per-pixel noise: the same for all images, drawn from each seed, or none.",
        ),
        class_option("none", "Class of a conditional generator, by name or number from 0."),
        batch_size_option,
    )


def class_option(shown: str, help_text: str) -> _Decorator[Any]:
    """Add --class, passed as ``class_index``; ``shown`` describes the default."""
    return click.option(
        "--class",
        "class_index",
        default=None,
        show_default=shown,
        callback=parsed_by(parse_class),
        metavar="NAME|NUMBER",
        help=help_text,
    )


def parsed_by(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a click callback that parses an option's text, or those of a repeatable option."""
    return lambda _ctx, _param, value: None if value is None else parse(value)


@dataclass(frozen=True)
class LatentFiles:
    """The files of --latents and the space that --latent-space states.

    Attributes:
        paths: the files; iterating yields them.
        space: None decides by names and shapes.
    """

    paths: tuple[Path, ...]
    space: LatentSpace | None

    def __iter__(self) -> Iterator[Path]:
        return iter(self.paths)


def latents_option(function: _Function) -> _Function:
    """Add --latents and --latent-space, passed as ``latents: LatentFiles``."""

    @functools.wraps(function)
    def collected(
        *args: Any, latents: tuple[Path, ...], latent_space: LatentSpace | None, **rest: Any
    ) -> Any:
        if latent_space is not None and not latents:
            raise ConfigError(
                "--latent-space says what the files of --latents hold",
                field="latent_space",
                value=latent_space,
                expected="--latents FILE",
            )
        return function(*args, latents=LatentFiles(latents, latent_space), **rest)

    decorated: _Function = _decorate(
        collected,
        click.option(
            "--latents",
            type=click.Path(path_type=Path),
            multiple=True,
            metavar="FILE",
            help="Generate from latents of files: npz, npy or pt of z, w or W+. Seeds are then "
            "their positions, from 0. Repeatable.",
        ),
        click.option(
            "--latent-space",
            type=click.Choice(["z", "w", "w+"]),
            default=None,
            show_default="by names and shapes",
            help="What --latents hold: z, which is mapped; w; or W+, one row for each site.",
        ),
    )
    return decorated


def with_latents(
    options: GenerationOptions, files: LatentFiles, generator: Generator
) -> GenerationOptions:
    """Add the latents of files, joined in their order, to the options.

    What could have been read in another way is said on stderr.

    Raises:
        DataError: a file is missing, damaged, unsafe, of another generator, or of a space that
            neither name nor shape tells.
        ConfigError: z of a conditional generator without a class.
    """
    if not files.paths:
        return options
    from segan.runtime.latents.files import is_tensor_file, join_latents, read_latents

    parts = []
    for path in files:
        read = read_latents
        if is_tensor_file(path):
            # Only files of PyTorch need the package that reads them.
            from segan.export.foreign.latent_tensors import read_tensor_latents as read
        found = read(
            path,
            generator.manifest,
            latent_space=files.space,
            map_z=generator.z_mapper(options.class_index),
        )
        parts.append(found)
    joined = join_latents(parts, generator.manifest)
    for note in joined.notes:
        echo(f"note: {option_text(note)}", err=True)
    return dataclasses.replace(options, latents=joined)


def first_seeds(count: int, latents: Latents | None) -> SeedList:
    """Return seeds 0 to count - 1, or the positions of at most ``count`` latents."""
    return parse_seeds(f"0-{(count if latents is None else min(count, len(latents))) - 1}")


def all_latents(latents: Latents | None) -> SeedList | None:
    """Return the positions of all latents; None without latents."""
    return None if latents is None else first_seeds(len(latents), latents)


def seeds_option(
    default: str | None, help_text: str = "Seeds, such as 0-63,70.", shown: str | None = None
) -> _Decorator[Any]:
    """Add --seeds, parsed to a ``SeedList``; ``shown`` describes the default None."""
    return click.option(
        "--seeds",
        default=default,
        show_default=shown or True,
        callback=parsed_by(parse_seeds),
        metavar="LIST",
        help=help_text,
    )


def batch_size_option(function: _Function) -> _Function:
    """Add --batch-size."""
    decorate: _Decorator[_Function] = click.option(
        "--batch-size", type=int, default=16, show_default=True, help="Images computed at once."
    )
    return decorate(function)


def json_option(function: _Function) -> _Function:
    """Add --json, passed as ``as_json``."""
    decorate: _Decorator[_Function] = click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON."
    )
    return decorate(function)


def scale_option(function: _Function) -> _Function:
    """Add --scale."""
    decorate: _Decorator[_Function] = click.option(
        "--scale",
        type=int,
        default=None,
        show_default="small images to a readable size",
        help="Integer factor of enlargement.",
    )
    return decorate(function)


def _decorate(function: Any, *decorators: Callable[[Any], Any]) -> Any:
    """Apply decorators so that help lists their options in the given order."""
    for decorator in reversed(decorators):
        function = decorator(function)
    return function
