"""Drawing of the built-in cartoon faces at any resolution, from back to front.

All shapes are signed distance functions in the head's own coordinates, whose origin lies between
eyes and nose, and which turn, shift and scale with the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from segan.runtime.bundle.layout import check_resolution
from segan.train.data.faces.attributes import FACE_ATTRIBUTES, complete_attributes
from segan.train.data.faces.canvas import (
    Array,
    Patch,
    between,
    blob,
    column,
    ellipse,
    hue,
    mix,
    ramp,
    rounded_box,
    scallops,
    smooth,
)

_SKIN = ("FFE3D0", "FBCFB0", "EDB48C", "CE8F64", "A0683F", "6E432B")
_HAIR = ("2B2430", "5B3A2E", "A5512F", "E8B04A", "F08FA0", "A66BC8", "4F74C9", "3FA79A")
_EYES = ("6B3F22", "C08028", "4F9A4A", "2F86D8", "8A4FD0")
_LINE = (0.20, 0.11, 0.13)
_WHITE = (1.0, 1.0, 1.0)

#: Half height of the face, and its half width at face_width 1.
_FACE_B, _FACE_A = 0.50, 0.455
#: Size of the head: one unit of its coordinates in canvas units.
_HEAD = 1.12
_EYE_Y, _BROW_Y, _MOUTH_Y = 0.05, -0.175, 0.29

#: Images below this size are drawn at it and averaged, since features get thinner than a pixel.
_MIN_DRAWN = 64
#: Pixels drawn at once: small enough that the arrays stay in the processor's cache.
_CHUNK_PIXELS = 1 << 16


def draw_faces(attributes: Mapping[str, Any], resolution: int) -> npt.NDArray[np.uint8]:
    """Draw one face for each set of attributes.

    Args:
        attributes: as returned by ``sample_attributes``, or given directly: name → a
            number for all faces or one for each. The others take the middle of their range.
        resolution: height and width in pixels, a power of two from 8 to 1024.

    Returns:
        [n, resolution, resolution, 3] uint8 RGB. A face looks the same at every resolution and
        does not depend on the others in the batch.

    Raises:
        ConfigError: an unknown attribute, or a value or resolution out of its range.
    """
    check_resolution(resolution)
    columns = complete_attributes(attributes)
    count = len(columns[FACE_ATTRIBUTES[0].name])
    drawn = max(resolution, _MIN_DRAWN)
    step = max(1, _CHUNK_PIXELS // drawn**2)
    images = np.empty((count, resolution, resolution, 3), np.uint8)
    for start in range(0, count, step):
        part = {name: values[start : start + step] for name, values in columns.items()}
        image = _Face(part, drawn).draw()  # [3, n, drawn, drawn]
        if drawn != resolution:
            factor = drawn // resolution
            shape = (3, -1, resolution, factor, resolution, factor)
            image = image.reshape(shape).mean(axis=(3, 5), dtype=np.float32)
        rounded = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
        images[start : start + step] = rounded.transpose(1, 2, 3, 0)
    return images


class _Face:
    """A batch of faces while they are painted."""

    def __init__(self, part: Mapping[str, npt.NDArray[Any]], size: int) -> None:
        self.part = part
        self.count = len(part["smile"])
        self.image = np.empty((3, self.count, size, size), np.float32)
        angle = np.radians(part["head_tilt"])
        self.cos, self.sin = (f(angle).astype(np.float32) for f in (np.cos, np.sin))
        self.head = (self.values("head_x"), (part["head_y"] - 0.045).astype(np.float32))
        self.face_a = (_FACE_A * part["face_width"]).astype(np.float32)
        self.skin = ramp(_SKIN, part["skin_tone"])
        self.hair = ramp(_HAIR, part["hair_color"])
        self.skin_shade = mix(self.skin * 0.80, (0.55, 0.15, 0.20), 0.14)
        self.hair_shade = mix(self.hair * 0.62, (0.16, 0.05, 0.22), 0.15)

    def values(self, name: str) -> Array:
        """An attribute as [n] float32."""
        return self.part[name].astype(np.float32)

    def draw(self) -> Array:
        """Paint all layers: [3, n, size, size] in [0, 1]."""
        self._paint_back()
        self._paint_head()
        for side in (-1, 1):
            self._paint_eye(side)
        self._paint_mouth()
        self._paint_hair()
        for side in (-1, 1):
            self._paint_brow(side)
        self._paint_glasses()
        return self.image

    def patch(
        self, x: Array | float, y: float, reach: float, index: npt.NDArray[Any] | None = None
    ) -> tuple[Patch, Array, Array]:
        """A window around a point of the head, and its pixels relative to that point."""
        index = np.arange(self.count) if index is None else index
        offset_x = np.broadcast_to(x, (self.count,))
        scale = _HEAD
        at_x = self.head[0] + scale * (offset_x * self.cos - y * self.sin)
        at_y = self.head[1] + scale * (offset_x * self.sin + y * self.cos)
        patch = Patch(self.image, index, (at_x, at_y), reach * _HEAD)
        patch.pixel /= _HEAD
        local_x, local_y = self.to_head(patch)
        return patch, local_x - column(offset_x[index]), local_y - y

    def to_head(self, patch: Patch) -> tuple[Array, Array]:
        """The patch's pixels in the head's coordinates."""
        at = patch.index
        dx, dy = patch.x - column(self.head[0][at]), patch.y - column(self.head[1][at])
        cos, sin = (
            column(self.cos[at] / _HEAD),
            column(self.sin[at] / _HEAD),
        )
        return dx * cos + dy * sin, dy * cos - dx * sin

    def _paint_back(self) -> None:
        """Background, the hair behind the head, neck and shoulders."""
        everywhere = np.zeros(self.count, np.float32)
        patch = Patch(self.image, np.arange(self.count), (everywhere, everywhere), 1.0)
        shade = np.clip(0.5 + 0.5 * patch.y, 0, 1)
        h = self.part["background_hue"]
        patch.rgb[:] = np.stack(between(hue(h, 0.25, 0.98), hue(h, 0.42, 0.86), shade))
        glow = blob(patch.x, patch.y + 0.1, 1.15, 1.15)
        patch.paint(glow * 0.42, mix(hue(h, 0.10, 1.0), _WHITE, 0.2))
        x, y = self.to_head(patch)
        a = column(self.face_a)
        bottom, flare = self._hair_outline(y)
        middle, half = (bottom - 0.15) / 2, (bottom + 0.15) / 2
        box = rounded_box(x / flare, y - middle, a + 0.105, half, 0.13)
        cap = ellipse(x, y + 0.07, a + 0.115, _FACE_B + 0.095)
        tone = smooth(-0.3, 0.6, y) + 0.35 * (1 - scallops(x / flare, 11.0))
        dark = self.hair_shade * 0.78
        patch.pixel /= _HEAD
        shape = patch.coverage(np.minimum(box, cap))
        patch.pixel *= _HEAD
        patch.paint(shape, between(self.hair_shade, dark, np.clip(tone, 0, 1)))
        self._paint_body(patch)
        patch.close()

    def _hair_outline(self, y: Array) -> tuple[Array, Array]:
        """Lower end of the hair, and its widening at height y."""
        length = column(self.values("hair_length"))
        bottom = 0.15 + 0.72 * length
        return bottom, 1 + 0.16 * np.clip(y, 0, 1) * length

    def _paint_body(self, patch: Patch) -> None:
        body = column(self.head[0] * 0.55)
        head_x, head_y = column(self.head[0]), column(self.head[1])
        top = head_y + 0.30
        t = np.clip((patch.y - top) / (0.95 - top), 0, 1)
        center = head_x + (body - head_x) * t
        neck = np.maximum(np.abs(patch.x - center) - 0.15, top - patch.y)
        x, y = patch.x - body, patch.y
        shoulders = ellipse(x, y - 1.13, 0.72, 0.49)
        shirt = hue(self.part["shirt_hue"], 0.52, 0.90)
        shirt_shade = hue(self.part["shirt_hue"], 0.66, 0.66)
        fold = np.clip(np.abs(x) * 1.1 + (y - 0.70), 0, 1)
        patch.paint(patch.coverage(shoulders), between(shirt, shirt_shade, fold))
        collar = ellipse(x, y - 0.65, 0.235, 0.13)
        inside = np.maximum(collar, shoulders)
        patch.paint(patch.coverage(inside), self.skin)
        patch.paint(patch.stroke(inside, 0.022), mix(shirt, _WHITE, 0.55))
        skin_light = mix(self.skin, self.skin_shade, 0.25)
        lit = smooth(0.54, 0.74, y - head_y)
        open_neck = np.maximum(neck, y - 0.72)
        patch.paint(patch.coverage(open_neck), between(self.skin_shade, skin_light, lit))

    def _fringe(self, x: Array, a: Array, index: npt.NDArray[Any]) -> Array:
        """Height of the hair's lower edge over the forehead: [n, h, w]."""
        t = x / a
        side = np.abs(t)
        arcs = scallops(x + 0.11, 4.5)
        straight = -0.245 + 0.035 * arcs
        swept = -0.275 - 0.19 * t + 0.02 * arcs
        swept = swept - 0.10 * np.square(np.minimum(t - 0.45, 0))
        swept = swept + 0.20 * smooth(0.55, 0.92, t)
        parted = -0.45 + 0.27 * np.sqrt(side * 1.25)
        style = self.part["fringe"][index][:, None, None]
        line = np.where(style == 0, straight, np.where(style == 1, swept, parted))
        return np.asarray(line + 0.30 * smooth(0.70, 1.02, side), np.float32)

    def _paint_head(self) -> None:
        """Ears, face, its shading, cheeks and nose."""
        patch, x, y = self.patch(0.0, 0.0, 0.66)
        a = column(self.face_a)
        side = np.abs(x)
        ear = ellipse(side - a, y - 0.06, 0.085, 0.115)
        patch.paint(patch.coverage(ear), mix(self.skin, self.skin_shade, 0.25))
        patch.paint(
            patch.coverage(ellipse(side - a, y - 0.06, 0.045, 0.07)),
            mix(self.skin, self.skin_shade, 0.75),
        )
        low = np.maximum(y, 0)
        taper = 1 - 0.62 * low * low
        face = ellipse(x / taper, y, a, _FACE_B)
        inside = patch.coverage(face)
        edge = smooth(-0.22, 0.0, face) * 0.45
        light = np.clip(0.35 * (x + y) + edge, 0, 1)
        patch.paint(inside, between(mix(self.skin, _WHITE, 0.10), self.skin_shade, light))
        fall = y - self._fringe(x, a, patch.index)
        shadow = inside * (1 - smooth(0.0, 0.10, fall)) * 0.55
        patch.paint(shadow, self.skin_shade)
        rose = mix(self.skin, (0.97, 0.30, 0.36), 0.62)
        cheek = blob(side - 0.62 * a, y - 0.215, 0.15, 0.105)
        strength = 0.10 + 0.90 * column(self.values("blush"))
        patch.paint(cheek * strength, rose)
        nose = blob(x - 0.006, y - 0.165, 0.042, 0.030)
        patch.paint(nose * 0.85, mix(self.skin_shade, (0.75, 0.2, 0.2), 0.25))
        patch.paint(
            blob(x + 0.006, y - 0.135, 0.028, 0.028) * 0.6,
            mix(self.skin, _WHITE, 0.6),
        )
        patch.close()

    def _paint_eye(self, side: int) -> None:
        patch, x, y = self.patch(side * self.values("eye_distance"), _EYE_Y, 0.20)
        size = column(self.values("eye_size"))
        x, y = x / size, y / size  # from here in eye radii
        dark = np.broadcast_to(np.array([_LINE], np.float32).T, (3, self.count))
        white = np.ones((3, self.count), np.float32)

        def cover(distance: Array) -> Array:
            return patch.coverage(distance * size)

        ball = ellipse(x, y, 0.98, 1.20)
        shade = 1 - smooth(-1.1, -0.2, y)
        patch.paint(cover(ball), between(white, white * 0.78, shade))
        color = ramp(_EYES, self.part["eye_color"])
        iris = np.maximum(ellipse(x, y - 0.06, 0.74, 0.98), ball)
        depth = smooth(-0.7, 0.9, y)
        patch.paint(
            cover(iris),
            between(color * 0.58, mix(color, _WHITE, 0.40), depth),
        )
        patch.paint(cover(ellipse(x, y - 0.04, 0.37, 0.50)), dark * 0.6)
        patch.paint(cover(ellipse(x + 0.26, y + 0.40, 0.27, 0.30)), white)
        small = cover(ellipse(x - 0.28, y - 0.50, 0.15, 0.15))
        patch.paint(small * 0.75, white)
        lid = np.clip(0.50 - y, 0, 1) * (1 + 0.35 * np.clip(x * side, 0, 1))
        patch.paint(patch.stroke(ball * size, 0.16 * lid * size), dark)
        patch.close()

    def _paint_brow(self, side: int) -> None:
        patch, x, y = self.patch(side * self.values("eye_distance"), _BROW_Y, 0.15)
        angle = np.radians(self.part["brow_angle"]) * side
        cos, sin = column(np.cos(angle)), column(np.sin(angle))
        x, y = x * cos - y * sin, x * sin + y * cos
        x = x * side  # 0.09 is the outer end
        along = np.clip(x, -0.085, 0.085)
        arch = y + 0.020 - 2.8 * along * along
        distance = np.sqrt(np.square(x - along) + np.square(arch))
        width = 0.026 - 0.09 * np.clip(along, 0, 1)
        patch.paint(patch.stroke(distance, width), mix(self.hair_shade, _LINE, 0.45))
        patch.close()

    def _paint_mouth(self) -> None:
        patch, x, y = self.patch(0.0, _MOUTH_Y, 0.21)
        half = 0.135
        opening, smile = column(self.values("mouth_opening")), column(self.values("smile"))
        along = np.clip(x, -half, half)
        t = along / half
        arc = 1 - t * t
        bend = smile * 0.070
        upper = bend * (arc - 0.5) - opening * 0.042 * arc
        lower = upper + opening * 0.185 * arc
        lean = (2 / 0.135) * t
        past = np.square(x - along)

        def to_line(height: Array, bow: Array) -> Array:
            slope = lean * bow
            return past + np.square(y - height) / (1 + slope * slope)

        upper_bow = bend - opening * 0.042
        lower_bow = upper_bow + opening * 0.185
        line = np.sqrt(np.minimum(to_line(upper, upper_bow), to_line(lower, lower_bow)))
        inside = np.maximum(np.maximum(upper - y, y - lower), np.abs(x) - half)
        hole = patch.coverage(inside) * smooth(0.0, 0.10, opening)
        dark = np.broadcast_to(np.array([[0.42], [0.10], [0.14]], np.float32), (3, self.count))
        patch.paint(hole, dark)
        tongue = ellipse(x, y - lower, 0.085, 0.055)
        patch.paint(hole * patch.coverage(tongue), mix(dark, (0.96, 0.45, 0.48), 0.9))
        teeth = patch.coverage(y - upper - 0.032) * smooth(0.15, 0.5, opening)
        patch.paint(hole * teeth, mix(dark, _WHITE, 0.96))
        lip = mix(mix(self.skin_shade, (0.62, 0.12, 0.16), 0.62), _LINE, 0.25)
        patch.paint(patch.stroke(line, 0.0145), lip)
        patch.close()

    def _paint_hair(self) -> None:
        """The cap with its fringe, the locks beside the face, and their gloss."""
        patch, x, y = self.patch(0.0, 0.06, 0.92)
        y = y + 0.06
        a, side = column(self.face_a), np.abs(x)
        cap = ellipse(x, y + 0.07, a + 0.115, _FACE_B + 0.095)
        line = self._fringe(x, a, patch.index)
        front = np.maximum(cap, (y - line) * 0.8)
        bottom, flare = self._hair_outline(y)
        start, end = -0.12, bottom - 0.03
        t = np.clip((y - start) / (end - start), 0, 1)
        outer = (a + 0.107) * flare - 0.055 * t * t * t * t
        width = 0.155 * (1 - 0.85 * t * t * t)
        ends = np.maximum(start - y, y - end)
        across = np.abs(side - outer + width / 2) - width / 2
        corner = np.maximum(across + 0.02, 0), np.maximum(ends + 0.05, 0)
        round_end = np.sqrt(np.square(corner[0] * 2.5) + np.square(corner[1])) - 0.05
        locks = np.maximum(across, round_end)
        shape = np.minimum(front, locks)
        depth = 0.75 * smooth(-0.55, 0.65, y) + 0.30 * smooth(-0.10, 0.0, cap)
        strands = 0.10 * scallops(x / flare, 11.0)
        tone = np.clip(depth - strands, 0, 1)
        light = mix(self.hair, _WHITE, 0.06)
        patch.paint(patch.coverage(shape), between(light, self.hair_shade, tone))
        ring = y + 0.415 - 0.55 * x * x
        ring = np.abs(ring) - 0.012 - 0.020 * scallops(x, 11.0)
        gloss = (
            patch.coverage(front)
            * (1 - smooth(0.0, 0.03, ring))
            * (1 - smooth(0.55, 0.9, side / a))
        )
        patch.paint(gloss * 0.42, mix(self.hair, (1.0, 0.95, 0.9), 0.62))
        patch.close()

    def _paint_glasses(self) -> None:
        kind = self.part["glasses"]
        index = np.flatnonzero(kind)
        if not index.size:
            return
        patch, x, y = self.patch(0.0, _EYE_Y, 0.56, index)
        distance = column(self.values("eye_distance")[index])
        a = column(self.face_a[index])
        side = np.abs(x)
        radius = np.minimum(0.165, distance - 0.018)
        across = side - distance
        round_lens = np.sqrt(across * across + y * y) - radius
        square_lens = rounded_box(across, y, radius, 0.135, 0.045)
        lens = np.where(kind[index][:, None, None] == 1, round_lens, square_lens)
        glint = 1 - smooth(0.0, 0.05, np.abs(across + y * 0.7 - 0.04) - 0.03)
        glass = np.ones((3, len(index)), np.float32)
        patch.paint(patch.coverage(lens) * (0.10 + 0.16 * glint), glass)
        gap = distance - radius
        bridge = np.maximum(np.abs(y + 0.02), side - gap)
        outer = distance + radius
        temple = np.maximum(np.abs(y + 0.03), np.maximum(outer - side, side - 0.93 * a))
        frame = np.minimum(np.abs(lens), np.minimum(bridge, temple))
        dark = glass * np.array([[0.17], [0.13], [0.22]], np.float32)
        patch.paint(patch.stroke(frame, 0.0175), dark)
        patch.close()
