"""The parts of ``benchmarks/gpu.sh``: bundles, engines, PyTorch, the card's ceilings, a summary.

Each part is a process of its own, ``python benchmarks/gpu.py PART ...``, so that one that fails, or
leaves the device without memory, takes nothing from the others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Resolution → the network whose weights are random.
NETWORKS: dict[int, dict[str, Any]] = {
    64: {"resolution": 64},
    1024: {
        "resolution": 1024,
        "z_dim": 512,
        "w_dim": 512,
        "channel_base": 32768,
        "channel_max": 512,
    },
}
BACKENDS = ("tensorrt", "cuda")
PRECISIONS = ("fp16", "fp32")


def _generator(resolution: int) -> Any:
    import torch

    from segan.train.networks.config import NetworkConfig, SubspaceConfig
    from segan.train.networks.stylegan2.generator import Generator

    torch.manual_seed(0)
    return Generator(NetworkConfig(**NETWORKS[resolution]), SubspaceConfig(mode=2)).eval()


def bundle(resolution: int, out: Path) -> None:
    """Writes a bundle with random weights, in fp32 and fp16."""
    from segan.export import ExportConfig, export_bundle

    settings: dict[str, Any] = {"batch_sizes": (1,), "precisions": ("fp16",)}
    export_bundle(_generator(resolution), out, ExportConfig(**settings))


def load(path: Path, out: Path) -> None:
    """Loads a bundle in each backend and precision, which builds TensorRT's engines; the times."""
    from segan.runtime import load
    from segan.runtime.errors import SeganError

    rows: list[dict[str, Any]] = []
    for backend in BACKENDS:
        for precision in PRECISIONS:
            row: dict[str, Any] = {"backend": backend, "precision": precision}
            start = time.perf_counter()
            try:
                with load(path, backend, precision=precision) as generator:
                    row["load_s"] = time.perf_counter() - start
                    generator.generate([0])
                    row["first_image_s"] = time.perf_counter() - start
            except SeganError as error:
                row["problem"] = str(error)
            rows.append(row)
            print(row)
            _write(out, {"rows": rows})
    if all("problem" in row for row in rows):
        sys.exit("; ".join(f"{row['backend']}: {row['problem']}" for row in rows))


def pytorch(resolution: int, batches: list[int], out: Path) -> None:
    """Images a second of the PyTorch generator in fp16, eager and compiled, latents to bytes."""
    import numpy as np
    import torch

    generator = _generator(resolution).cuda().to(memory_format=torch.channels_last)
    noise = generator.synthesis.noise_const()

    def forward(z: Any, coords: Any) -> Any:
        with torch.autocast("cuda", torch.float16):
            image = generator(z, None, coords, psi=0.7, noise=noise)
        pixels = (image.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous()

    rows: list[dict[str, Any]] = []
    for name, function in {
        "eager": forward,
        "compiled": torch.compile(forward, dynamic=False),
    }.items():
        for batch in batches:
            random = np.random.RandomState(0)
            z = random.standard_normal((batch, generator.network.z_dim)).astype(np.float32)
            coords = random.uniform(-1, 1, (batch, *generator.coords_shape)).astype(np.float32)

            def run(function: Any = function, z: Any = z, coords: Any = coords) -> None:
                with torch.inference_mode():
                    given = torch.from_numpy(z).cuda(), torch.from_numpy(coords).cuda()
                    function(*given).cpu()

            row: dict[str, Any] = {"backend": f"pytorch {name}", "precision": "fp16"}
            row["batch"] = batch
            try:
                row["images_per_s"] = batch * _rate(run)
            except (RuntimeError, torch.cuda.OutOfMemoryError) as error:
                row["problem"] = str(error).partition("\n")[0]
                torch.cuda.empty_cache()
            rows.append(row)
            print(row)
            _write(out, {"rows": rows})


def ceilings(out: Path) -> None:
    """What the card does at most: products of large matrices, and copies."""
    import torch

    found: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    size = 8192
    for kind in (torch.float16, torch.bfloat16, torch.float32):
        a, b = (torch.randn(size, size, device="cuda", dtype=kind) for _ in range(2))
        rate = _rate(lambda a=a, b=b: _synchronized(torch.mm, a, b))
        found[f"matrix {str(kind).partition('.')[2]} (TFLOP/s)"] = 2 * size**3 * rate / 1e12
    there = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    # Read and written.
    found["copy on the device (GB/s)"] = 2 * 2**30 * _rate(lambda: _synchronized(there.clone)) / 1e9
    part = there[: 1 << 28]
    for name, pinned in (("pinned", True), ("pageable", False)):
        host = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=pinned)
        rate = _rate(lambda host=host: _synchronized(host.copy_, part))
        found[f"copy to the host, {name} (GB/s)"] = 2**28 * rate / 1e9
    _write(out, found)
    print(json.dumps(found, indent=2))


