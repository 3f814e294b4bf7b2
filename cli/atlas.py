"""``segan atlas``: a page that shows what every slider of a bundle does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segan.cli.options import (
    BundleSource,
    batch_size_option,
    bundle_options,
    class_option,
    json_option,
    newest_bundle,
    seeds_option,
)
from segan.cli.output import Output, overwrite_option
from segan.cli.progress import Progress, progress
from segan.cli.standard_streams import echo
from segan.runtime.bundle.classes import example_class
from segan.runtime.commands import command as segan
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList

if TYPE_CHECKING:
    from segan.runtime.atlas import Atlas, AtlasConfig
    from segan.runtime.atlas.cards import PageCommands
    from segan.runtime.atlas.proposals import Proposal
    from segan.runtime.bundle.layout import Slider
    from segan.runtime.generate.generator import Generator

#: Maximum number of sliders that the command lists.
_MOST_LISTED = 8
#: Key of the context's metadata for the words after ``segan atlas``.
_TYPED = "segan.cli.atlas.typed"


class _AtlasCommand(click.Command):
    """Keeps the typed words: the page shows the command that made it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = list(args)
        return super().parse_args(ctx, args)


@click.command("atlas", cls=_AtlasCommand, epilog="Example: segan atlas faces.segan -o atlas")
@seeds_option("0-15", "Seeds that every slider is measured on, 2 or more.")
@click.option(
    "--shown", type=int, default=4, show_default=True, help="How many of the seeds are drawn."
)
@click.option(
    "--steps", type=int, default=7, show_default=True, help="Strengths over a slider's range."
)
@click.option(
    "--max",
    "max_sliders",
    type=int,
    default=96,
    show_default=True,
    help="Maximum number of sliders to show: those that change images most.",
)
@click.option(
    "--psi", type=float, default=1.0, show_default=True, help="Truncation, 0 to 1; 1 is off."
)
@class_option("all in turn", "Class of a conditional generator, by name or number from 0.")
@click.option("--hidden", is_flag=True, help="Also show sliders hidden by 'segan name --hide'.")
@click.option(
    "--propose/--no-propose",
    default=None,
    show_default="if possible",
    help="Propose names for sliders, for generators of the built-in faces.",
)
@click.option(
    "--write-names",
    is_flag=True,
    help="Write the proposed names of unnamed sliders into the bundle.",
)
@click.option(
    "--copy",
    "named_copy",
    type=click.Path(path_type=Path),
    default=None,
    show_default="BUNDLE itself",
    help="With --write-names: write the names into a copy, NAME.segan, and leave BUNDLE unchanged.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="atlas, or the next free name",
    help="Folder of the page.",
)
@overwrite_option
@batch_size_option
@bundle_options
@json_option
def command(
    source: BundleSource,
    seeds: SeedList,
    shown: int,
    steps: int,
    max_sliders: int,
    psi: float,
    class_index: int | str | None,
    hidden: bool,
    propose: bool | None,
    write_names: bool,
    named_copy: Path | None,
    out: Path | None,
    overwrite: bool,
    batch_size: int,
    as_json: bool,
) -> None:
    """Show what every slider of BUNDLE does, or of the newest bundle under this folder.

    Moves each slider over its range for the same seeds, measures how much of the image changes and
    where, ranks the sliders, groups near-duplicates, and writes OUT/index.html: a page of pictures,
    with commands that name, limit and hide a slider. OUT/sheets holds a PNG for each subspace,
    OUT/atlas.json all figures. Works for every bundle with sliders; 'segan directions' adds sliders
    to a bundle without any.
    """
    from segan.runtime.atlas import AtlasConfig
    from segan.runtime.atlas.record import with_proposals
    from segan.runtime.atlas.write import PAGE, check_atlas_folder, write_atlas
    from segan.runtime.bundle.shipped import is_shipped
    from segan.runtime.bundle.writer import check_replaceable, check_suffix

    if named_copy is not None and not write_names:
        raise ConfigError(
            "`named_copy` is given without `write_names`",
            field="named_copy",
            value=named_copy,
            expected="both or neither",
        )
    if write_names and propose is False:
        raise ConfigError(
            "--write-names and --no-propose exclude each other", field="propose", value=propose
        )
    config = AtlasConfig(
        seeds=seeds,
        shown=shown,
        steps=steps,
        max_sliders=max_sliders,
        psi=psi,
        class_index=class_index,
        hidden=hidden,
        batch_size=batch_size,
    )
    if named_copy is not None:
        check_suffix(named_copy)
        check_replaceable(named_copy, overwrite=overwrite)
    out = Output(out, overwrite).folder("atlas", check_atlas_folder)
    path = source.path or newest_bundle()
    if write_names and named_copy is None and is_shipped(path):
        raise ConfigError(
            f"{path.name} ships with segan and cannot be changed",
            field="path",
            value=path,
            remedy=f"Write a copy: `named_copy {path.name}`",
        )
    generator = replace(source, path=path).open()
    config.check(generator.manifest)
    proposals: dict[Slider, Proposal] = {}
    remark, given = "", 0
    if propose is not False:
        from segan.train.measure.control.name_proposals import give_names, propose_names

        required = propose is True or write_names
        with _counted("sliders", "reading attributes") as (on_total, on_done):
            proposals, remark = propose_names(
                generator, required=required, on_total=on_total, on_sliders=on_done
            )
        echo(f"names: {remark}", err=True)
        if write_names:
            path, given = give_names(generator, proposals, named_copy, overwrite=overwrite)
            generator.close()
            generator = replace(source, path=path).open()
    atlas = with_proposals(_measured(generator, config), proposals, remark)
    commands = _commands(atlas, path)
    write_atlas(atlas, out, commands)
    page = out / PAGE
    if as_json:
        echo(json.dumps({"page": str(page), "named": given, **atlas.to_json()}))
    else:
        _summarize(atlas, page, given, path, commands)


