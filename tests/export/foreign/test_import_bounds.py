"""Small files that ask for much: each is answered in seconds, in a process of little memory."""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch; the bare environment has none")

from segan.export.foreign import limits  # noqa: E402
from segan.export.foreign.inert.machine import read_pickle  # noqa: E402
from segan.export.foreign.load import load_foreign  # noqa: E402
from segan.runtime.errors import CheckpointError  # noqa: E402

if TYPE_CHECKING:
    from tests.conftest import RaisesError

FAULTS = Path(__file__).parents[4] / "shared" / "faults" / "bombs-import"

#: Seconds of CPU time for a file, and bytes of address space beyond the libraries.
MAX_SECONDS, MAX_BYTES = 10.0, 512 << 20

PROTO = b"\x80\x04"

#: Reads files in a process whose address space is bounded; prints what came of each.
READER = """
import os, resource, sys, time
import segan.export.foreign.layouts.ada, segan.export.foreign.layouts.rosinality
import segan.export.foreign.layouts.segan_pytorch, segan.export.foreign.stylegan2
from segan.export.foreign.load import load_foreign
from segan.runtime.errors import CheckpointError
import torch

torch.set_num_threads(1)
def used():
    return int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
base = used()
for path in sys.argv[2:]:
    most = max(3 * os.path.getsize(path), int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_AS, (base + most, resource.RLIM_INFINITY))
    before = time.process_time()
    try:
        load_foreign(path)
        said = "read"
    except CheckpointError as error:
        said = f"{error.problem}|{error.expected}"
    spent = time.process_time() - before
    print(f"{os.path.basename(path)}\\t{spent:.1f}\\t{said}".encode("ascii", "replace").decode())
"""


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


def _many(item: bytes, count: int) -> bytes:
    return b"](" + item * count + b"e"


def _copies(module: str, name: str, source: bytes, times: int) -> bytes:
    """A pickle that keeps copies of one container, each made by a call."""
    call = _global(module, name) + b"q\x01" + source + b"\x85q\x020"
    return PROTO + b"](" + call + b"h\x01h\x02R" * times + b"e."


def _pairs(count: int) -> bytes:
    keys = b"".join(_text(b"%d" % n) + b"N\x86" for n in range(count))
    return b"](" + keys + b"e"


def _colliding(count: int) -> bytes:
    """Numbers of one hash, which make a dictionary quadratic."""
    numbers = (n * (2**61 - 1) for n in range(1, count))
    return b"".join(b"\x8a\x10" + n.to_bytes(16, "little") for n in numbers)


