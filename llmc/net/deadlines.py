"""What ends a request in time: a switch that cancels it, and a thread that watches deadlines.

Both abort from outside, as a blocked reader can't look at a clock.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Protocol

from llmc.errors import CancelledError

MAX_TIMEOUT_SEC = 7 * 86400.0
"""What stands for "no timeout": the system's timers take no infinity."""


class Abortable(Protocol):
    """What can be ended from any thread."""

    def abort(self) -> None: ...


class Watched(Abortable, Protocol):
    """What is ended at its deadline, which may move on meanwhile."""

    @property
    def deadline(self) -> float: ...


class Deadline:
    """When a request must be over; moments are of `time.monotonic`.

    `sent` is when it was made, `first_sign` when its reply began.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.sent = clock()
        self.first_sign: float | None = None
        self._end = self.sent + seconds

    @property
    def at(self) -> float:
        return self._end

    @property
    def latest(self) -> float:
        """The latest moment that it may move on to."""
        return self._end

    def hear(self) -> None:
        """Take note that the reply has begun."""
        if self.first_sign is None:
            self.first_sign = self._clock()

    def hasten(self, seconds: float) -> None:
        """Bring it forward to at most `seconds` from now."""
        self._end = min(self._end, self._clock() + seconds)

    def finish(self, *, answered: bool) -> None:
        """Take note that the request is over."""


class Cancellation:
    """A switch that ends every request made under it, from any thread, for good."""

    def __init__(self) -> None:
        self._switch = threading.Event()
        self._hurry = threading.Event()
        self._lock = threading.Lock()
        self._open: set[Abortable] = set()

    @property
    def is_set(self) -> bool:
        return self._switch.is_set()

    def wait(self, seconds: float) -> bool:
        """Pause for some time; return at once, and True, when cancelled or in a hurry."""
        return self._hurry.wait(max(0.0, min(seconds, MAX_TIMEOUT_SEC)))

    def hurry(self) -> None:
        """End all pauses, also those to come; requests under way go on."""
        self._hurry.set()

    def cancel(self) -> None:
        """Close the sockets of all requests under way, and refuse later ones."""
        with self._lock:
            self._switch.set()
            self._hurry.set()
            for exchange in self._open:
                exchange.abort()

    def enter(self, exchange: Abortable) -> None:
        with self._lock:
            if self.is_set:
                raise CancelledError("cancelled")
            self._open.add(exchange)

    def leave(self, exchange: Abortable) -> None:
        with self._lock:
            self._open.discard(exchange)


class Watchdog:
    """One thread that aborts exchanges whose deadline has passed."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._deadlines: list[tuple[float, int, Watched]] = []
        self._watched: set[Watched] = set()
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    def watch(self, exchange: Watched) -> None:
        with self._wake:
            self._watched.add(exchange)
            entry = (exchange.deadline, next(self._order), exchange)
            heapq.heappush(self._deadlines, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="llmc-watchdog", daemon=True)
                self._thread.start()
            elif self._deadlines[0] is entry:
                self._wake.notify()

    def forget(self, exchange: Watched) -> None:
        with self._wake:
            self._watched.discard(exchange)
            if len(self._deadlines) > 64 and len(self._deadlines) > 4 * len(self._watched):
                self._deadlines = [e for e in self._deadlines if e[2] in self._watched]
                heapq.heapify(self._deadlines)

    def _run(self) -> None:
        with self._wake:
            while True:
                now = time.monotonic()
                while self._deadlines and self._deadlines[0][0] <= now:
                    _, _, exchange = heapq.heappop(self._deadlines)
                    if exchange not in self._watched:
                        continue
                    if (deadline := exchange.deadline) > now:
                        heapq.heappush(self._deadlines, (deadline, next(self._order), exchange))
                        continue
                    self._watched.discard(exchange)
                    exchange.abort()
                self._wake.wait(self._deadlines[0][0] - now if self._deadlines else None)


WATCHDOG = Watchdog()
"""The one of the process."""
