"""The installed packages that segan and its extras require."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def required_version(package: str) -> str | None:
    """Return the version of a package that segan requires, or None.

    onnxruntime-gpu contains the module of onnxruntime and satisfies the requirement of it.
    """
    found = installed_version(package)
    if found is None and package == "onnxruntime":
        gpu = installed_version("onnxruntime-gpu")
        return gpu and f"{gpu} (onnxruntime-gpu)"
    return found


def describe_packages(extra: str | None = None) -> dict[str, str | None]:
    """Return the packages that segan or one of its extras requires, each with its version."""
    return {name: required_version(name) for name in _requirements(extra)}


def describe_extra(extra: str) -> dict[str, Any]:
    """Return ``packages``, ``missing``, and ``install``, the command for those or None."""
    packages = describe_packages(extra)
    missing = [name for name, found in packages.items() if found is None]
    return {
        "packages": packages,
        "missing": missing,
        "install": f"pip install 'segan[{extra}]'" if missing else None,
    }


def _requirements(extra: str | None) -> list[str]:
    """Return the requirements of segan or of an extra, with those of the extras it includes."""
    names: list[str] = []
    try:
        requirements = requires("segan") or []
    except PackageNotFoundError:
        return []  # A checkout without metadata.
    for requirement in requirements:
        spec, _, marker = requirement.partition(";")
        wanted = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
        if (wanted[1] if wanted else None) != extra:
            continue
        match = re.match(r"\s*([\w.-]+)\s*(?:\[([\w,\s-]+)\])?", spec)
        assert match is not None
        if match[1] == "segan":
            for inner in match[2].split(","):
                names.extend(_requirements(inner.strip()))
        else:
            names.append(match[1])
    return sorted(set(names))
