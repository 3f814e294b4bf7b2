"""The inputs of metrics: a generator's images, a data set, detectors, and their features.

Each image is made once for all metrics. The context collects the requests of all metrics, runs each
batch of images through each detector once, and keeps what was requested. Images are made in a
thread of their own, while the features of the previous batch are computed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import ConfigError, DataError
from segan.runtime.latents.seeds import MAX_SEED
from segan.train.data.dataset import ImageDataset
from segan.train.measure.models.model import MeasuredModel
from segan.train.measure.quality.background import in_background
from segan.train.measure.quality.detectors import Detector, DetectorSet
from segan.train.measure.quality.feature_cache import Arrays, cached_arrays
from segan.train.measure.quality.features import FeatureRequest, Request
from segan.train.measure.quality.gaussian import Gaussian, MomentSums, moments_of

Rows = NDArray[np.float32]

#: Seconds between two messages about the progress of resampling.
NOTE_S = 10.0


class Collected(NamedTuple):
    """Outputs of a detector in the requested form; the other form is None."""

    rows: Rows | None
    moments: Gaussian | None


class MetricContext:
    """Everything that a metric is computed from.

    Args:
        model: makes the generated images.
        detectors: the networks.
        data: the real images; None for none.
        first_seed: of the generated images.
        batch_size: images that a detector processes at once.
        on_images: called with the number of generated or real images that were just processed.
        on_note: called with a message for the user.

    Attributes:
        cache: what metrics keep between ``compute`` and ``resampled``, by the metric's name.
        details: results of metrics that are not scores, by name; see ``control_metrics``.
        requests: the requests that the context was prepared for.

    Raises:
        DataError: the data differs from the generator in size, channels or number of classes.
    """

    def __init__(
        self,
        model: MeasuredModel,
        detectors: DetectorSet,
        data: ImageDataset | None = None,
        *,
        first_seed: int = 0,
        batch_size: int = 64,
        on_images: Callable[[int], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self.model, self.detectors, self.data = model, detectors, data
        self.first_seed = first_seed
        self.cache: dict[str, Any] = {}
        self.details: dict[str, Any] = {}
        self.requests: tuple[Request, ...] = ()
        self.on_images = on_images or (lambda _: None)
        self.on_note = on_note or (lambda _: None)
        self._batch_size = batch_size
        # Not the callback itself: it may be replaced later.
        model.on_images = lambda count: self.on_images(count)
        self._generated: dict[FeatureRequest, Collected] = {}
        self._real: dict[tuple[Any, ...], Collected] = {}
        if data is not None:
            _check_data(data, model.manifest)
            if model.manifest.c_dim:
                model.class_shares = _class_shares(data, model.manifest.c_dim)

    def seeds(self, n: int) -> range:
        """Return the first n seeds. Raises: ConfigError when they exceed the largest seed."""
        if self.first_seed + n - 1 > MAX_SEED:
            raise ConfigError(
                f"`seed` is {self.first_seed}, and {n} seeds are needed from there",
                field="seed",
                value=self.first_seed,
                expected=f"a last seed of {MAX_SEED} at most",
            )
        return range(self.first_seed, self.first_seed + n)

    def dataset(self, user: str) -> ImageDataset:
        """Return the data set.

        Args:
            user: name of the metric that needs it, for the error.

        Raises:
            DataError: there is no data set.
        """
        if self.data is None:
            raise DataError(
                f"{user} needs real images to compare with",
                field="data",
                value=None,
                remedy="Pass `data PATH`.",
            )
        return self.data

    def prepare(self, requests: Iterable[Request]) -> None:
        """Compute the requested features, in one pass over the generated images.

        Args:
            requests: of all metrics that will be computed. Requests for codes are kept in
                ``requests`` for the metrics that compute them.

        Raises:
            SeganError: images or features cannot be made.
        """
        self.requests = tuple(dict.fromkeys(requests))
        features = [
            request
            for request in self.requests
            if isinstance(request, FeatureRequest) and request not in self._generated
        ]
        # Rows first: moments of the same images come from them, without a second pass.
        for request in sorted(features, key=lambda request: request.form != "rows"):
            if request.real:
                self.real(request)
        self._generate(features)

    def generated(self, request: FeatureRequest) -> Collected:
        """Return features of the generated images, computed if needed. Raises: SeganError."""
        if request not in self._generated:
            self._generate([request])
        return self._generated[request]

    def real(self, request: FeatureRequest) -> Collected:
        """Return features of the real images, from the cache if there. Raises: SeganError."""
        data = self.data
        assert data is not None, "the metric's check comes first"
        detector = self.detectors.get(request.detector)
        count = min(len(data), request.max_real or len(data))
        key = (request.detector, request.output, request.form, count)
        if key in self._real:
            return self._real[key]

        def compute() -> Arrays:
            known = self._real.get((request.detector, request.output, "rows", count))
            if request.form == "moments" and known is not None and known.rows is not None:
                return _to_arrays(Collected(None, moments_of(known.rows)))
            return self._real_features(data, detector, request, count)

        names = {
            "data": data.fingerprint,
            "detector": detector.record.sha256,
            "resize": detector.resize,
            "output": request.output,
            "form": request.form,
        }
        arrays = cached_arrays({**names, "images": count}, compute, on_note=self.on_note)
        self._real[key] = _from_arrays(arrays)
        return self._real[key]

    def resampling(self, name: str, total: int, unit: str = "resamples") -> Callable[[int], None]:
        """Report the progress of resampling to the user every ``NOTE_S`` seconds.

        Args:
            name: of the metric.
            total: number of units.
            unit: name of the units.

        Returns:
            A function to be called with the number of finished units.
        """
        reported = time.monotonic()

        def step(done: int) -> None:
            nonlocal reported
            if time.monotonic() - reported >= NOTE_S:
                reported = time.monotonic()
                self.on_note(f"{name}: {done} of {total} {unit}")

        return step

    def feature_batches(
        self, detector: Detector, batches: Iterable[NDArray[np.uint8]], output: Any = "features"
    ) -> Iterator[Rows]:
        """Return the features [n, D] float32 of each batch [n, C, H, W] uint8."""
        for batch in batches:
            yield self._run(detector, _as_rgb(batch), output)

    def _generate(self, requests: Sequence[FeatureRequest]) -> None:
        if not requests:
            return
        collectors = {request: _Collector(request.form, request.n) for request in requests}
        n = max(request.n for request in requests)
        done = 0
        with self.ahead(self._generated_batches(n)) as batches, self._few_threads(requests):
            for batch in batches:
                rgb = _as_rgb(batch)
                outputs: dict[tuple[Any, ...], Rows] = {}
                for request, collector in collectors.items():
                    if done >= request.n:
                        continue
                    key = (request.detector, request.output)
                    if key not in outputs:
                        detector = self.detectors.get(request.detector)
                        outputs[key] = self._run(detector, rgb, request.output)
                    collector.add(outputs[key][: request.n - done])
                done += len(batch)
                self.on_images(len(batch))
        for request, collector in collectors.items():
            self._generated[request] = collector.finish()

    def ahead(self, items: Iterator[Any]) -> contextlib.AbstractContextManager[Iterator[Any]]:
        """Return the items, made in a separate thread where that is faster.

        It is slower where both the images and the features are computed by PyTorch on the CPU:
        calls from two threads compete for the same cores.
        """
        if self.model.backend == "torch" and self.detectors.device.type == "cpu":
            return contextlib.nullcontext(items)
        return in_background(items)

    @contextlib.contextmanager
    def _few_threads(self, requests: Sequence[FeatureRequest]) -> Iterator[None]:
        """Give PyTorch one thread for a small network, while a backend uses all cores."""
        small = all(request.detector == "faces" for request in requests)
        beside = self.model.backend != "torch" and self.detectors.device.type == "cpu"
        before = torch.get_num_threads()
        if small and beside:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _generated_batches(self, n: int) -> Iterator[NDArray[np.uint8]]:
        """The images of the first n seeds, in batches [m, C, H, W]."""
        for images in self.model.images(self.seeds(n)):
            yield images.transpose(0, 3, 1, 2)

    def _real_features(
        self, data: ImageDataset, detector: Detector, request: FeatureRequest, count: int
    ) -> Arrays:
        collector = _Collector(request.form, count)
        size = self._batch_size
        parts = (
            np.asarray(data.images[start : min(start + size, count)])
            for start in range(0, count, size)
        )
        for rows in self.feature_batches(detector, parts, request.output):
            collector.add(rows)
            self.on_images(len(rows))
        return _to_arrays(collector.finish())

    @torch.inference_mode()
    def _run(self, detector: Detector, images: torch.Tensor, output: Any) -> Rows:
        parts = []
        for part in images.split(self._batch_size):
            parts.append(detector(part.to(self.detectors.device), output).cpu())
        rows: Rows = torch.cat(parts).numpy()
        if not np.isfinite(rows).all():
            raise DataError(
                f"{detector.record.name} returns values that are not finite",
                field="detector",
                value=detector.record.name,
                remedy="Use another file.",
            )
        return rows


class _Collector:
    """Collects n features as rows, or as sums for their moments."""

    def __init__(self, form: str, n: int) -> None:
        self._form, self._n = form, n
        self._rows: Rows = np.empty((0, 0), np.float32)
        self._filled = 0
        self._sums = MomentSums()

    def add(self, rows: Rows) -> None:
        if self._form == "moments":
            self._sums.add(rows)
            return
        if not self._filled:
            # All rows at once: joining parts at the end would need the memory twice.
            self._rows = np.empty((self._n, rows.shape[1]), np.float32)
        self._rows[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)

    def finish(self) -> Collected:
        if self._form == "moments":
            return Collected(None, self._sums.gaussian())
        assert self._filled == self._n, "every image was seen"
        return Collected(self._rows, None)


def _to_arrays(found: Collected) -> Arrays:
    if found.rows is not None:
        return {"rows": found.rows}
    assert found.moments is not None
    return {"mean": found.moments.mean, "covariance": found.moments.covariance}


def _from_arrays(arrays: Arrays) -> Collected:
    if "rows" in arrays:
        return Collected(arrays["rows"], None)
    return Collected(None, Gaussian(arrays["mean"], arrays["covariance"]))


def _as_rgb(images: NDArray[np.uint8]) -> torch.Tensor:
    """[N, C, H, W] → tensor [N, 3, H, W]; grey is repeated."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor.expand(-1, 3, -1, -1).contiguous() if tensor.shape[1] == 1 else tensor


