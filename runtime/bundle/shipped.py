"""The model that ships with segan, so that every command works right after installation."""

from __future__ import annotations

import os
from pathlib import Path

from segan.runtime.bundle.reader import find_bundle
from segan.runtime.errors import BundleError

#: Holds one stored zip, NAME.segan.
MODELS = Path(__file__).with_name("models")


def shipped_bundle() -> Path:
    """The bundle inside the package. Raises: BundleError when the installation has none."""
    found = sorted(MODELS.glob("*.segan"))
    if len(found) != 1:
        raise BundleError(
            f"there is no bundle (NAME.segan) under this folder, and {len(found)} instead of one "
            f"in {MODELS}. Install segan again, write one with 'segan export', or name one."
        )
    return found[0]


def is_shipped(path: str | os.PathLike[str]) -> bool:
    """Whether a bundle belongs to the package, whose files are not to be changed."""
    return Path(path).resolve().is_relative_to(MODELS.resolve())


def newest_or_shipped(start: str | os.PathLike[str] = ".") -> Path:
    """The newest bundle under a folder, or else the one that ships with segan.

    Raises:
        BundleError: there is neither.
    """
    return find_bundle(start) or shipped_bundle()
