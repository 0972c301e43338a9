"""Who may be answered now: the models in memory, the line before them, the slots of each.

As Ollama schedules: a runner is one model file loaded with one set of load options. A call whose
runner is ready goes straight to it, however many there are, and waits there for one of its slots.
Any other call stands in line: one runner is brought up at a time, an old one only goes once nobody
uses it, and the line alone has a limit.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

FOREVER = (2**63 - 1) / 1e9
"""The longest time that Ollama knows, in seconds: a negative keep_alive."""
DEFAULT_KEEP_SECONDS = 300.0


class QueueIsFullError(Exception):
    """The line before the runners has no place left."""


class RunnersClosedError(Exception):
    """The server closed while the call waited."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a model is loaded with, as the call said it; the defaults are Ollama's."""

    num_ctx: int = 4096
    num_batch: int = 512
    num_gpu: int = -1
    main_gpu: int = 0
    use_mmap: bool | None = None
    num_thread: int = 0

    def serve(self, asked: LoadOptions) -> bool:
        """Tell whether a runner with these options will do; a negative num_gpu takes any."""
        return self == (replace(asked, num_gpu=self.num_gpu) if asked.num_gpu < 0 else asked)


@dataclass(frozen=True, slots=True)
class Demand:
    """The runner that a call needs; `keep_seconds` None leaves its time in memory as it is."""

    blob: str
    name: str
    options: LoadOptions = LoadOptions()
    keep_seconds: float | None = None


@dataclass(slots=True, eq=False)
class Runner:
    """A model in memory; times are of `time.monotonic`.

    `users` counts the calls that hold it, `writing` those of them with a slot; `line` are the
    calls that wait for one.
    """

    demand: Demand
    ready_at: float
    keep_seconds: float
    users: int = 0
    writing: int = 0
    line: deque[object] = field(default_factory=deque)
    expires: float = FOREVER


@dataclass(slots=True)
class Lease:
    """A call's hold on a runner that is ready in `load_seconds`."""

    runner: Runner
    load_seconds: float
    has_slot: bool = False


class Runners:
    """Admits calls; `slots` (None: no limit) are those of each runner."""

    def __init__(
        self, slots: int | None, max_queue: int, swap_seconds: float, max_loaded: int
    ) -> None:
        self.in_flight = self.peak_in_flight = self.peak_queued = 0
        self.loads = self.swaps = self.reloads = 0
        self._slots = slots
        self._max_queue = max_queue
        self._swap_seconds = swap_seconds
        self._max_loaded = max(1, max_loaded)
        self._changed = threading.Condition()
        self._line: deque[object] = deque()
        self._runners: dict[str, Runner] = {}
        self._loading_until = 0.0
        self._closed = False

    def enter(self, demand: Demand) -> Lease:
        """Wait for a runner and hold it; raise QueueIsFullError where the line is full."""
        with self._changed:
            self._check_open()
            runner = self._ready(demand) or self._from_line(demand)
            runner.users += 1
            if demand.keep_seconds is not None:
                runner.keep_seconds = demand.keep_seconds
            return Lease(runner, max(0.0, runner.ready_at - time.monotonic()))

    def take_slot(self, lease: Lease) -> None:
        """Wait for a slot of the runner, in order of arrival."""
        runner = lease.runner
        with self._changed, self._place(runner.line) as place:
            while runner.line[0] is not place or runner.writing == self._slots:
                self._wait(None)
            runner.writing += 1
            self.in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
            lease.has_slot = True

    def leave(self, lease: Lease) -> None:
        """Let go of the runner, and of the slot."""
        runner = lease.runner
        with self._changed:
            runner.users -= 1
            if lease.has_slot:
                runner.writing -= 1
                self.in_flight -= 1
            if not runner.users:
                runner.expires = time.monotonic() + runner.keep_seconds
            self._changed.notify_all()

    def unload(self, blob: str) -> None:
        """Let a model go as soon as nobody uses it."""
        with self._changed:
            runner = self._runners.get(blob)
            if runner is not None:
                runner.keep_seconds = runner.expires = 0.0
            self._changed.notify_all()

    def count_swap(self) -> None:
        """Count a swap that a fault asked for."""
        with self._changed:
            self.swaps += 1

    def loaded(self) -> list[tuple[Demand, float]]:
        """Return what is loaded, with the seconds that each stays, the longest first."""
        with self._changed:
            self._drop_expired()
            now = time.monotonic()
            stay = [
                (runner.demand, runner.keep_seconds if runner.users else runner.expires - now)
                for runner in self._runners.values()
            ]
        return sorted(stay, key=lambda entry: -entry[1])

    def close(self) -> None:
        """Send everybody who waits away."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _from_line(self, demand: Demand) -> Runner:
        if len(self._line) > self._max_queue:  # the first, who is being served, takes no place
            raise QueueIsFullError
        with self._place(self._line) as place:
            while True:
                if self._line[0] is place and (runner := self._brought_up(demand)):
                    return runner
                self._wait(self._loading_until)

    def _ready(self, demand: Demand) -> Runner | None:
        self._drop_expired()
        runner = self._runners.get(demand.blob)
        if runner is None or runner.ready_at > time.monotonic():
            return None
        return runner if runner.demand.options.serve(demand.options) else None

    def _brought_up(self, demand: Demand) -> Runner | None:
        """Return the runner, loaded if need be; None while another has to load or end first."""
        now = time.monotonic()
        if now < self._loading_until:
            return None
        if ready := self._ready(demand):
            return ready
        old = self._runners.get(demand.blob)
        if old is None and len(self._runners) >= self._max_loaded:
            old = min(self._runners.values(), key=lambda r: (r.users > 0, r.keep_seconds))
        if old is not None:
            if old.users:
                return None
            del self._runners[old.demand.blob]
            self.reloads += old.demand.blob == demand.blob
            self.swaps += old.demand.blob != demand.blob
        self.loads += 1
        self._loading_until = now + self._swap_seconds
        runner = Runner(demand, self._loading_until, DEFAULT_KEEP_SECONDS)
        self._runners[demand.blob] = runner
        return runner

    @contextmanager
    def _place(self, line: deque[object]) -> Iterator[object]:
        place = object()
        line.append(place)
        try:
            yield place
        finally:
            line.remove(place)
            self._changed.notify_all()

    def _wait(self, until: float | None) -> None:
        waiting = len(self._line) + sum(len(runner.line) for runner in self._runners.values())
        self.peak_queued = max(self.peak_queued, waiting)
        left = None if until is None else until - time.monotonic()
        self._changed.wait(left if left and left > 0 else None)
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise RunnersClosedError

    def _drop_expired(self) -> None:
        now = time.monotonic()
        for runner in list(self._runners.values()):
            if not runner.users and runner.expires <= now:
                del self._runners[runner.demand.blob]
