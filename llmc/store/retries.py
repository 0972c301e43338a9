"""When a span that failed is tried again by a later run: after a pause that grows."""

from __future__ import annotations

from llmc.models import REFUSED

REFUSED_PAUSES_SEC = (3600.0, 7 * 86400.0)
RUNTIME_PAUSES_SEC = (60.0, 86400.0)
"""(first, longest) pause of a failed span before a later run tries it again."""


def compute_pause(kind: str, count: int) -> float:
    """Return for how many seconds a span that failed in `count` runs, last so, is left alone.

    It doubles from run to run. A refused reply would come back much the same, so its pause is
    long; a host that was away (runtime, or any other kind) may soon be there again.
    """
    first, longest = REFUSED_PAUSES_SEC if kind in REFUSED else RUNTIME_PAUSES_SEC
    doublings = min(max(0, count - 1), 64)
    return float(min(longest, first * 2**doublings))
