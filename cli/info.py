"""``segan info``: what a bundle, run, checkpoint or data set holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from segan.cli.options import json_option, newest_bundle
from segan.cli.standard_streams import echo
from segan.runtime.bundle.classes import class_words
from segan.runtime.commands import command as segan
from segan.runtime.errors import DataError
from segan.runtime.printable import printable

if TYPE_CHECKING:
    from segan.runtime.bundle.reader import Bundle

Kind = Literal["bundle", "run", "data"]


@click.command("info", epilog="Example: segan info faces.segan --check")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--check", is_flag=True, help="Read every file of a bundle and compare its SHA-256.")
@json_option
def command(path: Path | None, check: bool, as_json: bool) -> None:
    """Show what PATH holds: a bundle, a training run or checkpoint, or a data set.

    For a bundle it lists the subspaces, with the layer, index and dim that 'segan sweep' takes,
    and the named sliders that --attr takes. Without PATH it shows the newest bundle under this
    folder, or the bundle that ships with segan if there is none.
    """
    from segan.runtime.bundle.shipped import is_shipped

    named, path = path, newest_bundle() if path is None else path
    kind = recognise(path)
    if kind == "bundle":
        from segan.runtime.bundle.reader import open_bundle

        bundle = open_bundle(path)
        if check:
            bundle.verify()
        found = describe_bundle(bundle, checked=check)
        show = _show_bundle
    else:
        found = _describe_run(path) if kind == "run" else _describe_data(path)
        show = _show_pairs
    if kind != "data":
        found["measured"] = _measured(Path(found["checkpoint"]) if kind == "run" else path, kind)
    if as_json:
        echo(json.dumps({"kind": kind, "path": str(path), **found}))
    else:
        echo(f"{path}: {_KINDS[kind]}")
        show(found)
        if kind == "bundle":
            # A shipped bundle that was not named is found again without its name.
            _show_commands(found, [] if named is None and is_shipped(path) else [path])
        if kind == "bundle" and found["measured"]:
            _show_pairs({"measured": found["measured"]})


_KINDS = {"bundle": "a bundle", "run": "a training run", "data": "a data set"}


def recognise(path: Path) -> Kind:
    """Return what ``path`` is. Raises: DataError if nothing is there."""
    from segan.runtime.bundle.reader import is_bundle

    if not path.exists() and path.suffix != ".segan":
        raise DataError(
            f"{path} does not exist",
            field="path",
            value=path,
            expected="a bundle, a run, a checkpoint or a data set",
        )
    if is_bundle(path):
        return "bundle"
    if path.name == "checkpoint.json" or path.suffix == ".safetensors":
        return "run"
    marks = ("checkpoint.json", "config.json", "checkpoints")
    if path.is_dir() and any((path / mark).exists() for mark in marks):
        return "run"
    return "data"


def _measured(path: Path, kind: str) -> dict[str, float]:
    """Return the newest value of each metric that ``segan metrics`` measured."""
    from segan.train.measure.quality.record import read_scores, scores_file

    file = scores_file(str(path), "checkpoint" if kind == "run" else "bundle")
    return {} if file is None else {record.metric: record.value for record in read_scores(file)}


def _describe_run(path: Path) -> dict[str, Any]:
    from segan.train.runs.checkpoint import describe

    return describe(path)


def _describe_data(path: Path) -> dict[str, Any]:
    from segan.train.data.dataset import describe_dataset

    return describe_dataset(path)


def describe_bundle(bundle: Bundle, *, checked: bool) -> dict[str, Any]:
    """Return the bundle's manifest as plain values, with the table of subspaces."""
    import msgspec

    from segan.runtime.bundle.attributes import read_attributes

    manifest = bundle.manifest
    subspaces = [
        {
            "name": f"L{subspace.layer}N{subspace.index}",
            "layer": subspace.layer,
            "index": subspace.index,
            "site": manifest.sites[subspace.site].name,
            "resolution": manifest.sites[subspace.site].resolution,
            "dims": subspace.dims,
            "prior": subspace.prior,
            "low": subspace.low,
            "high": subspace.high,
        }
        for subspace in manifest.subspaces
    ]
    return {
        "name": manifest.name,
        "format": manifest.format,
        "checked": checked,
        "resolution": manifest.resolution,
        "img_channels": manifest.img_channels,
        "z_dim": manifest.z_dim,
        "w_dim": manifest.w_dim,
        "c_dim": manifest.c_dim,
        "class_names": list(manifest.class_names),
        "architecture": manifest.architecture,
        "mode": manifest.mode,
        "subspace": manifest.subspace,
        "sites": [site.name for site in manifest.sites],
        "subspaces": subspaces,
        "noise": manifest.noise is not None,
        "precisions": list(manifest.graphs.synthesis),
        "opset": manifest.opset,
        "lowering": manifest.lowering,
        "attributes": bundle.attributes,
        "names": [
            {
                "name": attribute.name,
                "slider": attribute.sliders,
                "weights": {str(slider): w for slider, w in attribute.weights.items()},
                "low": attribute.range[0],
                "high": attribute.range[1],
                "sign": attribute.sign,
                "hidden": attribute.hidden,
            }
            for attribute in read_attributes(bundle)
        ],
        "provenance": manifest.provenance,
        "verification": msgspec.to_builtins(manifest.verification),
        "files": len(manifest.files),
    }


