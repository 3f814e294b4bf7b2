"""``segan atlas``: a page that shows what every slider of a bundle does."""

from __future__ import annotations

import contextlib
import json
import shlex
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
from segan.cli.progress import Progress, progress
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList

if TYPE_CHECKING:
    from segan.runtime.atlas import Atlas, AtlasConfig
    from segan.runtime.atlas.cards import PageCommands
    from segan.runtime.atlas.proposals import Proposal
    from segan.runtime.bundle.layout import Slider
    from segan.runtime.generate.generator import Generator

#: Sliders that the command itself lists.
_TOLD = 8
#: Where the context holds the words after ``segan atlas``.
_TYPED = "segan.cli.atlas.typed"


class _AtlasCommand(click.Command):
    """Keeps the words that were typed: the page shows the command that makes it."""

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
    help="Most sliders to show; of more, those that change images most.",
)
@click.option(
    "--psi", type=float, default=1.0, show_default=True, help="Truncation, 0 to 1; 1 is off."
)
@class_option("all in turn", "Class of a conditional generator, by name or number from 0.")
@click.option("--hidden", is_flag=True, help="Show sliders that 'segan name --hide' hid, too.")
@click.option(
    "--propose/--no-propose",
    default=None,
    show_default="where that can be done",
    help="Propose names for the sliders of a generator of the built-in faces.",
)
@click.option(
    "--write-names",
    is_flag=True,
    help="Give sliders without a name the proposed one, in the bundle.",
)
@click.option(
    "--copy",
    "named_copy",
    type=click.Path(path_type=Path),
    default=None,
    show_default="into BUNDLE itself",
    help="With --write-names: write NAME.segan with the names, and leave BUNDLE as it is.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("atlas"),
    show_default=True,
    help="Folder of the page; an atlas that is there is replaced.",
)
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
    out: Path,
    batch_size: int,
    as_json: bool,
) -> None:
    """Show what every slider of BUNDLE does, or of the newest bundle under this folder.

    Moves each slider over its range for the same seeds, measures how much of the image changes and
    where, ranks the sliders, groups those that do the same, and writes OUT/index.html: a page with
    pictures, to be opened in a browser, which also composes the commands that name, bound and hide
    a slider. OUT/sheets holds a PNG for each subspace, OUT/atlas.json all figures. Works for any
    bundle that has sliders; 'segan directions' adds some to one that has none.
    """
    from segan.runtime.atlas import AtlasConfig
    from segan.runtime.atlas.record import with_proposals
    from segan.runtime.atlas.write import PAGE, check_atlas_folder, write_atlas
    from segan.runtime.bundle.shipped import is_shipped

    if named_copy is not None and not write_names:
        raise ConfigError("--copy belongs to --write-names; expected both or neither.")
    if write_names and propose is False:
        raise ConfigError("--write-names and --no-propose exclude each other; expected one.")
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
    check_atlas_folder(out)
    path = source.path or newest_bundle()
    if write_names and named_copy is None and is_shipped(path):
        raise ConfigError(
            f"{path.name} ships with segan, and is not changed; expected --copy {path.name} beside "
            "--write-names."
        )
    generator = replace(source, path=path).open()
    config.check(generator.manifest)
    proposals: dict[Slider, Proposal] = {}
    remark, given = "", 0
    if propose is not False:
        from segan.cli.atlas_proposals import give_names, propose_names

        proposals, remark = propose_names(generator, required=propose is True or write_names)
        click.echo(f"names: {remark}", err=True)
        if write_names:
            path, given = give_names(generator, proposals, named_copy)
            generator.close()
            generator = replace(source, path=path).open()
    atlas = with_proposals(_measured(generator, config), proposals, remark)
    commands = _commands(atlas, path)
    write_atlas(atlas, out, commands)
    page = out / PAGE
    if as_json:
        click.echo(json.dumps({"page": str(page), "named": given, **atlas.to_json()}))
    else:
        _tell(atlas, page, given, path, commands)


def _measured(generator: Generator, config: AtlasConfig) -> Atlas:
    """The atlas, with its progress."""
    from segan.runtime.atlas import measure_atlas

    with contextlib.ExitStack() as stack:
        bar: list[Progress] = []

        def on_total(total: int) -> None:
            bar.append(stack.enter_context(progress(total, "images", "measuring")))

        return measure_atlas(
            generator, config, on_total=on_total, on_images=lambda images: bar[0].update(images)
        )


def _commands(atlas: Atlas, path: Path) -> PageCommands:
    """The commands as the reader would type them in this folder."""
    from segan.runtime.atlas.cards import PageCommands
    from segan.runtime.bundle.shipped import is_shipped

    # The shipped bundle is found without being named; its names go into a copy.
    shipped = is_shipped(path)
    return PageCommands(
        bundle="" if shipped else str(path),
        copy=path.name if shipped else "",
        label=atlas.labels[0] if atlas.labels else None,
        made_by=shlex.join(["segan", "atlas", *click.get_current_context().meta[_TYPED]]),
        psi=atlas.config.psi,
    )


def _tell(atlas: Atlas, page: Path, given: int, path: Path, commands: PageCommands) -> None:
    """What was found, on a few lines: the best sliders, and what to do next."""
    if given:
        click.echo(f"{path}: {given} sliders named.")
    dead = sum(entry.figures.dead for entry in atlas.sliders)
    twins = sum(not entry.leads for entry in atlas.sliders)
    left = f", {atlas.left_out} weaker ones left out (--max)" if atlas.left_out else ""
    hidden = f", {atlas.hidden} hidden (--hidden)" if atlas.hidden else ""
    click.echo(
        f"{page}: {len(atlas.sliders)} sliders, {dead} dead, {twins} "
        f"near-duplicate{'' if twins == 1 else 's'}{left}{hidden}."
    )
    for entry in atlas.sliders[:_TOLD]:
        figures, name = entry.figures, entry.name or ""
        if entry.proposal is not None and not name:
            name = f"{entry.proposal.name}?"
        click.echo(
            f"  {entry.rank:>2}. {entry.slider!s:<8} {name:<18} effect {figures.effect:.2f}, "
            f"locality {figures.locality:.2f}"
        )
    click.echo(f"next: open {page} in a browser; {commands.sweep(atlas.sliders[0])}")
