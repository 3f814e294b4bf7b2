"""``segan doctor``: what this machine can run, and what to install."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import click

from segan.cli.options import json_option
from segan.cli.standard_streams import echo

#: The purpose of each extra.
_EXTRAS = {
    "train": "to train generators",
    "export": "to train, and export to bundles",
    "metrics": "to score generators with 'segan metrics'",
    "openvino": "for the OpenVINO backend: processors, in fp32, bf16 and int8",
    "tensorrt": "for the TensorRT backend",
    "tensorrt-rtx": "for the TensorRT backend on a GeForce, and for engines built without a GPU",
    "video": "mp4 files without the ffmpeg program",
    "heic": "to read photos in HEIC, as iPhones write them",
}


@click.command("doctor", epilog="Example: segan doctor --json")
@json_option
def command(as_json: bool) -> None:
    """Show what this machine can run: processor, GPUs, backends, encoders, packages, bundles.

    Each backend computes a small graph. Missing packages are shown with the command that installs
    them. Nothing is changed.
    """
    found = examine()
    if as_json:
        echo(json.dumps(found))
    else:
        _show(found)


def examine() -> dict[str, Any]:
    """Return everything that the command shows. Imports neither torch nor onnx."""
    from segan.runtime.bundle.reader import find_bundle
    from segan.runtime.doctor import describe_backends, describe_cache, describe_encoders
    from segan.runtime.machine.hardware import describe_cpu, describe_gpus, describe_memory
    from segan.runtime.machine.packages import (
        describe_extra,
        describe_packages,
        installed_version,
    )

    bundle = find_bundle(Path("."))
    return {
        "segan": installed_version("segan") or "not installed, from a checkout",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "packages": describe_packages(),
        "extras": {extra: describe_extra(extra) for extra in _EXTRAS},
        "cpu": describe_cpu(),
        "memory": describe_memory(),
        "gpus": describe_gpus(),
        "backends": describe_backends(),
        "cache": describe_cache(),
        "encoders": describe_encoders(),
        "bundle": None if bundle is None else str(bundle),
    }


def _show(found: dict[str, Any]) -> None:
    _line("segan", f"{found['segan']}, Python {found['python']} ({found['executable']})")
    _line("system", found["platform"])
    cpu = found["cpu"]
    cores = f"{cpu['cores']} core{'s' if cpu['cores'] > 1 else ''} to use"
    _line("processor", f"{cpu['name']}, {cores}, {cpu['threads']} threads")
    if cpu["instruction_sets"] is not None:
        _line("", f"instruction sets: {', '.join(cpu['instruction_sets']) or 'none that help'}")
    memory = found["memory"]
    _line("memory", f"{_gib(memory['total'])}, {_gib(memory['available'])} of it free")

    gpus = found["gpus"]
    for gpu in gpus["devices"]:
        _line(
            "GPU",
            f"{gpu['name']}, {_gib(gpu['memory'])}, compute capability {gpu['capability']}, "
            f"driver for CUDA {gpu['cuda']}",
        )
    if not gpus["devices"]:
        _line("GPU", f"none: {gpus['problem']}")
    cache = found["cache"]
    _line("cache", cache["folder"] + (f": {cache['problem']}" if cache["problem"] else ""))

    echo("", "backends, best first; 'auto' takes the first that works")
    for name, entry in found["backends"].items():
        works = f"works: {', '.join(entry['precisions'])}"
        _line(name, works if entry["works"] else f"does not work: {entry['problem']}")

    echo("", "encoders")
    for name, encoder in found["encoders"].items():
        hint = "pip install 'segan[video]'" if name == "mp4" else "pip install --upgrade pillow"
        _line(name, encoder or f"none; run: {hint}")

    echo("", "packages")
    for name, installed in found["packages"].items():
        _line(name, installed or "missing; run: pip install segan")
    for extra, entry in found["extras"].items():
        echo("", f"extra [{extra}]: {_EXTRAS[extra]}")
        for name, installed in entry["packages"].items():
            _line(name, installed or "missing")
        if entry["install"]:
            echo(f"  install with: {entry['install']}")

    echo()
    bundle = found["bundle"]
    if bundle is None:
        echo(
            "No bundle under this folder: commands take the one that ships with segan. "
            "Write one with: segan export"
        )
    else:
        echo(f"Newest bundle under this folder: {bundle}")


def _line(name: str, text: str) -> None:
    echo(f"  {name:<16}{text}")


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"
