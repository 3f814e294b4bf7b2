"""scikit-learn, which the extra ``metrics`` brings, or a word on how to get it."""

from __future__ import annotations

from importlib.util import find_spec

from segan.runtime.errors import ConfigError


def require_scikit() -> None:
    """Raises ConfigError when scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        raise ConfigError(
            "DCI and separability need scikit-learn, which is not installed. "
            "Run: pip install 'segan[metrics]'"
        )
