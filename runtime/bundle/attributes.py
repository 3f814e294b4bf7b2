"""``attributes.json``: names for sliders, so that they are found as ``smile`` instead of L3N0D5.

A name has values of its own: ``sign`` times the slider's coordinate, so that more of it is always
more of what the name says. ``range`` is in those values.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import ATTRIBUTES, Bundle
from segan.runtime.bundle.sliders import Sliders, as_slider, check_coordinate, find_slider
from segan.runtime.errors import BundleError, ConfigError

FORMAT = "segan.attributes/1"

#: Longest name, in characters.
MAX_NAME = 100
#: How many names an error lists.
_LISTED = 12

_REMEDY = "Export or copy the bundle again, or name it anew with 'segan name'."


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """One named slider.

    Attributes:
        name: at most 100 printable characters, none of them ``=``.
        layer: the slider's layer.
        index: its subspace within the layer.
        dim: its dim within the subspace.
        range: lowest and highest value that a sweep by this name covers.
        sign: 1 or -1: a coordinate is ``sign`` times a value of this name.
        hidden: left out of lists; still found by its name.
        extra: every other field of the entry, such as ``method`` and ``sigma``.
    """

    name: str
    layer: int
    dim: int
    range: tuple[float, float]
    index: int = 0
    sign: int = 1
    hidden: bool = False
    extra: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def slider(self) -> Slider:
        """What it names."""
        return Slider(self.layer, self.index, self.dim)

    def coordinate(self, value: float) -> float:
        """The slider's coordinate at a value of this name."""
        return self.sign * value

    def to_json(self) -> dict[str, Any]:
        """The entry as ``attributes.json`` holds it; sign and hidden only where they say more."""
        entry: dict[str, Any] = {
            "name": self.name,
            "layer": self.layer,
            "index": self.index,
            "dim": self.dim,
            "range": list(self.range),
        }
        if self.sign != 1:
            entry["sign"] = self.sign
        if self.hidden:
            entry["hidden"] = True
        return {**entry, **self.extra}

    def check(self, manifest: Manifest) -> None:
        """Raises ConfigError for a name, range, sign or slider that cannot be."""
        check_name(self.name, self.slider)
        low, high = self.range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(f"range is {low:g}, {high:g}; expected a low end below the high one.")
        if self.sign not in (1, -1):
            raise ConfigError(f"sign is {self.sign}; expected 1 or -1.")
        find_slider(manifest, self.layer, self.dim, self.index)


_KNOWN = set(Attribute.__struct_fields__) - {"extra"}


def check_name(name: str, slider: Slider | None = None) -> None:
    """Checks what a slider shall be called.

    Args:
        name: the name.
        slider: the one whose own notation (L3N0D5) is a name, too; no other's is.

    Raises:
        ConfigError: empty, too long, not printable, with a ``=`` or blanks around it, or another
            slider's notation.
    """
    if not name or name != name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise ConfigError(
            f"name {name[:40]!r} cannot be; expected 1 to {MAX_NAME} printable characters, such "
            "as smile."
        )
    if "=" in name:
        raise ConfigError(f"name {name!r} has a '='; expected one without, such as smile.")
    meant = _notation(name)
    if meant is not None and meant != slider:
        raise ConfigError(f"name {name!r} reads as a slider; expected a word such as smile.")


def _notation(text: str) -> Slider | None:
    """The slider that a text like ``L3N0D5`` writes, None for other texts."""
    try:
        return Slider.parse(text)
    except ConfigError:
        return None


def read_attributes(bundle: Bundle) -> tuple[Attribute, ...]:
    """The bundle's named sliders, in its order; none when it has no ``attributes.json``.

    Raises:
        BundleError: the file is damaged, of another format, names a slider that does not exist, or
            uses a name twice (case aside); the message names the entry.
    """
    found = bundle.attributes
    where = f"{bundle.path}: {ATTRIBUTES}"
    stated = found.get("format", FORMAT)
    if stated != FORMAT:
        raise BundleError(f"{where}: format is {stated!r}; this segan reads {FORMAT!r}.")
    entries = found.get("attributes", [])
    if not isinstance(entries, list):
        raise BundleError(f"{where}: attributes is no list. {_REMEDY}")
    attributes = []
    for number, entry in enumerate(entries):
        named = f", {str(entry['name'])[:40]!r}" if _has_name(entry) else ""
        try:
            attributes.append(decode_attribute(entry, bundle.manifest))
        except (msgspec.ValidationError, ConfigError) as error:
            text = str(error).rstrip(".")
            raise BundleError(f"{where}: entry {number}{named}: {text}. {_REMEDY}") from None
    twice = first_repeated(attributes)
    if twice is not None:
        raise BundleError(f"{where}: the name {twice!r} stands there twice. {_REMEDY}")
    return tuple(attributes)


