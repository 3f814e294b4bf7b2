"""Finds the generator in the object that a file holds, and recognises its layout by its names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segan.export.foreign.inert.objects import PersistentRecord, TensorRecord
from segan.export.foreign.limits import (
    MAX_ATTRIBUTES,
    MAX_MODULE_DEPTH,
    MAX_NAME,
    MAX_TENSORS,
    exceeded,
)
from segan.export.foreign.model import LAYOUTS, ForeignModel, TensorSource
from segan.runtime.errors import CheckpointError

#: Tensor names that identify a layout.
_MARKS: dict[str, tuple[str, ...]] = {
    "ada": ("synthesis.b4.const", "mapping.fc0.weight"),
    "rosinality": ("input.input", "style.1.weight", "conv1.conv.weight"),
    "segan-pytorch": ("Synthesis.const.input", "Mapping.layer.1.weight"),
}

#: Keys under which projects keep a generator, a moving average before the trained weights.
#: ``params_ema`` is BasicSR's; pSp, e4e and ReStyle keep a whole network under ``state_dict``.
_KEYS = ("G_ema", "g_ema", "params_ema", "G", "g", "generator", "state_dict", "model")

#: What a generator's names begin with, where the tensors are those of a larger network.
_PREFIXES = ("", "decoder.", "generator.", "G_ema.", "g_ema.", "G.", "g.")


@dataclass(frozen=True)
class _Found:
    """Tensors whose names are those of a layout."""

    key: str
    prefix: str
    layout: str
    tensors: Mapping[str, TensorSource]
    left: int

    @property
    def weights(self) -> str:
        return (
            ".".join(part for part in (self.key, self.prefix.rstrip(".")) if part) or "the file's"
        )


def find_model(root: Any, container: str, layout: str | None) -> ForeignModel:
    """Find the generator in the object that a file holds.

    Args:
        root: a network of persistent modules, or a dictionary with one, or with tensors by name.
        container: display name of the file format.
        layout: expected layout; None recognises it from the tensors' names.

    Raises:
        CheckpointError: no generator, or one that segan does not import.
    """
    if isinstance(root, PersistentRecord):
        return _from_modules(root, container, root.class_name)
    if not isinstance(root, dict):
        raise CheckpointError(
            f"the file holds a {type(root).__name__}, not a checkpoint",
            expected="a dictionary with G_ema or g_ema, or of tensors by name",
        )
    for key in ("G_ema", "G"):
        if isinstance(root.get(key), PersistentRecord):
            return _from_modules(root[key], container, key)
    states = {key: _tensors(root[key]) for key in _KEYS if isinstance(root.get(key), dict)}
    states[""] = _tensors(root)
    states = {key: tensors for key, tensors in states.items() if tensors}
    if not states:
        raise _no_tensors(root)
    candidates = [found for key, tensors in states.items() if (found := _recognised(key, tensors))]
    if not candidates:
        raise _no_layout(*next(iter(states.items())))
    chosen, notes = candidates[0], []
    with_subspaces = {found.key for found in candidates if _has_subspaces(found.tensors)}
    if with_subspaces == {"g"} and chosen.key == "g_ema":
        chosen = next(found for found in candidates if found.key == "g")
        notes.append("g_ema, the moving average, lacks the subspaces of g, so g was taken.")
    _check_layout(layout, chosen.layout)
    if chosen.left:
        others = "1 other tensor" if chosen.left == 1 else f"{chosen.left} other tensors"
        notes.append(
            f"{chosen.weights} is the generator; {others} of the file, such as an encoder's, left "
            "out."
        )
    average = root.get("latent_avg", states.get(chosen.key, {}).get("latent_avg"))
    return ForeignModel(
        layout=chosen.layout,
        container=container,
        weights=chosen.weights,
        tensors=chosen.tensors,
        latent_avg=average if isinstance(average, TensorRecord) else None,
        notes=notes,
    )


def _recognised(key: str, tensors: Mapping[str, TensorSource]) -> _Found | None:
    """Return the generator among tensors, or None. Raises: CheckpointError, see ``identify``."""
    named = {name: value for name, value in tensors.items() if name != "latent_avg"}
    for prefix in _PREFIXES:
        own = {n.removeprefix(prefix): v for n, v in named.items() if n.startswith(prefix)}
        layout = identify(own)
        if layout is not None:
            return _Found(key, prefix, layout, own, len(named) - len(own))
    return None


def _no_tensors(root: Mapping[Any, Any]) -> CheckpointError:
    """Return the error for a dictionary without tensors by name: it says what is there."""
    held = ", ".join(f"{str(key)[:40]} ({_kind(value)})" for key, value in list(root.items())[:6])
    return CheckpointError(
        f"the file contains no generator that segan recognises (it holds {held or 'nothing'})",
        expected="a network, or a dictionary of tensors by name, under G_ema (StyleGAN2-ADA) or "
        "g_ema (rosinality, SEGan_Pytorch)",
    )


def _kind(value: object) -> str:
    """Return what an object of a file is, in a word or two."""
    if isinstance(value, PersistentRecord):
        return f"a module {value.class_name[:40]}"
    if isinstance(value, TensorRecord):
        return "a tensor"
    if isinstance(value, dict | list | tuple):
        return f"{len(value)} entries"
    return "a text" if isinstance(value, str) else "a value"


def _no_layout(key: str, tensors: Mapping[str, TensorSource]) -> CheckpointError:
    """Return the error for tensors whose names are of no layout."""
    names = ", ".join(name[:40] for name in list(tensors)[:3])
    place = f" under {key}" if key else ""
    return CheckpointError(
        f"the names of the {len(tensors)} tensors{place} match no known layout (such as {names})",
        expected=f"the names of {', '.join(LAYOUTS)}",
        remedy="See docs/guides/import.md.",
    )


def _check_layout(layout: str | None, found: str) -> None:
    if layout is not None and layout != found:
        raise CheckpointError(
            f"`layout` is {layout!r}, but the tensors have the names of {found}",
            field="layout",
            value=layout,
            expected=found,
            remedy="Leave `layout` out.",
        )


def _has_subspaces(tensors: Mapping[str, TensorSource]) -> bool:
    return any(".subspaces." in name for name in tensors)


def _tensors(found: Mapping[Any, Any]) -> dict[str, TensorRecord]:
    """Return the tensors of a state dictionary, without DistributedDataParallel's prefix."""
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in found.items()
        if isinstance(name, str) and isinstance(value, TensorRecord)
    }
    if len(tensors) > MAX_TENSORS:
        raise exceeded("tensors", len(tensors), MAX_TENSORS)
    longest = max((len(name) for name in tensors), default=0)
    if longest > MAX_NAME:
        raise exceeded("characters for the name of a tensor", longest, MAX_NAME)
    return tensors