def _measured(generator: Generator, config: AtlasConfig) -> Atlas:
    """Measure the atlas and show the progress."""
    from segan.runtime.atlas import measure_atlas

    with _counted("images", "measuring") as (on_total, on_images):
        return measure_atlas(generator, config, on_total=on_total, on_images=on_images)


@contextlib.contextmanager
def _counted(
    unit: str, description: str
) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Yield two callbacks that show progress: for the total, and for each step done."""
    with contextlib.ExitStack() as stack:
        bars: list[Progress] = []

        def on_total(total: int) -> None:
            bars.append(stack.enter_context(progress(total, unit, description)))

        def on_done(count: int) -> None:
            bars[0].update(count)

        yield on_total, on_done


def _commands(atlas: Atlas, path: Path) -> PageCommands:
    """The page's commands, as typed in this folder."""
    from segan.runtime.atlas.cards import PageCommands
    from segan.runtime.bundle.shipped import is_shipped

    # Commands find the shipped bundle by themselves; its names go into a copy.
    shipped = is_shipped(path)
    # The page exists by the time that its own command is pasted.
    typed = click.get_current_context().meta[_TYPED]
    return PageCommands(
        bundle="" if shipped else str(path),
        copy=path.name if shipped else "",
        label=_label(atlas),
        made_by=segan("atlas", *typed, *([] if "--overwrite" in typed else ["--overwrite"])),
        psi=atlas.config.psi,
    )


def _label(atlas: Atlas) -> str | None:
    """The class that the page's commands name: the given one, or the first."""
    given = atlas.config.class_index
    if given is None:
        return example_class(atlas.labels) if atlas.labels else None
    return str(given)


def _summarize(atlas: Atlas, page: Path, given: int, path: Path, commands: PageCommands) -> None:
    """Print the best sliders and what to do next."""
    if given:
        echo(f"{path}: {given} sliders named.")
    left = f", {atlas.left_out} weaker sliders left out (--max)" if atlas.left_out else ""
    hidden = f", {atlas.hidden} hidden (--hidden)" if atlas.hidden else ""
    echo(
        f"{page}: {len(atlas.sliders)} sliders, {atlas.dead} dead, {atlas.duplicates} "
        f"near-duplicate{'' if atlas.duplicates == 1 else 's'}{left}{hidden}."
    )
    for entry in atlas.sliders[:_MOST_LISTED]:
        figures, name = entry.figures, entry.name or ""
        if entry.proposal is not None and not name:
            name = f"{entry.proposal.name}?"
        echo(
            f"  {entry.rank:>2}. {entry.slider!s:<8} {name:<18} effect {figures.effect:.2f}, "
            f"locality {figures.locality:.2f}"
        )
    echo(f"next: open {page} in a browser; {commands.sweep(atlas.sliders[0])}")
