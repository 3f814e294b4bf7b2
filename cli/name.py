"""``segan name``: the name of a slider, its range, and whether it is listed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segan.cli.option_values import parse_range
from segan.cli.options import json_option, newest_bundle
from segan.cli.output import overwrite_option
from segan.cli.standard_streams import echo
from segan.runtime.bundle.classes import class_words
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.sliders import parse_weights
from segan.runtime.commands import command as segan
from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    from segan.runtime.bundle.attributes import Attribute
    from segan.runtime.bundle.reader import Bundle


@click.command("name", epilog="Example: segan name faces.segan L3N0D5 smile --range -1.5,1.5")
@click.argument("words", nargs=-1, metavar="[BUNDLE] SLIDER [NAME] | NAME WEIGHTS")
@click.option(
    "--range",
    "limits",
    default=None,
    show_default="unchanged; at first the slider's own",
    metavar="LOW,HIGH",
    help="Range of a sweep by this name.",
)
@click.option(
    "--sign",
    type=click.Choice(["1", "-1"]),
    default=None,
    show_default="unchanged; at first 1",
    help="-1 if a higher coordinate of the slider means less of the named attribute.",
)
@click.option(
    "--hide/--show",
    "hidden",
    default=None,
    help="Leave the slider out of lists, or list it again.",
)
@click.option("--remove", is_flag=True, help="Remove the slider's name.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="into BUNDLE itself",
    help="Write a copy, NAME.segan as one file, and leave BUNDLE unchanged.",
)
@overwrite_option
@json_option
def command(
    words: tuple[str, ...],
    limits: str | None,
    sign: str | None,
    hidden: bool | None,
    remove: bool,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Name a slider of BUNDLE, or of the newest bundle under this folder.

    SLIDER is written as L3N0D5, or is its current name. NAME WEIGHTS names several sliders that
    move together: segan name glasses "L3N0D5=0.8,L2N0D1=-0.3" --range -2,2. The names are stored in
    the bundle: 'segan sweep --attr smile' and 'segan generate --attr smile=1.5' use them, and
    'segan info' lists them. Without NAME the slider's range, sign or listing is changed. The
    bundle that ships with segan is never changed; -o writes a copy.
    """
    from segan.runtime.bundle.attributes import find_attribute, read_attributes
    from segan.runtime.bundle.attributes_editing import (
        change_attributes,
        name_slider,
        name_sliders,
        remove_names,
    )

    path, where, name = _read_words(words)
    changes = (name, limits, sign, hidden)
    if remove and any(change is not None for change in changes):
        raise ConfigError(
            "`remove` is given together with a change",
            field="remove",
            value=True,
            expected="a slider and nothing else",
        )
    if not remove and all(change is None for change in changes):
        raise ConfigError(
            "no change is given",
            field="words",
            expected="a NAME, --range, --sign, --hide, --show or --remove",
            remedy="Example: 'segan name L3N0D5 smile'.",
        )
    span = None if limits is None else parse_range(limits)
    weights = None if name is None or "=" not in name else parse_weights(name)
    slider, called, label = None, where, list[str]()

    def change(bundle: Bundle) -> tuple[Attribute, ...]:
        nonlocal slider, called
        label[:] = class_words(bundle.manifest.class_names, bundle.manifest.c_dim)
        if weights is not None:
            if sign is not None:
                raise ConfigError(
                    "`sign` is for one slider", field="sign", value=sign, expected="weights alone"
                )
            return name_sliders(bundle, where, weights, limits=span, hidden=hidden)
        which: Slider | Attribute
        try:
            which = slider = Slider.parse(where)
        except ConfigError:
            named = find_attribute(read_attributes(bundle), where)
            slider, called = named.slider, name or named.name
            which = slider or named
        if remove:
            return remove_names(bundle, which)
        return name_slider(
            bundle,
            which,
            name,
            limits=span,
            sign=None if sign is None else int(sign),
            hidden=hidden,
        )

    written, attributes = change_attributes(
        path or newest_bundle(), change, out, overwrite=overwrite
    )
    folded = called.casefold()
    own = next(
        (
            found
            for found in attributes
            if (found.name.casefold() == folded if slider is None else found.slider == slider)
        ),
        None,
    )
    shown = str(slider) if slider is not None else called if own is None else own.sliders
    if as_json:
        entry = None if own is None else own.to_json()
        echo(json.dumps({"bundle": str(written), "slider": shown, "entry": entry}))
    elif own is None:
        echo(f"{written}: {shown} has no name now.")
    else:
        low, high = own.range
        echo(
            f"{written}: {shown} is {own.name}, from {low:.3g} to {high:.3g}"
            f"{', against its coordinate' if own.sign < 0 else ''}{', hidden' * own.hidden}."
        )
        echo(f"next: {segan('sweep', written, '--attr', own.name, *label)}")


def _read_words(words: tuple[str, ...]) -> tuple[Path | None, str, str | None]:
    """Return (bundle, slider, name). The first word is the bundle if it is a path of one."""
    rest = list(words)
    path = None
    if rest and (rest[0].endswith((".segan", ".segan.zip")) or Path(rest[0]).exists()):
        path = Path(rest.pop(0))
    if not 1 <= len(rest) <= 2:
        raise ConfigError(
            f"{shlex.join(words) or 'no slider'} is given",
            field="words",
            value=shlex.join(words),
            expected="[BUNDLE] SLIDER [NAME], such as faces.segan L3N0D5 smile",
        )
    return path, rest[0], rest[1] if len(rest) == 2 else None
