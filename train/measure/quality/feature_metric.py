"""The base of metrics that compare features of generated and real images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from segan.runtime.errors import DataError
from segan.train.data.dataset import ImageDataset
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.features import FeatureRequest
from segan.train.measure.quality.metric import Metric, check_n
from segan.train.measure.quality.record import DataRecord

Rows = npt.NDArray[np.float32]


def too_few_images(user: str, data: ImageDataset, expected: str, remedy: str = "") -> DataError:
    """Return the error of a metric that needs more real images."""
    return DataError(
        f"{user} has too few real images: {data.name!r} has {len(data)}",
        field="data",
        value=len(data),
        expected=expected,
        remedy=remedy,
    )


class FeatureMetric(Metric):
    """Compares features of n generated images with those of the real images.

    Args:
        name: as the user wrote it.
        n: generated images.
        full: compare with all real images; else with the first n.
    """

    #: Fewest generated or real images that the statistic is defined for.
    fewest: ClassVar[int] = 2
    #: Most real images that are compared.
    most_real: ClassVar[int | None] = None

    def __init__(self, name: str, n: int, *, full: bool = True) -> None:
        super().__init__(name, n)
        self.full = full
        check_n(name, n, self.fewest)

    @classmethod
    def from_name(cls, name: str, groups: Mapping[str, str | None]) -> Metric:
        """See ``Metric``."""
        return cls(name, cls.n_of(groups), full=groups["full"] is not None)

    def request(self) -> FeatureRequest:
        """Return the request for the rows of features."""
        assert self.detector is not None, "every feature metric has one"
        return FeatureRequest(
            detector=self.detector,
            form="rows",
            n=self.n,
            max_real=self.most_real if self.full else self.n,
        )

    def requests(self, *, resample: bool) -> tuple[FeatureRequest, ...]:
        """See ``Metric``."""
        return (self.request(),)

    def check(self, context: MetricContext) -> None:
        """See ``Metric``."""
        super().check(context)
        if self.data == "optional" and context.data is None and not self.full:
            return
        data = context.dataset(self.name)
        if len(data) < self.fewest:
            raise too_few_images(self.name, data, f"{self.fewest} images or more")
        if not self.full and len(data) < self.n:
            raise too_few_images(
                self.name,
                data,
                f"{self.n} images, as many as are generated",
                f"Use {self.name}_full, which takes all real images, or a smaller n.",
            )

    def real_images(self, context: MetricContext) -> DataRecord | None:
        """See ``Metric``."""
        found = super().real_images(context)
        if found is None or found.images is None:
            return found
        most = self.most_real if self.full else self.n
        return msgspec.structs.replace(found, images=min(found.images, most or found.images))

    def rows(self, context: MetricContext) -> tuple[Rows, Rows]:
        """Return the features (generated [n, D], real [m, D])."""
        request = self.request()
        generated, real = context.generated(request).rows, context.real(request).rows
        assert generated is not None
        assert real is not None
        return generated, real
