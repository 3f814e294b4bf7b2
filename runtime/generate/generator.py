"""A bundle as a generator: seeds to images, sweeps, style mixing and latent walks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

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
    """Opens a bundle for generating images.

    Args:
        path: a bundle; None takes the newest ``*.segan`` under the current folder, or where there
            is none, the one that ships with segan.
        backend: ``auto``, the best that works here; or tensorrt, cuda, openvino or cpu.
        precision: ``auto``, which is fp16 on a GPU where the bundle has it, else fp32; or fp32,
            fp16, bf16 or int8.
        threads: CPU threads; None takes the physical cores that the process may use.
        low_memory: run with the least memory, which takes some time of each run.
        throughput: serve several threads that call at once, each slower by itself.
        cache: folder for what the backend compiles; None compiles anew each time, but for TensorRT.

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

    @show_options
    def generate(self, seeds: int | Iterable[int], **options: Unpack[Options]) -> Images:
        """Images of seeds. The same seed gives the same latents whatever else is in the batch.

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
        """The images of ``generate`` batch by batch, computed when they are asked for.

        Args:
            seeds: integers from 0 to 4294967295; may be endless.
            **options: as in ``generate``.

        Returns:
            An iterator over (seeds, [n, H, W, C] uint8), n = batch_size but in the last.

        Raises:
            ConfigError: an argument is out of its range; at once, but for seeds when it is their
                turn.
            BackendError: the backend failed.
        """
        settings = self.settings(**options)
        wanted = seeds if isinstance(seeds, Iterable) else check_seeds(seeds)
        return self.batches(in_chunks(wanted, settings.options.batch_size), settings)

    @show_options
    def generate_chunks(
        self, chunks: Iterable[Sequence[int]], **options: Unpack[Options]
    ) -> Iterator[Images]:
        """As ``generate_batches``, but the caller says which seeds lie side by side.

        Args:
            chunks: seeds of one batch each, integers from 0 to 4294967295. A chunk or two may be
                taken before the images of the one before are given.
            **options: as in ``generate``; ``batch_size`` is not used.

        Returns:
            An iterator over [n, H, W, C] uint8.

        Raises:
            ConfigError: an argument is out of its range; at once, but for seeds when it is their
                turn.
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
        """One slider moved over its range, everything else as the seed has it.

        The slider's value replaces the seed's own coordinate, so 0 is the mean along it.

        Args:
            seed: integer from 0 to 4294967295.
            layer: the slider's layer.
            dim: the slider's dim within its subspace.
            index: the subspace within the layer.
            attr: the slider's name, in place of layer, dim and index; range and values are then
                the name's.
            values: the slider's values; None: ``steps`` of them over its own range.
            steps: how many values, 2 or more, when ``values`` is None.
            **options: as in ``generate``.

        Returns:
            [len(values), H, W, C] uint8.

        Raises:
            ConfigError: an argument is out of its range, which the message names.
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
        """Two sliders moved over their ranges, every value of one with every value of the other.

        Both values replace the seed's own coordinates.

        Args:
            seed: integer from 0 to 4294967295.
            cols: the slider that changes from column to column: a name, or ``L3N0D5``.
            rows: the slider that changes from row to row.
            col_values: values of ``cols``; None: ``steps`` of them over its range.
            row_values: values of ``rows``; None: ``row_steps`` of them over its range.
            steps: how many values, 2 or more, when ``col_values`` is None.
            row_steps: how many values, 2 or more, when ``row_values`` is None.
            **options: as in ``generate``.

        Returns:
            [len(row_values), len(col_values), H, W, C] uint8.

        Raises:
            ConfigError: an argument is out of its range, which the message names, or both sliders
                are the same.
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
        """Style mixing: every row seed with some layers taken from every column seed.

        Args:
            rows: R seeds that give the other layers, and random noise.
            cols: C seeds that give ``layers``: their w and their coordinates.
            layers: ``0-1,3`` or integers, 0 to the last layer.
            cols_from: with latents: ``seeds``, columns are seeds all the same; ``latents``,
                columns are positions in them too.
            **options: as in ``generate``.

        Returns:
            [R, C, H, W, channels] uint8.

        Raises:
            ConfigError: an argument is out of its range, which the message names.
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
        """A latent walk from seed to seed, frame by frame, computed when it is asked for.

        Coordinates are interpolated linearly. Noise stays that of the first seed.

        Args:
            seeds: two or more integers from 0 to 4294967295.
            frames: steps from one seed to the next, 1 or more.
            space: ``w``, linear, or ``z``, spherical.
            loop: walk on from the last seed to the first, whose frame is not repeated at the end.
            classes: to walk through as well, by name or number: seeds and classes go in turn, the
                shorter list again and again. None is ``class_index`` all the way.
            **options: as in ``generate``.

        Returns:
            An iterator over [H, W, C] uint8: frames · (number of seeds - 1) + 1 of them, or
            frames · number of seeds with ``loop``; of classes, where these are more.

        Raises:
            ConfigError: an argument is out of its range, which the message names; at once.
            BackendError: the backend failed.
        """
        settings = self.resolve(with_first_class(GenerationOptions(**options), classes))
        return interpolate(self, settings, check_seeds(seeds), frames, space, loop, classes)
