"""The engine cache: what is loaded, what is built anew, and that two processes build once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from segan.runtime.backends.tensorrt import cache as engines
from segan.runtime.backends.tensorrt.build import BuiltEngine, Target
from segan.runtime.backends.tensorrt.cache import (
    EngineKey,
    StoredEngine,
    engine_folder,
    engine_path,
    engine_secret,
    find_engine,
    obtain_engine,
)
from segan.runtime.backends.tensorrt.settings import EngineSettings
from segan.runtime.errors import ConfigError, OutputError

HERE = Target(capabilities=("8.9",), gpu="NVIDIA Test", driver="13.0")
KEY = EngineKey(
    graph="synthesis",
    precision="fp32",
    onnx_sha256="1" * 64,
    library="tensorrt",
    library_version="10.13.3",
    settings=EngineSettings(),
    build_format=1,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEGAN_CACHE", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "engines"
    found.mkdir()
    return found


class Builder:
    """Counts what it builds; every engine is another."""

    def __init__(self) -> None:
        self.built = 0

    def __call__(self) -> BuiltEngine:
        self.built += 1
        return BuiltEngine(
            plan=b"engine %d" % self.built,
            profile={"ws": ((1, 8), (4, 8), (8, 8))},
            timings=None,
            seconds=1.0,
        )


@pytest.fixture
def builder() -> Builder:
    return Builder()


def _obtain(folder: Path, builder: Builder, **changes: Any) -> StoredEngine:
    target = changes.pop("target", HERE)
    return obtain_engine(folder, msgspec.structs.replace(KEY, **changes), target, builder)


def test_built_once_then_loaded(folder: Path, builder: Builder) -> None:
    first = _obtain(folder, builder)
    second = _obtain(folder, builder)
    assert (first.was_built, second.was_built, builder.built) == (True, False, 1)
    assert first.plan == second.plan == b"engine 1"
    assert second.path is not None
    assert second.path.read_bytes() == b"engine 1"
    # Nothing but the engine and its side file.
    assert sorted(p.name for p in folder.iterdir()) == [
        second.path.name,
        f"{second.path.name}.json",
    ]


def test_the_side_file_states_what_the_engine_depends_on(folder: Path, builder: Builder) -> None:
    path = _obtain(folder, builder).path
    assert path is not None
    stated = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert stated["format"] == "segan.engine/1"
    assert stated["key"]["onnx_sha256"] == "1" * 64
    assert stated["key"]["library_version"] == "10.13.3"
    assert stated["key"]["settings"]["level"] == 3
    assert stated["target"] == {"capabilities": ["8.9"], "gpu": "NVIDIA Test", "driver": "13.0"}
    assert stated["profile"] == {"ws": [[1, 8], [4, 8], [8, 8]]}
    assert stated["size"] == 8
    assert stated["sha256"] == hashlib.sha256(b"engine 1").hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"onnx_sha256": "2" * 64},
        {"library": "tensorrt_rtx"},
        {"library_version": "11.0.0"},
        {"settings": EngineSettings(maximum_batch=64)},
        {"settings": EngineSettings(level=5)},
        {"build_format": 2},
        {"precision": "fp16"},
        {"graph": "offsets"},
        {"target": Target(capabilities=("8.9",), gpu="NVIDIA Test", driver="13.1")},
        {"target": Target(capabilities=("8.9",), gpu="NVIDIA Other", driver="13.0")},
        {"target": Target(capabilities=("9.0",), gpu="NVIDIA Test", driver="13.0")},
    ],
    ids=str,
)
def test_whatever_it_depends_on_changes_the_key(
    folder: Path, builder: Builder, change: dict[str, Any]
) -> None:
    _obtain(folder, builder)
    assert _obtain(folder, builder, **change).was_built
    # The other one is still there.
    assert not _obtain(folder, builder).was_built


def test_a_stale_engine_is_built_again_and_said(
    folder: Path, builder: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    _obtain(folder, builder)
    caplog.clear()
    _obtain(folder, builder, library_version="11.0.0")
    assert "is stale: it was built from or with another version of the library" in caplog.text
    assert "building the synthesis engine (fp32) for NVIDIA Test" in caplog.text


def test_an_engine_built_ahead_of_time_runs_on_its_gpus(folder: Path, builder: Builder) -> None:
    ahead = Target(capabilities=("8.6", "8.9"))
    _obtain(folder, builder, target=ahead)
    found = _obtain(folder, builder)
    assert (found.was_built, found.record.target) == (False, ahead)
    newer = Target(capabilities=("12.0",), gpu="NVIDIA Newer", driver="13.0")
    assert _obtain(folder, builder, target=newer).was_built
    # And the other way round: what is for one GPU is not for all of its kind.
    (folder_2 := folder / "2").mkdir()
    _obtain(folder_2, builder)
    assert _obtain(folder_2, builder, target=ahead).was_built


# What a stranger, or an accident, leaves.


def _side(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _no_side_file(path: Path) -> None:
    _side(path).unlink()


def _no_engine(path: Path) -> None:
    path.unlink()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _other_bytes(path: Path) -> None:
    path.write_bytes(b"attack!!")


def _other_bytes_and_their_hash(path: Path) -> None:
    path.write_bytes(b"attack!!")
    stated = json.loads(_side(path).read_text())
    stated["sha256"] = hashlib.sha256(b"attack!!").hexdigest()
    _side(path).write_text(json.dumps(stated))


def _sealed_with_another_secret(path: Path) -> None:
    path.write_bytes(b"attack!!")
    record = msgspec.json.decode(_side(path).read_bytes(), type=engines.EngineRecord)
    record = msgspec.structs.replace(record, sha256=hashlib.sha256(b"attack!!").hexdigest())
    _side(path).write_bytes(msgspec.json.encode(record.sealed(b"x" * 32)))


def _without_a_seal(path: Path) -> None:
    stated = json.loads(_side(path).read_text())
    del stated["seal"]
    _side(path).write_text(json.dumps(stated))


def _no_json(path: Path) -> None:
    _side(path).write_bytes(b"\xff{")


def _deep_json(path: Path) -> None:
    _side(path).write_bytes(b"[" * 100_000)


def _huge_json(path: Path) -> None:
    with open(_side(path), "ab") as file:
        file.truncate(2 << 20)


def _settings_out_of_range(path: Path) -> None:
    stated = json.loads(_side(path).read_text())
    stated["key"]["settings"]["level"] = 99
    _side(path).write_text(json.dumps(stated))


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _a_folder(path: Path) -> None:
    _side(path).unlink()
    _side(path).mkdir()


@pytest.mark.parametrize(
    ("damage", "notice"),
    [
        (_no_side_file, "has no side file"),
        (_no_engine, "is missing, truncated or altered"),
        (_truncated, "is missing, truncated or altered"),
        (_other_bytes, "is missing, truncated or altered"),
        (_other_bytes_and_their_hash, "was not built here"),
        (_sealed_with_another_secret, "was not built here"),
        (_without_a_seal, "was not built here"),
        (_no_json, "has a side file that cannot be read"),
        (_deep_json, "has a side file that cannot be read"),
        (_huge_json, "has no side file"),
        (_settings_out_of_range, "has a side file that cannot be read"),
        (_a_pipe, "is missing, truncated or altered"),
        (_a_folder, "has no side file"),
    ],
)
def test_what_was_not_built_here_is_never_loaded(
    folder: Path,
    builder: Builder,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    notice: str,
) -> None:
    path = _obtain(folder, builder).path
    assert path is not None
    damage(path)
    caplog.clear()
    if damage is _a_folder:
        # It cannot be replaced by a file, so the new engine is not kept.
        found = _obtain(folder, builder)
        assert (found.plan, found.path) == (b"engine 2", None)
        assert "is not stored and will be built again next time" in caplog.text
        return
    found = _obtain(folder, builder)
    assert (found.was_built, found.plan) == (True, b"engine 2")
    assert notice in caplog.text
    assert not _obtain(folder, builder).was_built


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
@pytest.mark.parametrize("ending", ["", ".json"])
def test_a_link_in_an_engines_place_is_not_written_through(
    folder: Path, builder: Builder, tmp_path: Path, ending: str
) -> None:
    path = _obtain(folder, builder).path
    assert path is not None
    file, theirs = path.with_name(path.name + ending), tmp_path / "diary.txt"
    theirs.write_text("dear diary")
    file.unlink()
    file.symlink_to(theirs)
    assert _obtain(folder, builder).path == path
    assert theirs.read_text() == "dear diary"
    assert not file.is_symlink()


@pytest.mark.parametrize(
    "seal",
    [
        '"é"',
        '"\\u0000"',
        '"😀"',
        '"\\ud800"',
        '""',
        '"0"',
        "0",
        "1e999",
        "null",
        "true",
        "[]",
        "{}",
    ],
)
def test_a_seal_of_any_kind_that_is_not_ours(
    folder: Path, builder: Builder, caplog: pytest.LogCaptureFixture, seal: str
) -> None:
    path = _obtain(folder, builder).path
    assert path is not None
    stated = json.loads(_side(path).read_text())
    stated["seal"] = "HERE"
    _side(path).write_text(json.dumps(stated).replace('"HERE"', seal), encoding="utf-8")
    assert find_engine(folder, KEY, HERE, engine_secret()) is None
    caplog.clear()
    found = _obtain(folder, builder)
    assert (found.was_built, found.plan) == (True, b"engine 2")
    assert "was not built here" in caplog.text or "cannot be read" in caplog.text


def test_an_engine_of_another_user_is_not_loaded(
    folder: Path, builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _obtain(folder, builder)
    mine = os.environ["SEGAN_CACHE"]
    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "theirs"))
    assert find_engine(folder, KEY, HERE, engine_secret()) is None
    monkeypatch.setenv("SEGAN_CACHE", mine)
    assert find_engine(folder, KEY, HERE, engine_secret()) is not None
    assert len(list(folder.glob("*.engine"))) == 1


def test_the_side_file_of_another_engine_is_no_leave(folder: Path, builder: Builder) -> None:
    fp32 = _obtain(folder, builder).path
    fp16 = _obtain(folder, builder, precision="fp16").path
    assert fp32 is not None
    assert fp16 is not None
    fp32.write_bytes(fp16.read_bytes())
    _side(fp32).write_bytes(_side(fp16).read_bytes())
    assert _obtain(folder, builder).plan == b"engine 3"


# The secret.


def test_the_secret_is_this_users_alone(cache: Path) -> None:
    secret = engine_secret()
    path = cache / "keys" / "engines.key"
    assert len(secret) == 32
    assert engine_secret() == path.read_bytes() == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["engines.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_may_read_proves_nothing(cache: Path, mode: int) -> None:
    engine_secret()
    (cache / "keys" / "engines.key").chmod(mode)
    with pytest.raises(OutputError, match="can be read by other users") as error:
        engine_secret()
    assert (error.value.field, error.value.value) == ("path", cache / "keys" / "engines.key")


def test_a_secret_that_was_cut_short(cache: Path, folder: Path, builder: Builder) -> None:
    _obtain(folder, builder)
    path = cache / "keys" / "engines.key"
    path.write_bytes(b"")
    with pytest.raises(OutputError, match="holds 0 bytes, not 32") as error:
        engine_secret()
    assert (error.value.field, error.value.value) == ("path", path)
    # Everything still works, but nothing is taken from the folder or put there.
    found = _obtain(folder, builder)
    assert (found.plan, found.path) == (b"engine 2", None)


# Where engines lie.


def test_engines_lie_in_a_bundle_that_can_be_written(
    toy_bundle: Path, toy_bundle_zip: Path, cache: Path, tmp_path: Path
) -> None:
    assert engine_folder(toy_bundle) == toy_bundle / "engines"
    assert engine_folder(toy_bundle_zip) == cache / "engines"
    # A link that came with the bundle is not followed.
    (toy_bundle / "engines").rmdir()
    (toy_bundle / "engines").symlink_to(tmp_path)
    assert engine_folder(toy_bundle) == cache / "engines"
    (toy_bundle / "engines").unlink()
    (toy_bundle / "engines").write_text("a file")
    assert engine_folder(toy_bundle) == cache / "engines"


def test_a_bundle_that_cannot_be_written(
    toy_bundle: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert engine_folder(toy_bundle) == cache / "engines"


def test_a_folder_that_is_gone(folder: Path, builder: Builder) -> None:
    folder.rmdir()
    found = _obtain(folder, builder)
    assert (found.plan, found.path) == (b"engine 1", None)


# Two processes.

_PROCESS = """
import sys, time
from pathlib import Path
from segan.runtime.backends.tensorrt.cache import obtain_engine
from segan.runtime.backends.tensorrt.settings import EngineSettings
from segan.runtime.backends.tensorrt.build import BuiltEngine, Target
from segan.runtime.backends.tensorrt.cache import EngineKey