def _pickles() -> Iterator[tuple[str, bytes, str]]:
    """(name, pickle, words of the bound)."""
    numbers = _many(b"K\x01", 50_000)
    for kind in ("list", "tuple"):
        yield f"copies of a {kind}", _copies("builtins", kind, numbers, 600), "copied"
    texts = b"](" + b"".join(_text(b"%d" % n) for n in range(20_000)) + b"e"
    for kind in ("set", "frozenset"):
        yield f"copies of a {kind}", _copies("builtins", kind, texts, 600), "copied"
    yield "sizes", _copies("torch", "Size", numbers, 600), "copied"
    ordered = _copies("collections", "OrderedDict", _pairs(20_000), 600)
    yield "ordered dictionaries", ordered, "copied"
    filled = b"}(" + b"".join(_text(b"%d" % n) + b"N" for n in range(20_000)) + b"u"
    yield "dictionaries", _copies("builtins", "dict", filled, 600), "copied"
    space = _global("argparse", "Namespace") + b"q\x03)\x81q\x04" + filled + b"q\x050"
    updates = PROTO + b"](" + space + b"h\x04h\x05b" * 600 + b"e."
    yield "one namespace", updates, "copied"
    fresh = PROTO + b"](" + space + b"h\x03)\x81h\x05b" * 600 + b"e."
    yield "namespaces", fresh, "copied"
    encode = _global("_codecs", "encode") + b"q\x01" + _text(b"a" * 2**20) + _text(b"latin1")
    encoded = PROTO + b"](" + encode + b"\x86q\x020" + b"h\x01h\x02R" * 600 + b"e."
    yield "encoded texts", encoded, "texts"
    yield "wide texts", PROTO + _many(_text(b"a" * 2**20 + "😀".encode()), 40) + b".", "texts"
    for name, item in {
        "bytes": b"C\x00",
        "lists": b"]",
        "sets": b"\x8f",
        "dictionaries in a list": b"}",
    }.items():
        yield f"many {name}", PROTO + _many(item, 2_000_000) + b".", "opcodes"
    keys = _colliding(30_000)
    pairs = b"}(" + b"".join(
        b"\x8a\x10" + (n * (2**61 - 1)).to_bytes(16, "little") + b"N" for n in range(1, 30_000)
    )
    yield "colliding keys of a dictionary", PROTO + pairs + b"u.", "keys"
    yield "colliding members", PROTO + b"\x8f(" + keys + b"\x90.", "keys"
    listed = _global("builtins", "set") + b"](" + keys + b"e\x85R."
    yield "colliding items", PROTO + listed, "keys"
    long = _text(b"k" * 2**20)
    equal = PROTO + b"}" + long + b"q\x01N" + b"s" + b"".join([long + b"Ns"] * 5) + b"."
    yield "long keys", equal, "key"
    yield "dots", PROTO + _text(b"." * 2**23) + _text(b"x") + b"\x93.", ""
    laughs = b"]q\x00" + (b"(" + b"h\x00" * 400 + b"e") * 3_000
    yield "a list of itself", PROTO + laughs + b".", "opcodes"
    record = _many(b"N", 10_000) + b"q\x01"
    nested = b"".join(b"h\x01h\x01\x86q\x010" for _ in range(200_000))
    yield "tuples of tuples", PROTO + record + nested + b"N.", ""


def _modules(models: ModuleType) -> Iterator[tuple[str, bytes, str]]:
    below = models.persistent("Layer")
    for number in range(300):
        setattr(below, f"a{number}", 1)
    for _ in range(8):
        above = models.persistent("Layer")
        for number in range(12):
            above.register_module(f"m{number}", below)
        below = above
    generator = models.make_ada(resolution=8)
    generator.below = below
    yield "modules that share modules", models.ada_bytes(generator), "attributes"


def _networks(models: ModuleType) -> Iterator[tuple[str, bytes, str]]:
    """Networks of a few kilobytes, whose sizes are those of much larger ones."""

    def saved(**content: Any) -> bytes:
        stream = io.BytesIO()
        torch.save(content, stream)
        return stream.getvalue()

    state = models.make_rosinality(resolution=8, noises=False)
    layers = state | {f"style.{n}.weight": state["style.1.weight"] for n in range(1, 200)}
    layers |= {f"style.{n}.bias": state["style.1.bias"] for n in range(1, 200)}
    yield "many layers", saved(g_ema=layers), "mapping"
    tall = models.make_rosinality(resolution=8, channels=(1,) * 12, w_dim=1, noises=False)
    for number in range(12):
        for half in range(2):
            for name, value in list(tall.items()):
                if name.startswith(f"convs.{half}."):
                    tall[name.replace(f"convs.{half}", f"convs.{2 * number + half}")] = value
        for name, value in list(tall.items()):
            if name.startswith("to_rgbs.0."):
                tall[name.replace("to_rgbs.0", f"to_rgbs.{number}")] = value
    yield "noise of a giant image", saved(g_ema=tall), "layers"
    for taps in ((20_000,), (100_000,), (1, 100_000), (100, 100), (1, 1, 4)):
        bad = dict(state)
        bad["convs.0.conv.blur.kernel"] = torch.ones(taps)
        yield f"taps {taps}", saved(g_ema=bad), "filter"
    sizes = {"resolution": 1024, "channels": (1,) * 8 + (33,), "w_dim": 2, "noises": False}
    broad = models.make_rosinality(**sizes)
    yield "features of many channels", saved(g_ema=broad), "feature maps of 33 channels"
    wide = models.make_ada(resolution=8, c_dim=40_000, embed=1, z_dim=2, w_dim=2)
    yield "40,000 classes", models.ada_bytes(wide), "classes"
    deep = models.make_ada(resolution=8, z_dim=30_000, w_dim=1, layers=1)
    yield "a wide z", models.ada_bytes(deep), "mapping.fc0"
    shared = torch.zeros(2048, 2048)
    huge = models.make_ada(resolution=8, w_dim=2, z_dim=2).state_dict()
    huge |= {f"mapping.fc{n}.weight": shared for n in range(60)}
    huge |= {f"mapping.fc{n}.bias": shared[0] for n in range(60)}
    yield "weights that share one storage", saved(G_ema=huge), "weights"


