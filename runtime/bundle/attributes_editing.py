"""Naming a bundle's sliders: rewrites ``attributes.json`` and its hash in the manifest.

A crash at any moment leaves the old bundle or the new one. In a folder the new names are written
under another name first, which a reader uses when the manifest states their hash; then the
manifest is replaced, then the old names. A zip is written as a new file and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from segan.runtime.bundle.attributes import (
    FORMAT,
    Attribute,
    check_name,
    find_attribute,
    first_repeated,
    read_attributes,
)
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import encode_manifest
from segan.runtime.bundle.reader import (
    ATTRIBUTES,
    MANIFEST,
    PENDING_ATTRIBUTES,
    Bundle,
    open_bundle,
)
from segan.runtime.bundle.shipped import is_shipped
from segan.runtime.bundle.sliders import find_slider
from segan.runtime.bundle.writer import changing, check_replaceable, check_suffix, zip_entry
from segan.runtime.commands import command
from segan.runtime.errors import BundleError, ConfigError, OutputError
from segan.runtime.files.atomic import atomic_file, sync_folder, write_atomic, writing
from segan.runtime.files.target import check_not_source, not_replaced
from segan.runtime.files.whole_folder import recover

#: Names that 'segan directions' gives, which earlier versions did not state in the manifest.
_DIRECTION = re.compile(r"(?:sefa|pca|vector) \d+, .+")


def name_slider(
    bundle: Bundle,
    slider: Slider | Attribute,
    name: str | None = None,
    *,
    limits: tuple[float, float] | None = None,
    sign: int | None = None,
    hidden: bool | None = None,
) -> tuple[Attribute, ...]:
    """Return the bundle's attributes with one slider named or changed; nothing is written.

    Args:
        bundle: the bundle.
        slider: the slider, or the entry of several sliders.
        name: its new name; None keeps the old one, and the first is its notation, L3N0D5.
        limits: lowest and highest value of the name; None keeps the old ones, and the first are
            the subspace's.
        sign: -1 where a higher coordinate means less of the name; None keeps the old one, and the
            first is 1.
        hidden: whether lists leave the name out; None keeps the old value, and the first is False.

    Raises:
        ConfigError: no such slider, a name that is not valid or that another slider has, limits
            that do not rise, or a sign for several sliders.
        BundleError: the bundle's attributes are damaged.
    """
    attributes = read_attributes(bundle)
    if isinstance(slider, Attribute):
        if sign is not None:
            raise ConfigError(
                f"`sign` is for a name of one slider, and {slider.name} has several",
                field="sign",
                value=sign,
                remedy="Give it other weights, or leave `sign` out.",
            )
        entry = slider
        own = [attribute for attribute in attributes if attribute == slider]
    else:
        _, subspace = find_slider(bundle.manifest, slider.layer, slider.dim, slider.index)
        own = [attribute for attribute in attributes if attribute.slider == slider]
        ends = (subspace.low, subspace.high)
        new = Attribute(name=str(slider), weights={slider: 1.0}, range=ends)
        entry = own[0] if own else new
        if sign is not None and sign != entry.sign:
            low, high = entry.range
            turned = {slider: float(sign)}
            entry = msgspec.structs.replace(entry, weights=turned, range=(-high, -low))
    if name is not None:
        check_name(name, entry.slider)
        entry = msgspec.structs.replace(entry, name=name)
    if limits is not None:
        entry = msgspec.structs.replace(entry, range=limits)
    if hidden is not None:
        entry = msgspec.structs.replace(entry, hidden=hidden)
    entry.check(bundle.manifest)
    if own:
        place = attributes.index(own[0])
        others = [*attributes[:place], entry, *attributes[place + 1 :]]
        # A slider that had several names keeps only the new one.
        found = [a for a in others if a is entry or a.slider is None or a.slider != slider]
    else:
        found = [*attributes, entry]
    if first_repeated(found) is not None:
        raise _taken(bundle, find_attribute(attributes, entry.name), entry.name)
    return tuple(found)


def name_sliders(
    bundle: Bundle,
    name: str,
    weights: Mapping[Slider, float],
    *,
    limits: tuple[float, float] | None = None,
    hidden: bool | None = None,
) -> tuple[Attribute, ...]:
    """Return the bundle's attributes with a name for several sliders; nothing is written.

    Args:
        bundle: the bundle.
        name: the name; if it has several sliders already, it gets these.
        weights: slider → what a value of 1 adds to its coordinate.
        limits: lowest and highest value; None keeps the old ones, and the first are as far as no
            slider leaves its range.
        hidden: whether lists leave the name out; None keeps the old value, and the first is False.

    Raises:
        ConfigError: no such slider, a weight that is not valid, a name that a slider has, or
            limits that do not rise.
        BundleError: the bundle's attributes are damaged.
    """
    attributes = read_attributes(bundle)
    named = [each for each in attributes if each.name.casefold() == name.casefold()]
    if named and named[0].slider is not None:
        raise _taken(bundle, named[0], name)
    old = named[0] if named else None
    entry = Attribute(
        name=name,
        weights=dict(weights),
        range=(-1.0, 1.0) if old is None else old.range,
        hidden=bool(old is not None and old.hidden if hidden is None else hidden),
    )
    entry.check(bundle.manifest)
    if limits is not None:
        entry = msgspec.structs.replace(entry, range=limits)
    elif old is None:
        reach = min(
            min(-subspace.low, subspace.high) / abs(weight)
            for slider, weight in weights.items()
            for _, subspace in [find_slider(bundle.manifest, *_place(slider))]
        )
        entry = msgspec.structs.replace(entry, range=(-reach, reach))
    entry.check(bundle.manifest)
    if old is None:
        return (*attributes, entry)
    place = attributes.index(old)
    return (*attributes[:place], entry, *attributes[place + 1 :])


def _place(slider: Slider) -> tuple[int, int, int]:
    return slider.layer, slider.dim, slider.index


def _taken(bundle: Bundle, taken: Attribute, name: str) -> ConfigError:
    """Return the error of a name that another entry has."""
    which = taken.name if taken.slider is None else taken.slider
    return ConfigError(
        f"{taken.slider or 'a name of several sliders'} has the name {name!r} already",
        field="name",
        value=name,
        expected="another name",
        remedy="Or remove that name first: " + command("name", bundle.path, which, "--remove"),
    )


def remove_names(bundle: Bundle, slider: Slider | Attribute) -> tuple[Attribute, ...]:
    """Return the bundle's attributes without those of one slider, or without one entry.

    Raises:
        ConfigError: the slider has no name.
        BundleError: the bundle's attributes are damaged.
    """
    attributes = read_attributes(bundle)
    if isinstance(slider, Attribute):
        return tuple(attribute for attribute in attributes if attribute != slider)
    left = tuple(attribute for attribute in attributes if attribute.slider != slider)
    if len(left) == len(attributes):
        raise ConfigError(
            f"slider {slider} has no name to remove",
            field="slider",
            value=str(slider),
            remedy="'segan info' lists the names.",
        )
    return left


def change_attributes(
    path: str | os.PathLike[str],
    change: Callable[[Bundle], Sequence[Attribute]],
    out: Path | None = None,
    *,
    overwrite: bool = False,
) -> tuple[Path, tuple[Attribute, ...]]:
    """Read a bundle, change its attributes and write them, without loss to another process.

    Args:
        path: of the bundle.
        change: returns all attributes of the result. No other process changes the bundle meanwhile.
        out: see ``write_attributes``.
        overwrite: see ``write_attributes``.

    Returns:
        (the path of the bundle that has the attributes, its attributes).

    Raises:
        ConfigError, BundleError, OutputError: see ``write_attributes`` and ``changing``.
    """
    path = Path(path)
    open_bundle(path)  # Says what is wrong with it, and brings it back after a kill.
    with changing(path) if out is None else contextlib.nullcontext():
        bundle = open_bundle(path)
        attributes = tuple(change(bundle))
        return _write(bundle, attributes, out, overwrite), attributes


def write_attributes(
    bundle: Bundle,
    attributes: Sequence[Attribute],
    out: Path | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the attributes into the bundle, or into a copy of it, completely or not at all.

    Args:
        bundle: the bundle, which is not changed when ``out`` is given.
        attributes: all attributes of the result.
        out: a file, NAME.segan, for a copy as one stored zip; None changes the bundle.
        overwrite: whether ``out`` may be a bundle that exists, if the copy has all of its names.

    Returns:
        The path of the bundle that has the attributes.

    Raises:
        ConfigError: ``out`` has another ending, or the bundle is the one that ships with segan.
        BundleError: a file of the bundle is damaged, where all are copied; or another process
            changed the bundle after it was opened.
        OutputError: it cannot be written, or ``out`` exists.
    """
    with contextlib.nullcontext() if out is not None else changing(bundle.path):
        if out is None and open_bundle(bundle.path).manifest != bundle.manifest:
            raise BundleError(
                f"{bundle.path} was changed after it was opened",
                field="bundle",
                value=bundle.path,
                remedy="Open it again.",
            )
        return _write(bundle, attributes, out, overwrite)