def _check_data(data: ImageDataset, manifest: Manifest) -> None:
    size = manifest.resolution
    if data.resolution != size:
        raise DataError(
            f"data {data.name!r} is {data.resolution} x {data.resolution}, and the generator makes "
            f"{size} x {size}",
            field="data",
            value=data.resolution,
            expected=f"images of {size} x {size}",
            remedy=f"Convert the images with 'segan data convert' and --resolution {size}.",
        )
    if data.img_channels != manifest.img_channels:
        raise DataError(
            f"data {data.name!r} has {data.img_channels} channels, and the generator makes "
            f"{manifest.img_channels}",
            field="data",
            value=data.img_channels,
            expected=f"{manifest.img_channels} channels",
        )


def _class_shares(data: ImageDataset, count: int) -> NDArray[np.float64]:
    """Return how often each class is in the data, [count]. Raises: DataError."""
    if data.labels is None or len(data.class_names) != count:
        found = f"{len(data.class_names)} classes" if data.class_names else "no labels"
        raise DataError(
            f"the generator has {count} classes, which are drawn as often as in the data, and "
            f"{data.name!r} has {found}",
            field="data",
            value=len(data.class_names),
            expected=f"labels of {count} classes in its dataset.json",
        )
    return np.bincount(data.labels, minlength=count).astype(np.float64)
