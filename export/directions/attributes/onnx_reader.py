"""A user's network as a reader: an ONNX file that computes scores from images."""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.backends.onnxruntime import OnnxRuntimeSession
from segan.runtime.bundle.attributes import check_name
from segan.runtime.errors import BackendError, ConfigError, DataError
from segan.runtime.graphs.check import SafeModel
from segan.runtime.readings.reading import Array, Reading

#: Largest file that is read, in bytes: protobuf ends there.
_MAX_BYTES = 2 << 30
#: Heights and widths of images that are read.
_SIZES = range(4, 1025)
#: Most scores of a reader.
_MAX_SCORES = 1000


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a network expects of its images.

    Attributes:
        size: height and width; None takes the network's own, or leaves images as they are.
        low: value of black.
        high: value of white.
        mean: is subtracted from the channels R, G, B.
        std: divides the channels afterwards.

    Raises:
        ConfigError: a number out of its range.
    """

    size: int | None = None
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.size is not None and self.size not in _SIZES:
            raise ConfigError(field="reader_size", value=self.size, expected="4 to 1024")
        numbers = (self.low, self.high, *self.mean, *self.std)
        if not np.isfinite(numbers).all() or self.low >= self.high:
            raise ConfigError(
                "the range of the reader's images does not rise",
                field="reader_range",
                value=(self.low, self.high),
                expected="two finite numbers, black below white, such as 0,1",
            )
        if not min(self.std) >= 1e-6 or max(map(abs, numbers)) > 1e6:
            raise ConfigError(
                field="reader_std",
                value=self.std,
                expected="numbers from 0.000001 on, and no number above 1000000",
            )

    def apply(self, images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        """Return [N, 3, size, size] as the network expects it, of images in [-1, 1]."""
        clipped = np.clip(images, -1, 1)
        if clipped.shape[-1] != size:
            rows = resize_matrix(clipped.shape[-1], size)
            clipped = np.asarray(rows @ clipped @ rows.T, np.float32)
        scaled = self.low + (clipped + 1) * ((self.high - self.low) / 2)
        mean, std = (np.array(each, np.float32)[:, None, None] for each in (self.mean, self.std))
        return np.ascontiguousarray((scaled - mean) / std, np.float32)


def resize_matrix(size: int, out: int) -> NDArray[np.float32]:
    """Return [out, size], Pillow's bilinear filter (antialiased) from one length to another."""
    identity = Image.fromarray(np.eye(size, dtype=np.float32))
    return np.asarray(identity.resize((size, out), Image.Resampling.BILINEAR), np.float32)


