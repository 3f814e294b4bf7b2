"""What every inference backend offers: named float tensors in, named float tensors out."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from segan.runtime.errors import BackendError, ConfigError
from segan.runtime.graphs.check import BROADCAST_INPUTS

#: Precisions of a computation, and of the graphs that a bundle may have.
Precision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True, kw_only=True)
class SessionConfig:
    """How to compute; a backend ignores settings that do not apply to it.

    Attributes:
        precision: of the computation.
        threads: CPU threads; None for the physical cores that the process may use.
        low_memory: return memory to the system early, which makes each run slower.
        throughput: serve several requests at once, each of them slower.
        cache: folder for compiled models. With None a backend compiles each time, except TensorRT,
            which has a cache of its own.
        backend_settings: a record of the backend's own, such as TensorRT's ``EngineSettings``; None
            for its defaults.

    Raises:
        ConfigError: ``threads`` is below 1.
    """

    precision: Precision = "fp32"
    threads: int | None = None
    low_memory: bool = False
    throughput: bool = False
    cache: Path | None = None
    backend_settings: Any = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(field="threads", value=self.threads, expected="1 or more")


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """Name, type and shape of one input or output.

    Attributes:
        name: as in the graph.
        dtype: the numpy type.
        shape: each dimension's size, None where it is dynamic; the first is the batch.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        dims = ("N" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} [{', '.join(dims)}]"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be used."""
        return len(shape) == len(self.shape) and all(
            stated in (None, size) for size, stated in zip(shape, self.shape, strict=True)
        )


class Session(abc.ABC):
    """One graph, loaded by one backend. A context manager, which closes it.

    A subclass sets the attributes and computes in ``_run``; ``run`` checks inputs and outputs, so
    that every backend reports the same mistakes in the same way.

    Args:
        model_bytes: a serialized ONNX model, which is checked first; a ``SafeModel`` was already.
        name: of the graph, for messages.
        config: how to compute; None for the defaults.

    Raises:
        BackendError: the backend cannot work here or cannot load the model, or the model is refused
            (``segan.runtime.graphs.check``).

    Attributes:
        name: of the graph, for messages, for example ``synthesis``.
        backend: the backend's name, for example ``cpu``.
        precision: of the computation, for example ``fp32``.
        inputs: of ``run``.
        outputs: of ``run``.
    """

    name: str
    backend: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    _closed = False

    @abc.abstractmethod
    def __init__(
        self, model_bytes: bytes, *, name: str, config: SessionConfig | None = None
    ) -> None: ...

    @staticmethod
    def why_not() -> BackendError | None:
        """Return why the backend cannot work here and what to install; None where it seems to."""
        return None

    @staticmethod
    def unsupported() -> frozenset[Precision]:
        """Return the precisions that this machine's processor does not compute in."""
        return frozenset()

    def run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute the graph.

        Args:
            feeds: an array for each input, all with the same first dimension N of 1 or more;
                ``noise`` may have 1 instead.

        Returns:
            An array for each output.

        Raises:
            ConfigError: a missing or unknown input, a wrong dtype or shape.
            BackendError: the backend failed, or the session is closed.
        """
        batch = self._begin(feeds)
        results = self._run(feeds)
        self._check_outputs(results, batch)
        return results

    def _begin(self, feeds: Mapping[str, Any]) -> int:
        """Check all inputs, which need a dtype and a shape, and return the batch size."""
        self._check_open()
        return self.check(feeds)

    def _check_open(self) -> None:
        """Raise BackendError after ``close``. Where ``_close`` takes a lock, call this under it."""
        if self._closed:
            raise BackendError(
                f"the {self.name} session is closed", remedy="Load the bundle again."
            )

    def check(self, feeds: Mapping[str, Any]) -> int:
        """Check all inputs and return the batch size N.

        Raises:
            ConfigError: see ``run``.
        """
        wanted = {spec.name for spec in self.inputs}
        if feeds.keys() != wanted:
            raise ConfigError(
                f"{self.name} got the inputs {', '.join(sorted(feeds)) or 'none'}",
                field="feeds",
                value=", ".join(sorted(feeds)),
                expected=", ".join(sorted(wanted)),
            )
        batch: int | None = None
        for spec in sorted(self.inputs, key=lambda spec: spec.name in BROADCAST_INPUTS):
            array = feeds[spec.name]
            if (
                array.dtype != spec.dtype
                or not spec.fits(array.shape)
                or not math.prod(array.shape)
            ):
                found = f"{array.dtype} {list(array.shape)}"
                raise ConfigError(
                    f"{self.name}: {spec.name} is {found}",
                    field=spec.name,
                    value=found,
                    expected=f"{spec} with N of 1 or more",
                )
            rows = array.shape[0]
            if batch is None:
                batch = rows
            elif rows != batch and not (rows == 1 and spec.name in BROADCAST_INPUTS):
                raise ConfigError(
                    f"{self.name}: {spec.name} has {rows} rows",
                    field=spec.name,
                    value=rows,
                    expected=f"{batch}, as the other inputs have",
                )
        return 1 if batch is None else batch

    def _check_outputs(self, results: Mapping[str, Any], batch: int) -> None:
        """Raise BackendError for an output of another shape than stated."""
        for spec in self.outputs:
            found = results[spec.name].shape
            if not spec.fits(found) or found[0] != batch:
                raise BackendError(
                    f"{self.name}: output {spec.name} has shape {list(found)}",
                    expected=f"{spec} with N = {batch}",
                    remedy="Export the bundle again.",
                )

    @abc.abstractmethod
    def _run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute the graph on checked inputs. Raises: BackendError."""

    def close(self) -> None:
        """Return the memory; ``run`` fails from then on. May be called twice."""
        if not self._closed:
            self._closed = True
            self._close()

    @abc.abstractmethod
    def _close(self) -> None:
        """Release what the backend holds; called once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
