"""Coverage-guided fuzzing of what reads other projects' files; needs atheris.

    python tests/fuzz/fuzz_import.py -max_total_time=600

Arguments are libFuzzer's. It mutates small valid models of every format. A finding is any
exception other than ``CheckpointError``, any execution that Python's audit hooks report (code,
processes, new modules, written files, connections), 10 s of CPU for one file, or 1.5 GiB of memory.
The file that caused it is kept in the current folder as ``fuzz-…``.
"""

from __future__ import annotations

import codecs
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Longest mutated file; the valid models are shorter.
MAX_BYTES = 32_768

#: Seconds of CPU for one file. libFuzzer's own limit is wall time.
MAX_SECONDS = 10

LIMITS = [f"-max_len={MAX_BYTES}", "-timeout=300", "-rss_limit_mb=1536", "-print_final_stats=1"]

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

TARGETS = [
    "segan.export.foreign.container",
    "segan.export.foreign.layouts.ada",
    "segan.export.foreign.layouts.rosinality",
    "segan.export.foreign.layouts.segan_pytorch",
    "segan.export.foreign.load",
    "segan.export.foreign.stylegan2",
    "segan.export.foreign.tensors",
    "segan.export.foreign.inert.objects",
    "segan.export.foreign.inert.machine",
    "segan.export.foreign.torch_file",
]


def write_seeds(folder: Path) -> None:
    """Writes a small valid model of every format."""
    import torch
    from safetensors.torch import save

    path = Path(__file__).parent.parent / "export" / "foreign_models.py"
    spec = importlib.util.spec_from_file_location("foreign_models", path)
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    torch.manual_seed(0)
    small: dict[str, Any] = {"resolution": 8, "channels": (2, 2), "w_dim": 2}
    seeds: dict[str, bytes] = {}
    kinds: dict[str, dict[str, Any]] = {
        "skip": {"clamp": 0.5},
        "resnet": {"architecture": "resnet"},
        "orig": {"architecture": "orig"},
        "conditional": {"c_dim": 2, "w_avg": False},
    }
    for name, settings in kinds.items():
        found = models.make_ada(**small, z_dim=2, layers=1, **settings)
        for protocol in (2, 4):
            seeds[f"ada-{name}-{protocol}"] = models.ada_bytes(found, protocol=protocol)
    state = models.make_rosinality(**small, layers=1)
    seeds["rosinality-safetensors"] = save(state, {"layout": "rosinality"})
    for old in (False, True):
        content = {"g_ema": state, "latent_avg": torch.zeros(2)}
        seeds[f"rosinality-{old}"] = models.checkpoint_bytes(content, old=old)
    for mode in range(4):
        state = models.make_segan_pytorch(mode, **small)
        seeds[f"segan-{mode}"] = models.checkpoint_bytes({"g": state}, old=mode % 2 == 1)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


class Watch:
    """Collects the events of Python's audit hooks while it is armed.

    While it learns, compiled and executed code is added to the known code: msgspec evaluates the
    annotations of segan's own classes.
    """

    def __init__(self) -> None:
        self.armed = self.learning = False
        self.found: list[str] = []
        self._known: set[Any] = set()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in ("compile", "exec"):
            if self.learning:
                self._known.add(arguments[0])
            if arguments[0] in self._known:
                return
        writes = event == "open" and (
            any(letter in str(arguments[1] or "") for letter in "wax+")
            or int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        known = event == "import" and arguments[0] in sys.modules
        if writes or (event.startswith(FORBIDDEN) and event not in LOOKING and not known):
            self.found.append(f"{event} {str(arguments)[:200]}")


def fuzz(folder: Path, arguments: list[str]) -> None:
    """Runs libFuzzer in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=TARGETS):
        from segan.export.foreign.load import load_foreign
        from segan.runtime.errors import CheckpointError
    watch, file = Watch(), folder / "file"

    def read(data: bytes, *, good: bool = False) -> None:
        file.write_bytes(data)
        message, watch.armed, start = None, True, time.process_time()
        try:
            load_foreign(file)
        except CheckpointError as error:
            message = str(error)
        finally:
            watch.armed = False
        if time.process_time() - start > MAX_SECONDS:
            raise RuntimeError("reading took too long")
        if message is not None and (
            good or not message.startswith(str(file)) or len(message) > 1000
        ):
            raise RuntimeError(f"unexpected message: {message}")
        if watch.found and not watch.learning:
            raise RuntimeError(f"reading caused: {watch.found}")

    # Python's zipfile decodes names that are not UTF-8 with this codec, imported on first use.
    codecs.lookup("cp437")
    # Twice: the first pass imports late modules; the second checks that every seed is valid.
    for watch.learning in (True, False):
        for seed in sorted((folder / "corpus").iterdir()):
            watch.found.clear()
            read(seed.read_bytes(), good=True)
    atheris.Setup([sys.argv[0], *LIMITS, *arguments, str(folder / "corpus")], read)
    atheris.Fuzz()


def main() -> int:
    """Fuzzes in a process of its own, and removes its folder afterwards."""
    if sys.argv[1:2] == ["--in"]:
        fuzz(Path(sys.argv[2]), sys.argv[3:])
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-import-") as name:
        (Path(name) / "corpus").mkdir()
        write_seeds(Path(name) / "corpus")
        arguments = ["-artifact_prefix=fuzz-", *sys.argv[1:]]
        command = [sys.executable, __file__, "--in", name, *arguments]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
