"""Fixtures that the tests of all rooms share. Imports neither torch nor onnx."""

from __future__ import annotations

import hashlib
import html
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from segan.runtime.errors import SeganError

DATA = Path(__file__).parent / "data"


def pytest_configure() -> None:
    """Lets the processes under test see Ctrl-C, also when the tests run in the background.

    A shell starts background jobs with SIGINT ignored, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


RaisesError = Callable[..., AbstractContextManager["pytest.ExceptionInfo[Any]"]]


@pytest.fixture(scope="session")
def raises_error() -> RaisesError:
    """raises_error(kind, field=…, value=…, expected=…, problem=…, remedy=…): of this data.

    Only the given data are compared: ``problem`` and ``remedy`` must appear in the error's.
    """

    @contextmanager
    def check(kind: type[SeganError], **data: Any) -> Iterator[pytest.ExceptionInfo[Any]]:
        with pytest.raises(kind) as caught:
            yield caught
        for name, wanted in data.items():
            found = getattr(caught.value, name)
            if name in ("problem", "remedy"):
                assert wanted in found
            else:  # by their text, since NaN differs from itself
                assert (type(found), str(found)) == (type(wanted), str(wanted)), name

    return check


@pytest.fixture(scope="session")
def kill_everywhere() -> Callable[[str, Path], int]:
    """kill_everywhere(program, folder) kills a change before each of its system calls in turn.

    The program defines ``reset()``, ``change()`` and ``check()``, and runs in ``folder``. A child
    process runs ``change`` and is killed before the n-th call that opens, renames, exchanges, makes
    or removes a file, for every n; ``check`` then runs in the parent, with True when the change was
    finished. ``CAN_EXCHANGE = False`` stands for a system without that call. Returns how many kills
    there were.
    """

    def run(program: str, folder: Path) -> int:
        result = subprocess.run(
            [sys.executable, "-c", f"{program}\n{_KILLER}"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return int(result.stdout)

    return run


_KILLER = """
import os, signal, sys
from segan.runtime.files import exchange as _exchange, whole_folder as _whole_folder

def _exchanged(*paths):
    sys.audit("segan.exchange")
    return globals().get("CAN_EXCHANGE", True) and _exchange.exchange(*paths)

_whole_folder.exchange = _exchanged
last = 0
while True:
    last += 1
    reset()
    child = os.fork()
    if child == 0:
        seen = 0
        def hook(event, _):
            global seen
            if event == "open" or event.partition(".")[0] in ("os", "shutil", "segan"):
                seen += 1
                if seen == last:
                    signal.raise_signal(signal.SIGKILL)
        sys.addaudithook(hook)
        code = 1
        try:
            change()
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    check(status == 0)
    if status == 0:
        break
