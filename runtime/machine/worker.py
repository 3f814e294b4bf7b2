"""A worker process: records in, lines of progress, and a record or a SeganError out.

A process of its own returns its memory to the system when it ends, has a peak memory of its own,
and does not take its parent down when a library crashes. The parent writes each request to the
worker's stdin as one line of JSON. The worker answers on stdout with lines of JSON, one object
with one key each: any number of ``step``, then ``answer`` or ``error``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import PurePath
from types import TracebackType
from typing import IO, Any, Self, TypeVar, cast

import msgspec

from segan.runtime.errors import SeganError

Answer = TypeVar("Answer")

#: Called with a few words before each step of the work.
Step = Callable[[str], None]

#: Seconds that a worker has to end after its last request.
_PATIENCE_S = 5.0


class Worker:
    """A worker process, seen from its parent. A context manager, which ends the process.

    Args:
        module: run with ``python -m``; calls ``serve`` and nothing else.
        task: what the worker does, in the past tense, for messages: "computed the images".
        failure: raised when the process ends without an answer.
    """

    def __init__(self, module: str, *, task: str, failure: type[SeganError]) -> None:
        self._task, self._failure = task, failure
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  # close() closes it
        # -P: no module is taken from the current folder.
        self._process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
        )

    def ask(
        self, request: msgspec.Struct, answer: type[Answer], on_step: Step | None = None
    ) -> Answer:
        """Send one request and wait for its answer.

        Args:
            request: a record of a type that the worker's module serves.
            answer: type of the answer.
            on_step: called with each line of progress.

        Raises:
            SeganError: raised by the worker, with its type and data; or ``failure``, where the
                process ended, such as for lack of memory.
        """
        stdin, stdout = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        with contextlib.suppress(BrokenPipeError):
            stdin.write(_encode(request))
            stdin.flush()
        while (line := stdout.readline()).endswith(b"\n"):
            ((kind, content),) = json.loads(line).items()
            if kind == "answer":
                return _decoded(content, answer)
            if kind == "error":
                raise SeganError.from_data(content)
            if on_step is not None:
                on_step(content)
        raise self._failure(self._last_words())

    def _last_words(self) -> str:
        """How the process ended, with the last line that it wrote to stderr."""
        status = self._process.wait()
        how = f"with exit status {status}"
        if status < 0:
            name = signal.Signals(-status).name
            how = f"on signal {name}"
            if name == "SIGKILL":
                how += ", perhaps for lack of memory"
        self._messages.seek(0)
        lines = self._messages.read()[-4000:].decode(errors="replace").strip().splitlines()
        last = f": {lines[-1].strip()[:300]}" if lines else ""
        return f"the process that {self._task} ended {how}{last}"

    def close(self) -> None:
        """End the process: it is asked to end, and killed when it takes too long."""
        stdin, stdout = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        stdout.close()
        self._messages.close()

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.kill()
        self.close()


def serve(request: Any, compute: Callable[[Any, Step], Any]) -> None:
    """Answer the requests on stdin until they end, or until one fails.

    Args:
        request: type of a request; a union of tagged records for several kinds.
        compute: computes the answer; called with the request and with what reports a step. A
            SeganError that it raises is raised in the parent, too.
    """
    out = os.fdopen(os.dup(1), "wb")
    # What a library prints goes to stderr, so that it cannot come between the answers.
    os.dup2(2, 1)

    def send(kind: str, content: Any) -> None:
        out.write(_encode({kind: content}))
        out.flush()

    for line in sys.stdin.buffer:
        try:
            found = compute(_decoded(json.loads(line), request), lambda s: send("step", s))
        except SeganError as error:
            send("error", error.to_data())
            return
        send("answer", found)


def _encode(content: Any) -> bytes:
    # The JSON of msgspec refuses names of files that are not UTF-8.
    plain = msgspec.to_builtins(content, str_keys=True, enc_hook=_write_path)
    return json.dumps(plain).encode() + b"\n"


def _decoded(content: Any, kind: type[Answer]) -> Answer:
    return msgspec.convert(content, kind, str_keys=True, dec_hook=_read_path)


def _write_path(value: Any) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"a record for or from a worker cannot hold {type(value).__name__}")


def _read_path(kind: type, value: Any) -> Any:
    return kind(value)
