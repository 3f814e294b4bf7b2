"""The other end of ``segan.runtime.benchmark.worker``: starts it, asks it, ends it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import IO, Any, Self, cast

import msgspec

from segan.runtime.benchmark.worker import Task
from segan.runtime.errors import BackendError

#: Seconds that a process has to end by itself.
_PATIENCE_S = 5.0


class BenchmarkProcess:
    """One worker process. Usable as a context manager, which ends it."""

    def __init__(self, task: Task) -> None:
        """Starts the process and has it load its task; ``loaded`` is its answer.

        Raises:
            BackendError: it refused, or came to its end.
        """
        self.task = task
        self._files = contextlib.ExitStack()
        # What the process says there is read when it does not end well.
        file = tempfile.TemporaryFile()  # noqa: SIM115  # close() closes it
        self._errors = self._files.enter_context(file)
        # -P: no module is taken from the folder that the user happens to be in.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "segan.runtime.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        try:
            self.loaded = self._ask(msgspec.json.encode(task))
        except BaseException:
            self.close()
            raise

    def round(self, seconds: float) -> dict[str, Any]:
        """What was measured over this time. Raises: BackendError."""
        return self._ask(json.dumps({"seconds": seconds}).encode())

    def finish(self) -> dict[str, Any]:
        """What is measured once, at the end. Raises: BackendError."""
        return self._ask(json.dumps({"seconds": None}).encode())

    def _ask(self, line: bytes) -> dict[str, Any]:
        stdin, stdout = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        try:
            stdin.write(line + b"\n")
            stdin.flush()
            answer = stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer.endswith(b"\n"):
            raise BackendError(self._last_words())
        found = json.loads(answer)
        if "problem" in found:
            raise BackendError(found["problem"])
        result: dict[str, Any] = found["ok"]
        return result

    def _last_words(self) -> str:
        """How the process ended, with the last line that it wrote to stderr."""
        status = self._process.wait()
        if status < 0:
            name = signal.Signals(-status).name
            how = f"its process was ended by {name}"
            if name == "SIGKILL":
                how += ", as systems do when memory runs out"
        else:
            how = f"its process ended with exit status {status}"
        self._errors.seek(0)
        lines = self._errors.read()[-4000:].decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1].strip()[:300]}" if lines else f"{how}."

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], self._process.stdin).close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cast(IO[bytes], self._process.stdout).close()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
