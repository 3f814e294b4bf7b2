"""Batch generation: compute, encode and write at the same time, in constant memory.

The calling thread computes. A pool of threads encodes (Pillow and zlib release the interpreter's
lock) and writes image files; with shards, one more thread appends the encoded images in order. A
queue of bounded length between them keeps the computation from running ahead.

The same request continues an interrupted batch, even one that was killed. Image files and shards
are written completely or not at all, and existing ones are kept. The seeds of a batch are computed
together as before, so the files have the same bytes as those of an uninterrupted run.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from segan.runtime.batch.plan import BatchPlan, BatchRequest, Part
from segan.runtime.batch.record import claim_folder
from segan.runtime.batch.writers import ShardFormat, open_shard, shard_payload
from segan.runtime.files.atomic import atomic_file, make_folder, sync_folder, write_atomic
from segan.runtime.files.lock import locked
from segan.runtime.generate.generator import Generator
from segan.runtime.latents.options import check_count
from segan.runtime.machine.cores import usable_cores
from segan.runtime.pictures.encode import encode_image

Payload = bytes | NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """Result of a batch.

    Attributes:
        folder: the folder with the images.
        requested: number of seeds.
        written: images that this run wrote.
        found: images of an earlier run.
        seconds: wall time of this run.
    """

    folder: Path
    requested: int
    written: int
    found: int
    seconds: float


#: A seed and its encoded image.
_Job = tuple[int, "Future[Payload]"]


class _EndedError(Exception):
    """Ends the writing thread when the batch ends early; not raised outside this file."""


def generate_batch(
    generator: Generator,
    request: BatchRequest,
    folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
    overwrite: bool = False,
    on_start: Callable[[int, int], None] | None = None,
    on_written: Callable[[int], None] | None = None,
) -> BatchResult:
    """Write the images of ``request`` to ``folder``, or those that are missing there.

    The folder also holds ``generation.json``, the record of the request. Image files are
    ``seed000017.png``, in sub-folders ``0001/`` named seed // 10,000 when the request holds more
    than 10,000 seeds; shards are ``shard-000000.tar``.

    Args:
        generator: an open bundle.
        request: what to generate. Another batch size, thread count or machine may change an image
            within the backend's tolerance, as everywhere.
        folder: made when missing.
        workers: encoding threads; None is one for each core, 8 at most.
        overwrite: remove an earlier batch's images from the folder first.
        on_start: called once with the number of missing images and of those found.
        on_written: called from another thread with the number of images just written.

    Raises:
        ConfigError: an argument is out of its range, a seed is given twice, or the folder holds
            another batch.
        OutputError: the disk is full or the folder cannot be written; no partial file remains.
    """
    if workers is not None:
        check_count("workers", workers)
    start = time.perf_counter()
    plan = BatchPlan(generator, request, Path(folder))
    # An image is computed before anything is written, so that errors leave the folder unchanged.
    if len(request.seeds):
        next(plan.compute([request.seeds[:1]]))
    make_folder(folder)
    with locked(plan.folder):
        known = claim_folder(
            plan.folder, plan.record(), plan.default_options(), overwrite=overwrite
        )
        found = plan.count_present() if known else 0
        if on_start is not None:
            on_start(len(request.seeds) - found, found)
        written = 0
        if found < len(request.seeds):
            written = _Pipeline(plan, workers, on_written).run()
        sync_folder(plan.folder)
    return BatchResult(
        folder=plan.folder,
        requested=len(request.seeds),
        written=written,
        found=found,
        seconds=time.perf_counter() - start,
    )


class _Pipeline:
    """Runs one batch: the caller computes, a pool encodes, a thread writes in order.

    For each part the queue carries the part, its jobs and None, and one more None at the end.
    """

    def __init__(
        self, plan: BatchPlan, workers: int | None, on_written: Callable[[int], None] | None
    ) -> None:
        self._plan = plan
        self._workers = workers or min(8, usable_cores())
        self._on_written = on_written
        self._written = 0
        # Two batches keep every thread busy. The bound also limits the memory.
        self._queue: queue.Queue[Part | _Job | None] = queue.Queue(2 * plan.batch_size)
        self._ended = threading.Event()

    def run(self) -> int:
        """Run the batch and return the number of images written. Raises the error of any thread."""
        pool = ThreadPoolExecutor(self._workers, "segan-encode")
        writer = ThreadPoolExecutor(1, "segan-write")
        writing = writer.submit(self._write)
        try:
            self._produce(pool)
            writing.result()
        finally:
            # After an error, no thread may wait for items that will not arrive.
            self._ended.set()
            pool.shutdown(cancel_futures=True)
            while not writing.done():
                self._drain()
                with contextlib.suppress(queue.Full):
                    self._queue.put(None, timeout=0.01)
            writer.shutdown()
        return self._written

    def _produce(self, pool: ThreadPoolExecutor) -> None:
        """Compute the missing images and queue them, until done or until the writer fails."""
        plan = self._plan
        # Parts, and the chunks that the backend has taken, in the queue's order.
        begun: collections.deque[Part | tuple[Sequence[int], list[int]] | None]
        begun = collections.deque()

        def chunks() -> Iterator[Sequence[int]]:
            for part in plan.parts():
                if part.shard is not None and plan.is_present(plan.shard_path(part.shard)):
                    continue
                begun.append(part)
                for first in range(0, len(part.seeds), plan.batch_size):
                    seeds = part.seeds[first : first + plan.batch_size]
                    missing = [
                        i
                        for i, seed in enumerate(seeds)
                        if part.shard is not None or not plan.is_present(plan.path(seed))
                    ]
                    if self._ended.is_set():
                        return
                    if missing:
                        # The whole batch is computed again even for one missing image, since a
                        # session may round differently in a batch of another size.
                        begun.append((seeds, missing))
                        yield seeds
                begun.append(None)

        for images in plan.compute(chunks()):
            while not isinstance(entry := begun.popleft(), tuple):
                self._put(entry)
            seeds, missing = entry
            for i in missing:
                self._put((seeds[i], pool.submit(self._encode, seeds[i], images[i])))
        for entry in begun:
            assert not isinstance(entry, tuple)
            self._put(entry)
        self._put(None)

    def _put(self, item: Part | _Job | None) -> None:
        """Put an item into the queue; waits for room unless the writer has failed."""
        while not self._ended.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()

    def _encode(self, seed: int, image: NDArray[np.uint8]) -> Payload:
        """Encode one image. Image files are written here as well, since their order is free."""
        plan = self._plan
        if plan.request.sharded:
            return shard_payload(image, cast(ShardFormat, plan.request.format), plan.encoding)
        write_atomic(plan.path(seed), encode_image(image, plan.encoding), sync=False)
        return None

    def _write(self) -> None:
        """Write part after part, in the writing thread, until done or until something fails."""
        try:
            while isinstance(part := self._queue.get(), Part):
                if part.shard is None:
                    for _seed, future in self._jobs():
                        future.result()
                        self._count(1)
                else:
                    self._write_shard(part, part.shard)
        except _EndedError:
            pass
        finally:
            self._ended.set()

    def _write_shard(self, part: Part, number: int) -> None:
        plan = self._plan
        shard_format = cast(ShardFormat, plan.request.format)
        with (
            atomic_file(plan.shard_path(number)) as file,
            open_shard(file, shard_format, len(part.seeds), plan.image_shape) as add,
        ):
            for seed, future in self._jobs():
                payload = future.result()
                assert payload is not None
                add(seed, payload)
        self._count(len(part.seeds))

    def _jobs(self) -> Iterator[_Job]:
        """The jobs of the current part. Raises _EndedError when the batch ends early."""
        while (item := self._queue.get()) is not None:
            if self._ended.is_set():
                raise _EndedError
            assert isinstance(item, tuple)
            yield item
        if self._ended.is_set():
            raise _EndedError

    def _count(self, images: int) -> None:
        self._written += images
        if self._on_written is not None:
            self._on_written(images)
