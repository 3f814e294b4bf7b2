"""Files that are hostile, damaged or not checkpoints: each is refused, none is executed.

The corpus is made here. Anything that runs would write the file ``canary``.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import resource
import struct
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs torch; the bare environment has none")

from segan.export.foreign.container import open_foreign  # noqa: E402
from segan.export.foreign.inert.machine import read_pickle  # noqa: E402
from segan.export.foreign.limits import MAX_OPCODES  # noqa: E402
from segan.export.foreign.load import load_foreign  # noqa: E402
from segan.runtime.errors import CheckpointError  # noqa: E402

if TYPE_CHECKING:
    from tests.conftest import RaisesError

#: Seconds of CPU time and bytes that refusing a file may take.
MAX_SECONDS, MAX_BYTES = 10.0, 400 * 2**20

PROTO = b"\x80\x04"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _call(module: str, name: str, arguments: bytes) -> bytes:
    """A call of a global, with a tuple of arguments."""
    return _global(module, name) + b"(" + arguments + b"tR"


CANARY = "echo ran > canary"

#: Functions that an attacker would call.
CALLS = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("os", "popen"),
    ("os", "execv"),
    ("os", "remove"),
    ("os", "open"),
    ("subprocess", "Popen"),
    ("subprocess", "check_output"),
    ("subprocess", "call"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "compile"),
    ("builtins", "open"),
    ("builtins", "getattr"),
    ("builtins", "setattr"),
    ("builtins", "__import__"),
    ("builtins", "map"),
    ("builtins", "bytearray"),
    ("builtins", "globals"),
    ("builtins", "type"),
    ("builtins", "object"),
    ("__builtin__", "eval"),
    ("__builtin__", "apply"),
    ("importlib", "import_module"),
    ("runpy", "run_path"),
    ("pty", "spawn"),
    ("socket", "create_connection"),
    ("shutil", "rmtree"),
    ("pathlib", "Path"),
    ("pickle", "loads"),
    ("_pickle", "loads"),
    ("marshal", "loads"),
    ("types", "FunctionType"),
    ("types", "CodeType"),
    ("functools", "partial"),
    ("functools", "reduce"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("copyreg", "_reconstructor"),
    ("copyreg", "__newobj__"),
    ("copyreg", "add_extension"),
    ("code", "interact"),
    ("timeit", "timeit"),
    ("bdb", "Bdb"),
    ("pdb", "run"),
    ("ctypes", "CDLL"),
    ("webbrowser", "open"),
    ("asyncio", "run"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("torch.jit", "load"),
    ("torch.serialization", "load"),
    ("torch.utils.cpp_extension", "load"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._dynamo", "optimize"),
    ("torch.storage", "UntypedStorage"),
    ("numpy", "load"),
    ("numpy", "loadtxt"),
    ("numpy.core", "os.system"),
    ("numpy.testing._private.utils", "runstring"),
    ("torch_utils.persistence", "_src_to_module"),
    ("torch_utils.persistence", "import_hook"),
    ("dnnlib.util", "open_url"),
    ("dnnlib.util", "call_func_by_name"),
    ("collections", "namedtuple"),
    ("collections.abc", "OrderedDict.os.system"),
    ("argparse", "FileType"),
    ("segan.export.foreign.inert.machine", "read_pickle"),
]


def _calls() -> Iterator[tuple[str, bytes]]:
    command = _text(CANARY)
    for module, name in CALLS:
        yield f"call {module}.{name}", PROTO + _call(module, name, command) + b"."
        stacked = _text(module) + _text(name) + b"\x93"
        yield f"stacked {module}.{name}", PROTO + stacked + command + b"\x85R."
    system = _call("os", "system", command)
    in_dict = b"}" + _text("G_ema") + system + b"s"
    yield "hidden in a dictionary", PROTO + in_dict + b"."
    yield "popped at once", PROTO + system + b"0}."
    yield "in a list", PROTO + b"](" + system + b"e."
    yield "as a persistent id", PROTO + system + b"Q."
    yield "an object of a call", PROTO + _global("os", "system") + b"(" + command + b"t\x81."
    yield "an extended object", PROTO + _global("os", "system") + b"(" + command + b"t}\x92."
    yield "inst", PROTO + b"(" + command + b"ios\nsystem\n."
    yield "obj", PROTO + b"(" + _global("os", "system") + command + b"o."
    yield "persistent text", PROTO + b"Pos.system\n."
    for code, size in ((0x82, "<B"), (0x83, "<H"), (0x84, "<I")):
        yield f"extension {code:x}", PROTO + bytes([code]) + struct.pack(size, 1) + b"."
    yield "next buffer", PROTO + b"\x97."
    yield "protocol 0", b"cos\nsystem\n(S'" + CANARY.encode() + b"'\ntR."
    yield "calling what a call made", PROTO + _call("collections", "OrderedDict", b"") + b")R."
    yield "calling a text", PROTO + _text("os.system") + b")R."


def _states() -> Iterator[tuple[str, bytes]]:
    """BUILD, NEWOBJ and REDUCE on what is allowed."""
    state = b"}" + _text("__class__") + _global("numpy", "ndarray") + b"s"
    ordered = _call("collections", "OrderedDict", b"")
    yield "state of a list", PROTO + b"]" + state + b"b."
    yield "state of a text", PROTO + _text("x") + state + b"b."
    yield "state of a number", PROTO + b"K\x01" + state + b"b."
    yield "state of a global", PROTO + _global("torch", "Size") + state + b"b."
    yield "state of a dictionary", PROTO + ordered + state + b"b."
    yield "slots of a dictionary", PROTO + ordered + state + state + b"\x86b."
    yield "state of nothing", PROTO + b"}b."
    space = _global("argparse", "Namespace") + b")\x81"
    yield "state of a namespace", PROTO + space + b"}" + _text("__dict__") + b"Nsb."
    yield "a namespace of a list", PROTO + space + b"]b."
    for name in ("dict", "set", "list", "tuple", "frozenset"):
        yield f"{name} of a number", PROTO + _call("builtins", name, b"K\x05") + b"."
        yield f"{name} of two", PROTO + _call("builtins", name, b"NN") + b"."
    for module, name in (
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch.storage", "_load_from_bytes"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "dtype"),
        ("torch", "device"),
        ("_codecs", "encode"),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"),
    ):
        yield f"{name} of nothing", PROTO + _call(module, name, b"") + b"."
        yield f"{name} of texts", PROTO + _call(module, name, _text("a") + _text("b")) + b"."
        yield f"{name} of itself", PROTO + _call(module, name, _global(module, name)) + b"."
        yield f"{name} of 9 nothings", PROTO + _call(module, name, b"N" * 9) + b"."


def _bombs() -> Iterator[tuple[str, bytes]]:
    """Memory, time and recursion."""
    yield "lists in lists", PROTO + b"]" * 200_000 + b"a" * 199_999 + b"."
    yield "tuples in tuples", PROTO + b")" + b"\x85" * 500_000 + b"."
    yield "a deep key", PROTO + b"})" + b"\x85" * 100_000 + b"Ns."
    yield "a deep set", PROTO + b"\x8f()" + b"\x85" * 100_000 + b"\x90."
    yield "marks", PROTO + b"(" * 1_000_000 + b"."
    laughs = b"]" + b"q\x00" + (b"(" + b"h\x00" * 200 + b"e") * 200
    yield "a list of itself", PROTO + laughs + b"."
    doubling = b")q\x00" + b"".join(
        b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(200)
    )
    yield "doubling", PROTO + doubling + b"."
    yield "an endless memo", PROTO + b"N" + b"\x94" * (MAX_OPCODES + 10) + b"."
    yield "a sparse memo", PROTO + b"Nr\xff\xff\xff\xff."
    yield "an unknown memo", PROTO + b"h\x07."
    for code in (b"X", b"B", b"T", b"\x8d", b"\x8e", b"\x96", b"\x8b"):
        size = struct.pack("<Q", 2**62) if code in (b"\x8d", b"\x8e", b"\x96") else b"\xff" * 4
        yield f"a size of 2**62 for {code!r}", PROTO + code + size + b"abc."
    yield "an integer of 200 bytes", PROTO + b"\x8a\xc8" + b"\xff" * 200 + b"."
    yield "a frame past the end", PROTO + b"\x95" + struct.pack("<Q", 2**63) + b"N."
    yield "an endless line", PROTO + b"c" + b"a" * 100_000
    yield "an unhashable key", PROTO + b"}]Ns."
    yield "odd items", PROTO + b"}(NNNu."
    yield "two results", PROTO + b"NN."
    yield "no result", PROTO + b"."
    yield "a mark as the result", PROTO + b"(."
    yield "protocol 9", b"\x80\x09N."
    yield "none", PROTO + b"N."
    yield "a number", PROTO + b"K\x01."
    yield "an empty dictionary", PROTO + b"}."
    yield "a list of numbers", PROTO + b"](K\x01K\x02e."


def _tensor(shape: str, strides: str, offset: int = 0, kind: str = "FloatStorage") -> bytes:
    """A zip of torch.save whose one tensor has 4 floats and the given shape."""
    stream = io.BytesIO()
    torch.save({"g_ema": {"a": torch.zeros(4)}}, stream)
    with zipfile.ZipFile(stream) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    found = b""

    def integer(value: int) -> bytes:
        data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    def whole(text: str) -> bytes:
        return b"(" + b"".join(integer(int(v)) for v in text.split()) + b"t"

    identity = _text("storage") + _global("torch", kind) + _text("0") + _text("cpu") + b"K\x04"
    found = (
        b"\x80\x02}" + _text("g_ema") + b"}" + _text("a")
        + _global("torch._utils", "_rebuild_tensor_v2") + b"((" + identity + b"tQ"
        + integer(offset) + whole(shape) + whole(strides) + b"\x89}tRss."
    )  # fmt: skip
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, found if name.endswith("data.pkl") else data)
    return stream.getvalue()


def _tensors() -> Iterator[tuple[str, bytes]]:
    for number, (shape, strides) in enumerate(
        [
            ("5", "1"),
            ("1000000000000", "0"),
            ("4", "1000000000000"),
            ("-4", "1"),
            ("4", "-1"),
            ("2 2", "1"),
            ("4294967296 4294967296", "1 1"),
            ("1 1 1 1 1 1 1 1 1", "1 1 1 1 1 1 1 1 1"),
            ("340282366920938463463374607431768211456", "1"),
        ]
    ):
        yield f"shape {number}: {shape}", _tensor(shape, strides)
    yield "offset", _tensor("4", "1", offset=1)
    yield "negative offset", _tensor("4", "1", offset=-1)
    yield "another storage", _tensor("4", "1", kind="DoubleStorage")
    yield "no storage", _tensor("4", "1", kind="os.system")


def _zips() -> Iterator[tuple[str, bytes]]:
    def written(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", compression) as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
        return stream.getvalue()

    system = b"\x80\x02" + _call("os", "system", _text(CANARY)) + b"."
    yield "zip of nothing", written({})
    yield "zip with a call", written({"a/data.pkl": system})
    yield "zip without a pickle", written({"a.png": b"x"})
    yield "zip with two pickles", written({"a/data.pkl": system, "b/data.pkl": system})
    yield "zip bomb", written({"a/data.pkl": bytes(10**8)}, zipfile.ZIP_DEFLATED)
    yield "zip that climbs", written({"../../data.pkl": system})
    yield "zip of another endian", written({"a/data.pkl": b"\x80\x02}.", "a/byteorder": b"big"})
    good = written({"a/data.pkl": b"\x80\x02}."})
    for place in range(0, len(good), 7):
        yield f"zip with byte {place} wrong", good[:place] + b"\xff" + good[place + 1 :]


def _other_things() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "one byte", b"\x80"
    yield "lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    yield "html", b"<!DOCTYPE html><html><body>Not Found</body></html>"
    yield "html after blanks", b"\n  <html>"
    yield "json", b'{"a": 1}'
    yield "png", b"\x89PNG\r\n\x1a\n" + bytes(50)
    yield "gzip", b"\x1f\x8b" + bytes(50)
    yield "tar", bytes(257) + b"ustar" + bytes(300)
    yield "numpy", b"\x93NUMPY" + bytes(50)
    yield "hdf5", b"\x89HDF\r\n\x1a\n" + bytes(50)
    yield "zeros", bytes(10_000)
    yield "text", b"hello\n" * 30
    header = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,%d]}}'
    for number, end in enumerate((16, 17, 10**15, -1)):
        text = header % end
        yield f"safetensors {number}", struct.pack("<Q", len(text)) + text + bytes(16)
    for number, text in enumerate(
        (
            b"{" * 100_000,
            b'{"a":[]}',
            b'{"a":{"dtype":"X","shape":[4],"data_offsets":[0,16]}}',
            b'{"a":{"dtype":"F32","shape":["4"],"data_offsets":[0,16]}}',
            b'{"a":{"dtype":"F32","shape":[1e99],"data_offsets":[0,16]}}',
            b'{"__metadata__":{}}',
            b"{}",
            b"{nonsense}",
        )
    ):
        yield f"safetensors header {number}", struct.pack("<Q", len(text)) + text + bytes(16)
    tflib = b"\x80\x03" + _global("dnnlib.tflib.network", "Network") + b")\x81."
    yield "tensorflow", tflib


def _corpus() -> list[tuple[str, bytes]]:
    makers = (_calls, _states, _bombs, _tensors, _zips, _other_things)
    return [case for maker in makers for case in maker()]


def _refuse(path: Path, data: bytes) -> CheckpointError:
    """Imports the file, which must be refused within MAX_SECONDS by an error that names it."""
    path.write_bytes(data)
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        load_foreign(path)
    assert time.process_time() - start < MAX_SECONDS
    error = caught.value
    assert error.problem.startswith(str(path))
    assert error.field != "path" or error.value == path
    message = str(error)
    assert len(str(path)) + 20 < len(message) < 1000
    assert "Traceback" not in message
    return error


@pytest.fixture
def _watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Checks that no process starts, nothing is imported or written, and memory is limited."""
    monkeypatch.chdir(tmp_path)
    armed = True

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if armed and event in ("os.system", "subprocess.Popen", "os.exec", "pty.spawn"):
            os.write(2, f"{event} {arguments!r}\n".encode())
            raise RuntimeError(f"executed: {event}")

    sys.addaudithook(audit)
    modules = set(sys.modules)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    armed = False
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < MAX_BYTES
    assert not (tmp_path / "canary").exists()
    new = {name.partition(".")[0] for name in set(sys.modules) - modules}
    assert not new & {"pty", "webbrowser", "pdb", "bdb", "timeit", "code", "nt"}


