"""Attributes of the built-in cartoon faces, and how they are sampled.

Every attribute is drawn independently of all others, so each is a ground-truth factor of
variation. Image i depends on (seed, i) alone, so a longer set begins with the shorter one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segan.runtime.errors import ConfigError

#: Largest seed of a set.
MAX_SEED = 2**32 - 1

#: Random numbers of each image: more than there are attributes, so that new ones change no other.
_DRAWS = 32
#: Decimals of a sampled value, so that dataset.json holds exactly the value that was drawn.
_DECIMALS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaceAttribute:
    """One independent factor of a face.

    Attributes:
        name: for example ``smile``.
        kind: ``continuous``, uniform on [low, high], or ``categorical``, one of ``values``.
        low: lower end of a continuous attribute.
        high: upper end of a continuous attribute.
        values: names of a categorical attribute's values; a face holds a position in them.
        weights: how likely each of ``values`` is; they add up to 1.
        description: what it changes, with its unit.
    """

    name: str
    kind: Literal["continuous", "categorical"]
    low: float = 0.0
    high: float = 1.0
    values: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    description: str = ""

    @property
    def default(self) -> float:
        """The middle of the range, or the first value."""
        return 0.0 if self.kind == "categorical" else (self.low + self.high) / 2

    def to_json(self) -> dict[str, Any]:
        """The attribute as dataset.json describes it."""
        head = {"name": self.name, "kind": self.kind}
        if self.kind == "categorical":
            lists = {"values": list(self.values), "weights": list(self.weights)}
            return {**head, **lists, "description": self.description}
        return {**head, "low": self.low, "high": self.high, "description": self.description}


def _continuous(name: str, low: float, high: float, description: str) -> FaceAttribute:
    return FaceAttribute(name=name, kind="continuous", low=low, high=high, description=description)


def _categorical(name: str, description: str, **weights: float) -> FaceAttribute:
    return FaceAttribute(
        name=name,
        kind="categorical",
        values=tuple(weights),
        weights=tuple(weights.values()),
        description=description,
    )


#: All attributes, in the order in which they are drawn at random. Append, never reorder. Lengths
#: are in half image widths, angles in degrees (positive = clockwise for the head, outer end up for
#: the brows).
FACE_ATTRIBUTES: tuple[FaceAttribute, ...] = (
    _continuous("skin_tone", 0.0, 1.0, "from light to dark"),
    _continuous("hair_color", 0.0, 1.0, "black, brown, copper, gold, rose, violet, blue, teal"),
    _continuous("hair_length", 0.0, 1.0, "from the ears to below the shoulders"),
    _categorical(
        "fringe", "how the hair falls on the forehead", straight=0.375, swept=0.375, parted=0.25
    ),
    _continuous("eye_color", 0.0, 1.0, "brown, amber, green, blue, violet"),
    _continuous("eye_size", 0.085, 0.140, "radius of an eye"),
    _continuous("eye_distance", 0.160, 0.225, "from the middle of the face to an eye"),
    _continuous("brow_angle", -25.0, 25.0, "degrees; positive raises the outer end (stern)"),
    _continuous("smile", -1.0, 1.0, "curvature of the mouth; negative is a frown"),
    _continuous("mouth_opening", 0.0, 1.0, "from closed to wide open"),
    _continuous("head_x", -0.16, 0.16, "shift to the right"),
    _continuous("head_y", -0.12, 0.12, "shift downwards"),
    _continuous("head_tilt", -16.0, 16.0, "degrees; positive is clockwise"),
    _continuous("face_width", 0.86, 1.12, "factor on the width of the face"),
    _continuous("background_hue", 0.0, 1.0, "hue of the background; 0 and 1 are red"),
    _continuous("shirt_hue", 0.0, 1.0, "hue of the shirt; 0 and 1 are red"),
    _categorical("glasses", "frame of the glasses", none=0.5, round=0.25, square=0.25),
    _continuous("blush", 0.0, 1.0, "redness of the cheeks"),
)


def sample_attributes(seed: int, start: int, count: int) -> dict[str, npt.NDArray[Any]]:
    """Draw the attributes of faces start, start + 1, ..., start + count - 1 of a set.

    Args:
        seed: of the set, 0 to 2**32 - 1.
        start: number of the first face, from 0.
        count: how many faces.

    Returns:
        name → [count] float64 (continuous, rounded to 4 decimals) or int64 (categorical: position
        in ``values``).

    Raises:
        ConfigError: an argument is out of its range.

    The stream is Philox4x64-10 (Salmon et al. 2011), whose counter makes face i reachable without
    drawing those before it.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(field="seed", value=seed, expected=f"0 to {MAX_SEED}")
    for field, number in (("start", start), ("count", count)):
        if number < 0:
            raise ConfigError(field=field, value=number, expected="0 or more")
    stream = np.random.Philox(key=seed)
    stream.advance(start * (_DRAWS // 4))  # one step of the counter gives four numbers
    raw = stream.random_raw(count * _DRAWS).reshape(count, _DRAWS)
    unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53  # [0, 1)
    columns: dict[str, npt.NDArray[Any]] = {}
    for position, attribute in enumerate(FACE_ATTRIBUTES):
        draw = unit[:, position]
        if attribute.kind == "categorical":
            columns[attribute.name] = np.searchsorted(
                np.cumsum(attribute.weights)[:-1], draw, side="right"
            )
        else:
            value = attribute.low + draw * (attribute.high - attribute.low)
            columns[attribute.name] = np.round(value, _DECIMALS)
    return columns


def label_names(attribute: str) -> tuple[str, ...]:
    """Return the names of the classes that a categorical attribute labels faces by.

    Raises:
        ConfigError: there is no such attribute, or it is continuous.
    """
    known = {entry.name: entry.values for entry in FACE_ATTRIBUTES if entry.kind == "categorical"}
    if attribute not in known:
        raise ConfigError(field="labels", value=attribute, expected=" or ".join(known))
    return known[attribute]


def complete_attributes(attributes: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Check the given attributes and fill in the others with their defaults.

    Args:
        attributes: name → a number for all faces, or one for each; a categorical attribute also
            takes names. Without any, one face with all defaults results.

    Returns:
        Every attribute: name → [n] float64 or int64.

    Raises:
        ConfigError: an unknown name or value, or a value out of its range.
    """
    schema = {attribute.name: attribute for attribute in FACE_ATTRIBUTES}
    unknown = sorted(set(attributes) - set(schema))
    if unknown:
        raise ConfigError(
            f"faces have no attribute {unknown[0]!r}",
            field="attributes",
            value=unknown[0],
            expected=f"one of {', '.join(schema)}",
        )
    columns = {
        name: _column(attribute, attributes.get(name, attribute.default))
        for name, attribute in schema.items()
    }
    counts = {column.size for column in columns.values() if column.ndim}
    if len(counts) > 1:
        raise ConfigError(
            f"attributes are given for {sorted(counts)} faces",
            field="attributes",
            value=sorted(counts),
            expected="one count",
        )
    count = counts.pop() if counts else 1
    return {name: np.broadcast_to(column, (count,)).copy() for name, column in columns.items()}


def _column(attribute: FaceAttribute, given: Any) -> npt.NDArray[Any]:
    values = np.asarray(given)

    def refuse(value: object, expected: str) -> ConfigError:
        return ConfigError(field=attribute.name, value=value, expected=expected)

    if attribute.kind == "categorical":
        expected = f"one of {', '.join(attribute.values)}"
        if values.dtype.kind == "U":
            if not np.isin(values, attribute.values).all():
                raise refuse(given, expected)
            names = np.atleast_1d(values)
            positions = np.array([attribute.values.index(str(name)) for name in names.ravel()])
            values = positions.reshape(values.shape)
        if values.dtype.kind not in "iuf" or values.ndim > 1 or (values != np.rint(values)).any():
            raise refuse(given, expected)
        if values.size and not (values.min() >= 0 and values.max() < len(attribute.values)):
            raise refuse(given, expected)
        return values.astype(np.int64)
    expected = f"{attribute.low} to {attribute.high}, one number or one for each face"
    if values.dtype.kind not in "iuf" or values.ndim > 1:
        raise refuse(given, expected)
    values = values.astype(np.float64)
    outside = ~((values >= attribute.low) & (values <= attribute.high))
    if outside.any():
        raise refuse(np.atleast_1d(values)[np.atleast_1d(outside)][0], expected)
    return values