def _safetensors(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def _headers() -> Iterator[tuple[str, bytes, str]]:
    good = b'{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
    yield "dims", _safetensors({"a": _entry([1] * 100_000, 0, 4)}, bytes(4)), "dimensions"
    yield "header", _safetensors(b"{" + b" " * 2**23 + b"}"), "header"
    yield "header past the end", struct.pack("<Q", 2**30) + b"{}" + bytes(9), "header"
    yield "overlap", _safetensors({"a": _entry([4], 0, 16), "b": _entry([4], 8, 24)}, bytes(24)), ""
    yield (
        "same bytes",
        _safetensors({"a": _entry([4], 0, 16), "b": _entry([4], 0, 16)}, bytes(16)),
        "",
    )
    yield "hole", _safetensors({"a": _entry([4], 4, 20)}, bytes(20)), "bytes 0 to 4"
    yield "bytes left", _safetensors({"a": _entry([4], 0, 16)}, bytes(20)), "byte 16 of 20"
    yield "twice", _safetensors(b'{"a":' + good + b',"a":' + good + b"}", bytes(16)), "twice"
    for word in (b"NaN", b"Infinity", b"1e400", b"-1", b"1.0", b"true", b'"4"', b"9" * 5000):
        text = b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,16]}}' % word
        yield f"a size of {word[:9].decode()}", _safetensors(text, bytes(16)), ""
    yield "nested", _safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "JSON"
    wide = json.dumps({"a": _entry([1], 0, 4)}).encode("utf-16")[2:]
    yield "another encoding", struct.pack("<Q", len(wide)) + wide + bytes(4), "JSON"
    zero = {f"t{n}": _entry([0], 0, 0) for n in range(30_000)}
    yield "empty tensors", _safetensors(zero), "tensors"
    yield "a complex type", _safetensors({"a": _entry([1], 0, 8, "C64")}, bytes(8)), "C64"
    yield "metadata", _safetensors({"__metadata__": {"a": [1]}}), "metadata"
    yield "a long name", _safetensors({"n" * 10_000: _entry([1], 0, 4)}, bytes(4)), "name"


def _zips() -> Iterator[tuple[str, bytes, str]]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        for number in range(150_000):
            archive.writestr(f"{number:0150d}", b"")
    yield "directory", stream.getvalue(), "directory"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
    good = stream.getvalue()
    central = good.index(b"PK\x01\x02")
    for name, at, value in (
        ("version", 6, b"\xff\xff"),
        ("compression", 10, b"\x63\x00"),
        ("lzma", 10, b"\x0e\x00"),
        ("encrypted", 8, b"\x01\x00"),
        ("size", 24, b"\xf0\xff\xff\xff"),
        ("offset", 42, b"\xf0\xff\xff\xff"),
    ):
        place = central + at
        yield f"zip {name}", good[:place] + value + good[place + len(value) :], ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_small_files_that_ask_for_much(tmp_path: Path, foreign_models: ModuleType) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cases = [
            *_pickles(),
            *_modules(foreign_models),
            *_networks(foreign_models),
            *_headers(),
            *_zips(),
        ]
    words = {}
    for number, (name, data, part) in enumerate(cases):
        path = tmp_path / f"{number:03} {name[:60]}"
        path.write_bytes(data)
        words[path.name] = part
    answers = _read_all(sorted(tmp_path.iterdir()))
    assert set(answers) == set(words)
    for name, said in answers.items():
        assert said != "read", name
        assert words[name] in said, (name, said)
        assert len(said) < 600 + len(str(tmp_path)), name


