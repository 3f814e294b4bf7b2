"""``attributes.json``: names for sliders, such as ``smile`` for L3N0D5.

The value of a name is ``sign`` times the slider's coordinate, so that a higher value always means
more of the attribute. ``range`` is in values of the name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import ATTRIBUTES, Bundle
from segan.runtime.bundle.sliders import (
    Sliders,
    as_slider,
    check_coordinate,
    check_mapping,
    find_slider,
    given_twice,
)
from segan.runtime.errors import BundleError, ConfigError
from segan.runtime.files.json_record import plain_text

FORMAT = "segan.attributes/1"

#: Longest name, in characters.
MAX_NAME = 100
#: Most names of a bundle; each is compared with the table of subspaces.
MAX_ATTRIBUTES = 1 << 14
#: How many names an error lists.
_LISTED = 12

_REMEDY = "Export or copy the bundle again, or rename the slider with 'segan name'."


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
        """The slider that the name refers to."""
        return Slider(self.layer, self.index, self.dim)

    def coordinate(self, value: float) -> float:
        """Return the slider's coordinate at a value of this name."""
        return self.sign * value

    def to_json(self) -> dict[str, Any]:
        """Return the entry of ``attributes.json``; sign and hidden only if not the default."""
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
        """Raise ConfigError for a name, range, sign or slider that is not valid."""
        check_name(self.name, self.slider)
        low, high = self.range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(
                f"`range` is {low:g}, {high:g}",
                field="range",
                value=self.range,
                expected="a low end below the high one",
            )
        if self.sign not in (1, -1):
            raise ConfigError(field="sign", value=self.sign, expected="1 or -1")
        find_slider(manifest, self.layer, self.dim, self.index)


_KNOWN = set(Attribute.__struct_fields__) - {"extra"}


def check_name(name: str, slider: Slider | None = None) -> None:
    """Check a name for a slider.

    Args:
        name: the name.
        slider: the slider, whose own notation (L3N0D5) is a valid name; others' are not.

    Raises:
        ConfigError: empty, too long, not printable, with a ``=`` or blanks around it, or another
            slider's notation.
    """
    if not name or name != name.strip() or len(name) > MAX_NAME or not name.isprintable():
        problem = f"name {name[:40]!r} is not valid"
        expected = f"1 to {MAX_NAME} printable characters without blanks around them"
    elif "=" in name:
        problem, expected = f"name {name!r} contains a '='", "a name without '='"
    elif _notation(name) not in (None, slider):
        problem, expected = f"name {name!r} reads as a slider", "a word"
    else:
        return
    raise ConfigError(problem, field="name", value=name, expected=f"{expected}, such as smile")


def _notation(text: str) -> Slider | None:
    """Return the slider of a text such as ``L3N0D5``, None for other texts."""
    try:
        return Slider.parse(text)
    except ConfigError:
        return None


def read_attributes(bundle: Bundle) -> tuple[Attribute, ...]:
    """Return the bundle's named sliders in order; none without ``attributes.json``.

    Raises:
        BundleError: the file is damaged, of another format, names a slider that does not exist, or
            uses a name twice (ignoring case); the error names the entry.
    """
    found = bundle.attributes

    def damaged(problem: str, expected: str = "") -> BundleError:
        return BundleError(
            f"{bundle.path}: {ATTRIBUTES}: {problem}",
            field="bundle",
            value=bundle.path,
            expected=expected,
            remedy=_REMEDY,
        )

    stated = found.get("format", FORMAT)
    if stated != FORMAT:
        raise damaged(f"format is {stated!r}", repr(FORMAT))
    entries = found.get("attributes", [])
    if not isinstance(entries, list):
        raise damaged("attributes is not a list")
    if len(entries) > MAX_ATTRIBUTES:
        raise damaged(f"there are {len(entries)} names", f"at most {MAX_ATTRIBUTES}")
    attributes = []
    for number, entry in enumerate(entries):
        named = f", {str(entry['name'])[:40]!r}" if _has_name(entry) else ""
        try:
            attributes.append(decode_attribute(entry, bundle.manifest))
        except msgspec.ValidationError as error:
            raise damaged(f"entry {number}{named}: {plain_text(error)}") from None
        except ConfigError as error:
            raise damaged(f"entry {number}{named}: {error.clause}", error.expected) from error
    twice = first_repeated(attributes)
    if twice is not None:
        raise damaged(f"the name {twice!r} is used twice")
    return tuple(attributes)


def _has_name(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def decode_attribute(entry: object, manifest: Manifest) -> Attribute:
    """Return one entry of ``attributes.json``, checked.

    Raises:
        msgspec.ValidationError: a missing or mistyped field.
        ConfigError: see ``Attribute.check``.
    """
    if not isinstance(entry, dict):
        raise msgspec.ValidationError("it is not a JSON object")
    known = {key: value for key, value in entry.items() if key in _KNOWN}
    extra = {key: value for key, value in entry.items() if key not in _KNOWN}
    attribute = msgspec.convert({**known, "extra": extra}, Attribute)
    attribute.check(manifest)
    return attribute


def first_repeated(attributes: Iterable[Attribute]) -> str | None:
    """Return the first name that is used again, ignoring case; None if each is used once."""
    seen = set()
    for attribute in attributes:
        folded = attribute.name.casefold()
        if folded in seen:
            return attribute.name
        seen.add(folded)
    return None


def find_attribute(attributes: Sequence[Attribute], name: str) -> Attribute:
    """Return the attribute of a name, ignoring case.

    Raises:
        ConfigError: there is none; the error has the nearest names and lists those not hidden.
    """
    folded = name.strip().casefold()
    for attribute in attributes:
        if attribute.name.casefold() == folded:
            return attribute
    if not attributes:
        raise ConfigError(
            f"`attribute` is {name!r}, but this bundle has no named sliders",
            field="attribute",
            value=name,
            remedy="Pass a slider such as L3N0D5, or name it with 'segan name'.",
        )
    by_fold = {attribute.name.casefold(): attribute.name for attribute in attributes}
    near = [by_fold[fold] for fold in difflib.get_close_matches(folded, by_fold, n=3)]
    shown = [attribute.name for attribute in attributes if not attribute.hidden]
    listed = ", ".join(shown[:_LISTED]) + (
        f" and {len(shown) - _LISTED} more ('segan info' lists them)"
        if len(shown) > _LISTED
        else ""
    )
    raise ConfigError(
        field="attribute",
        value=name,
        expected=f"one of {listed or 'L3N0D5 …'}",
        remedy=f"Did you mean {' or '.join(near)}?" if near else "",
    )


def names_of(attributes: Iterable[Attribute]) -> dict[Slider, str]:
    """Return the first name of each slider that has one."""
    names: dict[Slider, str] = {}
    for attribute in attributes:
        names.setdefault(attribute.slider, attribute.name)
    return names


def resolve_names(bundle: Bundle, sliders: Sliders | None) -> dict[Slider, float]:
    """Return values by slider, after replacing names among the keys.

    A name's value becomes the slider's coordinate by the name's ``sign``. ``slider_offsets``
    checks that the sliders exist.

    Args:
        bundle: has the names; its attributes are read only when a key is a name.
        sliders: value by slider: a Slider, its notation, or a name.

    Raises:
        ConfigError: an unknown name, a slider given twice, or a value that is not a finite number.
        BundleError: the bundle's attributes are damaged.
    """
    check_mapping(sliders)
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
            raise given_twice(slider)
        found[slider] = value
    return found
