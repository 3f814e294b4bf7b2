"""Naming a bundle's sliders: ``attributes.json`` and the manifest that vouches for it, rewritten.

A crash at any moment leaves the bundle as it was or as it shall be. In a folder the manifest
decides: the new names are first laid beside the old ones under another name, which a reader takes
when the manifest asks for them; then the manifest is replaced, then the old names. A zip is
written anew and renamed.
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
from segan.runtime.errors import ConfigError, OutputError
from segan.runtime.files.atomic import atomic_file, output_error, sync_folder, write_atomic

#: zip's earliest date: the time of day would make the same bundle's bytes differ.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def name_slider(
    bundle: Bundle,
    slider: Slider,
    name: str | None = None,
    *,
    limits: tuple[float, float] | None = None,
    sign: int | None = None,
    hidden: bool | None = None,
) -> tuple[Attribute, ...]:
    """The bundle's attributes with one slider named, renamed or changed; nothing is written.

    Args:
        bundle: the bundle.
        slider: which one.
        name: its name, in place of one that it has; None keeps that, and one without a name gets
            its own notation, L3N0D5.
        limits: lowest and highest value of the name; None keeps them, at first the subspace's.
        sign: -1 where the slider's coordinate runs against the name; None keeps it, at first 1.
        hidden: whether lists leave it out; None keeps it, at first False.

    Raises:
        ConfigError: no such slider, a name that cannot be or that another slider has, or limits
            that do not rise.
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
        # A slider that had several names keeps the one that was given.
        found = [a for a in others if a is entry or a.slider != slider]
    else:
        found = [*attributes, entry]
    if first_repeated(found) is not None:
        taken = find_attribute(attributes, entry.name)
        raise ConfigError(
            f"name {entry.name!r} is that of {taken.slider}; expected another, or remove it first: "
            f"segan name --remove {taken.slider}"
        )
    return tuple(found)


def remove_names(bundle: Bundle, slider: Slider) -> tuple[Attribute, ...]:
    """The bundle's attributes without a slider's.

    Raises:
        ConfigError: the slider has no name.
        BundleError: the bundle's attributes are damaged.
    """
    attributes = read_attributes(bundle)
    left = tuple(attribute for attribute in attributes if attribute.slider != slider)
    if len(left) == len(attributes):
        raise ConfigError(f"slider {slider} has no name to remove; 'segan info' lists the names.")
    return left


def write_attributes(
    bundle: Bundle, attributes: Sequence[Attribute], out: Path | None = None
) -> Path:
    """Writes the attributes into the bundle, or into a copy of it, whole or not at all.

    Args:
        bundle: is not changed when ``out`` is given.
        attributes: all that it shall have.
        out: a new file, NAME.segan, which holds the copy as one stored zip.

    Returns:
        The bundle that has them.

    Raises:
        ConfigError: ``out`` has another ending, or the bundle is the one that ships with segan.
        BundleError: a file of the bundle is damaged, where all are copied.
        OutputError: it cannot be written, or something stands at ``out``.
    """
    document = {**bundle.attributes, "format": FORMAT}
    document["attributes"] = [attribute.to_json() for attribute in attributes]
    data = json.dumps(document, indent=2).encode() + b"\n"
    files = {**bundle.manifest.files, ATTRIBUTES: hashlib.sha256(data).hexdigest()}
    manifest = encode_manifest(msgspec.structs.replace(bundle.manifest, files=files))
    if out is not None:
        if out.suffix != ".segan" or out.name == ".segan":
            raise ConfigError(f"the output is {out}; expected a name that ends in .segan.")
        if os.path.lexists(out):
            raise OutputError(f"{out} exists, and is not replaced. Choose another name.")
        _write_zip(bundle, out, manifest, data)
        return out
    if is_shipped(bundle.path):
        raise ConfigError(
            f"{bundle.path.name} ships with segan, and is not changed. Write a copy with the name "
            f"in it: -o {bundle.path.name}"
        )
    if bundle.path.is_dir():
        folder = bundle.path
        write_atomic(folder / PENDING_ATTRIBUTES, data)
        write_atomic(folder / MANIFEST, manifest)
        sync_folder(folder)
        try:
            os.replace(folder / PENDING_ATTRIBUTES, folder / ATTRIBUTES)
        except OSError as error:
            raise output_error(folder / ATTRIBUTES, error) from error
    else:
        # A link is followed, so that the file that it points to is replaced, not the link.
        _write_zip(bundle, Path(os.path.realpath(bundle.path)), manifest, data)
    return bundle.path


def pack_bundle(path: str | os.PathLike[str], out: Path) -> None:
    """Writes a bundle as one stored zip; the same bundle gives the same bytes.

    Raises:
        BundleError: it is no bundle, or damaged.
        OutputError: the zip cannot be written.
    """
    bundle = open_bundle(path)
    _write_zip(bundle, out, encode_manifest(bundle.manifest), None)


def _write_zip(bundle: Bundle, out: Path, manifest: bytes, attributes: bytes | None) -> None:
    """All of a bundle's files, each compared with its hash, with other names for its sliders."""
    with atomic_file(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)

        add(MANIFEST, manifest)
        for name in sorted({*bundle.manifest.files, *([ATTRIBUTES] if attributes else [])}):
            if name == ATTRIBUTES and attributes is not None:
                add(name, attributes)
            else:
                add(name, bundle.read(name))
