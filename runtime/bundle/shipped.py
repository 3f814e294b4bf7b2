"""The model that ships with segan, so that commands work right after installation."""

from __future__ import annotations

import os
from pathlib import Path

from segan.runtime.bundle.reader import find_bundle
from segan.runtime.errors import BundleError

#: Folder that holds one stored zip, NAME.segan.
MODELS = Path(__file__).with_name("models")


def shipped_bundle() -> Path:
    """Return the bundle inside the package. Raises: BundleError if the installation has none."""
    found = sorted(MODELS.glob("*.segan"))
    if len(found) != 1:
        raise BundleError(
            f"there is no bundle (NAME.segan) under this folder, and {len(found)} instead of one "
            f"in {MODELS}",
            field="bundle",
            value=MODELS,
            remedy="Pass a `bundle`, write one with 'segan export', or install segan again.",
        )
    return found[0]


def is_shipped(path: str | os.PathLike[str]) -> bool:
    """Return whether a bundle belongs to the package, whose files must not be changed."""
    return Path(path).resolve().is_relative_to(MODELS.resolve())


def newest_or_shipped(start: str | os.PathLike[str] = ".") -> Path:
    """Return the newest bundle under a folder, or the one that ships with segan.

    Raises:
        BundleError: there is neither.
    """
    return find_bundle(start) or shipped_bundle()