folder, log = Path(sys.argv[1]), Path(sys.argv[2])
key = EngineKey(graph="synthesis", precision="fp32", onnx_sha256="1" * 64, library="tensorrt",
                library_version="10", settings=EngineSettings(), build_format=1)
target = Target(capabilities=("8.9",), gpu="NVIDIA Test", driver="13.0")

def build():
    with open(log, "a") as file:
        file.write("built\\n")
    time.sleep(1.5)
    return BuiltEngine(plan=b"x" * 1000, profile={}, timings=None, seconds=1.5)

print(len(obtain_engine(folder, key, target, build).plan))
"""


def test_two_processes_build_an_engine_once(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    engine_secret()
    command = [sys.executable, "-c", _PROCESS, str(folder), str(log)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    results = [process.communicate(timeout=60) for process in both]
    assert [out.strip() for out, _ in results] == ["1000", "1000"]
    assert log.read_text() == "built\n"
    assert sum("another process builds engines here" in err for _, err in results) == 1


def test_notices_go_to_the_log_only(
    folder: Path, builder: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        _obtain(folder, builder)
    assert {record.name for record in caplog.records} == {"segan.engines"}


# Settings.


@pytest.mark.parametrize(
    ("settings", "field", "value", "expected"),
    [
        ({"maximum_batch": 0}, "maximum_batch", 0, "1 or more"),
        ({"optimum_batch": -1}, "optimum_batch", -1, "1 or more"),
        ({"workspace": 0}, "workspace", 0, "1 or more"),
        ({"level": 6}, "level", 6, "0 to 5"),
        (
            {"optimum_batch": 9, "maximum_batch": 8},
            "optimum_batch",
            9,
            "at most `maximum_batch`, 8",
        ),
    ],
)
def test_settings_out_of_range(
    settings: dict[str, int],
    field: str,
    value: int,
    expected: str,
    raises_error: Callable[..., Any],
) -> None:
    with raises_error(ConfigError, field=field, value=value, expected=expected):
        EngineSettings(**settings)


def test_batches_shrink_with_the_image() -> None:
    found = [EngineSettings().batches(side * side) for side in (32, 64, 256, 512, 1024, 2048)]
    assert found == [(1, 16, 128)] * 2 + [(1, 8, 32), (1, 8, 16), (1, 4, 8), (1, 4, 8)]
    assert EngineSettings().batches(None) == (1, 16, 128)
    assert EngineSettings(maximum_batch=2).batches(None) == (1, 2, 2)
    assert EngineSettings(optimum_batch=64).batches(1024**2) == (1, 64, 64)


def test_paths_name_graph_precision_and_key(folder: Path) -> None:
    name = engine_path(folder, KEY, HERE).name
    assert name == f"synthesis.fp32.{KEY.digest(HERE)[:16]}.engine"
