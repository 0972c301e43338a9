"""When a run has work and nobody for it: at once if all turn us away, else after some patience."""

from __future__ import annotations

import time

from llmc.run.job import Job
from llmc.run.parts import Parts
from llmc.run.scheduler import Scheduler
from llmc.run.slots import Slots

MOST_IN_VAIN = 32
"""So many spans left in a row, for want of anybody to ask, show that the rest would be as well."""


class Patience:
    """Ends when nobody is left who may be asked, or when nobody has answered for too long.

    What counts are the seconds in which nothing could be begun but trials: calls that a host gets
    which has failed before.
    """

    def __init__(self, parts: Parts, scheduler: Scheduler[Job], slots: Slots) -> None:
        self._parts = parts
        self._scheduler = scheduler
        self._slots = slots
        self._seconds = parts.settings.pace.host_patience
        self._idle_since: float | None = None
        self._answers = 0
        self._in_vain = 0
        self._left = 0

    @property
    def ends(self) -> float | None:
        """When it is over, None while there is no need of it."""
        return None if self._idle_since is None else self._idle_since + self._seconds

    def leave(self) -> None:
        """Take note of a span that is left since all turn us away who might be asked for it."""
        self._in_vain += 1
        self._left += 1

    def find_end(self, *, done: bool, idle: bool, in_flight: int) -> str | None:
        """Say why the run should end, None if it should not.

        `done`: there is no more work; `idle`: nothing can be begun just now.
        """
        now, answers = time.monotonic(), self._slots.answers
        if answers != self._answers:
            self._idle_since, self._answers, self._in_vain = None, answers, 0
        if self._are_all_shut() or self._in_vain >= MOST_IN_VAIN or (done and self._left):
            return self._slots.who_turned_away()
        if done or not idle or self._slots.is_trusted:
            self._idle_since = None
            return None
        if self._idle_since is None:
            self._idle_since = now
        if in_flight or now - self._idle_since < self._seconds:
            return None
        who = self._slots.who_rests() or "there is none"
        return f"no host has answered for {self._seconds:g} s: {who}"

    def _are_all_shut(self) -> bool:
        if not self._slots.who_turned_away():
            return False
        tiers = filter(self._parts.reaches, self._scheduler.lanes.choices)
        return all(map(self._scheduler.is_shut, tiers))
