"""``segan directions``: adds sliders to a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.bundle_output import show_step
from segan.cli.info import show_table
from segan.cli.option_values import parse_range
from segan.cli.options import BundleSource, bundle_options, class_option, json_option
from segan.cli.output import Output, overwrite_option
from segan.cli.progress import progress
from segan.cli.reader_options import ReaderChoice, reader_options
from segan.cli.standard_streams import echo
from segan.runtime.bundle.classes import class_number, class_words
from segan.runtime.bundle.shipped import is_shipped
from segan.runtime.commands import command as segan
from segan.runtime.errors import ConfigError, DataError

if TYPE_CHECKING:
    from segan.export.directions.addition import DirectionsResult
    from segan.runtime.generate.generator import Generator


@click.command(
    "directions",
    epilog="Example: segan directions faces.segan --method sefa --dims 6 -o faces-sefa.segan",
)
@click.option(
    "--method",
    # As in segan.export.directions.write, which imports onnx.
    type=click.Choice(["sefa", "pca", "vectors", "attributes"]),
    default="sefa",
    show_default=True,
    help="sefa: closed-form factorisation of the style affines; pca: principal components of w; "
    "vectors: the vectors of --vectors; attributes: for each attribute that a reader reads, the "
    "direction that changes it and leaves the others.",
)
@click.option(
    "--dims",
    type=int,
    default=None,
    show_default="6, or all vectors",
    help="Directions for each layer or group, the strongest first.",
)
@click.option(
    "--layers",
    default=None,
    show_default="each by itself",
    metavar="RANGE",
    help="Layers that get directions; 0-1,3 is layers 0 and 1 together, and layer 3.",
)
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    default=None,
    show_default="none",
    metavar="FILE",
    help="npz or npy: layers [layers, dims, w_dim], ws [num_sites, w_dim] or w [dims, w_dim].",
)
@click.option(
    "--samples",
    type=int,
    default=None,
    show_default="20000; attributes: 10000",
    help="Number of latents that are mapped for units and components.",
)
@click.option(
    "--range",
    "limits",
    default=None,
    show_default="-3,3; attributes: what was measured",
    metavar="LOW,HIGH",
    help="Range of the sliders, in standard deviations of w.",
)
@click.option(
    "--seeds",
    type=int,
    default=None,
    show_default="128",
    help="attributes: number of seeds that directions are measured on.",
)
@click.option(
    "--components",
    type=int,
    default=None,
    show_default="16",
    help="attributes: components of w for each layer, where coordinates do not suffice; 0: none.",
)
@reader_options
@class_option("all in turn", "Class of these latents, for a conditional generator.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="faces-sefa.segan next to faces.segan, or the next free name",
    help="Folder of the new bundle, NAME.segan.",
)
@overwrite_option
@click.option("--in-place", is_flag=True, help="Replace BUNDLE itself.")
@bundle_options
@json_option
def command(
    source: BundleSource,
    method: str,
    dims: int | None,
    layers: str | None,
    vectors: Path | None,
    samples: int | None,
    limits: str | None,
    seeds: int | None,
    components: int | None,
    choice: ReaderChoice,
    class_index: int | str | None,
    out: Path | None,
    overwrite: bool,
    in_place: bool,
    as_json: bool,
) -> None:
    """Find directions of BUNDLE, or of the newest bundle under this folder, and add them to it.

    Directions become subspaces, so that sweep, --set and the other commands take them like trained
    ones. Their unit is one standard deviation of w. At 0 every image stays the same. The bundle's
    graphs suffice; its checkpoint is not needed.

    --method attributes makes names instead, each of several sliders with weights: its unit is one
    standard deviation of what the reader reads. A direction that changes its attribute too little,
    or too much else, is reported and not written.
    """
    low, high = parse_range(limits or "-3,3")
    if method == "attributes":
        _check_unused(("dims", dims), ("layers", layers), ("vectors", vectors), ("limits", limits))
    else:
        choice.check_unused(method)
    if out is not None and in_place:
        raise ConfigError(
            "--out and --in-place exclude each other",
            field="out",
            value=out,
            remedy="Leave one of them out.",
        )

    generator = source.open()
    manifest = generator.manifest
    path = generator.bundle.path
    name = path.name.removesuffix(".zip").removesuffix(".segan")
    shipped = is_shipped(path)
    if shipped and in_place:
        raise ConfigError(
            f"{path.name} ships with segan and cannot be changed",
            field="in_place",
            value=True,
            remedy=f"Write another bundle: `out {name}-{method}.segan`",
        )
    from segan.runtime.bundle.writer import check_target
    from segan.runtime.files.target import check_not_source

    beside = Path.cwd() if shipped else path.parent
    target = path
    if not in_place:
        if out is not None:
            check_not_source(out, [path], remedy="Pass `in_place` to change it.")
        target = Output(out, overwrite).folder(beside / f"{name}-{method}.segan", check_target)

    class_number_ = class_number(class_index, manifest.class_names, manifest.c_dim)
    if method == "attributes":
        _write_attributes(
            generator,
            target,
            choice,
            seeds,
            components,
            samples,
            class_number_,
            overwrite,
            as_json,
        )
        return
    from segan.export.directions.write import DirectionsConfig, write_directions

    config = DirectionsConfig(
        method=method,  # type: ignore[arg-type]  # click checked it
        dims=dims,
        layers=layers,
        vectors=vectors,
        samples=20_000 if samples is None else samples,
        class_index=class_number_,
        low=low,
        high=high,
    )
    result = write_directions(generator, target, config, overwrite=overwrite, on_step=show_step)
    found = _as_dict(result, method)
    if as_json:
        echo(json.dumps(found))
        return
    echo(f"wrote {result.path}: {len(result.subspaces)} subspaces, in standard deviations of w")
    for entry in found["subspaces"]:
        shares = ", ".join(f"{100 * share:.1f}" for share in entry["explained_variance"][:6])
        more = ", …" if entry["dims"] > 6 else ""
        echo(
            f"  {entry['subspace']}: layers {', '.join(map(str, entry['layers']))}; "
            f"{entry['dims']} dims, {_MEANING[method]} {shares}{more} %"
        )
    first = found["subspaces"][0]
    place = ("--layer", first["layer"], "--index", first["index"])
    label = class_words(manifest.class_names, manifest.c_dim)
    echo(f"next: {segan('sweep', result.path, *place, *label)}")


def _check_unused(*given: tuple[str, Any]) -> None:
    """Raise ConfigError for an option that the method attributes has no use for."""
    for option, value in given:
        if value is not None:
            raise ConfigError(
                f"`method attributes` does not use `{option}`",
                field=option,
                value=value,
                remedy=f"Leave `{option}` out.",
            )


def _write_attributes(
    generator: Generator,
    target: Path,
    choice: ReaderChoice,
    seeds: int | None,
    components: int | None,
    samples: int | None,
    class_index: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Find and write least-leakage directions, and show what each does."""
    from segan.export.directions.attributes.write import (
        AttributesConfig,
        attributes_json,
        write_attribute_directions,
    )

    defaults = AttributesConfig()
    config = AttributesConfig(
        attributes=choice.wanted(),
        seeds=defaults.seeds if seeds is None else seeds,
        components=components,
        samples=defaults.samples if samples is None else samples,
        class_index=class_index,
    )
    reader, source = choice.open(generator)
    shown = len(config.attributes or reader.readings)
    with progress(shown, "attributes", "searching") as bar:
        result = write_attribute_directions(
            generator,
            target,
            reader,
            config,
            source=source,
            overwrite=overwrite,
            on_step=show_step,
            on_attribute=lambda _: bar.update(1),
        )
    rows = attributes_json(result)
    if as_json:
        path = None if result.written is None else str(result.written.path)
        echo(json.dumps({"bundle": path, "method": "attributes", "attributes": rows}))
        return
    header = ("attribute", "range", "effect", "leakage", "monotonic", "identity", "best slider")
    show_table(
        header,
        [
            (
                row["name"] or row["attribute"],
                "-" if row["name"] is None else f"±{row['range'][1]:.2f}",
                f"{row['effect']:.2f} sd",
                f"{row['leakage']:.0%}",
                f"{row['monotonicity']:.2f}",
                "-" if row["identity"] is None else f"{row['identity']:.2f}",
                _single_text(row["single"]),
            )
            for row in rows
        ],
    )
    for row in rows:
        if row["refusal"] is not None:
            echo(f"no direction for {row['attribute']}: {row['refusal']}")
    if result.written is None:
        raise DataError(
            "no attribute can be controlled, so nothing was written",
            field="reader",
            expected="an effect of 1 sd or more with 30 % leakage or less",
            remedy="Check that the reader reads these images, or train the generator longer.",
        )
    named = [row for row in rows if row["name"] is not None]
    echo(
        f"wrote {result.written.path}: {len(named)} of {len(rows)} attributes; a value of 1 is one "
        "standard deviation of the reading"
    )
    label = class_words(result.written.manifest.class_names, result.written.manifest.c_dim)
    echo(f"next: {segan('sweep', result.written.path, '--attr', named[0]['name'], *label)}")


def _single_text(single: dict[str, Any] | None) -> str:
    if single is None:
        return "none"
    return f"{single['slider']}: {abs(single['effect']):.2f} sd, {single['leakage']:.0%}"


#: Meaning of the printed shares.
_MEANING = {
    "sefa": "of the squared style weights",
    "pca": "of the variance of w",
    "vectors": "of the variance of w",
}


def _as_dict(result: DirectionsResult, method: str) -> dict[str, Any]:
    return {
        "bundle": str(result.path),
        "method": method,
        "coords_dim": result.manifest.coords_dim,
        "num_subspaces": result.manifest.num_subspaces,
        "max_error": result.max_error,
        "subspaces": [
            {
                "subspace": f"L{subspace.layer}N{subspace.index}",
                "layer": subspace.layer,
                "index": subspace.index,
                "dims": subspace.dims,
                "range": [subspace.low, subspace.high],
                "layers": list(row.layers),
                "sigma": row.sigma.tolist(),
                "explained_variance": row.explained.tolist(),
                "names": list(row.names),
            }
            for row, subspace in zip(result.rows, result.subspaces, strict=True)
        ],
    }
