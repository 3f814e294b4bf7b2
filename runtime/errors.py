"""Every error that segan raises on purpose.

    SeganError
    ├── ConfigError       a setting or argument is out of its range (also a ValueError)
    ├── DataError         an image, a data set or its labels cannot be used
    ├── CheckpointError   a training run or checkpoint cannot be read or does not fit
    ├── TrainingError     training cannot go on
    │   ├── RankError     the processes that train together differ, or one of them is gone
    │   └── DeviceError   a step needs more memory than there is, or a compiler that works
    ├── ExportError       a bundle cannot be written from this checkpoint
    │   └── VerifyError   the bundle's images differ from the checkpoint's by more than allowed
    ├── BundleError       a bundle is missing, damaged, altered or of an unknown format
    ├── BackendError      an inference backend is missing or failed
    └── OutputError       the result cannot be written

A message says what, what was given, what was expected and what to do next, in one or two
sentences: ``psi is 1.8; expected 0 to 1. Pass --psi 0.7.``
"""


class SeganError(Exception):
    """The root: catch this to catch everything that segan raises on purpose.

    Attributes:
        told_elsewhere: whether another process of the same run tells the user.
    """

    told_elsewhere = False


class ConfigError(SeganError, ValueError):
    """A setting or argument is out of its range."""


class DataError(SeganError):
    """An image, a data set or its labels cannot be used."""


class CheckpointError(SeganError):
    """A training run or checkpoint cannot be read, or does not fit what was asked."""


class TrainingError(SeganError):
    """Training cannot go on: its losses are no longer finite, for example."""


class RankError(TrainingError):
    """The processes that train together differ, or one of them is gone."""


class DeviceError(TrainingError):
    """A step cannot be computed here: too little memory, or no compiler that works."""


class ExportError(SeganError):
    """A bundle cannot be written from this checkpoint."""


class VerifyError(ExportError):
    """The bundle's images differ from the checkpoint's by more than the tolerance."""


class BundleError(SeganError):
    """A bundle is missing, damaged, altered or of an unknown format."""


class BackendError(SeganError):
    """An inference backend is missing or failed."""


class OutputError(SeganError):
    """A result cannot be written: no room, no permission, or something in the way."""