def _show_bundle(found: dict[str, Any]) -> None:
    channels = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}[found["img_channels"]]
    lines = [
        ("name", found["name"]),
        ("images", f"{found['resolution']} x {found['resolution']}, {channels}"),
        ("latents", f"z {found['z_dim']}, w {found['w_dim']}"),
        ("classes", _classes(found)),
        ("architecture", f"{found['architecture']}, {len(found['sites'])} sites"),
        ("subspaces", f"mode {found['mode']}, {found['subspace']}"),
        ("noise", "yes" if found["noise"] else "no"),
        ("precisions", ", ".join(found["precisions"])),
        ("files", f"{found['files']}" + (", every SHA-256 right" if found["checked"] else "")),
    ]
    for entry in found["verification"]:
        lines.append(
            (
                "verified",
                f"{entry['backend']} {entry['precision']}: max error {entry['max_error']:.2g} "
                f"(allowed {entry['tolerance']:.2g}), {entry['psnr_db']:.1f} dB",
            )
        )
    for name, text in lines:
        echo(f"  {name:<13}{text}")
    if not found["subspaces"]:
        return
    echo()
    header = ("subspace", "layer", "index", "site", "resolution", "K", "dims", "prior", "range")
    rows = [
        (
            row["name"],
            str(row["layer"]),
            str(row["index"]),
            row["site"],
            f"{row['resolution']} x {row['resolution']}",
            str(row["dims"]),
            f"0-{row['dims'] - 1}",
            row["prior"],
            f"{row['low']:.3g} to {row['high']:.3g}",
        )
        for row in found["subspaces"]
    ]
    show_table(header, rows)
    _show_names(found["names"])


def _show_commands(found: dict[str, Any], bundle: list[Path]) -> None:
    """Print what can be done with the bundle; ``bundle`` is its path, or nothing."""
    if not found["subspaces"]:
        shown = segan("directions", *bundle)
        echo("", f"There are no subspaces to sweep (mode 0). Add some: {shown}")
        return
    label = class_words(found["class_names"], found["c_dim"])
    names = [row["name"] for row in found["names"] if not row["hidden"]]
    if names:
        sweep = segan("sweep", *bundle, "--attr", names[0], *label)
        generate = segan("generate", *bundle, "--attr", f"{names[0]}=1", *label)
        echo("", f"By name: {sweep}", f"Or:      {generate}")
    last = found["subspaces"][-1]
    index = ["--index", last["index"]] if last["index"] else []
    sweep = segan("sweep", *bundle, "--layer", last["layer"], *index, "--dim", 0, *label)
    echo("", f"Sweep one: {sweep}")


def _sliders(weights: dict[str, float]) -> str:
    """Return the sliders of a name in few words."""
    first = [f"{slider} {weight:+.2g}" for slider, weight in list(weights.items())[:2]]
    if len(weights) == 1:
        return next(iter(weights))
    return ", ".join(first) + (f" and {len(weights) - 2} more" if len(weights) > 2 else "")


def _show_names(names: list[dict[str, Any]]) -> None:
    """Print the table of named sliders, and the number of hidden ones."""
    shown = [row for row in names if not row["hidden"]]
    if shown:
        echo()
        rows = [
            (
                row["name"],
                _sliders(row["weights"]),
                f"{row['low']:.3g} to {row['high']:.3g}",
                f"{row['sign']}",
            )
            for row in shown
        ]
        show_table(("name", "slider", "range", "sign"), rows)
    if len(shown) < len(names):
        echo("", f"Hidden names: {len(names) - len(shown)}; --json lists them.")


def _classes(found: dict[str, Any]) -> str:
    if not found["c_dim"]:
        return "none"
    names = found["class_names"]
    text = f"0 to {found['c_dim'] - 1}"
    if names:
        text += f": {', '.join(names[:8])}" + (", …" if len(names) > 8 else "")
    return text


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header, each column as wide as its widest cell."""
    header, *rows = ([printable(cell) for cell in row] for row in (header, *rows))
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        echo("  " + "  ".join(cells).rstrip())


def _show_pairs(found: dict[str, Any]) -> None:
    for name, value in found.items():
        if isinstance(value, list | tuple):
            text = ", ".join(map(str, value[:12])) + (", …" if len(value) > 12 else "") or "none"
        elif isinstance(value, dict):
            text = ", ".join(f"{key} {entry}" for key, entry in value.items()) or "none"
        else:
            text = "none" if value is None else str(value)
        echo(f"  {name:<16}{text}")
