"""Exports every mode, kind, architecture and lowering, and prints each bundle's largest error.

Weights are random, with biases, means, noise strengths and w̄ that are not 0. Run from the
repository root: ``python benchmarks/verify_matrix.py``. About five minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from segan.export import ExportConfig, export_bundle
from segan.export.graphs.lowering import LOWERINGS
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator

SUBSPACES = [(0, "eigen"), *itertools.product((1, 2, 3), ("eigen", "diagonal"))]
ARCHITECTURES = ("skip", "residual", "original")


def build(network: dict[str, Any], **subspace: Any) -> Generator:
    """A random generator in which every parameter matters."""
    torch.manual_seed(0)
    generator = Generator(NetworkConfig(**network), SubspaceConfig(**subspace))
    with torch.no_grad():
        for value in generator.parameters():
            value.add_(torch.randn_like(value) * 0.1)
        generator.w_avg.normal_()
    return generator.eval()


def cases(paper: bool) -> list[tuple[str, dict[str, Any], dict[str, Any], Any]]:
    """(label, network, subspace, lowering)."""
    small: dict[str, Any] = {"resolution": 16, "z_dim": 16, "w_dim": 16, "channel_max": 16}
    found: list[tuple[str, dict[str, Any], dict[str, Any], Any]] = []
    for (mode, kind), architecture, form in itertools.product(SUBSPACES, ARCHITECTURES, LOWERINGS):
        network = small | {"architecture": architecture}
        subspace: dict[str, Any] = {"mode": mode, "kind": kind}
        found.append((f"16² mode {mode} {kind} {architecture} {form}", network, subspace, form))
    for channels, c_dim in ((1, 0), (2, 3), (4, 0), (3, 10)):
        network = small | {"img_channels": channels, "c_dim": c_dim}
        label = f"16² mode 2 eigen, {channels} channels, {c_dim} classes"
        found.append((label, network, {"mode": 2}, None))
    for mode, form in itertools.product((0, 2) if paper else (), LOWERINGS):
        found.append((f"64² paper, mode {mode} eigen {form}", {}, {"mode": mode}, form))
    return found


def main() -> None:
    """Prints a line for each combination and the worst of all; fails above 1e-4."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-paper", action="store_true", help="leave 64² out")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for label, network, subspace, form in cases(not options.no_paper):
            out = Path(folder) / "one.segan"
            # Every error is wanted, also one that is too large.
            config = ExportConfig(lowering=form, tolerance=1e6)
            result = export_bundle(build(network, **subspace), out, config)
            found = result.verification
            rows.append(
                {
                    "case": label,
                    "max_error": found.max_error,
                    "psnr_db": found.psnr_db,
                    "seconds": round(result.seconds, 2),
                }
            )
            if not options.json:
                print(f"{label:<52} {found.max_error:.2e} {found.psnr_db:7.1f} dB", flush=True)
    worst = max(rows, key=lambda row: float(str(row["max_error"])))
    if options.json:
        print(json.dumps({"rows": rows, "worst": worst}))
    else:
        print(f"{len(rows)} bundles; worst: {worst['case']}, {worst['max_error']:.2e}")
    if not float(str(worst["max_error"])) <= 1e-4:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