@pytest.mark.usefixtures("_watched")
def test_hostile_corpus(tmp_path: Path) -> None:
    corpus = _corpus()
    assert len({name for name, _ in corpus}) == len(corpus)
    assert len(corpus) >= 200
    errors = {name: _refuse(tmp_path / "model.pkl", data) for name, data in corpus}
    for module, name in CALLS:
        problem = errors[f"call {module}.{name}"].problem
        assert name in problem or "TensorFlow" in problem
    assert "git lfs pull" in errors["lfs"].remedy
    assert "web page" in errors["html"].problem
    assert "legacy.py" in errors["tensorflow"].remedy
    assert errors["empty"].field == "path"
    assert "EXT1" in errors["extension 82"].problem


@pytest.mark.usefixtures("_watched")
@pytest.mark.parametrize("kind", ["pickle", "zip", "stream", "safetensors"])
def test_truncated_at_every_percent(kind: str, tmp_path: Path, foreign_models: ModuleType) -> None:
    data = _sample(kind, foreign_models)
    for percent in range(100):
        _refuse(tmp_path / "model.pt", data[: len(data) * percent // 100])
    _refuse(tmp_path / "model.pt", data[:-1])


def _sample(kind: str, models: ModuleType) -> bytes:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "pickle":
            found = models.ada_bytes(models.make_ada(resolution=8))
        elif kind == "safetensors":
            from safetensors.torch import save

            found = save(models.make_rosinality(resolution=8))
        else:
            content = {"g_ema": models.make_rosinality(resolution=8)}
            found = models.checkpoint_bytes(content, old=kind == "stream")
    assert isinstance(found, bytes)
    return found


def test_calls_hidden_in_a_good_model_are_refused(
    tmp_path: Path, foreign_models: ModuleType
) -> None:
    """A call is refused wherever it is inserted between the opcodes of a good pickle."""
    data = _sample("pickle", foreign_models)
    system = _call("os", "system", _text(CANARY)) + b"0"
    places = [
        position
        for opcode, _, position in pickletools.genops(data)
        if opcode.name not in ("PROTO", "FRAME", "STOP")
    ]
    path = tmp_path / "model.pkl"
    for place in places[:: max(1, len(places) // 60)]:
        assert "os.system" in _refuse(path, data[:place] + system + data[place:]).problem


def test_source_code_in_a_pickle_is_not_compiled(
    tmp_path: Path, foreign_models: ModuleType
) -> None:
    data = _sample("pickle", foreign_models)
    assert foreign_models.SOURCE.encode() in data
    path = tmp_path / "model.pkl"
    path.write_bytes(data)
    load_foreign(path)


def test_stylegan3_is_named(tmp_path: Path, foreign_models: ModuleType) -> None:
    synthesis = foreign_models.persistent("SynthesisNetwork")
    synthesis.L0_36_512 = foreign_models.dense(3, 4)
    generator = foreign_models.persistent("Generator")
    generator.synthesis = synthesis
    data = foreign_models.ada_bytes(generator)
    error = _refuse(tmp_path / "model.pkl", data)
    assert "StyleGAN3" in error.problem
    assert error.expected == "a StyleGAN2"


def test_nested_storage_that_is_not_a_storage(tmp_path: Path) -> None:
    inner = pickle.dumps({"a": 1}, 2)
    nested = _call(
        "torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(inner)) + inner
    )
    assert "torch.save" in _refuse(tmp_path / "model.pkl", PROTO + nested + b".").problem
    system = b"\x80\x02" + _call("os", "system", _text(CANARY)) + b"."
    nested = _call(
        "torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(system)) + system
    )
    assert "os.system" in _refuse(tmp_path / "model.pkl", PROTO + nested + b".").problem


def _deep(models: ModuleType, levels: int) -> bytes:
    """A generator with modules in modules."""
    generator = module = models.make_ada(resolution=8)
    for _ in range(levels):
        module.below = models.persistent("Layer")
        module = module.below
    found = models.ada_bytes(generator)
    assert isinstance(found, bytes)
    return found


def test_deeply_nested_modules(tmp_path: Path, foreign_models: ModuleType) -> None:
    error = _refuse(tmp_path / "model.pkl", _deep(foreign_models, 60))
    assert "modules" in error.problem
    assert error.expected == "at most 12"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_mutated_files_never_crash(
    tmp_path: Path, foreign_models: ModuleType, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["pickle", "zip", "stream", "safetensors"]))
    sample = bytearray(_sample(kind, foreign_models))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, min(len(sample) - 1, 6000)))
        sample[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutated"
    path.write_bytes(sample)
    with contextlib.suppress(CheckpointError):  # and nothing else
        load_foreign(path)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([bytes([n]) for n in range(256)]) | st.binary(max_size=6)))
