"""Writes tests/data: three small bundles whose graphs are made by hand, and their weights.

Run from the repository root: ``python tests/make_toy_bundle.py``. The graphs are simpler than a
real generator's, but have the same inputs and outputs, and every input changes the image. The
weights lie beside the bundles as .npz, so that tests can compute the images without ONNX:

    w      = tanh(z A + b (+ c B))
    ws     = w_avg + psi (w - w_avg) + coords D + m      (mode 1: no D and m; shifts = coords)
    image  = 1.1 tanh(sum_l E_l (ws_l P_l (+ shifts V_l) + q_l) E_lᵀ
                      + sum_s strength_s upsampled noise_s)

E_l [16, 4] holds the first cosines of layer l, ws_l the concatenated styles of layer l's sites.

toy.segan         folder: mode 2 eigen, RGB, noise
toy_shifts.segan  one zip: mode 1 eigen, grey, three classes, no noise, two subspaces in layer 1
toy_plain.segan   folder: mode 0, RGB, no noise
"""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from segan.runtime.bundle.layout import Prior, Subspace, build_sites, noise_sizes
from segan.runtime.bundle.manifest import FORMAT, Graphs, Manifest, Verification, encode_manifest

Array = NDArray[np.float32]
Weights = dict[str, Array]

RESOLUTION, Z_DIM, W_DIM, K = 16, 8, 8, 6
DATA = Path(__file__).parent / "data"


def _subspaces(rows: list[tuple[int, int, int, int, Prior]]) -> tuple[Subspace, ...]:
    """Rows of (site, layer, index, dims, prior)."""
    high = {"uniform": 3**0.5, "normal": 2.0, "zero": 1.0}
    return tuple(
        Subspace(
            site=site,
            layer=layer,
            index=index,
            dims=dims,
            prior=prior,
            low=-high[prior],
            high=high[prior],
        )
        for site, layer, index, dims, prior in rows
    )


def manifests() -> dict[str, Manifest]:
    """The manifests by bundle name, still without the files' digests."""

    def manifest(name: str, **fields: object) -> Manifest:
        skip = build_sites(RESOLUTION, "skip")
        common: dict[str, object] = {
            "format": FORMAT,
            "name": name,
            "resolution": RESOLUTION,
            "img_channels": 3,
            "z_dim": Z_DIM,
            "w_dim": W_DIM,
            "c_dim": 0,
            "architecture": "skip",
            "mode": 2,
            "subspace": "eigen",
            "coords_dim": K,
            "sites": skip,
            "subspaces": (),
            "noise": None,
            "graphs": Graphs(
                mapping="mapping.onnx",
                offsets="offsets.onnx",
                synthesis={"fp32": "synthesis.onnx"},
            ),
            "opset": 18,
            "lowering": {site.name: "transposed" for site in skip if site.kind == "up"},
            "provenance": {"written_by": "tests/make_toy_bundle.py"},
            "verification": (
                Verification(
                    backend="cpu",
                    precision="fp32",
                    max_error=1e-6,
                    psnr_db=120.0,
                    tolerance=1e-4,
                    batch_sizes=(1, 3),
                    seeds=(0, 1, 2),
                    cases={"psi 1": 1e-6},
                ),
            ),
            "files": {},
        }
        return Manifest(**{**common, **fields})  # type: ignore[arg-type]

    return {
        "toy": manifest(
            "toy",
            subspaces=_subspaces(
                [(0, 0, 0, 6, "uniform"), (2, 1, 0, 6, "uniform"), (5, 2, 0, 4, "uniform")]
            ),
            noise="noise.npy",
        ),
        "toy_shifts": manifest(
            "toy_shifts",
            img_channels=1,
            c_dim=3,
            class_names=("circle", "square", "star"),
            architecture="residual",
            mode=1,
            sites=build_sites(RESOLUTION, "residual"),
            subspaces=_subspaces(
                [
                    (0, 0, 0, 6, "uniform"),
                    (1, 1, 0, 6, "normal"),
                    (2, 1, 1, 3, "uniform"),
                    (3, 2, 0, 4, "zero"),
                ]
            ),
        ),
        "toy_plain": manifest("toy_plain", mode=0),
    }


