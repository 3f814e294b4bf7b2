"""Thresholds of the alarms on a generator that trains."""

from __future__ import annotations

#: A coordinate is dead when moving it from -1 to 1 changes the image by less than this, rms over
#: pixels in [-1, 1]: 0.01 is 1.3 of 256 grey levels.
DEAD_BELOW = 0.01
