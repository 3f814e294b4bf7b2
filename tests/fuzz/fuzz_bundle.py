"""Coverage-guided fuzzing of what reads bundles; needs atheris.

    python tests/fuzz/fuzz_bundle.py TARGET -max_total_time=3600

TARGET is ``zip``, ``manifest``, ``attributes``, ``graph`` or ``noise``; further arguments are
libFuzzer's. It mutates the files of the small bundles in tests/data and of the shipped one. A
finding is any exception other than ``BundleError``, any execution that Python's audit hooks report
(see fuzz_import.py), a graph that passes the check and that onnx reads as another, 10 s of CPU for
one file, or 1 GiB of memory. The file that caused it is kept in the current folder as ``fuzz-…``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from fuzz_import import MAX_SECONDS, Watch

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "data"

#: Longest mutated file; the toy bundles' files are shorter.
MAX_BYTES = 65_536

LIMITS = [f"-max_len={MAX_BYTES}", "-timeout=300", "-rss_limit_mb=1024", "-print_final_stats=1"]

MODULES = [
    *(f"segan.runtime.bundle.{name}" for name in ("attributes", "manifest", "reader")),
    *(f"segan.runtime.files.{name}" for name in ("arrays", "json_record", "zips")),
    *(f"segan.runtime.graphs.{name}" for name in ("check", "messages", "operators", "shapes")),
    *(f"segan.runtime.graphs.{name}" for name in ("tensors", "wire")),
    "zipfile",
]

#: Target → the file of the bundle that is mutated; None for the whole zip.
TARGETS = {
    "zip": None,
    "manifest": "manifest.json",
    "attributes": "attributes.json",
    "graph": "mapping.onnx",
    "noise": "noise.npy",
}


def write_seeds(target: str, folder: Path) -> None:
    """Writes valid files of a target: those of the toy bundles and of the shipped one."""
    file = TARGETS[target]
    (shipped,) = (ROOT / "runtime" / "bundle" / "models").glob("*.segan")
    packed = [TOYS / "toy_shifts.segan", shipped]
    if file is None:
        shutil.copy(packed[0], folder / "shifts")
        with zipfile.ZipFile(folder / "toy", "w") as archive:
            for path in sorted((TOYS / "toy_plain.segan").iterdir()):
                archive.write(path, f"toy.segan/{path.name}")
        return
    seeds: list[bytes] = []
    if target != "graph":
        seeds.append((TOYS / "toy.segan" / file).read_bytes())
    else:
        for path in (TOYS / "toy.segan", TOYS / "toy_plain.segan"):
            seeds += [found.read_bytes() for found in path.glob("*.onnx")]
        for path in packed:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".onnx")]
                seeds += [archive.read(name) for name in names]
    if target == "attributes":
        entry = {"name": "smile", "layer": 1, "index": 0, "dim": 2, "range": [-1, 2.5]}
        more = [{**entry, "name": "é", "sign": -1, "hidden": True, "sigma": [0.1]}, entry]
        document = {"format": "segan.attributes/1", "attributes": more}
        seeds.append(json.dumps(document).encode())
    for number, data in enumerate(seeds):
        if len(data) <= MAX_BYTES:
            (folder / str(number)).write_bytes(data)


def reader_of(target: str, folder: Path) -> tuple[Callable[[bytes], None], Callable[[], None]]:
    """Returns what writes a mutated file, and what reads it as segan does or raises BundleError."""
    from segan.runtime.backends.graphs import _decode_noise
    from segan.runtime.bundle.attributes import read_attributes
    from segan.runtime.bundle.graph_files import read_graph
    from segan.runtime.bundle.reader import open_bundle
    from segan.runtime.errors import BundleError

    path = folder / "fuzzed.segan"
    if target != "zip":
        shutil.copytree(TOYS / "toy.segan", path)
    manifest = json.loads((TOYS / "toy.segan" / "manifest.json").read_text())

    def read() -> None:
        bundle = open_bundle(path)
        if target == "noise":
            try:
                _decode_noise(bundle.read("noise.npy"), 656)
            except ValueError as error:
                raise BundleError(str(error)) from None
            return
        read_attributes(bundle)
        for graph in ("mapping", "offsets", "synthesis"):
            read_graph(bundle, graph)
        if bundle.manifest.noise is not None:
            bundle.read(bundle.manifest.noise)

    def write(data: bytes) -> None:
        file = TARGETS[target]
        (path if file is None else path / file).write_bytes(data)
        if file not in (None, "manifest.json"):
            # The stranger's manifest agrees with the stranger's files.
            manifest["files"][file] = hashlib.sha256(data).hexdigest()
            (path / "manifest.json").write_text(json.dumps(manifest))

    def read_graph_alone() -> None:
        _check_graph((path / "mapping.onnx").read_bytes())

    return write, read_graph_alone if target == "graph" else read


def _check_graph(data: bytes) -> None:
    """Checks a graph; onnx and ONNX Runtime must then see what was checked."""
    import onnx

    from segan.runtime.backends.onnxruntime import OnnxRuntimeSession
    from segan.runtime.backends.session import SessionConfig
    from segan.runtime.errors import BackendError, BundleError
    from segan.runtime.graphs.check import check_model
    from segan.runtime.graphs.wire import MalformedModelError

    try:
        found = check_model(data)
    except MalformedModelError as error:
        raise BundleError(str(error)) from None
    if onnx.load_from_string(found).SerializeToString(deterministic=True) != found:
        raise RuntimeError("onnx reads another model than was checked")
    try:
        OnnxRuntimeSession(found, name="fuzzed", config=SessionConfig(threads=1)).close()
    except BackendError as error:
        raise BundleError(str(error)) from None


def fuzz(target: str, folder: Path, arguments: list[str]) -> None:
    """Runs libFuzzer in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=MODULES):
        write, read_file = reader_of(target, folder)
        from segan.runtime.errors import BundleError
    watch = Watch()

    def read(data: bytes, *, good: bool = False) -> None:
        write(data)
        # A backend opens files of the system, such as its list of processors, and compiles.
        problem, watch.armed, start = None, target != "graph", time.process_time()
        try:
            read_file()
        except BundleError as error:
            problem = str(error)
        finally:
            watch.armed = False
        if time.process_time() - start > MAX_SECONDS:
            raise RuntimeError("reading took too long")
        if problem is not None and (good or len(problem) > 2000):
            raise RuntimeError(f"unexpected message: {problem}")
        if watch.found and not watch.learning:
            raise RuntimeError(f"reading caused: {watch.found}")

    # Twice: the first pass imports late modules; the second checks that every seed is valid.
    for watch.learning in (True, False):
        for seed in sorted((folder / "corpus").iterdir()):
            watch.found.clear()
            read(seed.read_bytes(), good=not watch.learning)
    atheris.Setup([sys.argv[0], *LIMITS, *arguments, str(folder / "corpus")], read)
    atheris.Fuzz()


def main() -> int:
    """Fuzzes in a process of its own, and removes its folder afterwards."""
    if sys.argv[1:2] == ["--in"]:
        fuzz(sys.argv[3], Path(sys.argv[2]), sys.argv[4:])
        return 0
    if sys.argv[1:2] == [] or sys.argv[1] not in TARGETS:
        print(f"usage: fuzz_bundle.py {'|'.join(TARGETS)} [-max_total_time=SECONDS]")
        return 2
    target = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="fuzz-bundle-") as name:
        (Path(name) / "corpus").mkdir()
        write_seeds(target, Path(name) / "corpus")
        arguments = ["-artifact_prefix=fuzz-", *sys.argv[2:]]
        command = [sys.executable, __file__, "--in", name, target, *arguments]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
