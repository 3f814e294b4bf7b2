"""Alarms on a generator that trains: their thresholds and their words.

Training logs the figures. The command line shows the alarms of each line of the log, the report
those at the end of the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from segan.runtime.readings.effects import DEAD_BELOW

__all__ = [
    "DATA_SHARE_ABOVE",
    "DEAD_BELOW",
    "REAL_SIGN_ABOVE",
    "SWD_RISE_ABOVE",
    "Z_SHARE_BELOW",
    "Alarm",
    "coordinate_alarms",
    "data_alarm",
    "overfitting_alarm",
    "swd_alarm",
]

# DEAD_BELOW: a coordinate is dead if moving it from -1 to 1 changes the image by less than this,
# root mean square over pixels in [-1, 1].

#: Share of the images' variance below which z has too little effect.
Z_SHARE_BELOW = 0.05
#: Mean sign of the discriminator on real images above which it overfits.
REAL_SIGN_ABOVE = 0.95
#: Newest sliced Wasserstein distance, relative to the lowest, above which it has risen.
SWD_RISE_ABOVE = 1.1
#: Share of the training time above which loading images is a bottleneck.
DATA_SHARE_ABOVE = 0.05


class Alarm(NamedTuple):
    """Something in a run that needs attention.

    Attributes:
        field: of the log that shows it.
        problem: a clause that says what is wrong.
        remedy: what to do, in sentences, with settings in backticks; empty for unknown.
    """

    field: str
    problem: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """The problem and the remedy as sentences, settings in backticks."""
        return f"{self.problem}. {self.remedy}".rstrip()


def coordinate_alarms(entry: Mapping[str, Any]) -> list[Alarm]:
    """Return the alarms on dead coordinates and on z.

    Args:
        entry: fields of the log; a missing field gives no alarm.
    """
    found = []
    dead, coords = entry.get("dead_coords"), entry.get("coords")
    if dead and coords:
        found.append(
            Alarm(
                "dead_coords",
                f"{dead:.0f} of {coords:.0f} coordinates change the image by less than "
                f"{DEAD_BELOW:g} rms",
                "This is normal early in training; if it lasts, reduce `dims`.",
            )
        )
    share = entry.get("share_z")
    if share is not None and share < Z_SHARE_BELOW:
        found.append(
            Alarm(
                "share_z",
                f"z explains {share:.1%} of the images' variance, less than {Z_SHARE_BELOW:.0%}",
                "Reduce `dims`, or set `shared_coords`, to give z a larger share.",
            )
        )
    return found


def overfitting_alarm(real_sign: float | None) -> Alarm | None:
    """Return the alarm on a discriminator that overfits.

    Args:
        real_sign: its mean sign on real images, -1 to 1; None if unknown.
    """
    if real_sign is None or real_sign <= REAL_SIGN_ABOVE:
        return None
    return Alarm(
        "score/real_sign",
        f"the mean sign of D on real images is {real_sign:.2f}, above {REAL_SIGN_ABOVE:g}; D "
        "overfits if it stays there",
        "Pass `augment ada`, or add training images.",
    )


def swd_alarm(points: Sequence[tuple[float, float]]) -> Alarm | None:
    """Return the alarm on a sliced Wasserstein distance that has risen.

    Args:
        points: (kimg, swd), in the order of training.
    """
    at, best = min(points, key=lambda point: point[1], default=(0.0, 0.0))
    if not points or points[-1][1] <= SWD_RISE_ABOVE * best:
        return None
    return Alarm(
        "swd",
        f"swd rose from {best:.3g} at kimg {at:g} to {points[-1][1]:.3g}",
        "'segan export --best' exports the best checkpoint.",
    )


def data_alarm(seconds: Mapping[str, float]) -> Alarm | None:
    """Return the alarm on time lost with loading images.

    Args:
        seconds: by phase of a step; images are loaded in ``data``.
    """
    total, data = sum(seconds.values()), seconds.get("data", 0.0)
    if not total or data <= DATA_SHARE_ABOVE * total:
        return None
    return Alarm("seconds/data", f"loading images took {data / total:.0%} of the training time")
