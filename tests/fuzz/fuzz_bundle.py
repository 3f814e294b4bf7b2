"""Coverage-guided fuzzing of what reads bundles; needs atheris.

    python tests/fuzz/fuzz_bundle.py zip -max_total_time=600
    python tests/fuzz/fuzz_bundle.py manifest -max_total_time=600
    python tests/fuzz/fuzz_bundle.py attributes -max_total_time=600
    python tests/fuzz/fuzz_bundle.py graph -max_total_time=600
    python tests/fuzz/fuzz_bundle.py noise -max_total_time=600

Further arguments are libFuzzer's. It mutates zips, or one file of a bundle whose manifest then
states its hash. What a finding is: see ``harness.py``; and a graph that passes the check and that
the package onnx reads as another.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz.harness import MAX_BYTES, Target, main  # found by the line above

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests" / "data" / "toy.segan"

MODULES = (
    *(f"segan.runtime.bundle.{name}" for name in ("attributes", "manifest", "reader")),
    *(f"segan.runtime.files.{name}" for name in ("arrays", "json_record", "zips")),
    *(f"segan.runtime.graphs.{name}" for name in ("check", "messages", "operators", "shapes")),
    *(f"segan.runtime.graphs.{name}" for name in ("tensors", "wire")),
    "zipfile",
)


def zip_seeds() -> dict[str, bytes]:
    """Returns a zip of a bundle's files, and one of a folder with them."""
    found = {}
    for prefix in ("", "toy.segan/"):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for path in sorted(TOY.parent.joinpath("toy_plain.segan").iterdir()):
                archive.writestr(prefix + path.name, path.read_bytes())
        found[f"zip-{bool(prefix)}"] = data.getvalue()
    return found


def attributes_seeds() -> dict[str, bytes]:
    """Returns lists of names."""
    entry = {"name": "smile", "layer": 1, "index": 0, "dim": 2, "range": [-1, 2.5]}
    more = [{**entry, "name": "é", "sign": -1, "hidden": True, "sigma": [0.1]}, entry]
    document = {"format": "segan.attributes/1", "attributes": more}
    return {"names": json.dumps(document).encode(), **file_seeds("attributes.json")}


def file_seeds(name: str) -> dict[str, bytes]:
    """Returns one file of a bundle."""
    return {name: (TOY / name).read_bytes()}


def graph_seeds() -> dict[str, bytes]:
    """Returns the small graphs of the toy bundles and of the shipped one."""
    (shipped,) = (ROOT / "runtime" / "bundle" / "models").glob("*.segan")
    found = {path.name: path.read_bytes() for path in TOY.glob("*.onnx")}
    for path in (shipped, TOY.parent / "toy_shifts.segan"):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".onnx")]
            found |= {f"{path.stem}-{name}": archive.read(name) for name in names}
    return {name: data for name, data in found.items() if len(data) <= MAX_BYTES}


class _Files:
    """A bundle in memory, whose manifest states the hashes of what is in it."""

    def __init__(self) -> None:
        self.files = {path.name: path.read_bytes() for path in TOY.iterdir()}
        self._manifest = json.loads(self.files["manifest.json"])

    def replace(self, name: str, data: bytes) -> None:
        self.files[name] = data
        if name != "manifest.json":
            self._manifest["files"][name] = hashlib.sha256(data).hexdigest()
            self.files["manifest.json"] = json.dumps(self._manifest).encode()

    def read(self, name: str, _limit: int) -> bytes:
        from segan.runtime.errors import BundleError

        if name not in self.files:
            raise BundleError(f"{name} is missing")
        return self.files[name]


def _read_all(bundle: Any) -> None:
    """Reads everything in a bundle, as loading it does."""
    from segan.runtime.backends.graphs import read_noise
    from segan.runtime.bundle.attributes import read_attributes
    from segan.runtime.bundle.graph_files import read_graph

    read_attributes(bundle)
    for graph in ("mapping", "offsets", "synthesis"):
        read_graph(bundle, graph)
    read_noise(bundle)
    bundle.verify()


def zip_reader(file: Path) -> Callable[[bytes], None]:
    """Returns what opens a zip and reads everything in it."""
    from segan.runtime.bundle.reader import open_bundle

    def read(data: bytes) -> None:
        file.write_bytes(data)
        _read_all(open_bundle(file))

    return read


def file_reader(name: str, file: Path) -> Callable[[bytes], None]:
    """Returns what reads a bundle with one file replaced: that file, or with a manifest all."""
    from segan.runtime.backends.graphs import read_noise
    from segan.runtime.bundle.attributes import read_attributes
    from segan.runtime.bundle.reader import Bundle

    store = _Files()
    readers: dict[str, Callable[[Any], Any]] = {
        "attributes.json": read_attributes,
        "manifest.json": _read_all,
        "noise.npy": read_noise,
    }

    def read(data: bytes) -> None:
        store.replace(name, data)
        readers[name](Bundle(file, store))  # type: ignore[arg-type]

    return read


def graph_reader(_: Path) -> Callable[[bytes], None]:
    """Returns what checks a graph of any interface; onnx must then read what was checked."""
    import onnx

    from segan.runtime.graphs.check import check_model

    def read(data: bytes) -> None:
        found = check_model(data)
        if onnx.load_from_string(found).SerializeToString(deterministic=True) != found:
            raise RuntimeError("onnx reads another model than was checked")

    return read


BAD = ("segan.runtime.errors", "BundleError")
TARGETS = {
    "zip": Target(seeds=zip_seeds, modules=MODULES, reader=zip_reader, error=BAD),
    "attributes": Target(
        seeds=attributes_seeds,
        modules=MODULES,
        reader=partial(file_reader, "attributes.json"),
        error=BAD,
    ),
    "graph": Target(
        seeds=graph_seeds,
        modules=MODULES,
        reader=graph_reader,
        error=("segan.runtime.graphs.wire", "MalformedModelError"),
    ),
} | {
    target: Target(
        seeds=partial(file_seeds, name),
        modules=MODULES,
        reader=partial(file_reader, name),
        error=BAD,
    )
    for target, name in (("manifest", "manifest.json"), ("noise", "noise.npy"))
}

if __name__ == "__main__":
    raise SystemExit(main(__file__, TARGETS))