def check_names_kept(out: Path, old: Bundle | None, attributes: Iterable[Attribute]) -> None:
    """Make sure that a bundle may be replaced: names that its user gave must not get lost.

    Args:
        out: as the user wrote it.
        old: the bundle there; None, and one whose names cannot be read, may be replaced.
        attributes: of the bundle that replaces it.

    Raises:
        OutputError: a name is lost; the names of directions that were not renamed do not count.
    """
    known = {(attribute.name, attribute.sliders) for attribute in attributes}
    lost: list[str] = []
    if old is not None:
        given = _names_of_directions(old)
        with contextlib.suppress(BundleError):
            lost = [
                attribute.name
                if attribute.slider is None
                else f"{attribute.name} ({attribute.slider})"
                for attribute in read_attributes(old)
                if (attribute.name, attribute.sliders) not in known
                and attribute.name not in given
                and not _DIRECTION.fullmatch(attribute.name)
            ]
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise OutputError(
            f"{out} has names that would be lost: {', '.join(lost[:3])}{more}",
            field="out",
            value=out,
            remedy="Pass another `out`, or remove that bundle.",
        )


def _names_of_directions(bundle: Bundle) -> set[str]:
    """Return the names that directions got when they were added, as the manifest states them."""
    try:
        stated = msgspec.convert(bundle.manifest.provenance.get("directions", []), list[_Added])
    except msgspec.ValidationError:
        return set()
    return {name for entry in stated for row in entry.subspaces for name in row.names}


