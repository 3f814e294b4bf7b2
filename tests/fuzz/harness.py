"""Runs libFuzzer (atheris) over one reader, in a process of its own and of little memory.

A finding is any exception other than the reader's own error, any event of Python's audit hooks
that reading must not cause, ``MAX_SECONDS`` of CPU for one input, or more than ``MEMORY`` in one
piece or together. The input that caused it is kept in the current folder as ``fuzz-…``.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Longest mutated input; the valid ones are shorter.
MAX_BYTES = 32_768
#: Seconds of CPU for one input. libFuzzer's own limit is wall time.
MAX_SECONDS = 10
#: Memory beyond that of the started process: 512 MiB, and room for the fuzzer's own corpus.
MEMORY = (512 + 128) << 20
#: Longest message of an error.
MAX_MESSAGE = 2000

LIMITS = [f"-max_len={MAX_BYTES}", "-timeout=300", "-print_final_stats=1"]

#: Audit events that reading a file must not cause.
FORBIDDEN = (
    "compile",
    "ctypes.",
    "exec",
    "import",
    "marshal.",
    "os.",
    "pickle.find_class",
    "pty.",
    "shutil.",
    "socket.",
    "subprocess.",
    "webbrowser.",
    "code.__new__",
    "function.__new__",
)
#: Events of the os module that change nothing.
LOOKING = ("os.listdir", "os.scandir", "os.fwalk", "os.walk")


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        seeds: makes valid inputs, by name.
        modules: what is instrumented, and imported before anything is read.
        reader: returns the reader, given a file that it may write the input to.
        error: module and name of the only exception that the reader may raise.
    """

    seeds: Callable[[], dict[str, bytes]]
    modules: tuple[str, ...]
    reader: Callable[[Path], Callable[[bytes], None]]
    error: tuple[str, str]


class Watch:
    """Collects the events of Python's audit hooks while it is armed.

    While it learns, compiled and executed code is added to the known code: msgspec evaluates the
    annotations of segan's own classes.

    Args:
        file: the one file that may be written.
    """

    def __init__(self, file: Path) -> None:
        self.armed = self.learning = False
        self.found: list[str] = []
        self._known: set[Any] = set()
        self._file = str(file)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in ("compile", "exec"):
            if self.learning:
                self._known.add(arguments[0])
            if arguments[0] in self._known:
                return
        writes = (
            event == "open"
            and str(arguments[0]) != self._file
            and (
                any(letter in str(arguments[1] or "") for letter in "wax+")
                or int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
        )
        known = event == "import" and arguments[0] in sys.modules
        if writes or (event.startswith(FORBIDDEN) and event not in LOOKING and not known):
            self.found.append(f"{event} {str(arguments)[:200]}")


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and what it was raised for, hidden or not."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def limit_memory() -> str:
    """Bounds this process's memory; returns libFuzzer's argument for the same bound."""
    used, held = (
        int(pages) * resource.getpagesize()
        for pages in Path("/proc/self/statm").read_text().split()[:2]
    )
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    return f"-rss_limit_mb={(held + MEMORY) >> 20}"


def fuzz(target: Target, folder: Path, arguments: list[str]) -> None:
    """Runs libFuzzer in this process, which ends with it."""
    import importlib

    import atheris

    with atheris.instrument_imports(include=list(target.modules)):
        for name in target.modules:
            importlib.import_module(name)
    file = folder / "file"
    watch, reader = Watch(file), target.reader(file)
    expected: type[Exception] = getattr(importlib.import_module(target.error[0]), target.error[1])

    def read(data: bytes, *, good: bool = False) -> None:
        watch.armed, start = True, time.process_time()
        try:
            reader(data)
        except expected as error:
            message = str(error)
            if good or len(message) > MAX_MESSAGE:
                raise RuntimeError(f"unexpected message: {message}") from error
            if any(isinstance(cause, MemoryError) for cause in causes(error)):
                raise RuntimeError(f"too little memory: {message}") from error
        finally:
            watch.armed = False
        if time.process_time() - start > MAX_SECONDS:
            raise RuntimeError("reading took too long")
        if watch.found and not watch.learning:
            raise RuntimeError(f"reading caused: {watch.found}")

    # Twice: the first pass imports late modules; the second checks that every seed is valid.
    for watch.learning in (True, False):
        for seed in sorted((folder / "corpus").iterdir()):
            watch.found.clear()
            read(seed.read_bytes(), good=True)
    limits = [*LIMITS, limit_memory()]
    atheris.Setup([sys.argv[0], *limits, *arguments, str(folder / "corpus")], read)
    atheris.Fuzz()


def main(script: str, targets: Mapping[str, Target]) -> int:
    """Fuzzes a target in a process of its own, and removes its folder afterwards.

    Args:
        script: the script that states the targets, which is run again.
        targets: by name; the first argument names one, else the first is taken.
    """
    if sys.argv[1:2] == ["--in"]:
        fuzz(targets[sys.argv[3]], Path(sys.argv[2]), sys.argv[4:])
        return 0
    given = sys.argv[1:]
    name = given.pop(0) if given and not given[0].startswith("-") else next(iter(targets))
    if name not in targets:
        print(f"{name} is not one of {', '.join(targets)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        (Path(folder) / "corpus").mkdir()
        for seed, data in targets[name].seeds().items():
            (Path(folder) / "corpus" / seed).write_bytes(data)
        command = [sys.executable, script, "--in", folder, name, "-artifact_prefix=fuzz-", *given]
        return subprocess.run(command, check=False).returncode
