"""How fast it goes now: rates over a window that moves along with the run."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_SEC = 120.0
FEWEST = 4
"""A window of slow completions reaches back until it holds so many, and two for each slot."""
SHORTEST_SEC = 1.0
"""Nothing is measured over less: the first completion would look like a record."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What came to an end per second: all of it, what was good, and the tokens written."""

    finished: float
    good: float
    tokens: float


class Pace:
    """Completions of the last two minutes, or of longer where they are rare. Knows no clock."""

    def __init__(self, began: float, slots: int = 1) -> None:
        self._began = began
        self._slots = max(1, slots)
        self._fewest = max(FEWEST, 2 * slots)
        self._kept: deque[tuple[float, bool, int]] = deque()
        self._good = self._tokens = 0

    def add(self, now: float, *, good: bool, tokens: int = 0) -> None:
        """Count one completion."""
        self._kept.append((now, good, tokens))
        self._good += good
        self._tokens += tokens
        self._forget(now)

    def compute_rates(self, now: float) -> Rates | None:
        """Return the rates at a time; None before anything was completed."""
        self._forget(now)
        if not self._kept:
            return None
        seconds = max(SHORTEST_SEC, self._seconds(now))
        return Rates(len(self._kept) / seconds, self._good / seconds, self._tokens / seconds)

    def _forget(self, now: float) -> None:
        while len(self._kept) > self._fewest and self._kept[0][0] <= now - WINDOW_SEC:
            self._began, good, tokens = self._kept.popleft()
            self._good -= good
            self._tokens -= tokens

    def _seconds(self, now: float) -> float:
        """Return the time that the kept completions took.

        Where they are rare it ends with the last one, and grows again once the next one is
        overdue: a rate that fell every second and leapt up at each completion could not be read.
        """
        if len(self._kept) >= self._fewest and self._kept[0][0] > now - WINDOW_SEC:
            return min(WINDOW_SEC, now - self._began)
        last = self._kept[-1][0]
        taken = last - self._began
        expected = self._slots * taken / len(self._kept)
        return taken + max(0.0, now - last - expected)
