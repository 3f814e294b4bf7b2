"""How TensorRT engines are built."""

from __future__ import annotations

from dataclasses import dataclass

from segan.runtime.errors import ConfigError

#: (largest pixels of an image, optimum, maximum batch). Larger batches are split.
_BATCHES = ((64**2, 16, 128), (256**2, 8, 32), (512**2, 8, 16), (1024**2, 4, 8))


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How engines are built.

    Attributes:
        optimum_batch: the batch size to optimise for; None chooses one by the image's size.
        maximum_batch: the largest; larger batches are split. None chooses one by size.
        level: effort of the builder, 0 to 5; more takes longer and finds faster kernels.
        workspace: bytes of GPU memory that a kernel may use; None for the library's default.

    Raises:
        ConfigError: a number is out of its range.
    """

    optimum_batch: int | None = None
    maximum_batch: int | None = None
    level: int = 3
    workspace: int | None = None

    def __post_init__(self) -> None:
        for name in ("optimum_batch", "maximum_batch", "workspace"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(field=name, value=value, expected="1 or more")
        if not 0 <= self.level <= 5:
            raise ConfigError(field="level", value=self.level, expected="0 to 5")
        if self.optimum_batch and self.maximum_batch and self.optimum_batch > self.maximum_batch:
            raise ConfigError(
                field="optimum_batch",
                value=self.optimum_batch,
                expected=f"at most `maximum_batch`, {self.maximum_batch}",
            )

    def batches(self, pixels: int | None) -> tuple[int, int, int]:
        """Return the smallest, the optimum and the largest batch of a graph.

        Args:
            pixels: of an image; None for a graph that has no image output.
        """
        rows = [row for row in _BATCHES if pixels is None or pixels <= row[0]] or [_BATCHES[-1]]
        maximum = self.maximum_batch or max(rows[0][2], self.optimum_batch or 1)
        return 1, min(self.optimum_batch or rows[0][1], maximum), maximum
