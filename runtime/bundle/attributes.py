"""``attributes.json``: names for sliders, such as ``smile`` for L3N0D5.

A name is one slider or several with weights. A value of the name adds weight times value to the
coordinate of each, so that a higher value always means more of the attribute; for a single slider
the weight is its ``sign``. ``range`` is in values of the name.
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

#: Largest magnitude of a weight.
MAX_WEIGHT = 1e6
#: Largest magnitude of a value at an end of a range.
MAX_VALUE = 1e6

_REMEDY = "Export or copy the bundle again, or rename the slider with 'segan name'."


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """A name for one slider, or for several with weights.

    Attributes:
        name: at most 100 printable characters, none of them ``=``.
        weights: slider → what a value of 1 adds to its coordinate; not 0.
        range: lowest and highest value that a sweep by this name covers.
        hidden: left out of lists; still found by its name.
        extra: every other field of the entry, such as ``method`` and ``measured``.
    """

    name: str
    weights: dict[Slider, float]
    range: tuple[float, float]
    hidden: bool = False
    extra: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def slider(self) -> Slider | None:
        """The slider of a name for a single one, whose weight is 1 or -1; else None."""
        single = len(self.weights) == 1 and abs(next(iter(self.weights.values()))) == 1
        return next(iter(self.weights)) if single else None

    @property
    def sign(self) -> int:
        """-1 for a single slider whose higher coordinate means less of the name, else 1."""
        return -1 if self.slider is not None and self.weights[self.slider] < 0 else 1

    @property
    def sliders(self) -> str:
        """The sliders as text: ``L3N0D5``, or ``L3N0D5=0.8,L2N0D1=-0.3``."""
        if self.slider is not None:
            return str(self.slider)
        return ",".join(f"{slider}={weight:.4g}" for slider, weight in self.weights.items())

    def coordinates(self, value: float) -> dict[Slider, float]:
        """Return the coordinate of each slider at a value of this name."""
        return {slider: weight * value for slider, weight in self.weights.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the entry of ``attributes.json``; sign and hidden only if not the default."""
        entry: dict[str, Any] = {"name": self.name}
        if self.slider is not None:
            entry |= self.slider._asdict()
        else:
            entry["sliders"] = {str(slider): weight for slider, weight in self.weights.items()}
        entry["range"] = list(self.range)
        if self.sign != 1:
            entry["sign"] = self.sign
        if self.hidden:
            entry["hidden"] = True
        return {**entry, **self.extra}

    def check(self, manifest: Manifest) -> None:
        """Raise ConfigError for a name, range, weight or slider that is not valid."""
        check_name(self.name, self.slider)
        low, high = self.range
        if not -MAX_VALUE <= low < high <= MAX_VALUE:
            raise ConfigError(
                f"`range` is {low:g}, {high:g}",
                field="range",
                value=self.range,
                expected=f"a low end below the high one, from -{MAX_VALUE:g} to {MAX_VALUE:g}",
            )
        if not self.weights:
            raise ConfigError(field="sliders", value={}, expected="1 or more sliders")
        for slider, weight in self.weights.items():
            find_slider(manifest, slider.layer, slider.dim, slider.index)
            if not (math.isfinite(weight) and 0 < abs(weight) <= MAX_WEIGHT):
                raise ConfigError(
                    f"the weight of {slider} is {weight:g}",
                    field="sliders",
                    value=weight,
                    expected=f"a number other than 0, from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}",
                )


#: Fields of an entry that are not kept in ``extra``.
_KNOWN = {"name", "layer", "index", "dim", "sign", "sliders", "range", "hidden"}


class _Single(msgspec.Struct, kw_only=True):
    """An entry of one slider."""

    name: str
    layer: int
    dim: int
    range: tuple[float, float]
    index: int = 0
    sign: int = 1
    hidden: bool = False


class _Several(msgspec.Struct, kw_only=True):
    """An entry of several sliders, by their notation."""

    name: str
    sliders: dict[str, float]
    range: tuple[float, float]
    hidden: bool = False


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
    if "sliders" in entry:
        both = sorted(set(known) & {"layer", "index", "dim", "sign"})
        if both:
            raise msgspec.ValidationError(f"it has `sliders` and `{both[0]}`")
        several = msgspec.convert(known, _Several)
        weights = {Slider.parse(slider): weight for slider, weight in several.sliders.items()}
        if len(weights) < len(several.sliders):
            raise msgspec.ValidationError("it gives a slider twice")
        stated: _Single | _Several = several
    else:
        single = msgspec.convert(known, _Single)
        if single.sign not in (1, -1):
            raise ConfigError(field="sign", value=single.sign, expected="1 or -1")
        weights = {Slider(single.layer, single.index, single.dim): float(single.sign)}
        stated = single
    attribute = Attribute(
        name=stated.name, weights=weights, range=stated.range, hidden=stated.hidden, extra=extra
    )
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
    """Return the first name of each slider that has one of its own."""
    names: dict[Slider, str] = {}
    for attribute in attributes:
        if attribute.slider is not None:
            names.setdefault(attribute.slider, attribute.name)
    return names


def resolve_names(bundle: Bundle, sliders: Sliders | None) -> dict[Slider, float]:
    """Return values by slider, after replacing names among the keys.

    A name's value becomes the coordinates of its sliders, by their weights; names of several
    sliders add up. ``slider_offsets`` checks that the sliders exist.

    Args:
        bundle: has the names; its attributes are read only when a key is a name.
        sliders: value by slider: a Slider, its notation, or a name.

    Raises:
        ConfigError: an unknown name, a slider or name given twice, or a value that is not a finite
            number.
        BundleError: the bundle's attributes are damaged.
    """
    check_mapping(sliders)
    single: dict[Slider, float] = {}
    added: dict[str, dict[Slider, float]] = {}
    attributes: tuple[Attribute, ...] | None = None
    for key, given in (sliders or {}).items():
        value: Any = given
        if isinstance(key, str) and _notation(key) is None:
            attributes = read_attributes(bundle) if attributes is None else attributes
            attribute = find_attribute(attributes, key)
            value = check_coordinate(value, f"attribute {attribute.name}")
            if attribute.slider is None:
                if attribute.name in added:
                    raise given_twice(attribute.name)
                added[attribute.name] = attribute.coordinates(value)
                continue
            slider, value = attribute.slider, attribute.sign * value
        else:
            slider = as_slider(key)
        if slider in single:
            raise given_twice(slider)
        single[slider] = value
    for coordinates in added.values():
        for slider, coordinate in coordinates.items():
            own = single.get(slider, 0.0)
            single[slider] = check_coordinate(own, f"slider {slider}") + coordinate
    return single
