"""What a metric is: its name, what it needs, and how it is computed from a context.

A metric that compares features of images says which in ``requests``; the context then makes every
image once for all metrics, in one pass. A metric that makes images of its own (path lengths, say)
requests nothing and uses ``context.model``. Importing this module needs no torch.
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

#: Low and high end of an interval that holds 95 %.
Ends = tuple[float, float]


class Score(NamedTuple):
    """What a metric found.

    Attributes:
        value: the number that the metric is known for.
        values: all of its numbers by name, for a metric that has several; else empty.
        interval: of the value, for a metric that resamples its seeds itself.
        intervals: of its numbers by name, likewise.
    """

    value: float
    values: dict[str, float]
    interval: Ends | None = None
    intervals: Mapping[str, Ends] = MappingProxyType({})


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
        detector: the network that it computes with; None for none of these.
        labels: whether every image of the data needs a class.
        less_is_better: which way the value improves.
    """

    data: ClassVar[Need] = "required"
    detector: ClassVar[DetectorKind | None] = None
    labels: ClassVar[bool] = False
    less_is_better: ClassVar[bool] = True

    def __init__(self, name: str, n: int) -> None:
        self.name, self.n = name, n

    @property
    def seeds_used(self) -> int:
        """How many seeds in a row it takes, from the first."""
        return self.n

    def requests(self, *, resample: bool) -> tuple[Request, ...]:
        """The features that ``compute`` takes from the context.

        Args:
            resample: whether ``resampled`` will be called, which may need rows.
        """
        return ()

    def check(self, context: MetricContext) -> None:
        """Looks at what is cheap to see before anything is computed.

        Raises:
            DataError: the data has too few images, or no labels.
            ConfigError: the generator does not fit.
        """
        if self.data == "required" or self.labels:
            data = context.dataset(self.name)
            if self.labels and data.labels is None:
                raise DataError(
                    f"{self.name} needs a class for every image, and {data.name!r} has no labels",
                    field="data",
                    value=data.name,
                    remedy="Give labels in its dataset.json, or put the images into one folder per "
                    "class and run: segan data convert FOLDER OUT.zip --resolution "
                    f"{data.resolution}",
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
        """What is done to images before the detector sees them, for the record."""
        return "none" if self.detector is None else context.detectors.get(self.detector).resize

    def settings(self, context: MetricContext) -> dict[str, Any]:
        """What else the number depends on, for the record: numbers and texts by name."""
        return {}

    def real_images(self, context: MetricContext) -> DataRecord | None:
        """The real images that were compared, for the record; None for none."""
        if self.data == "unused" or context.data is None:
            return None
        data = context.data
        return DataRecord(name=data.name, fingerprint=data.fingerprint, images=len(data))

    @abc.abstractmethod
    def compute(self, context: MetricContext) -> Score:
        """The score.

        Raises:
            SeganError: the data, the detector or the generator cannot be used.
        """

    def resampled(
        self, context: MetricContext, weights: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64] | None:
        """The value with each seed counted as often as it was drawn.

        Args:
            context: the one of ``compute``, which came before.
            weights: [B, n] how often each of the n images (or pairs) was drawn.

        Returns:
            [B] values; None for a metric that cannot be resampled.
        """
        return None
