"""Who may be answered now: slots, the queue before them, and the models that are loaded.

A server works on `slots` calls at once; further ones queue in order of arrival. It holds
`max_loaded` models. Loading takes `swap_seconds`, and a model is only pushed out once nobody uses
it, so the first of the queue may hold up those behind it, as in Ollama. Where loading takes no time
(the default), models share the slots freely.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

FOREVER = float("inf")


class QueueIsFullError(Exception):
    """No slot is free and no place in the queue either."""


class SlotsClosedError(Exception):
    """The server closed while the call was queued."""


@dataclass(slots=True)
class Loaded:
    """A model in memory: when it is ready, in use by how many, and until when it stays."""

    ready_at: float
    active: int = 0
    expires: float = FOREVER


@dataclass(slots=True)
class _Waiter:
    model: str
    event: threading.Event = field(default_factory=threading.Event)
    load_seconds: float | None = None


class Slots:
    """Admits calls; times are of `time.monotonic`."""

    def __init__(
        self, slots: int | None, max_queue: int, swap_seconds: float, max_loaded: int
    ) -> None:
        self.in_flight = self.peak_in_flight = self.peak_queued = 0
        self.swaps = self.loads = 0
        self._slots = slots
        self._max_queue = max_queue
        self._swap_seconds = swap_seconds
        self._max_loaded = max(1, max_loaded)
        self._lock = threading.Lock()
        self._queue: deque[_Waiter] = deque()
        self._models: dict[str, Loaded] = {}
        self._closed = False

    def enter(self, model: str) -> float:
        """Wait for a slot and return the seconds that loading still takes."""
        with self._lock:
            if self._closed:
                raise SlotsClosedError
            now = time.monotonic()
            if not self._queue and self._admits(model, now):
                return self._grant(model, now)
            if len(self._queue) >= self._max_queue:
                raise QueueIsFullError
            waiter = _Waiter(model)
            self._queue.append(waiter)
            self.peak_queued = max(self.peak_queued, len(self._queue))
        waiter.event.wait()
        if waiter.load_seconds is None:
            raise SlotsClosedError
        return waiter.load_seconds

    def leave(self, model: str, keep_seconds: float) -> None:
        """Give the slot back; the model stays for `keep_seconds` after its last call."""
        with self._lock:
            now = time.monotonic()
            self.in_flight -= 1
            loaded = self._models.get(model)
            if loaded is not None:
                loaded.active = max(0, loaded.active - 1)
                loaded.expires = now + keep_seconds
            self._drop_expired(now)
            while self._queue and self._admits(self._queue[0].model, now):
                waiter = self._queue.popleft()
                waiter.load_seconds = self._grant(waiter.model, now)
                waiter.event.set()

    def count_swap(self) -> None:
        """Count a swap that a fault asked for."""
        with self._lock:
            self.swaps += 1

    def loaded(self) -> dict[str, float]:
        """Return each loaded model with the seconds it stays."""
        with self._lock:
            now = time.monotonic()
            self._drop_expired(now)
            return {name: loaded.expires - now for name, loaded in self._models.items()}

    def close(self) -> None:
        """Send everybody in the queue away."""
        with self._lock:
            self._closed = True
            waiting = list(self._queue)
            self._queue.clear()
        for waiter in waiting:
            waiter.event.set()

    def _admits(self, model: str, now: float) -> bool:
        if self._slots is not None and self.in_flight >= self._slots:
            return False
        if not self._swap_seconds:
            return True
        self._drop_expired(now)
        return (
            model in self._models
            or len(self._models) < self._max_loaded
            or any(not loaded.active for loaded in self._models.values())
        )

    def _grant(self, model: str, now: float) -> float:
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._drop_expired(now)
        loaded = self._models.pop(model, None)
        if loaded is None:
            loaded = self._load(now)
        self._models[model] = loaded  # last in the dict = used last
        loaded.active += 1
        return max(0.0, loaded.ready_at - now)

    def _load(self, now: float) -> Loaded:
        self.loads += 1
        if len(self._models) >= self._max_loaded:
            idle = [name for name, loaded in self._models.items() if not loaded.active]
            self._models.pop((idle or list(self._models))[0])
            self.swaps += 1
        return Loaded(now + self._swap_seconds)

    def _drop_expired(self, now: float) -> None:
        for name in [n for n, m in self._models.items() if not m.active and m.expires <= now]:
            del self._models[name]
