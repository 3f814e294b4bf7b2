"""The interface of a metric: its name, its inputs, and its computation from a context.

A metric that compares features of images returns them from ``requests``; the context then makes
every image once for all metrics, in one pass. A metric that makes its own images (path lengths, for
example) requests nothing and uses ``context.model``. Importing this module needs no torch.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from segan.runtime.errors import ConfigError, DataError
from segan.train.measure.quality.features import DetectorKind, Request
from segan.train.measure.quality.record import DataRecord

if TYPE_CHECKING:
    from segan.train.measure.quality.context import MetricContext

Need = Literal["required", "optional", "unused"]

#: Low and high end of a 95 % interval.
Ends = tuple[float, float]


class Score(NamedTuple):
    """The result of a metric.

    Attributes:
        value: the metric's main number.
        values: all numbers by name, for a metric that has several; else empty.
        interval: of the value, for a metric that resamples its seeds itself.
        intervals: of the numbers by name, for such a metric.
    """

    value: float
    values: dict[str, float]
    interval: Ends | None = None
    intervals: Mapping[str, Ends] = MappingProxyType({})


def count_of(text: str) -> int:
    """Read a number of a name: ``50k`` → 50000, ``500`` → 500."""
    return int(text[:-1]) * 1000 if text.endswith("k") else int(text)


def check_n(name: str, n: int, fewest: int) -> None:
    """Raise ConfigError unless a metric's n is at least ``fewest``."""
    if n < fewest:
        raise ConfigError(
            f"{name} has n = {n}", field="metrics", value=name, expected=f"n of {fewest} or more"
        )


class Metric(abc.ABC):
    """One metric with its n.

    Attributes:
        name: as the user wrote it, such as ``fid5k_full``.
        n: generated images, or pairs of them.
        data: whether a data set is needed.
        detector: the network that it uses; None for none.
        labels: whether every image of the data needs a class.
        less_is_better: whether lower values are better.
        default_n: n of a name without n; None where names have one.
    """

    data: ClassVar[Need] = "required"
    detector: ClassVar[DetectorKind | None] = None
    labels: ClassVar[bool] = False
    less_is_better: ClassVar[bool] = True
    default_n: ClassVar[int | None] = None

    def __init__(self, name: str, n: int) -> None:
        self.name, self.n = name, n

    @classmethod
    def from_name(cls, name: str, groups: Mapping[str, str | None]) -> Metric:
        """Build the metric of a name.

        Args:
            name: as the user wrote it.
            groups: of the family's pattern; see ``MetricFamily``.

        Raises:
            ConfigError: a number is out of range.
        """
        return cls(name, cls.n_of(groups))

    @classmethod
    def n_of(cls, groups: Mapping[str, str | None]) -> int:
        """Return n from a name's groups, else ``default_n``."""
        text = groups["n"]
        if text is not None:
            return count_of(text)
        assert cls.default_n is not None, "the family's pattern calls for n"
        return cls.default_n

    @property
    def seeds_used(self) -> int:
        """Number of consecutive seeds that the metric uses."""
        return self.n

    def requests(self, *, resample: bool) -> tuple[Request, ...]:
        """Return what ``compute`` needs from the context.

        Args:
            resample: whether ``resampled`` will be called, which may need rows.
        """
        return ()

    def check(self, context: MetricContext) -> None:
        """Check what can be checked before images are made.

        Raises:
            DataError: the data is missing, has too few images, or no labels.
            ConfigError: the metric cannot be computed for this generator.
        """
        if self.data == "required" or self.labels:
            data = context.dataset(self.name)
            if self.labels and data.labels is None:
                raise DataError(
                    f"{self.name} needs a class for every image, and {data.name!r} has no labels",
                    field="data",
                    value=data.name,
                    remedy="Give labels in its dataset.json, or put the images into one folder per "
                    "class and convert it to "
                    f"{data.resolution} x {data.resolution} ('segan data convert').",
                )
        if self.detector == "faces":
            self._check_faces(context)

    def _check_faces(self, context: MetricContext) -> None:
        """Raise ConfigError unless the attribute network can read the generator's images."""
        manifest = context.model.manifest
        if manifest.img_channels != 3:
            raise ConfigError(
                f"{self.name} reads colours, and the generator makes grey images",
                field="img_channels",
                value=manifest.img_channels,
                expected="3 (RGB)",
            )
        size = context.detectors.faces().network.resolution
        if manifest.resolution % size:
            raise ConfigError(
                f"{self.name}: the attribute network reads images of {size} x {size}, and the "
                f"generator makes {manifest.resolution} x {manifest.resolution}",
                field="resolution",
                value=manifest.resolution,
                expected=f"a multiple of {size}",
            )

    def resize(self, context: MetricContext) -> str:
        """Return how images are resized for the detector, in words, for the record."""
        return "none" if self.detector is None else context.detectors.get(self.detector).resize

    def settings(self, context: MetricContext) -> dict[str, Any]:
        """Return further settings that the value depends on, for the record."""
        return {}

    def real_images(self, context: MetricContext) -> DataRecord | None:
        """Return the record of the real images that are compared; None for none."""
        if self.data == "unused" or context.data is None:
            return None
        data = context.data
        return DataRecord(name=data.name, fingerprint=data.fingerprint, images=len(data))

    @abc.abstractmethod
    def compute(self, context: MetricContext) -> Score:
        """Compute the score.

        Raises:
            SeganError: the data, the detector or the generator cannot be used.
        """

    def resampled(
        self, context: MetricContext, weights: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64] | None:
        """Compute the value for resampled seeds.

        Args:
            context: that ``compute`` was called with before.
            weights: [B, n] how often each of the n images (or pairs) was drawn.

        Returns:
            [B] values; None for a metric that cannot be resampled.
        """
        return None
