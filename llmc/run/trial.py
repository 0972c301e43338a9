"""How many calls a host really does at once, told by a trial: an A/B test of its throughput.

A server that neither streams nor says how long it worked gives no sign of when it began on a call:
with four in flight, one that does four at once and one that is four times as fast and does them in
turn look alike. So it is tried: after a stretch with all slots a few calls are made alone, then all
slots are used again. If one call at a time brought as much, in bytes of replies a second, one it
is. If it brought half as much as four, two are tried too. A limit is set only where it was seen to
cost nothing, so a host that gains by having more gets them. Pure: no thread, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from llmc.models import CallTimes

LEAST_CALLS = 16
CALLS_PER_SLOT = 4
LEAST_ALONE = 8
"""Calls that a stretch has, and the one with a call at a time: that one costs a host time that does
more, the others cost nothing."""

MOST_GAIN = 1.15
"""More slots that bring less than this much more are taken to bring nothing: replies vary."""

LEAST_SPARED = 1.5
"""Fewer slots are tried where all are so many times as many: a measure is not exact."""

_SILENT_SHARE = 0.1
"""A host whose calls are worked on, as far as is known, for no more of their time gives no sign."""


def measure(calls: Iterable[CallTimes], level: int, since: float, end: float) -> tuple[int, float]:
    """Return how many calls ended while `level` were in flight, and bytes a second meanwhile.

    All calls between the two moments are to be among these.
    """
    changes = []
    for call in calls:
        changes += [(call.sent, 1, 0), (call.ended, -1, call.received)]
    in_flight = done = received = 0
    seconds, before = 0.0, since
    for at, more, size in sorted(changes):
        if at > end:
            break
        if in_flight == level and at > since:
            seconds += at - before
            if more < 0:
                done += 1
                received += size
        in_flight += more
        before = max(at, since)
    return done, received / seconds if seconds else 0.0


class Trial:
    """The trial of one host that has so many `slots`, made while a run goes on.

    `limit` is how many calls it may get at once for now, None for all. Once it is `over`, that is
    the result.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._levels = [slots, 1, slots]
        self._rates: list[float] = []
        self._model = ""
        self._calls: deque[CallTimes] = deque()
        self._since = 0.0
        self.limit: int | None = None
        self.over = False

    @property
    def _level(self) -> int:
        return self._levels[len(self._rates)]

    def note(self, times: CallTimes, model: str) -> None:
        """Take note of a call; models differ in speed, so another one begins the trial anew."""
        if self.over:
            return
        if model != self._model:
            self._begin_anew(model, times.ended)
        self._calls.append(times)
        level = self._level
        needed = max(LEAST_CALLS, CALLS_PER_SLOT * level) if level > 1 else LEAST_ALONE
        if len(self._calls) > 2 * (needed + self._slots):
            self._since = max(self._since, self._calls.popleft().ended)
        if len(self._calls) <= max(level, needed) or not (self._rates or self._is_silent()):
            return
        calls = sorted(self._calls, key=lambda call: call.ended)
        # What is still in flight is not known: by then it had not been sent.
        done, rate = measure(calls, level, self._since, calls[-level - 1].ended)
        if done >= needed:
            self._rates.append(rate)
            self._go_on(calls[-1].ended)

    def give_up(self) -> None:
        """End the trial without a result, as when a call came to nothing meanwhile.

        Before it has set a limit there is nothing to end.
        """
        if self.limit is not None:
            self.limit, self.over = None, True

    def _begin_anew(self, model: str, now: float) -> None:
        self._model = model
        self._levels = [self._slots, 1, self._slots]
        self._rates.clear()
        self._calls.clear()
        self._since, self.limit = now, None

    def _is_silent(self) -> bool:
        worked = sum(call.ended - call.started for call in self._calls)
        return worked <= _SILENT_SHARE * sum(call.ended - call.sent for call in self._calls)

    def _go_on(self, now: float) -> None:
        """Begin the next stretch, or end the trial."""
        if len(self._rates) >= len(self._levels) and not self._tries_another():
            return
        level = self._level
        self.limit = None if level == self._slots else level
        # Of those that were sent before it, some are yet to end.
        self._since = now

    def _tries_another(self) -> bool:
        """Draw the conclusion; tell whether a number in between is to be tried first."""
        first, alone, again, *between = self._rates
        # A model that was loaded meanwhile slowed one of them down.
        full = max(first, again)
        gain = full / alone if alone else float(self._slots)
        if between:
            tried = self._levels[-1]
            self.limit = tried if full <= MOST_GAIN * between[0] else None
        elif gain <= MOST_GAIN:
            self.limit = 1
        elif LEAST_SPARED * (tried := max(2, round(gain))) <= self._slots:
            self._levels.append(tried)
            return True
        else:
            self.limit = None
        self.over = True
        return False
