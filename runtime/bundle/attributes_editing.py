"""Naming a bundle's sliders: rewrites ``attributes.json`` and its hash in the manifest.

A crash at any moment leaves the old bundle or the new one. In a folder the new names are written
under another name first, which a reader uses when the manifest states their hash; then the
manifest is replaced, then the old names. A zip is written as a new file and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
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
from segan.runtime.bundle.writer import check_suffix, zip_entry
from segan.runtime.commands import command
from segan.runtime.errors import ConfigError, OutputError
from segan.runtime.files.atomic import atomic_file, sync_folder, write_atomic, writing


def name_slider(
    bundle: Bundle,
    slider: Slider,
    name: str | None = None,
    *,
    limits: tuple[float, float] | None = None,
    sign: int | None = None,
    hidden: bool | None = None,
) -> tuple[Attribute, ...]:
    """Return the bundle's attributes with one slider named or changed; nothing is written.

    Args:
        bundle: the bundle.
        slider: the slider.
        name: its new name; None keeps the old one, and the first is its notation, L3N0D5.
        limits: lowest and highest value of the name; None keeps the old ones, and the first are
            the subspace's.
        sign: -1 where a higher coordinate means less of the name; None keeps the old one, and the
            first is 1.
        hidden: whether lists leave the name out; None keeps the old value, and the first is False.

    Raises:
        ConfigError: no such slider, a name that is not valid or that another slider has, or
            limits that do not rise.
        BundleError: the bundle's attributes are damaged.
    """
    _, subspace = find_slider(bundle.manifest, slider.layer, slider.dim, slider.index)
    attributes = read_attributes(bundle)
    own = [attribute for attribute in attributes if attribute.slider == slider]
    entry = own[0] if own else None
    if entry is None:
        entry = Attribute(
            name=str(slider),
            layer=slider.layer,
            index=slider.index,
            dim=slider.dim,
            range=(subspace.low, subspace.high),
        )
    if name is not None:
        check_name(name, slider)
        entry = msgspec.structs.replace(entry, name=name)
    if sign is not None and sign != entry.sign:
        low, high = entry.range
        entry = msgspec.structs.replace(entry, sign=sign, range=(-high, -low))
    if limits is not None:
        entry = msgspec.structs.replace(entry, range=limits)
    if hidden is not None:
        entry = msgspec.structs.replace(entry, hidden=hidden)
    entry.check(bundle.manifest)
    if own:
        place = attributes.index(own[0])
        others = [*attributes[:place], entry, *attributes[place + 1 :]]
        # A slider that had several names keeps only the new one.
        found = [a for a in others if a is entry or a.slider != slider]
    else:
        found = [*attributes, entry]
    if first_repeated(found) is not None:
        taken = find_attribute(attributes, entry.name)
        raise ConfigError(
            f"{taken.slider} has the name {entry.name!r} already",
            field="name",
            value=entry.name,
            expected="another name",
            remedy="Or remove that name first: "
            + command("name", bundle.path, taken.slider, "--remove"),
        )
    return tuple(found)


def remove_names(bundle: Bundle, slider: Slider) -> tuple[Attribute, ...]:
    """Return the bundle's attributes without those of one slider.

    Raises:
        ConfigError: the slider has no name.
        BundleError: the bundle's attributes are damaged.
    """
    attributes = read_attributes(bundle)
    left = tuple(attribute for attribute in attributes if attribute.slider != slider)
    if len(left) == len(attributes):
        raise ConfigError(
            f"slider {slider} has no name to remove",
            field="slider",
            value=str(slider),
            remedy="'segan info' lists the names.",
        )
    return left


def write_attributes(
    bundle: Bundle, attributes: Sequence[Attribute], out: Path | None = None
) -> Path:
    """Write the attributes into the bundle, or into a copy of it, completely or not at all.

    Args:
        bundle: the bundle, which is not changed when ``out`` is given.
        attributes: all attributes of the result.
        out: a new file, NAME.segan, for a copy as one stored zip; None changes the bundle.

    Returns:
        The path of the bundle that has the attributes.

    Raises:
        ConfigError: ``out`` has another ending, or the bundle is the one that ships with segan.
        BundleError: a file of the bundle is damaged, where all are copied.
        OutputError: it cannot be written, or ``out`` exists.
    """
    document = {**bundle.attributes, "format": FORMAT}
    document["attributes"] = [attribute.to_json() for attribute in attributes]
    data = json.dumps(document, indent=2).encode() + b"\n"
    files = {**bundle.manifest.files, ATTRIBUTES: hashlib.sha256(data).hexdigest()}
    manifest = encode_manifest(msgspec.structs.replace(bundle.manifest, files=files))
    if out is not None:
        check_suffix(out)
        if os.path.lexists(out):
            raise OutputError(
                f"{out} already exists and is not replaced",
                field="out",
                value=out,
                remedy="Choose another name.",
            )
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
        # A link that came with the bundle may lead out of it, and a write would follow it.
        with writing(folder / PENDING_ATTRIBUTES):
            if (folder / PENDING_ATTRIBUTES).is_symlink():
                (folder / PENDING_ATTRIBUTES).unlink()
        write_atomic(folder / PENDING_ATTRIBUTES, data)
        write_atomic(folder / MANIFEST, manifest)
        sync_folder(folder)
        with writing(folder / ATTRIBUTES):
            os.replace(folder / PENDING_ATTRIBUTES, folder / ATTRIBUTES)
    else:
        # A link is followed: the file that it points to is replaced, not the link.
        _write_zip(bundle, Path(os.path.realpath(bundle.path)), manifest, data)
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
    with atomic_file(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            archive.writestr(zip_entry(name), data)

        add(MANIFEST, manifest)
        for name in sorted({*bundle.manifest.files, *([ATTRIBUTES] if attributes else [])}):
            if name == ATTRIBUTES and attributes is not None:
                add(name, attributes)
            else:
                add(name, bundle.read(name))
