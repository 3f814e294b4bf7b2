"""A bundle's images of given inputs, in files, so that a process of its own can compute them.

Such a process holds neither PyTorch nor the generator in its memory, which a model of 1024² needs
for itself.
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

#: What the names of the files end in; before it stands the batch's name.
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
    """Computes the images of every batch of a folder, NAME.inputs.npz, into NAME.found.npy.

    Args:
        folder: with the inputs: z, psi, noise, and labels and coords where there are any.
        names: of the batches, in order.
        bundle: the bundle.
        backend: of the runtime.
        precision: that it computes in.
        own_process: whether to start a process for it, in which the backend saves memory too.

    Returns:
        The names, each as soon as its images are there; with a process of its own in one piece.

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