class OnnxReader:
    """Scores of an ONNX network, each a reading of its own.

    The network has one input [N, 3, H, W] float32 and one output [N, K] float32. It runs on ONNX
    Runtime's CPU. A file with weights elsewhere, functions or sub-graphs is refused.

    Args:
        path: the file.
        names: of the K scores; None takes ``score 0`` and so on.
        preprocessing: what it expects of its images.

    Raises:
        ConfigError: names that do not fit the scores.
        DataError: the file cannot be read, or is no such network.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self._path, self._preprocessing = path, preprocessing or Preprocessing()
        data = _read(path)
        self._sha256 = hashlib.sha256(data).hexdigest()
        try:
            self._session = OnnxRuntimeSession(_safe(path, data), name="reader")
        except BackendError as error:
            raise _unusable(path, error.clause, remedy=error.remedy) from error
        self._size, width = self._interface()
        self.readings = _readings(names, width)

    def _interface(self) -> tuple[int | None, int]:
        """Return the size of the images, where it is stated, and the number of scores."""
        session = self._session
        shapes = [spec.shape for spec in (*session.inputs, *session.outputs)]
        kinds = {spec.dtype for spec in (*session.inputs, *session.outputs)}
        fits = len(session.inputs) == len(session.outputs) == 1 and kinds == {np.dtype(np.float32)}
        if not fits or [len(shape) for shape in shapes] != [4, 2] or shapes[0][1] not in (None, 3):
            stated = " → ".join(
                ", ".join(str(spec) for spec in specs)
                for specs in (session.inputs, session.outputs)
            )
            raise _unusable(
                self._path, f"it computes {stated}", expected="[N, 3, H, W] → [N, K], float32"
            )
        size, wanted = shapes[0][2], self._preprocessing.size
        if size != shapes[0][3] or (None not in (size, wanted) and size != wanted):
            raise ConfigError(
                f"{self._path} takes images of {shapes[0][2]} x {shapes[0][3]}",
                field="reader_size",
                value=wanted,
                expected="a square size, the same as the network's",
            )
        if size is not None and not _SIZES.start <= size < _SIZES.stop:
            raise _unusable(
                self._path,
                f"it takes images of {size} x {size}",
                expected=f"{_SIZES.start} to {_SIZES.stop - 1} pixels",
            )
        width = shapes[1][1]
        if width is None:
            width = self._run(np.zeros((1, 3, size or wanted or 64, size or wanted or 64))).shape[1]
        if not 1 <= width <= _MAX_SCORES:
            raise _unusable(self._path, f"it has {width} scores", expected=f"1 to {_MAX_SCORES}")
        return size or wanted, width

    def read(self, images: NDArray[np.float32]) -> Array:
        """Return scores [N, K] of images [N, 3, R, R] in [-1, 1]. Raises: DataError."""
        size = self._size or images.shape[-1]
        scores = self._run(self._preprocessing.apply(images, size))
        if not np.isfinite(scores).all():
            raise _unusable(
                self._path,
                "it returns scores that are not finite numbers",
                expected="finite scores",
            )
        return scores

    def _run(self, images: NDArray[Any]) -> Array:
        single = self._session.inputs[0].shape[0] == 1
        parts = np.split(images, len(images)) if single else [images]
        name, out = self._session.inputs[0].name, self._session.outputs[0].name
        try:
            found = [self._session.run({name: part.astype(np.float32)})[out] for part in parts]
        except (BackendError, ConfigError) as error:
            raise _unusable(self._path, error.clause, remedy=error.remedy) from error
        return np.concatenate(found).astype(np.float64)

    def describe(self) -> dict[str, Any]:
        """Return what a bundle's provenance says of the reader."""
        each = self._preprocessing
        return {
            "kind": "onnx",
            "file": self._path.name,
            "sha256": self._sha256,
            "scores": [reading.name for reading in self.readings],
            "size": self._size,
            "range": [each.low, each.high],
            "mean": list(each.mean),
            "std": list(each.std),
        }


def _read(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise _unusable(path, "it is not a regular file", expected="an .onnx file")
        if found.st_size > _MAX_BYTES:
            raise _unusable(path, f"it has {found.st_size} bytes", f"at most {_MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, f"it cannot be read: {error.strerror}") from None


def _safe(path: Path, data: bytes) -> SafeModel:
    """Return the model, written again from what was read, if it neither loops nor reads files."""
    try:
        model = onnx.load_from_string(data)
    except DecodeError:
        raise _unusable(path, "it is not an ONNX model", expected="an .onnx file") from None
    problem = None
    domains = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if model.functions or model.graph.sparse_initializer:
        problem = "it has functions or sparse weights"
    elif domains:
        problem = f"it has operators of {sorted(domains)[0]!r}"
    for node in model.graph.node:
        tensors = [each.t for each in node.attribute if each.HasField("t")]
        if any(each.HasField("g") or each.graphs for each in node.attribute):
            problem = f"its operator {node.op_type} has a sub-graph"
        elif any(map(_is_external, tensors)):
            problem = "it has weights in another file"
    if any(map(_is_external, model.graph.initializer)):
        problem = "it has weights in another file"
    if problem is not None:
        raise _unusable(path, problem, expected="operators of ai.onnx, with all weights inside")
    return SafeModel(model.SerializeToString(deterministic=True))


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.external_data) or tensor.data_location != onnx.TensorProto.DEFAULT


def _readings(names: Sequence[str] | None, width: int) -> tuple[Reading, ...]:
    names = [f"score {number}" for number in range(width)] if names is None else list(names)
    if len(names) != width or len({name.casefold() for name in names}) != width:
        raise ConfigError(
            f"{len(names)} names are given for {width} scores",
            field="names",
            value=",".join(names),
            expected=f"{width} different names",
        )
    for name in names:
        check_name(name)
    sd = math.nan  # It is measured on the generator's images.
    return tuple(Reading(name, "continuous", at, sd=sd) for at, name in enumerate(names))


def _unusable(path: Path, problem: str, expected: str = "", remedy: str = "") -> DataError:
    """Return the error of a file that is no reader."""
    return DataError(
        f"{path} cannot be used as a reader: {problem}",
        field="reader",
        value=path,
        expected=expected,
        remedy=remedy,
    )
