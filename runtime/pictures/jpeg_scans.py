"""The scans of a JPEG: how often its decoder will go over the whole picture.

ITU-T T.81, B.1.1: segments of a marker, a length and content; a scan's entropy-coded data follow
its segment and hold no marker but the restarts.
"""

from __future__ import annotations

import re
from typing import Final

_SOF_PROGRESSIVE: Final = (0xC2, 0xC6, 0xCA, 0xCE)
_SOF: Final = (0xC0, 0xC1, 0xC3, 0xC5, 0xC7, 0xC9, 0xCB, 0xCD, 0xCF, *_SOF_PROGRESSIVE)
_SOS, _EOI = 0xDA, 0xD9
_MARKER: Final = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")


def count_scans(data: bytes) -> int:
    """Return the number of scans that a decoder must keep and go over.

    Returns:
        1 where the first scan holds the whole picture, which is decoded row by row. Otherwise the
        number of scans up to the end of the picture, at least 2: the decoder keeps all
        coefficients, and goes over them for each scan. 0 without a scan.
    """
    at, scans, components, progressive = 2, 0, 0, False
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _EOI:
            break
        length = int.from_bytes(data[at : at + 2], "big")
        if marker in _SOF:
            progressive = marker in _SOF_PROGRESSIVE
            components = data[at + 7] if at + 7 < len(data) else 0
        elif marker == _SOS:
            scans += 1
            in_scan = data[at + 2] if at + 2 < len(data) else 0
            if scans == 1 and not progressive and in_scan >= components:
                return 1
        at += max(length, 2)
    return max(scans, 2) if scans else 0