def make_weights(manifest: Manifest) -> Weights:
    """Draws the weights from a seed made of the bundle's name."""
    rng = np.random.RandomState(sum(map(ord, manifest.name)))
    sites, rows, channels = manifest.num_sites, manifest.num_subspaces, manifest.img_channels

    def draw(*shape: int, scale: float = 1.0) -> Array:
        return (rng.randn(*shape) * scale).astype(np.float32)

    weights = {
        "A": draw(Z_DIM, W_DIM, scale=Z_DIM**-0.5),
        "b": draw(W_DIM, scale=0.3),
        "w_avg": draw(W_DIM, scale=0.3),
    }
    if manifest.c_dim:
        weights["B"] = draw(manifest.c_dim, W_DIM)
    if rows and manifest.mode != 1:
        basis = np.zeros((rows, K, sites, W_DIM), np.float32)
        mean = np.zeros((sites, W_DIM), np.float32)
        for row, subspace in enumerate(manifest.subspaces):
            basis[row, : subspace.dims, subspace.site] = draw(subspace.dims, W_DIM, scale=0.6)
            mean[subspace.site] = draw(W_DIM, scale=0.3)
        weights["D"] = basis.reshape(rows * K, sites * W_DIM)
        weights["m"] = mean
    grid = (np.arange(RESOLUTION) + 0.5) / RESOLUTION
    for layer in range(3):
        in_layer = sum(site.layer == layer for site in manifest.sites)
        # Each layer has its own frequencies: 0 to 3, 2 to 5, 4 to 7 half waves.
        waves = np.arange(4) + 2 * layer
        weights[f"E{layer}"] = np.cos(np.pi * grid[:, None] * waves).astype(np.float32)
        weights[f"P{layer}"] = draw(in_layer * W_DIM, channels * 16, scale=0.07)
        weights[f"q{layer}"] = draw(channels * 16, scale=0.05)
    if manifest.mode == 1:
        for row, subspace in enumerate(manifest.subspaces):
            shifts = np.zeros((K, channels * 16), np.float32)
            shifts[: subspace.dims] = draw(subspace.dims, channels * 16, scale=0.07)
            weights[f"V{row}"] = shifts
    if manifest.noise is not None:
        sizes = noise_sizes(manifest.sites)
        weights["strength"] = np.array([0.15 if size else 0.0 for size in sizes], np.float32)
        weights["noise"] = draw(sum(sizes))
    return weights