print(last - 1)
"""


@pytest.fixture
def toy_bundle(tmp_path: Path) -> Path:
    """A fresh copy of toy.segan, a folder: mode 2, 16², RGB, noise, subspaces in layers 0 to 2."""
    return Path(shutil.copytree(DATA / "toy.segan", tmp_path / "toy.segan"))


@pytest.fixture
def toy_bundle_zip(tmp_path: Path) -> Path:
    """A fresh copy of toy_shifts.segan, one zip: mode 1, 16², grey, three classes, no noise."""
    return Path(shutil.copyfile(DATA / "toy_shifts.segan", tmp_path / "toy_shifts.segan"))


@pytest.fixture
def toy_bundle_plain(tmp_path: Path) -> Path:
    """A fresh copy of toy_plain.segan, a folder: mode 0, 16², RGB, no noise, no subspaces."""
    return Path(shutil.copytree(DATA / "toy_plain.segan", tmp_path / "toy_plain.segan"))


@pytest.fixture(scope="session")
def fake_gpu() -> ModuleType:
    """``fake_gpu.py`` beside this file, which is no test."""
    path = Path(__file__).with_name("fake_gpu.py")
    spec = importlib.util.spec_from_file_location("fake_gpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_gpu"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run(name, kimg=(0.5, 1.0), **settings) writes a run's folder, as training leaves it.

    With a log, sheets and records of checkpoints; the weights are missing. ``swd`` gives a score
    for each of kimg. Settings are those of TrainConfig, with dots.
    """
    import msgspec
    import numpy as np

    from segan.runtime.pictures.sheets import grid, labelled_sheet
    from segan.train.runs.config import TrainConfig, encode_config
    from segan.train.runs.presets import preset

    def replaced(config: TrainConfig, settings: dict[str, object]) -> TrainConfig:
        values = msgspec.to_builtins(config)
        for place, value in settings.items():
            *outer, field = place.split(".")
            record = values
            for name in outer:
                record = record[name]
            record[field] = value
        return msgspec.convert(values, TrainConfig)

    def build(
        name: str = "00000-faces-mode2-tiny",
        *,
        kimg: tuple[float, ...] = (0.5, 1.0),
        swd: tuple[float, ...] = (0.3, 0.2),
        **settings: object,
    ) -> Path:
        places = {place.replace("__", "."): value for place, value in settings.items()}
        resolution = places.pop("resolution", 16)
        assert isinstance(resolution, int)
        config = replaced(
            preset("tiny", resolution=resolution), {"total_kimg": 1.0, "batch_size": 4, **places}
        )
        run = tmp_path / "runs" / name
        (run / "samples").mkdir(parents=True)
        (run / "config.json").write_bytes(encode_config(config))
        source = {"faces": {"faces": 2000, "resolution": resolution, "labels": None}}
        (run / "data.json").write_text(json.dumps({**source, "fingerprint": "0"}))
        table = config.subspace.table(config.network)
        lines = []
        for number, at in enumerate((0.0, *kimg)):
            images = np.full((64, resolution, resolution, 3), 40 * number + 20, np.uint8)
            stem = f"kimg{at:08.1f}"
            grid(images, 8).save(run / "samples" / f"{stem}.png")
            if table:
                labelled_sheet(images[None, :2], rows=["L0N0D0"], cols=["a", "b"]).save(
                    run / "samples" / f"{stem}-sliders.png"
                )
            if not number:
                continue
            entry: dict[str, object] = {
                "nimg": round(at * 1000),
                "kimg": at,
                "kimg_per_s": 0.1,
                "loss/generator": 1.0 + number,
                "loss/discriminator": 0.5,
                "score/real_sign": 0.5,
                "loss/r1": 0.1,
                "swd": swd[number - 1],
                "seconds/tick": 10.0,
                "seconds/step": 9.0,
                "seconds/discriminator": 5.0,
                "seconds/generator": 4.0,
                "seconds/data": 0.25,
                "seconds/swd": 2.0,
            }
            if table:
                entry |= {
                    "importance": [3.0] * len(table),
                    "effects": [[0.1] * row.dims for row in table],
                    "coords": sum(row.dims for row in table),
                    "dead_coords": 0,
                    "share_coords": 0.6,
                    "share_z": 0.5,
                }
            lines.append(json.dumps(entry) + "\n")
            folder = run / "checkpoints" / f"nimg{round(at * 1000):08d}"
            folder.mkdir(parents=True)
            record = {
                "format": "segan.checkpoint/1",
                "name": "faces",
                "cur_nimg": round(at * 1000),
                "step": round(at * 1000) // config.batch_size,
                "class_names": [],
                "data_fingerprint": "0",
                "config": msgspec.to_builtins(config),
                "versions": {},
                "files": {"generator.safetensors": "0", "training.safetensors": "0"},
                "scores": {"swd": swd[number - 1]},
            }
            (folder / "checkpoint.json").write_text(json.dumps(record))
        (run / "log.jsonl").write_text("".join(lines))
        return run

    return build


@pytest.fixture
def in_browser(tmp_path: Path) -> Callable[[Path, str], dict[str, Any]]:
    """in_browser(page, steps) runs JavaScript in a page and returns its object ``seen``.

    ``seen.errors`` holds the errors of the page's own scripts. Skips where there is no Chromium.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += ["--dump-dom", f"--user-data-dir={tmp_path / 'profile'}"]

    def run(page: Path, steps: str) -> dict[str, Any]:
        text = page.read_text(encoding="utf-8").replace(
            "<head>",
            "<head><script>const seen = {errors: []};"
            "window.onerror = (message) => { seen.errors.push(message); };</script>",
            1,
        )
        script = f"<script>{steps};document.title = JSON.stringify(seen);</script></body>"
        tried = page.with_name("tried.html")
        tried.write_text(text.replace("</body>", script), encoding="utf-8")
        command = [browser, *options, tried.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        found = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
        assert found is not None
        seen: dict[str, Any] = json.loads(html.unescape(found[1]))
        return seen

    return run


@pytest.fixture
def replace_file() -> Callable[[Path, str, bytes], None]:
    """replace_file(bundle, name, data) writes a file and its new SHA-256."""

    def replace(bundle: Path, name: str, data: bytes) -> None:
        (bundle / name).write_bytes(data)
        manifest = json.loads((bundle / "manifest.json").read_bytes())
        manifest["files"][name] = hashlib.sha256(data).hexdigest()
        (bundle / "manifest.json").write_text(json.dumps(manifest))

    return replace


@pytest.fixture
def fuzz(tmp_path: Path) -> Callable[[str, str, int], None]:
    """fuzz(script, target, least): runs a fuzzer of tests/fuzz for 3 s, which finds nothing."""

    def run(script: str, target: str, least: int) -> None:
        pytest.importorskip("atheris", reason="atheris, the fuzzer, is not installed (extra dev)")
        path = Path(__file__).parent / "fuzz" / script
        done = subprocess.run(
            [sys.executable, str(path), target, "-max_total_time=3"],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=243,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
        assert found is not None, done.stderr[-4000:]
        assert int(found[1]) > least
        assert not list(tmp_path.glob("fuzz-*")), "no file of a finding, no folder left"

    return run