def test_any_opcodes_are_read_or_refused(parts: list[bytes]) -> None:
    with contextlib.suppress(CheckpointError):  # and nothing else
        read_pickle(memoryview(PROTO + b"".join(parts) + b"."))


def test_a_missing_file_and_a_folder(tmp_path: Path, raises_error: RaisesError) -> None:
    for path in (tmp_path / "none.pkl", tmp_path):
        with raises_error(CheckpointError, field="path", value=path), open_foreign(path):
            pass


def test_a_pipe_is_not_waited_for(tmp_path: Path, raises_error: RaisesError) -> None:
    os.mkfifo(tmp_path / "pipe")
    with raises_error(CheckpointError, field="path", problem="not a regular file"):
        load_foreign(tmp_path / "pipe")


def test_a_whole_network_of_torch_is_named(tmp_path: Path) -> None:
    data = PROTO + _global("model", "Generator") + b")\x81."
    error = _refuse(tmp_path / "model.pt", data)
    assert "model.Generator" in error.problem
    assert "state_dict()" in error.remedy
    assert "state_dict()" not in _refuse(tmp_path / "m.pt", dict(_calls())["call bdb.Bdb"]).remedy


@pytest.mark.parametrize(
    ("mark", "project"),
    [("G_style", "StyleGAN (1)"), ("G_main", "StyleGAN2"), ("G_paper", "ProGAN")],
)
def test_tensorflow_pickles_are_named(mark: str, project: str, tmp_path: Path) -> None:
    state = b"}" + _text("build_func_name") + _text(mark) + b"s"
    data = PROTO + _global("dnnlib.tflib.network", "Network") + b")\x81" + state + b"b."
    assert project in _refuse(tmp_path / "model.pkl", data).problem


def test_other_files_of_torch_are_named(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    assert "0.1.10" in _refuse(tmp_path / "old.pt", stream.getvalue()).problem
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            zipped.writestr(f"a/{name}", b"\x80\x02}.")
    assert "TorchScript" in _refuse(tmp_path / "script.pt", stream.getvalue()).problem
