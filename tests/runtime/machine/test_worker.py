"""A worker process: its answers, its steps, its errors and its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from segan.runtime.errors import BackendError, ConfigError, ExportError, SeganError
from segan.runtime.machine.worker import Worker


class Sum(msgspec.Struct, frozen=True):
    """A request of the workers below."""

    terms: list[float]
    fail: str = ""


class Summed(msgspec.Struct, frozen=True):
    """Their answer; the path is where the worker runs."""

    total: float
    where: Path


MODULE = """
import os
import sys
from pathlib import Path

import msgspec

from segan.runtime.errors import ConfigError
from segan.runtime.machine.worker import serve


class Sum(msgspec.Struct, frozen=True):
    terms: list[float]
    fail: str = ""


def compute(request, step):
    print("chatter")
    os.write(1, b"more chatter\\n")
    if request.fail == "segan":
        raise ConfigError(field="terms", value=3, expected="4 or more", remedy="Pass `terms 4`.")
    if request.fail == "other":
        raise ValueError("what went wrong")
    if request.fail == "silent":
        os._exit(7)
    for term in request.terms:
        step(f"adding {term:g} ü")
    if request.fail == "endless":
        while True:
            step("on")
    return {"total": sum(request.terms), "where": Path.cwd()}


if __name__ == "__main__":
    serve(Sum, compute)
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Worker]:
    """Starts a worker of ``MODULE``."""
    (tmp_path / "summing_worker.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return lambda: Worker("summing_worker", task="summed", failure=ExportError)


def test_names_that_are_not_utf8_pass_through(
    start: Callable[[], Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    with start() as worker:
        assert worker.ask(Sum([1.0], fail="\udcff"), Summed).where == folder


def test_every_request_is_answered_and_printing_does_not_disturb(
    start: Callable[[], Worker],
) -> None:
    steps: list[str] = []
    with start() as worker:
        first = worker.ask(Sum([1.5, 2.0]), Summed, on_step=steps.append)
        second = worker.ask(Sum([0.1]), Summed)
    assert first == Summed(3.5, Path.cwd())
    assert second.total == 0.1
    assert steps == ["adding 1.5 ü", "adding 2 ü"]
    assert worker._process.returncode == 0


def test_an_error_arrives_with_its_type_and_data(start: Callable[[], Worker]) -> None:
    with pytest.raises(ConfigError) as error, start() as worker:
        worker.ask(Sum([], "segan"), Summed)
    assert (error.value.field, error.value.value) == ("terms", 3)
    assert error.value.expected == "4 or more"
    assert error.value.remedy == "Pass `terms 4`."


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        ("other", "the process that summed ended with exit status 1: ValueError: what went wrong"),
        ("silent", "the process that summed ended with exit status 7"),
    ],
)
def test_a_process_that_ends_is_a_failure_with_its_last_words(
    fail: str, words: str, start: Callable[[], Worker]
) -> None:
    with pytest.raises(ExportError) as error, start() as worker:
        worker.ask(Sum([], fail), Summed)
    assert str(error.value).startswith(words)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_killed_process_is_a_failure_that_names_the_signal(
    start: Callable[[], Worker],
) -> None:
    with start() as worker:
        worker.kill()
        with pytest.raises(SeganError, match="on signal SIGKILL, perhaps for lack of memory"):
            worker.ask(Sum([]), Summed)


def test_the_process_ends_with_what_reads_its_steps(start: Callable[[], Worker]) -> None:
    def stop(step: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), start() as worker:
        worker.ask(Sum([1.0], "endless"), Summed, on_step=stop)
    assert worker._process.returncode is not None


def test_no_module_is_taken_from_the_current_folder(
    start: Callable[[], Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("msgspec", "segan", "json"):
        (folder / f"{name}.py").write_text("raise SystemExit('taken')")
    monkeypatch.chdir(folder)
    with start() as worker:
        assert worker.ask(Sum([1.0]), Summed).where == folder


def test_a_record_with_something_that_json_cannot_hold_is_refused(
    start: Callable[[], Worker],
) -> None:
    with start() as worker, pytest.raises(TypeError, match="BackendError"):
        worker.ask(Sum([BackendError("no")]), Summed)  # type: ignore[list-item]