def _has_name(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def decode_attribute(entry: object, manifest: Manifest) -> Attribute:
    """One entry of ``attributes.json``, checked.

    Raises:
        msgspec.ValidationError: a missing or mistyped field.
        ConfigError: see ``Attribute.check``.
    """
    if not isinstance(entry, dict):
        raise msgspec.ValidationError("it is no JSON object")
    known = {key: value for key, value in entry.items() if key in _KNOWN}
    extra = {key: value for key, value in entry.items() if key not in _KNOWN}
    attribute = msgspec.convert({**known, "extra": extra}, Attribute)
    attribute.check(manifest)
    return attribute


def first_repeated(attributes: Iterable[Attribute]) -> str | None:
    """The first name that stood there before, case aside; None when each is there once."""
    seen = set()
    for attribute in attributes:
        folded = attribute.name.casefold()
        if folded in seen:
            return attribute.name
        seen.add(folded)
    return None


def find_attribute(attributes: Sequence[Attribute], name: str) -> Attribute:
    """The attribute of that name, case aside.

    Raises:
        ConfigError: there is none; the message has the nearest names and the list of those shown.
    """
    folded = name.strip().casefold()
    for attribute in attributes:
        if attribute.name.casefold() == folded:
            return attribute
    if not attributes:
        raise ConfigError(
            f"attribute is {name!r}, but this bundle names no slider; give one as L3N0D5, or name "
            "it: segan name BUNDLE L3N0D5 smile"
        )
    by_fold = {attribute.name.casefold(): attribute.name for attribute in attributes}
    near = [by_fold[fold] for fold in difflib.get_close_matches(folded, by_fold, n=3)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    shown = [attribute.name for attribute in attributes if not attribute.hidden]
    listed = ", ".join(shown[:_LISTED]) + (
        f" and {len(shown) - _LISTED} more ('segan info' lists them)"
        if len(shown) > _LISTED
        else ""
    )
    raise ConfigError(f"attribute is {name!r}; expected one of {listed or 'L3N0D5 …'}.{hint}")


def names_of(attributes: Iterable[Attribute]) -> dict[Slider, str]:
    """The first name of each slider that has one."""
    names: dict[Slider, str] = {}
    for attribute in attributes:
        names.setdefault(attribute.slider, attribute.name)
    return names


def resolve_names(bundle: Bundle, sliders: Sliders | None) -> dict[Slider, float]:
    """Values by slider, where names stood among the keys.

    A name's value becomes the slider's coordinate by the name's ``sign``. Whether the sliders
    exist is left to ``slider_offsets``.

    Args:
        bundle: whose names are known; its attributes are read only when there is a name.
        sliders: value by slider: a Slider, its notation, or a name.

    Raises:
        ConfigError: an unknown name, a slider given twice, or a value that is no finite number.
        BundleError: the bundle's attributes are damaged.
    """
    if not isinstance(sliders, Mapping | None):
        raise ConfigError(f"sliders is {sliders!r}; expected values by slider: {{'L3N0D5': 1.5}}.")
    found: dict[Slider, float] = {}
    attributes: tuple[Attribute, ...] | None = None
    for key, given in (sliders or {}).items():
        value: Any = given
        if isinstance(key, str) and _notation(key) is None:
            attributes = read_attributes(bundle) if attributes is None else attributes
            attribute = find_attribute(attributes, key)
            slider = attribute.slider
            value = attribute.coordinate(check_coordinate(value, f"attribute {attribute.name}"))
        else:
            slider = as_slider(key)
        if slider in found:
            raise ConfigError(f"slider {slider} is given twice; expected it once.")
        found[slider] = value
    return found