class _Graph:
    """A graph under construction: nodes are added in order and named by number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[np.float32] | list[int]) -> str:
        array = np.array(value, np.int64) if isinstance(value, list) else value
        self.constants.append(numpy_helper.from_array(array, f"k{len(self.constants)}"))
        return str(self.constants[-1].name)

    def add(self, op: str, *inputs: str, name: str | None = None) -> str:
        name = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name]))
        return name

    def slice(self, x: str, start: int, stop: int) -> str:
        """x[:, start:stop]."""
        bounds = [self.constant([value]) for value in (start, stop, 1)]
        return self.add("Slice", x, *bounds)

    def model(
        self, inputs: dict[str, list[str | int]], outputs: dict[str, list[str | int]]
    ) -> bytes:
        def infos(specs: dict[str, list[str | int]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in specs.items()
            ]

        graph = helper.make_graph(
            self.nodes, "toy", infos(inputs), infos(outputs), initializer=self.constants
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="toy"
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def make_mapping(manifest: Manifest, weights: Weights) -> bytes:
    """Z (, c) → w."""
    graph = _Graph()
    x = graph.add("MatMul", "z", graph.constant(weights["A"]))
    x = graph.add("Add", x, graph.constant(weights["b"]))
    inputs: dict[str, list[str | int]] = {"z": ["N", Z_DIM]}
    if manifest.c_dim:
        inputs["c"] = ["N", manifest.c_dim]
        x = graph.add("Add", x, graph.add("MatMul", "c", graph.constant(weights["B"])))
    graph.add("Tanh", x, name="w")
    return graph.model(inputs, {"w": ["N", W_DIM]})


def make_offsets(manifest: Manifest, weights: Weights) -> bytes:
    """W, psi (, coords) → ws (, shifts)."""
    sites, rows = manifest.num_sites, manifest.num_subspaces
    graph = _Graph()
    w_avg = graph.constant(weights["w_avg"])
    psi = graph.add("Unsqueeze", "psi", graph.constant([2]))
    x = graph.add("Mul", graph.add("Sub", "w", w_avg), psi)
    inputs: dict[str, list[str | int]] = {"w": ["N", sites, W_DIM], "psi": ["N", sites]}
    outputs: dict[str, list[str | int]] = {"ws": ["N", sites, W_DIM]}
    if rows:
        inputs["coords"] = ["N", rows, K]
    if "D" in weights:
        flat = graph.add("Reshape", "coords", graph.constant([-1, rows * K]))
        offset = graph.add("MatMul", flat, graph.constant(weights["D"]))
        offset = graph.add("Reshape", offset, graph.constant([-1, sites, W_DIM]))
        x = graph.add("Add", x, graph.add("Add", offset, graph.constant(weights["m"])))
    graph.add("Add", x, w_avg, name="ws")
    if manifest.mode == 1:
        outputs["shifts"] = ["N", rows, K]
        graph.add("Identity", "coords", name="shifts")
    return graph.model(inputs, outputs)


def make_synthesis(manifest: Manifest, weights: Weights) -> bytes:
    """Ws (, shifts) (, noise) → image."""
    sites, channels = manifest.num_sites, manifest.img_channels
    graph = _Graph()
    inputs: dict[str, list[str | int]] = {"ws": ["N", sites, W_DIM]}
    flat = graph.add("Reshape", "ws", graph.constant([-1, sites * W_DIM]))
    rows: dict[int, list[int]] = {}
    if manifest.mode == 1:
        inputs["shifts"] = ["N", manifest.num_subspaces, K]
        shifts = graph.add("Reshape", "shifts", graph.constant([-1, manifest.num_subspaces * K]))
        for row, subspace in enumerate(manifest.subspaces):
            rows.setdefault(subspace.layer, []).append(row)
    terms, start = [], 0
    for layer in range(3):
        P = weights[f"P{layer}"]
        part = graph.slice(flat, start, start + len(P))
        start += len(P)
        h = graph.add("MatMul", part, graph.constant(P))
        h = graph.add("Add", h, graph.constant(weights[f"q{layer}"]))
        for row in rows.get(layer, []):
            part = graph.slice(shifts, row * K, (row + 1) * K)
            h = graph.add("Add", h, graph.add("MatMul", part, graph.constant(weights[f"V{row}"])))
        h = graph.add("Reshape", h, graph.constant([-1, channels, 4, 4]))
        E = weights[f"E{layer}"]
        h = graph.add("MatMul", graph.constant(E), h)
        terms.append(graph.add("MatMul", h, graph.constant(np.ascontiguousarray(E.T))))
    if manifest.noise is not None:
        sizes = noise_sizes(manifest.sites)
        inputs["noise"] = ["M", sum(sizes)]
        start = 0
        for site, size, strength in zip(manifest.sites, sizes, weights["strength"], strict=True):
            if not size:
                continue
            r = site.resolution
            n = graph.slice("noise", start, start + size)
            start += size
            n = graph.add("Reshape", n, graph.constant([-1, 1, r, r]))
            up = np.repeat(np.eye(r, dtype=np.float32), RESOLUTION // r, axis=0)  # [16, r]
            n = graph.add("MatMul", graph.constant(up * strength), n)
            terms.append(graph.add("MatMul", n, graph.constant(np.ascontiguousarray(up.T))))
    x = terms[0]
    for term in terms[1:]:
        x = graph.add("Add", x, term)
    x = graph.add("Tanh", x)
    graph.add("Mul", x, graph.constant(np.array(1.1, np.float32)), name="image")
    return graph.model(inputs, {"image": ["N", channels, RESOLUTION, RESOLUTION]})


def make_files(manifest: Manifest, weights: Weights) -> dict[str, bytes]:
    """Every file of the bundle by name; manifest.json holds the digests of the others."""
    files = {
        "mapping.onnx": make_mapping(manifest, weights),
        "offsets.onnx": make_offsets(manifest, weights),
        "synthesis.onnx": make_synthesis(manifest, weights),
        "attributes.json": b'{"attributes": []}\n',
    }
    if manifest.noise is not None:
        buffer = io.BytesIO()
        np.save(buffer, weights["noise"], allow_pickle=False)
        files[manifest.noise] = buffer.getvalue()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    final = {field: getattr(manifest, field) for field in manifest.__struct_fields__}
    return {"manifest.json": encode_manifest(Manifest(**{**final, "files": digests})), **files}


def main(folder: Path = DATA) -> None:
    """Writes the bundles and their weights into ``folder``."""
    for name, manifest in manifests().items():
        weights = make_weights(manifest)
        np.savez(folder / f"{name}.npz", allow_pickle=False, **weights)
        files = make_files(manifest, weights)
        path = folder / f"{name}.segan"
        if name == "toy_shifts":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
                for file, data in files.items():
                    archive.writestr(zipfile.ZipInfo(file), data)
            continue
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        for file, data in files.items():
            (path / file).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
