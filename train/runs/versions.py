"""Versions of what a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, segan, torch and the given packages, those that are installed."""
    found = {"python": platform.python_version()}
    for name in ("segan", "torch", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