class _AddedRow(msgspec.Struct):
    names: list[str] = []


class _Added(msgspec.Struct):
    subspaces: list[_AddedRow] = []


def _write(
    bundle: Bundle, attributes: Sequence[Attribute], out: Path | None, overwrite: bool
) -> Path:
    document = {**bundle.attributes, "format": FORMAT}
    document["attributes"] = [attribute.to_json() for attribute in attributes]
    data = json.dumps(document, indent=2).encode() + b"\n"
    files = {**bundle.manifest.files, ATTRIBUTES: hashlib.sha256(data).hexdigest()}
    manifest = encode_manifest(msgspec.structs.replace(bundle.manifest, files=files))
    if out is not None:
        check_suffix(out)
        check_not_source(out, [bundle.path], remedy="Leave `out` out to change it.")
        with changing(out) if out.exists() else contextlib.nullcontext():
            check_replaceable(out, overwrite=overwrite)
            old = None
            if out.is_dir():
                raise not_replaced(out, "is a folder, and a copy is one file")
            if out.exists():
                with contextlib.suppress(BundleError):
                    old = open_bundle(out)
            check_names_kept(out, old, attributes)
            _write_zip(bundle, out, manifest, data)
        return out
    if is_shipped(bundle.path):
        raise ConfigError(
            f"{bundle.path.name} ships with segan, and is not changed",
            field="bundle",
            value=bundle.path,
            remedy=f"Write a copy with the name in it: `out {bundle.path.name}`.",
        )
    if bundle.path.is_dir():
        folder = bundle.path
        with writing(folder):
            recover(folder, r"(?:manifest|attributes)\.json(?:\.next)?", locked=True)
        write_atomic(folder / PENDING_ATTRIBUTES, data)
        write_atomic(folder / MANIFEST, manifest)
        sync_folder(folder)
        with writing(folder / ATTRIBUTES):
            os.replace(folder / PENDING_ATTRIBUTES, folder / ATTRIBUTES)
    else:
        goal = Path(os.path.realpath(bundle.path))
        with writing(goal):
            recover(goal.parent, re.escape(goal.name))
        _write_zip(bundle, bundle.path, manifest, data)
    return bundle.path


def pack_bundle(path: str | os.PathLike[str], out: Path) -> None:
    """Write a bundle as one stored zip; the same bundle gives the same bytes.

    Raises:
        BundleError: it is not a bundle, or is damaged.
        OutputError: the zip cannot be written.
    """
    bundle = open_bundle(path)
    _write_zip(bundle, out, encode_manifest(bundle.manifest), None)


def _write_zip(bundle: Bundle, out: Path, manifest: bytes, attributes: bytes | None) -> None:
    """Write a bundle's files, each compared with its hash; None keeps its attributes."""
    with (
        atomic_file(out, follow=True) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):

        def add(name: str, data: bytes) -> None:
            archive.writestr(zip_entry(name), data)

        add(MANIFEST, manifest)
        for name in sorted({*bundle.manifest.files, *([ATTRIBUTES] if attributes else [])}):
            if name == ATTRIBUTES and attributes is not None:
                add(name, attributes)
            else:
                add(name, bundle.read(name))
