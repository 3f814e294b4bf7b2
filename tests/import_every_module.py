"""Imports every module of an installed segan: python import_every_module.py FOLDER [ROOM ...].

Fails unless all of them lie under FOLDER, so that nothing is found by accident elsewhere. Without
ROOM it takes all four.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

ROOMS = ("train", "export", "runtime", "cli")


def module_names(room: str) -> list[str]:
    """The room's package and every module below it, imported."""
    package = importlib.import_module(f"segan.{room}")
    found = [package.__name__]
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
        found.append(module.name)
    return found


def main(folder: str, *rooms: str) -> None:
    """Imports, checks where each module came from, and prints how many there are."""
    root = Path(folder).resolve()
    names = [name for room in rooms or ROOMS for name in module_names(room)]
    for name in names:
        file = sys.modules[name].__file__
        assert file is not None
        if not Path(file).resolve().is_relative_to(root):
            sys.exit(f"{name} came from {file}; expected it under {root}.")
    print(f"{len(names)} modules of {', '.join(rooms or ROOMS)} imported from {root}")


if __name__ == "__main__":
    main(*sys.argv[1:])
