"""How many calls a host really does at once: an adaptive concurrency limit, by backpressure.

A host that is asked more than it does keeps the rest waiting. Over a stretch of calls that shows as
a plateau: while some wait, others are worked on, and always as many. Pure: no thread, no clock.

What a host does meanwhile that is no queue makes no plateau: while a model loads nothing is worked
on, and where calls don't wait there is no queue, however slow the replies are. In doubt there is no
limit: to wait in a host's queue costs nothing.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from llmc.models import CallTimes

LEAST_CALLS = 8
"""With fewer, a plateau may be chance."""

LEAST_WAIT_SEC = 0.1
"""A shorter wait is the network's, or this machine's."""

_WAITED_SHARE = 0.5
"""At least this share of the time somebody waited."""

_LEVEL_SHARE = 0.95
"""For this share of the time no more were worked on; the rest is the clocks' and the network's."""

_FILL = 0.85
"""So near to that level is the mean while somebody waits: else calls were only slow to begin."""


class Stretch(NamedTuple):
    """What a stretch of calls shows: so many were worked on at most, and whether more waited."""

    level: int
    queued: bool


def look_at(calls: Sequence[CallTimes], slots: int, since: float = 0.0) -> Stretch | None:
    """Return what calls show of a host that is asked to do `slots` at once; None if too few.

    They are all that ended after `since`, in the order of their ends.
    """
    if len(calls) < max(LEAST_CALLS, 2 * slots):
        return None
    begin = max(since, min(call.sent for call in calls))
    # Calls that are still under way are not known: by then they had not been sent.
    end = calls[-slots - 1].ended
    held, waited, worked = defaultdict[int, float](float), 0.0, 0.0
    for waiting, working, seconds in _follow(calls, begin, end):
        held[working] += seconds
        if waiting:
            waited += seconds
            worked += working * seconds
    level, above = max(held, default=0), 0.0
    while level > 0 and (above := above + held[level]) <= (1 - _LEVEL_SHARE) * (end - begin):
        level -= 1
    plateau = waited >= _WAITED_SHARE * (end - begin) and worked >= _FILL * level * waited
    return Stretch(level, level > 0 and plateau)


def _follow(
    calls: Iterable[CallTimes], begin: float, end: float
) -> Iterator[tuple[int, int, float]]:
    """Yield how many waited, how many were worked on, and for how many seconds that was so."""
    changes = []
    for call in calls:
        if call.started - call.sent >= LEAST_WAIT_SEC:
            changes += [(call.sent, 1, 0), (call.started, -1, 0)]
        changes += [(call.started, 0, 1), (call.ended, 0, -1)]
    waiting = working = 0
    for (at, more, work), (until, _, _) in pairwise(sorted(changes)):
        waiting += more
        working += work
        seconds = min(until, end) - max(at, begin)
        if seconds > 0:
            yield waiting, working, seconds


class Observer:
    """Keeps the last calls of one host, until they show how many it does at once.

    What it has once done at once it can do, whatever later calls look like.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._calls: deque[CallTimes] = deque()
        self._since = 0.0
        self._until_look = slots
        self._most = 1

    def note(self, times: CallTimes) -> int | None:
        """Take note of a call; return how many the host does at once, if that is less."""
        self._calls.append(times)
        if len(self._calls) > max(LEAST_CALLS, 4 * self._slots):
            self._since = max(self._since, self._calls.popleft().ended)
        self._until_look -= 1
        if self._until_look > 0:
            return None
        self._until_look = self._slots
        calls = sorted(self._calls, key=lambda call: call.ended)
        found = look_at(calls, self._slots, self._since)
        if found is None:
            return None
        self._most = max(self._most, found.level)
        return self._most if found.queued and found.level == self._most < self._slots else None
