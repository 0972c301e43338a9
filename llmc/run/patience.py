"""How long a run that has work, and no host that would take it, waits for one."""

from __future__ import annotations


class Patience:
    """Ends after so many seconds in a row in which nothing could be begun."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._idle_since: float | None = None

    @property
    def ends(self) -> float | None:
        """When it is over, None while there is no need of it."""
        return None if self._idle_since is None else self._idle_since + self.seconds

    def watch(self, now: float, *, idle: bool) -> bool:
        """Take note whether nothing can be begun now; tell whether that has lasted too long."""
        if not idle:
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since >= self.seconds
