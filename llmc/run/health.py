"""What calls show of a host, and whether it rests because of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FIRST_REST_SEC = 1.0
LONGEST_REST_SEC = 60.0
"""A host that comes back is noticed within this time."""

FAILURES_BEFORE_REST = 5
"""Errors in a row after which a host that does answer rests too, while others can work."""


class Verdict(Enum):
    """What a call showed about its host."""

    ANSWERED = "a reply came back"
    FAILED = "an error came back"
    UNREACHABLE = "nobody answered"
    TURNED_AWAY = "it would say the same to every request"
    UNKNOWN = "nobody can tell"


@dataclass(slots=True)
class Health:
    """Whether a host takes requests: a circuit breaker. Times are of one clock, in seconds.

    A host that doesn't answer rests, twice as long each time, at most LONGEST_REST_SEC. After a
    rest it is on trial, one request at a time, until a request brings a reply.
    """

    until: float = 0.0
    reason: str = ""
    on_trial: bool = False
    failures: int = 0
    rests: int = 0

    @property
    def rests_now(self) -> bool:
        return bool(self.reason)

    def rest(self, now: float, reason: str) -> float:
        """Rest from now on; return for how many seconds."""
        seconds = min(LONGEST_REST_SEC, FIRST_REST_SEC * 2.0 ** min(self.rests, 16))
        self.rests += 1
        self.until, self.reason, self.on_trial = now + seconds, reason or "no answer", False
        return seconds

    def wake(self) -> None:
        """End the rest; what comes next is a trial."""
        self.reason, self.on_trial, self.failures = "", True, 0

    def answered(self) -> None:
        """Take note of a reply, good or bad."""
        self.on_trial, self.failures, self.rests = False, 0, 0

    def failed(self) -> bool:
        """Take note of an error; tell whether it is one too many."""
        self.failures += 1
        return self.on_trial or self.failures >= FAILURES_BEFORE_REST
