"""A bundle as a generator: seeds to images, sweeps, style mixing and latent walks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from segan.runtime.backends.graphs import BundleGraphs, open_graphs
from segan.runtime.backends.session import SessionConfig
from segan.runtime.bundle.attributes import resolve_names
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import Bundle, open_bundle
from segan.runtime.bundle.shipped import newest_or_shipped
from segan.runtime.generate.mix import mix
from segan.runtime.generate.renderer import Images, Renderer
from segan.runtime.generate.sweep import named_or_placed, sweep, sweep_grid, swept_slider
from segan.runtime.generate.walk import interpolate, with_first_class
from segan.runtime.latents.options import GenerationOptions, Options, Settings, show_options
from segan.runtime.latents.seeds import check_seeds, in_chunks

if TYPE_CHECKING:
    # Importing them needs zipfile, which a generation without latents does without.
    from segan.runtime.latents.files import Latents
    from segan.runtime.latents.readings import LatentSpace


def load(
    path: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    *,
    precision: str = "auto",
    threads: int | None = None,
    low_memory: bool = False,
    throughput: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> Generator:
    """Open a bundle for generating images.

    Args:
        path: a bundle; None takes the newest ``*.segan`` under the current folder, else the bundle
            that ships with segan.
        backend: ``auto``, the best backend that works here; or tensorrt, cuda, openvino or cpu.
        precision: ``auto``, which is fp16 on a GPU where the bundle has it, else fp32; or fp32,
            fp16, bf16 or int8.
        threads: CPU threads; None takes the physical cores that the process may use.
        low_memory: run with the least memory, at some cost in time.
        throughput: optimize for several threads that call at once; a single call is slower.
        cache: folder for compiled graphs; None compiles each time, except with TensorRT.

    Raises:
        BundleError: there is no bundle, it is damaged or altered, or its graphs do not fit its
            manifest.
        BackendError: the backend is missing or cannot load a graph.
        ConfigError: an unknown backend or precision, a precision that the bundle has no graph for,
            or ``threads`` below 1.
    """
    bundle = open_bundle(newest_or_shipped() if path is None else path)
    config = SessionConfig(
        threads=threads,
        low_memory=low_memory,
        throughput=throughput,
        cache=None if cache is None else Path(cache),
    )
    return Generator(bundle, open_graphs(bundle, backend, precision, config))


class Generator(Renderer):
    """Images of seeds from a bundle. Usable as a context manager; safe to share between threads.

    Attributes:
        bundle: the open bundle.
    """

    def __init__(self, bundle: Bundle, graphs: BundleGraphs) -> None:
        super().__init__(graphs)
        self.bundle = bundle

    def resolve(self, options: GenerationOptions) -> Settings:
        """Check options against the bundle, and resolve names of sliders. Raises: ConfigError."""
        sliders = resolve_names(self.bundle, options.sliders)
        return super().resolve(replace(options, sliders=sliders))

    def read_latents(
        self,
        path: str | os.PathLike[str],
        *,
        latent_space: LatentSpace | None = None,
        class_index: int | str | None = None,
    ) -> Latents:
        """Latents of an .npz or .npy file, to pass as ``latents``; z is mapped to w.

        Args:
            path: the file.
            latent_space: ``z``, ``w`` or ``w+``; None decides by the array's name and shape.
            class_index: class that z is mapped with, for a conditional generator.

        Returns:
            The latents; their ``notes`` say what could have been read in another way.

        Raises:
            DataError: the file is missing, damaged, unsafe or of another generator, or neither
                name nor shape tells the space.
            ConfigError: an unknown space, or a class is missing.
        """
        from segan.runtime.latents.files import read_latents

        return read_latents(
            Path(path),
            self.manifest,
            latent_space=latent_space,
            map_z=self.z_mapper(class_index),
        )

    @show_options
    def generate(self, seeds: int | Iterable[int], **options: Unpack[Options]) -> Images:
        """Images of seeds. The same seed gives the same latents in every batch.

        Args:
            seeds: integers from 0 to 4294967295.
            **options: as described by ``segan.runtime.GenerationOptions``, ``psi=0.7`` for example.

        Returns:
            [N, H, W, C] uint8.

        Raises:
            ConfigError: an argument is out of its range.
            BackendError: the backend failed.
        """
        return self.images(seeds, self.settings(**options))

    @show_options
    def generate_batches(
        self, seeds: int | Iterable[int], **options: Unpack[Options]
    ) -> Iterator[tuple[list[int], Images]]:
        """The images of ``generate``, batch by batch, computed lazily.

        Args:
            seeds: integers from 0 to 4294967295; may be endless.
            **options: as in ``generate``.

        Returns:
            An iterator over (seeds, [n, H, W, C] uint8), n = batch_size except in the last.

        Raises:
            ConfigError: an argument is out of its range; a seed is checked when its batch is
                computed.
            BackendError: the backend failed.
        """
        settings = self.settings(**options)
        wanted = seeds if isinstance(seeds, Iterable) else check_seeds(seeds)
        return self.batches(in_chunks(wanted, settings.options.batch_size), settings)

    @show_options
    def generate_chunks(
        self, chunks: Iterable[Sequence[int]], **options: Unpack[Options]
    ) -> Iterator[Images]:
        """As ``generate_batches``, for batches of given seeds.

        Args:
            chunks: the seeds of each batch, integers from 0 to 4294967295. The next one or two
                chunks may be taken before the images of a chunk are returned.
            **options: as in ``generate``; ``batch_size`` is not used.

        Returns:
            An iterator over [n, H, W, C] uint8.

        Raises:
            ConfigError: an argument is out of its range; a seed is checked when its batch is
                computed.
            BackendError: the backend failed.
        """
        settings = self.settings(**options)
        return (images for _, images in self.batches(map(check_seeds, chunks), settings))

    @show_options
    def sweep(
        self,
        seed: int,
        layer: int | None = None,
        dim: int | None = None,
        *,
        index: int = 0,
        attr: str | None = None,
        values: Iterable[float] | None = None,
        steps: int = 9,
        **options: Unpack[Options],
    ) -> Images:
        """One slider over its range, with everything else as drawn from the seed.

        The slider's value replaces the seed's own coordinate, so 0 is the mean along it.

        Args:
            seed: integer from 0 to 4294967295.
            layer: the slider's layer.
            dim: the slider's dim within its subspace.
            index: the subspace within the layer.
            attr: the slider's name, in place of layer, dim and index; range and values are then
                those of the name.
            values: the slider's values; None: ``steps`` values over its range.
            steps: number of values, 2 or more, when ``values`` is None.
            **options: as in ``generate``.

        Returns:
            [len(values), H, W, C] uint8.

        Raises:
            ConfigError: an argument is out of its range.
            BackendError: the backend failed.
        """
        chosen = swept_slider(self.bundle, layer, dim, index, attr, options.get("sliders"))
        return sweep(self, self.settings(**options), seed, chosen, values, steps)

    @show_options
    def sweep_grid(
        self,
        seed: int,
        cols: Slider | str,
        rows: Slider | str,
        *,
        col_values: Iterable[float] | None = None,
        row_values: Iterable[float] | None = None,
        steps: int = 9,
        row_steps: int = 5,
        **options: Unpack[Options],
    ) -> Images:
        """Two sliders over their ranges, every value of one with every value of the other.

        Both values replace the seed's own coordinates.

        Args:
            seed: integer from 0 to 4294967295.
            cols: the slider that changes from column to column: a name, or ``L3N0D5``.
            rows: the slider that changes from row to row.
            col_values: values of ``cols``; None: ``steps`` values over its range.
            row_values: values of ``rows``; None: ``row_steps`` values over its range.
            steps: number of column values, 2 or more, when ``col_values`` is None.
            row_steps: number of row values, 2 or more, when ``row_values`` is None.
            **options: as in ``generate``.

        Returns:
            [len(row_values), len(col_values), H, W, C] uint8.

        Raises:
            ConfigError: an argument is out of its range, or both sliders are the same.
            BackendError: the backend failed.
        """
        others, settings = options.get("sliders"), self.settings(**options)
        across = named_or_placed(self.bundle, cols, others)
        down = named_or_placed(self.bundle, rows, others)
        return sweep_grid(
            self, settings, seed, across, down, col_values, row_values, steps, row_steps
        )

    @show_options
    def mix(
        self,
        rows: int | Iterable[int],
        cols: int | Iterable[int],
        *,
        layers: str | int | Iterable[int],
        cols_from: Literal["seeds", "latents"] = "seeds",
        **options: Unpack[Options],
    ) -> Images:
        """Style mixing: each row seed with some layers of each column seed.

        Args:
            rows: R seeds; they give the layers that are not in ``layers``, and random noise.
            cols: C seeds; they give w and the coordinates of ``layers``.
            layers: ``0-1,3`` or integers, 0 to the last layer.
            cols_from: used with latents: whether columns are ``seeds``, or positions in the
                ``latents`` as rows are.
            **options: as in ``generate``.

        Returns:
            [R, C, H, W, channels] uint8.

        Raises:
            ConfigError: an argument is out of its range.
            BackendError: the backend failed.
        """
        settings = self.settings(**options)
        return mix(self, settings, check_seeds(rows), check_seeds(cols), layers, cols_from)

    @show_options
    def interpolate(
        self,
        seeds: Iterable[int],
        frames: int,
        *,
        space: Literal["w", "z"] = "w",
        loop: bool = False,
        classes: Sequence[int | str] | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Images]:
        """A latent walk from seed to seed, frame by frame, computed lazily.

        Coordinates are interpolated linearly. All frames have the noise of the first seed.

        Args:
            seeds: two or more integers from 0 to 4294967295.
            frames: steps from one seed to the next, 1 or more.
            space: ``w``, linear, or ``z``, spherical.
            loop: continue from the last seed to the first, whose frame is not repeated.
            classes: classes to walk through, by name or number. The shorter one of seeds and
                classes is repeated until both have the same length. None: ``class_index`` is the
                class of all frames.
            **options: as in ``generate``.

        Returns:
            An iterator over [H, W, C] uint8: frames · (n - 1) + 1 frames, or frames · n with
            ``loop``, where n is the number of seeds or, if larger, of classes.

        Raises:
            ConfigError: an argument is out of its range; raised before any frame is computed.
            BackendError: the backend failed.
        """
        settings = self.resolve(with_first_class(GenerationOptions(**options), classes))
        return interpolate(self, settings, check_seeds(seeds), frames, space, loop, classes)
