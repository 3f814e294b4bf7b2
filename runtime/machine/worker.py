"""Work in a process of its own, whose memory the system has back when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from segan.runtime.errors import SeganError

#: Exit status of a process whose last line on stderr is a SeganError as data, in JSON.
_TOLD = 3


def run_module(
    module: str,
    arguments: Sequence[str],
    *,
    task: str,
    failure: type[SeganError],
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Runs ``python -m module arguments`` to its end.

    Args:
        module: ends in ``run_main(main)``.
        arguments: of its ``main``.
        task: what it does, for messages: ``computed the images``.
        failure: raised when it ends in another way than by a SeganError.
        on_line: called with each line of its stdout, as soon as it is there.

    Raises:
        SeganError: the very one that ended the process; ``failure`` for anything else, such as a
            lack of memory.
    """
    # -P: no module is taken from the folder that the user happens to stand in.
    command = [sys.executable, "-X", "utf8", "-P", "-m", module, *arguments]
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if on_line is not None:
                    on_line(line.rstrip("\n"))
            status = process.wait()
        except BaseException:
            process.kill()
            raise
        messages.seek(0)
        lines = messages.read().decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it said nothing"
    if status == _TOLD:
        raise SeganError.from_data(json.loads(last))
    if status:
        what = f"with exit status {status}"
        if status < 0:
            what = f"on signal {-status}, perhaps for lack of memory"
        raise failure(f"the process that {task} ended {what}: {last}")


def run_main(main: Callable[[list[str]], None]) -> None:
    """Runs ``main`` on the command line's arguments; what it raises, ``run_module`` raises too."""
    try:
        main(sys.argv[1:])
    except SeganError as error:
        print(json.dumps(error.to_data()), file=sys.stderr)
        raise SystemExit(_TOLD) from None
