"""A bundle's images of inputs in files, computed in this process or in one of its own.

A process of its own holds neither PyTorch nor the generator, so that a model of 1024² has the
memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from segan.export.memory import frugal_memory
from segan.runtime.errors import BackendError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.machine.worker import Step, Worker, serve

Array = NDArray[np.float32]

#: Suffixes of the files, after the batch's name.
INPUTS, FOUND = ".inputs.npz", ".found.npy"


class ImagesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to compute; see ``compute_images``."""

    folder: str
    bundle: str
    backend: str
    precision: str


def compute_images(
    folder: Path,
    names: list[str],
    bundle: Path,
    backend: str,
    precision: str,
    *,
    own_process: bool,
) -> Iterator[str]:
    """Compute the images of every batch of a folder: NAME.inputs.npz → NAME.found.npy.

    Args:
        folder: holds the inputs: z, psi, noise, and labels and coords if the bundle has any.
        names: names of the batches, in order.
        bundle: the bundle.
        backend: backend of the runtime.
        precision: precision of the backend.
        own_process: start a process, which also runs the backend with ``low_memory``.

    Yields:
        Each name after its images are written; with ``own_process`` after all are written.

    Raises:
        BundleError: the bundle cannot be opened.
        BackendError: the backend failed, or its process did.
    """
    if own_process:
        request = ImagesRequest(
            folder=str(folder), bundle=str(bundle), backend=backend, precision=precision
        )
        task = "computed the bundle's images"
        with Worker(__name__, task=task, failure=BackendError) as worker:
            worker.ask(request, type(None))
        yield from names
        return
    with load(bundle, backend, precision=precision) as generator:
        for name in names:
            _compute(generator, folder, name)
            yield name


def _compute(generator: Generator, folder: Path, name: str) -> None:
    with np.load(folder / f"{name}{INPUTS}", allow_pickle=False) as found:
        inputs = dict(found)
    w = generator.map(inputs.pop("z"), inputs.pop("labels", None))
    ws, shifts = generator.style(w, inputs.pop("psi"), inputs.pop("coords", None))
    images = generator.synthesize(ws, shifts, inputs.pop("noise"))
    np.save(folder / f"{name}{FOUND}", images, allow_pickle=False)


def _compute_all(request: ImagesRequest, step: Step) -> None:
    """Compute the images of all batches in a folder; the work of the process."""
    folder = Path(request.folder)
    names = sorted(
        entry.name.removesuffix(INPUTS) for entry in os.scandir(folder) if INPUTS in entry.name
    )
    with (
        frugal_memory(),
        load(
            request.bundle, request.backend, precision=request.precision, low_memory=True
        ) as generator,
    ):
        for name in names:
            _compute(generator, folder, name)


if __name__ == "__main__":
    serve(ImagesRequest, _compute_all)