def _read_all(paths: list[Path]) -> dict[str, str]:
    """What the reader said of each file; fails when it took too long or too much memory."""
    command = [sys.executable, "-c", READER, str(MAX_BYTES), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    for name, seconds, _ in lines:
        assert float(seconds) < MAX_SECONDS, (name, seconds)
    return {name: said for name, _, said in lines}


@pytest.mark.skipif(not FAULTS.is_dir(), reason="needs the files of the workplace")
def test_the_reported_files() -> None:
    answers = _read_all(sorted(p for p in FAULTS.iterdir() if p.name != "README"))
    assert {name for name, said in answers.items() if said == "read"} == {
        "cdim_20000.pkl",
        "t_bf16_0dim.pt",
    }


def test_many_classes_are_imported_in_little_memory(
    tmp_path: Path, foreign_models: ModuleType
) -> None:
    """The classes of ImageNet-21k; a square of them as float32 would take 1.9 GB."""
    path = tmp_path / "model.pkl"
    model = foreign_models.make_ada(resolution=8, c_dim=21_841, embed=1, w_dim=2, w_avg=False)
    path.write_bytes(foreign_models.ada_bytes(model))
    assert _read_all([path]) == {"model.pkl": "read"}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert load_foreign(path).generator.network.c_dim == 21_841
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_BYTES


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16", "int64"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_tensors_of_any_rank(kind: str, shape: tuple[int, ...]) -> None:
    stream = io.BytesIO()
    value = torch.full(shape, 3, dtype=getattr(torch, kind))
    torch.save({"a": value}, stream)
    from segan.export.foreign.torch_file import read_zip

    found = read_zip(stream, memoryview(stream.getvalue()))["a"].read()
    assert found.dtype == np.float32
    assert found.shape == shape
    assert (found == 3).all()


def test_a_bound_is_named_with_its_number(raises_error: RaisesError) -> None:
    expected = f"at most {limits.MAX_COPIED_ITEMS:,}"
    copies = _copies("builtins", "list", _many(b"K\x01", 50_000), 600)
    with raises_error(CheckpointError, expected=expected, problem="more than 500,000 items"):
        read_pickle(memoryview(copies))


def test_a_pickle_in_a_pickle_spends_the_same() -> None:
    """A storage within a pickle, read once for each time it is named."""
    stream = io.BytesIO()
    torch.save(torch.zeros(1)._typed_storage(), stream, _use_new_zipfile_serialization=False)
    inner = stream.getvalue()
    call = _global("torch.storage", "_load_from_bytes") + b"q\x01"
    call += b"B" + struct.pack("<I", len(inner)) + inner + b"\x85q\x020"
    from segan.export.foreign.torch_file import read_nested_storage

    data = PROTO + b"](" + call + b"h\x01h\x02R" * 100_000 + b"e."
    with pytest.raises(CheckpointError, match="opcodes"):
        read_pickle(memoryview(data), load_storage=read_nested_storage)


def test_paths_among_the_settings_are_read() -> None:
    settings = {"data": Path("/data/faces.zip"), "size": 3}
    for protocol in (2, 4, 5):
        found, _ = read_pickle(memoryview(pickle.dumps(settings, protocol)))
        assert found["size"] == 3
