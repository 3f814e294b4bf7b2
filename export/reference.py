"""Reference images: the PyTorch generator's images of inputs that the bundle gets too.

The generator's own ``forward`` shares no code with the folding and lowering of the exported graphs.
Inputs and images are kept in files, since those of 1024² would fill the memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segan.export.bundle_images import INPUTS
from segan.runtime.bundle.classes import one_hot
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.errors import VerifyError
from segan.runtime.files.atomic import output_error
from segan.runtime.latents.draws import psi_row, sample_coords, sample_noise, sample_z

if TYPE_CHECKING:
    from segan.train.networks.family import Generator

Array = NDArray[np.float32]

#: Bytes of feature maps that the PyTorch generator may hold at once.
_MAP_BYTES = 1 << 28

EXPECTED = ".expected.npy"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Settings of the images that are compared.

    Attributes:
        psi: truncation strength.
        cutoff: last resolution that psi acts on; None for all.
        noise: ``const``, ``random`` or ``none``.
        coords: ``sampled``, ``moved`` (sampled, plus a value for every slider) or ``zero``.
    """

    psi: float
    cutoff: int | None
    noise: str
    coords: str

    def __str__(self) -> str:
        cutoff = "" if self.cutoff is None else f" to {self.cutoff}"
        return f"psi {self.psi:g}{cutoff}, coords {self.coords}, noise {self.noise}"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images that are computed at once.

    Attributes:
        name: name of its files.
        case: settings of its images.
    """

    name: str
    case: Case


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The generator's images, in files.

    Attributes:
        folder: holds NAME.inputs.npz and NAME.expected.npy for each batch.
        batches: the batches, in order.
        manifest: gives the shapes of the inputs.
        seeds: one for each image of a case.
        batch_sizes: the batches of each case.
        map_bytes: bytes of the largest feature map of one image.
    """

    folder: Path
    batches: tuple[Batch, ...]
    manifest: Manifest
    seeds: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    map_bytes: int

    def expected(self, batch: Batch) -> Array:
        """Return the generator's images of a batch, [N, C, R, R] float32."""
        found: Array = np.load(self.folder / f"{batch.name}{EXPECTED}", allow_pickle=False)
        return found


def verification_cases(resolution: int) -> tuple[Case, ...]:
    """Return the cases that are compared, each with every batch size."""
    middle = max(8, resolution // 4)
    return (
        Case(psi=1.0, cutoff=None, noise="const", coords="sampled"),
        Case(psi=0.7, cutoff=None, noise="random", coords="moved"),
        Case(psi=0.7, cutoff=middle, noise="none", coords="moved"),
        Case(psi=0.5, cutoff=None, noise="const", coords="zero"),
    )


def fresh_seeds(count: int, weights_sha256: str) -> list[int]:
    """Return seeds drawn from the checkpoint's hash: not chosen manually, and repeatable."""
    digest = hashlib.sha256(f"verify {weights_sha256}".encode()).digest()
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([*digest])))
    return [int(seed) for seed in random.randint(0, 2**32, size=count, dtype=np.uint64)]


def make_reference(
    generator: Generator,
    manifest: Manifest,
    folder: Path,
    *,
    seeds: Sequence[int],
    batch_sizes: Sequence[int] = (1, 3, 8),
    on_case: Callable[[str], None] | None = None,
) -> Reference:
    """Compute the generator's images.

    Args:
        generator: on the CPU, float32, in evaluation mode.
        manifest: manifest of the draft; only its shapes are used.
        folder: receives the files.
        seeds: Σ batch_sizes seeds, one for each image of a case.
        batch_sizes: sizes of the batches of each case.
        on_case: called with each case's name before it is computed.

    Raises:
        VerifyError: the images are not finite numbers.
        OutputError: the files cannot be written.
    """
    assert len(seeds) == sum(batch_sizes), "one seed for each image"
    constant: Array = generator.synthesis.noise_const().detach().numpy()
    network = generator.network
    largest = max(network.channels(site.resolution) * site.resolution**2 for site in network.sites)
    # A convolution holds its input, a scaled copy, its output, and copies within PyTorch.
    part = max(1, _MAP_BYTES // (largest * 4 * 6))
    batches: list[Batch] = []
    for case in verification_cases(manifest.resolution):
        if on_case is not None:
            on_case(str(case))
        for chunk in _split(seeds, batch_sizes):
            batch = Batch(name=f"batch{len(batches):02}", case=case)
            inputs = _inputs(manifest, case, chunk, constant)
            images = _run(generator, inputs, part)
            try:
                np.savez(folder / f"{batch.name}{INPUTS}", allow_pickle=False, **inputs)
                np.save(folder / f"{batch.name}{EXPECTED}", images, allow_pickle=False)
            except OSError as error:
                raise output_error(folder, error) from error
            batches.append(batch)
    return Reference(
        folder=folder,
        batches=tuple(batches),
        manifest=manifest,
        seeds=tuple(seeds),
        batch_sizes=tuple(batch_sizes),
        map_bytes=largest * 4,
    )


def _split(seeds: Sequence[int], batch_sizes: Sequence[int]) -> Iterator[Sequence[int]]:
    first = 0
    for size in batch_sizes:
        yield seeds[first : first + size]
        first += size


def _inputs(
    manifest: Manifest, case: Case, seeds: Sequence[int], constant: Array
) -> dict[str, Array]:
    """Return the inputs of one batch: z, psi, noise; labels and coords if the bundle has any."""
    n = len(seeds)
    psi = np.repeat(psi_row(manifest.sites, case.psi, case.cutoff)[None], n, axis=0)
    found = {"z": sample_z(seeds, manifest.z_dim), "psi": psi, "noise": constant}
    if manifest.num_subspaces:
        coords = sample_coords(seeds, manifest.subspaces, manifest.coords_dim)
        if case.coords == "zero":
            coords = np.zeros_like(coords)
        coords = coords * psi[:, [row.site for row in manifest.subspaces], None]
        if case.coords == "moved":
            # Every slider of every image gets a value of its own within the slider's range.
            unit = np.random.RandomState(seeds[0]).random_sample(coords.shape)
            for number, row in enumerate(manifest.subspaces):
                moves = row.low + (row.high - row.low) * unit[:, number, : row.dims]
                coords[:, number, : row.dims] += moves.astype(np.float32)
        found["coords"] = coords
    if manifest.c_dim:
        classes = [seed % manifest.c_dim for seed in seeds]
        found["labels"] = one_hot(classes, manifest.c_dim)
    if case.noise != "const":
        random = case.noise == "random"
        size = constant.shape[1]
        found["noise"] = sample_noise(seeds, size) if random else np.zeros_like(constant)
    return found


def _run(generator: Generator, inputs: dict[str, Array], part: int) -> Array:
    """Return the generator's images, computed ``part`` at a time."""
    import torch  # imported here: a process that only compares images does without

    images = []
    for first in range(0, len(inputs["z"]), part):
        # Noise may have one row for the whole batch.
        cut = {
            name: torch.from_numpy(value if len(value) == 1 else value[first : first + part])
            for name, value in inputs.items()
        }
        with torch.inference_mode():
            image = generator(
                cut["z"],
                cut.get("labels"),
                cut.get("coords"),
                psi=cut["psi"],
                noise=cut["noise"],
            )
        images.append(image.numpy())
    found = np.concatenate(images)
    if not np.isfinite(found).all():
        raise VerifyError(
            "the images of the checkpoint hold values that are not finite: the training diverged",
            field="checkpoint",
            remedy="Export an earlier checkpoint of the run.",
        )
    return found
