"""Network output to pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.errors import BackendError


def not_finite() -> BackendError:
    """Return the error for an image that holds NaN or infinite values."""
    return BackendError(
        "the synthesis graph returned values that are not finite",
        remedy="Check the sliders' values, and the bundle with 'segan info --check'.",
    )


def to_uint8(image: ArrayLike) -> NDArray[np.uint8]:
    """Compute pixels from network output: clip(floor(127.5 x + 128), 0, 255), channels last.

    Args:
        image: [N, C, H, W] float32, nominally in [-1, 1].

    Returns:
        [N, H, W, C] uint8.

    Raises:
        BackendError: a value is NaN or infinite.
    """
    pixels = np.asarray(image, np.float32) * np.float32(127.5) + np.float32(128)
    if not np.isfinite(pixels).all():
        raise not_finite()
    # Conversion to uint8 truncates, which is floor for values of 0 or more.
    np.clip(pixels, 0, 255, out=pixels)
    return np.ascontiguousarray(pixels.astype(np.uint8).transpose(0, 2, 3, 1))
