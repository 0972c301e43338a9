"""A pool of worker threads: they take a call, make it, and hand back what came of it. Nothing else.

They are daemons, so that one which hangs in a library can't keep the program from ending.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable


class Workers:
    """Threads that are started as they are needed; `submit` is for one thread only."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def submit(self, call: Callable[[], None]) -> None:
        """Have a call made, which must not raise."""
        if not self._idle.acquire(blocking=False):
            number = len(self._threads) + 1
            thread = threading.Thread(target=self._run, name=f"llmc-worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._calls.put(call)

    def close(self) -> None:
        """Let the threads end after the calls that they are making."""
        for _ in self._threads:
            self._calls.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the threads to end, at most so long in all; tell whether they have."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            self._idle.release()
