"""Whose turn it is at a host: the times of a request that may wait there for others.

A host that does less at once than it is asked keeps the rest in a queue, first come, first served,
and says nothing meanwhile. So the time of a reply counts from its first sign of life, and the wait
for that from the last sign that the host gave to a request before it. A hung host gives none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from llmc.net.deadlines import Deadline

ABREAST_SEC = 2.0
"""Requests sent within this time of each other may arrive, and be served, in either order."""


class Line:
    """The requests that one place has from us: its queue, as we know it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.turns: list[Turn] = []


class Turn(Deadline):
    """The deadline of a request that queues.

    It has `seconds` from the last sign of a request before it to its own first one, and in all that
    much for each of them and itself; from its first sign on it has `seconds` to its end.
    """

    def __init__(self, line: Line, seconds: float) -> None:
        super().__init__(seconds, line.clock)
        self._line = line
        self._seconds = seconds
        self._quiet_since = self.sent
        self._waits_until = self.sent
        with line.lock:
            line.turns.append(self)
            for other in line.turns:
                if other is self or self._comes_before(other):
                    other._wait_longer()
                if other is not self and other._comes_before(self):
                    self._wait_longer()

    @property
    def at(self) -> float:
        if self.first_sign is not None:
            return self._end
        with self._line.lock:
            served = any(
                turn.first_sign is not None and turn._comes_before(self)
                for turn in self._line.turns
            )
        quiet = self._clock() if served else self._quiet_since
        return min(self._end, self._waits_until, quiet + self._seconds)

    def hear(self) -> None:
        if self.first_sign is not None:
            return
        with self._line.lock:
            super().hear()
            self._end = self._clock() + self._seconds
            self._tell_those_behind()

    def finish(self, *, answered: bool) -> None:
        with self._line.lock:
            if self in self._line.turns:
                self._line.turns.remove(self)
                if answered:
                    self._tell_those_behind()

    def _comes_before(self, other: Turn) -> bool:
        return self.sent < other.sent + ABREAST_SEC

    def _wait_longer(self) -> None:
        """Allow for one more request that may be served first, or for itself."""
        if self.first_sign is None:
            self._waits_until += self._seconds
            self._end = self._waits_until + self._seconds

    def _tell_those_behind(self) -> None:
        for turn in self._line.turns:
            if self._comes_before(turn):
                turn._quiet_since = self._clock()