def identify(tensors: Mapping[str, TensorSource]) -> str | None:
    """Return the layout that the names show, or None.

    Raises:
        CheckpointError: the names are those of a network that segan does not import.
    """
    for layout, marks in _MARKS.items():
        if all(mark in tensors for mark in marks):
            return layout
    if any(name.startswith(("synthesis.L0_", "synthesis.input.")) for name in tensors):
        raise CheckpointError(
            "the generator is a StyleGAN3 (alias-free layers)",
            expected="a StyleGAN2",
            remedy="The StyleGAN3 repository's StyleGAN2 models (--cfg=stylegan2) can be imported.",
        )
    if "synthesis.blocks.b4.const" in tensors:
        raise CheckpointError(
            "the tensors are of segan's own training",
            remedy="Give the checkpoint's folder, which holds checkpoint.json too, or run 'segan "
            "export'.",
        )
    if any(name.startswith(("progression.", "generator.progression.")) for name in tensors):
        raise CheckpointError("the generator is a StyleGAN (1)", expected="a StyleGAN2")
    return None


def _from_modules(root: PersistentRecord, container: str, weights: str) -> ForeignModel:
    """Return a model of nested persistent modules: tensors and numbers under dotted names."""
    tensors: dict[str, TensorRecord] = {}
    settings: dict[str, dict[str, Any]] = {}

    attributes = 0

    def walk(record: PersistentRecord, prefix: str, depth: int) -> None:
        nonlocal attributes
        if depth > MAX_MODULE_DEPTH:
            raise exceeded("levels of modules in modules", depth, MAX_MODULE_DEPTH)
        if len(prefix) > MAX_NAME:
            raise exceeded("characters for the name of a module", len(prefix), MAX_NAME)
        # A module may hold another one many times, so that a small file has very many.
        parts = [_dict_at(record, group) for group in ("_parameters", "_buffers", "_modules")]
        attributes += len(record.state) + sum(len(part) for part in parts)
        if attributes > MAX_ATTRIBUTES:
            raise exceeded("attributes of modules", attributes, MAX_ATTRIBUTES)
        settings[prefix.rstrip(".")] = {
            name: value
            for name, value in record.state.items()
            if isinstance(name, str) and isinstance(value, str | int | float | None)
        } | {"class_name": record.class_name}
        *held, modules = parts
        for part in held:
            for name, value in part.items():
                if isinstance(value, TensorRecord):
                    tensors[f"{prefix}{name}"] = value
        for name, value in modules.items():
            if isinstance(value, PersistentRecord):
                walk(value, f"{prefix}{name}.", depth + 1)

    walk(root, "", 0)
    if root.class_name != "Generator" or identify(tensors) != "ada":
        raise CheckpointError(
            f"{weights} is a {root.class_name[:60]!r} without mapping.fc0 or synthesis.b4",
            expected="a StyleGAN2 generator",
            remedy="Give a snapshot of StyleGAN2-ADA's training.",
        )
    model = ForeignModel(
        layout="ada", container=container, weights=weights, tensors=tensors, settings=settings
    )
    if weights == "G":
        model.notes.append("the file has no G_ema, the moving average, so G was taken.")
    return model


def _dict_at(record: PersistentRecord, name: str) -> dict[Any, Any]:
    found = record.state.get(name)
    return found if isinstance(found, dict) else {}
