"""The table of docs/guides/import.md: random checkpoints of every layout, imported and verified.

    python benchmarks/import_table.py
    python benchmarks/import_table.py --only 64

Each row is a whole ``segan import`` with one thread: seconds of CPU (wall seconds would tell of
what else the machine does), the largest resident memory of any of its processes, and, on Linux,
that of all of them at once, looked at every 20 ms: the sum of what each has (RSS), and of its
shares, in which pages of several processes count once (PSS). Checkpoints are as large as the
projects' own: with G and D in addition to G_ema, g and d in addition to g_ema. Needs the
repository, for the writers of checkpoints in tests/export.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MODELS_FILE = Path(__file__).parent.parent / "tests" / "export" / "foreign_models.py"


def _models() -> Any:
    spec = importlib.util.spec_from_file_location("foreign_models", MODELS_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _channels(resolution: int, base: int) -> tuple[int, ...]:
    return tuple(min(512, base // (4 << n)) for n in range(resolution.bit_length() - 2))


def ada(resolution: int, base: int = 16_384, layers: int = 8, **settings: Any) -> bytes:
    """A pickle of StyleGAN2-ADA with G, D and G_ema; config F has a base of 32768."""
    models = _models()
    made = [
        models.make_ada(
            resolution=resolution,
            channels=_channels(resolution, base),
            z_dim=512,
            w_dim=512,
            layers=layers,
            clamp=256,
            **settings,
        )
        for _ in range(2)
    ]
    other = models.persistent("Discriminator")
    other.layer = models.dense(5375, 5375)  # as many numbers as config F's
    found: bytes = models.ada_bytes(made[0], G=made[1], D=other)
    return found


def rosinality(resolution: int) -> bytes:
    """A .pt with g, d and g_ema."""
    models = _models()
    make = {
        "resolution": resolution,
        "channels": _channels(resolution, 32_768),
        "w_dim": 512,
        "layers": 8,
    }
    states = [models.make_rosinality(**make) for _ in range(2)]
    d = {"weight": torch.zeros(5375, 5375)}
    content = {"g": states[0], "d": d, "g_ema": states[1], "latent_avg": torch.zeros(512)}
    found: bytes = models.checkpoint_bytes(content)
    return found


def segan_pytorch(mode: int) -> bytes:
    """A .pt of the published SEGAN's shapes, with g and g_ema."""
    models = _models()
    make = {"resolution": 64, "channels": (128,) * 5, "w_dim": 64}
    states = [models.make_segan_pytorch(mode, **make) for _ in range(2)]
    found: bytes = models.checkpoint_bytes({"g": states[0], "g_ema": states[1]})
    return found


def safetensors(resolution: int) -> bytes:
    """The tensors of an ADA generator alone."""
    from safetensors.torch import save

    made = _models().make_ada(
        resolution=resolution,
        channels=_channels(resolution, 32_768),
        z_dim=512,
        w_dim=512,
        layers=8,
    )
    metadata = {"layout": "ada", "conv_clamp": "256"}
    return save({name: value.contiguous() for name, value in made.state_dict().items()}, metadata)


#: Layout as the table names it, how a file is made.
ROWS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "segan-0-64": ("`segan-pytorch`, mode 0", lambda: segan_pytorch(0)),
    "segan-1-64": ("`segan-pytorch`, mode 1", lambda: segan_pytorch(1)),
    "segan-2-64": ("`segan-pytorch`, mode 2", lambda: segan_pytorch(2)),
    "segan-3-64": ("`segan-pytorch`, mode 3", lambda: segan_pytorch(3)),
    "rosinality-64": ("`rosinality`", lambda: rosinality(64)),
    "safetensors-64": ("`ada`, safetensors", lambda: safetensors(64)),
    "resnet-64": ("`ada`", lambda: ada(64, architecture="resnet")),
    "orig-64": ("`ada`", lambda: ada(64, architecture="orig")),
    "conditional-64": ("`ada`, 10 classes", lambda: ada(64, c_dim=10, layers=2)),
    "ada-256": ("`ada`, clamp 256", lambda: ada(256)),
    "rosinality-256": ("`rosinality`", lambda: rosinality(256)),
    "ada-1024": ("`ada`, clamp 256, config F", lambda: ada(1024, 32_768)),
}

#: Seconds between two looks at the memory.
_INTERVAL = 0.02


def measure(file: Path, out: Path) -> dict[str, Any]:
    """Imports a file in a process of its own: what it printed, CPU seconds, and peaks in bytes.

    ``peak`` is that of the largest process; ``rss`` and ``pss`` are those of all at once.
    """
    command = [
        sys.executable,
        "-m",
        "segan.cli.main",
        "import",
        str(file),
        "-o",
        str(out),
        "--overwrite",
    ]
    with subprocess.Popen(
        [*command, "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        rss = pss = ended = 0
        while not ended:
            found = _memory(process.pid)
            rss, pss = max(rss, found[0]), max(pss, found[1])
            time.sleep(_INTERVAL)
            # With those processes that it has waited for.
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.stdout is not None
        told: dict[str, Any] = json.loads(process.stdout.read())
    # Linux counts in KiB, macOS in bytes.
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cpu = used.ru_utime + used.ru_stime
    return told | {"cpu": cpu, "peak": peak, "rss": rss, "pss": pss}


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process and its descendants, (RSS, PSS); 0 where /proc does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
        rss, pss = sizes["Rss:"], sizes["Pss:"]
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (OSError, KeyError):
        return 0, 0  # It has ended.
    below = [_memory(child) for child in children]
    return rss + sum(found[0] for found in below), pss + sum(found[1] for found in below)


def main() -> None:
    """Measures and prints Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    options = parser.parse_args()
    torch.manual_seed(0)
    print(
        "| layout | image | architecture | parameters | file | error | largest | CPU time "
        "| largest process | all, PSS | all, RSS | RSS / file |\n"
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    for name, (layout, make) in ROWS.items():
        if options.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file, out = Path(folder) / "model.bin", Path(folder) / "model.segan"
            file.write_bytes(make())
            gc.collect()
            found, size = measure(file, out), file.stat().st_size
            largest = _largest_pixel(out)
        print(
            f"| {layout} | {found['resolution']}² | {found['architecture']} "
            f"| {found['parameters']:,} | {size / 2**20:.0f} MiB | {found['max_error']:.1e} "
            f"| {largest:.1f} | {found['cpu']:.0f} s | {found['peak'] / 2**20:.0f} MiB "
            f"| {found['pss'] / 2**20:.0f} MiB | {found['rss'] / 2**20:.0f} MiB "
            f"| {found['rss'] / size:.2f} |",
            flush=True,
        )


def _largest_pixel(bundle: Path) -> float:
    """Magnitude of the largest pixel that a few seeds have; nominally 1."""
    from segan.runtime.generate.generator import load
    from segan.runtime.latents.draws import sample_z

    with load(bundle, low_memory=True) as generator:
        manifest, largest = generator.manifest, 0.0
        for seed in range(4):
            labels = [[1.0] + [0.0] * (manifest.c_dim - 1)] if manifest.c_dim else None
            ws, shifts = generator.style(generator.map(sample_z([seed], manifest.z_dim), labels))
            largest = max(largest, float(abs(generator.synthesize(ws, shifts)).max()))
    return largest


if __name__ == "__main__":
    main()
