"""Versions of the packages that a result depends on."""

from __future__ import annotations

import platform

from segan.runtime.machine.packages import installed_version


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, segan, torch and the given packages, if installed."""
    found = {"python": platform.python_version()}
    for name in ("segan", "torch", *packages):
        installed = installed_version(name)
        if installed is not None:
            found[name] = installed
    return found