def _synchronized(function: Callable[..., Any], *arguments: Any) -> None:
    import torch

    function(*arguments)
    torch.cuda.synchronize()


def _rate(run: Callable[..., object], seconds: float = 0.5, rounds: int = 3) -> float:
    """Runs a second, the median of the rounds, after three runs that warm up."""
    for _ in range(3):
        run()
    rates = []
    for _ in range(rounds):
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            run()
            count += 1
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def summary(out: Path) -> bool:
    """Prints and writes ``summary.txt`` and ``summary.json``; whether the GPU computed anything."""
    sections: list[dict[str, str]] = []
    for line in (out / "sections.txt").read_text(encoding="utf-8").splitlines():
        keys = ("section", "outcome", "seconds", "note")
        sections.append(dict(zip(keys, line.split("|", 3), strict=True)))
    found = {path.stem: _read(path) for path in sorted(out.glob("*.json"))}
    found.pop("summary", None)
    lines = [f"{'section':14} {'outcome':8} seconds"]
    for entry in sections:
        lines.append("{section:14} {outcome:8} {seconds:>7}  {note}".format(**entry).rstrip())
    backends = (found.get("doctor") or {}).get("backends", {})
    for name, entry in backends.items():
        lines.append(f"{name}: {'works' if entry['works'] else entry['problem']}")
    measured = 0
    for name, results in found.items():
        rows = results.get("rows", []) if isinstance(results, dict) else []
        for row in rows:
            if "images_per_s" in row:
                measured += row["backend"] in BACKENDS
                text = "{backend:18} {precision:5} batch {batch:<4} {images_per_s:.1f} images/s"
                lines.append(f"{name:14} {text.format(**row)}")
            elif row.get("problem"):
                lines.append(f"{name:14} {row['backend']} {row['precision']}: {row['problem']}")
    for name, value in (found.get("ceilings") or {}).items():
        lines.append(f"ceiling        {name}: {value if isinstance(value, str) else round(value)}")
    lines.append(
        f"{measured} rows measured on the GPU by a backend."
        if measured
        else "No backend was measured on the GPU."
    )
    text = "\n".join(lines) + "\n"
    (out / "summary.txt").write_text(text, encoding="utf-8")
    _write(out / "summary.json", {"sections": sections, **found})
    print(text, end="")
    return measured > 0


def _read(path: Path) -> Any:
    """The file's JSON, or None for one that was truncated."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("bundle")
    part.add_argument("resolution", type=int, choices=NETWORKS)
    part.add_argument("out", type=Path)
    part = parts.add_parser("load")
    part.add_argument("bundle", type=Path)
    part.add_argument("out", type=Path)
    part = parts.add_parser("pytorch")
    part.add_argument("resolution", type=int, choices=NETWORKS)
    part.add_argument("batches", type=lambda text: [int(word) for word in text.split(",")])
    part.add_argument("out", type=Path)
    for name in ("ceilings", "summary"):
        parts.add_parser(name).add_argument("out", type=Path)
    options = parser.parse_args()
    if options.part == "bundle":
        bundle(options.resolution, options.out)
    elif options.part == "load":
        load(options.bundle, options.out)
    elif options.part == "pytorch":
        pytorch(options.resolution, options.batches, options.out)
    elif options.part == "ceilings":
        ceilings(options.out)
    elif not summary(options.out):
        sys.exit(1)


if __name__ == "__main__":
    main()
