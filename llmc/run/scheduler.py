"""Which attempt runs next, and where. Pure: no thread, no network; time is passed in.

Two orders of work. `InOrder` is the batch driver's: so many spans are open side by side, each goes
down the chain of hosts from the first one. `Spread` keeps every host busy: a span begins on the
host with a free slot, and as a host that loads a model for every change of mind does little else,
attempts at another model are put by and run in blocks. What follows a failure is decided
elsewhere (routing); here it is only decided when, and on which host of those that may have it.

Rules of `Spread` for a free slot, in order:
1. go on with the model that is loaded: attempts that belong here, then spans not begun, then
   attempts that wait at hosts which are busy with another model, or rest;
2. take a fresh span; one that needs another model is put by;
3. help out hosts that are behind with this model;
4. change to the model for which most is put by.
A host changes without waiting for 4 when BLOCK attempts at another model are put by for it, or as
many more as hosts already work on that model: with several hosts, some end up staying on one.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from llmc.run.health import FAILURES_BEFORE_REST, Health, Verdict
from llmc.run.lanes import Choice, Lane, Lanes

BLOCK = 256
"""Attempts put by that make a change of model worth its 3 to 14 s; a host puts by twice as many at
most, spans not begun among them, at about 1.5 KB each."""

LOCAL_TIERS = ("7b", "14b")
"""A free slot of a host that serves one of these has the work list searched for something to do.
For the cloud tier alone it doesn't pay: its spans are few, and every span would be read twice."""


class Task(Protocol):
    """A span on its way, as the scheduler sees it.

    `lane` is the host that its next attempt belongs to, None for any; `been` are those that its
    chain has left behind.
    """

    lane: int | None
    been: frozenset[int]

    @property
    def tier(self) -> str: ...

    @property
    def host_index(self) -> int: ...


T = TypeVar("T", bound=Task)


@dataclass(slots=True)
class LaneState:
    """A lane as it stands. `block` is the model loaded last, `started` the attempts since."""

    lane: Lane
    busy: int = 0
    block: str | None = None
    started: int = 0
    probing: bool = False
    health: Health = field(default_factory=Health)

    def has_room(self, slots: int) -> bool:
        """Tell whether one more request may go there."""
        if self.health.rests_now:
            return False
        return self.busy < (1 if self.health.on_trial else slots)


class Scheduler(Generic[T]):
    """What both orders share: slots, rests, and attempts that wait for their time."""

    def __init__(self, lanes: Lanes, now: float) -> None:
        self.lanes = lanes
        self.states = [LaneState(lane) for lane in lanes.lanes]
        self.may_plan = False
        self.hungry = False
        self._waiting: list[tuple[float, int, T]] = []
        self._order = itertools.count()
        for state in self.states:
            if state.lane.down:
                state.health.rest(now, "did not answer at the start")

    # -- work ------------------------------------------------------------------------------------

    def add(self, task: T) -> None:
        """Take an attempt that may run now."""
        raise NotImplementedError

    def next(self) -> tuple[T, Choice] | None:
        """Return an attempt that can run now and how, None if there is none.

        `hungry` then tells whether a fresh span would find a free slot.
        """
        raise NotImplementedError

    def has_room(self, open_tasks: int) -> bool:
        """Tell whether another span may be begun beside so many.

        Those that only wait for a host to return don't count, up to a bound.
        """
        raise NotImplementedError

    def shed(self) -> T | None:
        """Give up one attempt that waits for a host to return, if too many do."""
        raise NotImplementedError

    def _is_cut_off(self, choices: Iterable[Choice]) -> bool:
        """Tell whether none of these choices has a host that is awake."""
        return all(self.states[choice.lane].health.rests_now for choice in choices)

    def add_later(self, task: T, due: float) -> None:
        """Take an attempt that may run from `due` on."""
        heapq.heappush(self._waiting, (due, next(self._order), task))

    @property
    def waits(self) -> bool:
        """Tell whether attempts wait for their time."""
        return bool(self._waiting)

    def wake(self, now: float) -> None:
        """Let in the attempts whose time has come."""
        while self._waiting and self._waiting[0][0] <= now:
            self.add(heapq.heappop(self._waiting)[2])

    def next_time(self) -> float | None:
        """Return when something becomes possible by time alone, None for never."""
        times = [s.health.until for s in self.states if s.health.rests_now and not s.probing]
        times += [due for due, _, _ in self._waiting[:1]]
        return min(times, default=None)

    # -- slots and rests -------------------------------------------------------------------------

    def occupy(self, lane: int) -> LaneState:
        """Give a slot of a lane to a call."""
        state = self.states[lane]
        state.busy += 1
        state.started += 1
        return state

    def leave(self, lane: int, verdict: Verdict, reason: str, now: float) -> float | None:
        """Free a slot; return for how long the lane rests if it rests because of this call."""
        state = self.states[lane]
        state.busy -= 1
        health = state.health
        if verdict is Verdict.ANSWERED:
            health.answered()
        elif health.rests_now:
            pass  # a call that was under way when the rest began
        elif verdict is Verdict.UNREACHABLE:
            return health.rest(now, reason)
        elif verdict is Verdict.FAILED and health.failed():
            if self._others_work(lane):
                return health.rest(now, reason)
            health.on_trial = False
        return None

    def _others_work(self, lane: int) -> bool:
        """Tell whether another lane that can take over is well: resting the last one helps nobody.

        A host that only gives errors is the fastest of all and would draw every span to itself.
        """
        for choices in self.lanes.choices.values():
            serving = {choice.lane for choice in choices}
            if lane in serving and any(self._is_well(other) for other in serving - {lane}):
                return True
        return False

    def _is_well(self, lane: int) -> bool:
        health = self.states[lane].health
        return not health.rests_now and health.failures < FAILURES_BEFORE_REST

    def rested(self, now: float) -> Iterator[int]:
        """Yield the lanes whose rest is over: one request shall show if they are there."""
        for index, state in enumerate(self.states):
            if state.health.rests_now and state.health.until <= now and not state.probing:
                yield index


class InOrder(Scheduler[T]):
    """Spans side by side, `width` at most, each from the first host on and never back.

    A host that rests is passed over for the next one that is awake. Only one that can't be reached
    rests: one that answers with errors is asked as the chain has it.
    """

    def __init__(self, lanes: Lanes, now: float) -> None:
        super().__init__(lanes, now)
        self._width = max((lane.slots for lane in lanes.lanes), default=1)
        self._ready: deque[T] = deque()

    def add(self, task: T) -> None:
        self._ready.append(task)

    def has_room(self, open_tasks: int) -> bool:
        stranded = sum(self._is_cut_off(self._own(task)) for task in self._ready)
        return open_tasks - stranded < self._width and stranded < BLOCK

    def shed(self) -> T | None:
        stranded = [task for task in self._ready if self._is_cut_off(self._own(task))]
        if len(stranded) < BLOCK:
            return None
        self._ready.remove(stranded[0])
        return stranded[0]

    def leave(self, lane: int, verdict: Verdict, reason: str, now: float) -> float | None:
        if verdict is Verdict.FAILED:
            verdict = Verdict.ANSWERED
        return super().leave(lane, verdict, reason, now)

    def next(self) -> tuple[T, Choice] | None:
        self.hungry = self.may_plan
        for position, task in enumerate(self._ready):
            choice = self._choice(task)
            if choice:
                del self._ready[position]
                return task, choice
        return None

    def _own(self, task: T) -> list[Choice]:
        choices = self.lanes.choices[task.tier]
        return [c for c in choices if c.host_index is None or c.host_index >= task.host_index]

    def _choice(self, task: T) -> Choice | None:
        for choice in self._own(task):
            state = self.states[choice.lane]
            if not state.health.rests_now:
                return choice if state.has_room(choice.steps[0].slots) else None
        return None


class Spread(Scheduler[T]):
    """Every slot busy, every host on one model for as long as there is work for it."""

    def __init__(self, lanes: Lanes, now: float) -> None:
        super().__init__(lanes, now)
        self._fresh: defaultdict[str, deque[T]] = defaultdict(deque)
        self._own: defaultdict[tuple[int, str], deque[T]] = defaultdict(deque)
        self._waiting_at_hosts = 0
        self._routes = [_routes(lanes, index) for index in range(len(lanes.lanes))]
        self._seekers = [self._serves_first(index) for index in range(len(lanes.lanes))]
        self._most_fresh = BLOCK * len(lanes.lanes)
        slots = sum(lane.slots for lane in lanes.lanes)
        self._most_open = slots + 2 * BLOCK * len(lanes.lanes)

    def add(self, task: T) -> None:
        lane = task.lane
        if lane is not None and lane in task.been:
            lane = self._after(lane, task)
        elif lane is not None and lane not in self._ring(task.tier):
            lane = None
        task.lane = lane
        if lane is None:
            self._fresh[task.tier].append(task)
        else:
            self._own[lane, task.tier].append(task)
            self._waiting_at_hosts += 1

    def has_room(self, open_tasks: int) -> bool:
        dead = list(self._dead_tiers())
        not_begun = sum(len(queue) for tier, queue in self._fresh.items() if tier not in dead)
        waiting = sum(map(len, self._stranded(dead)))
        return (
            open_tasks - waiting < self._most_open
            and not_begun < self._most_fresh
            and waiting < self._most_fresh
        )

    def shed(self) -> T | None:
        stranded = self._stranded(list(self._dead_tiers()))
        if sum(map(len, stranded)) < self._most_fresh:
            return None
        task = max(stranded, key=len).popleft()
        self._waiting_at_hosts -= task.lane is not None
        return task

    def _dead_tiers(self) -> Iterator[str]:
        """Yield the tiers that no host serves just now."""
        if any(state.health.rests_now for state in self.states):
            for tier, choices in self.lanes.choices.items():
                if self._is_cut_off(choices):
                    yield tier

    def _stranded(self, dead: Sequence[str]) -> list[deque[T]]:
        """Return the queues of these tiers."""
        own = [queue for (_, tier), queue in self._own.items() if tier in dead]
        return own + [self._fresh[tier] for tier in dead]

    def next(self) -> tuple[T, Choice] | None:
        self.hungry = False
        free = [i for i, state in enumerate(self.states) if state.has_room(state.lane.slots)]
        for lane in sorted(free, key=self._load):
            found = self._for_lane(lane)
            if found:
                return found
        return None

    def _load(self, lane: int) -> float:
        state = self.states[lane]
        return state.busy / state.lane.slots

    def _for_lane(self, lane: int) -> tuple[T, Choice] | None:
        block, due = self.states[lane].block, self._is_due_for_change(lane)
        if block is not None and not due:
            if self.states[lane].busy and not self._has_room(lane, block):
                return None  # full, though another of its models might have more slots
            found = self._take(lane, block)
            if not found and self.may_plan and self._seeks(lane):
                self.hungry = True
                return None
            found = found or self._take(lane, block, help_out=True)
            if found:
                return found
        others = [other for other in self._routes[lane] if not (due and other == block)]
        for other in sorted(others, key=lambda b: -self._put_by(lane, b)):
            found = self._take(lane, other) or self._take(lane, other, help_out=True)
            if found:
                if other != block:
                    self.states[lane].block, self.states[lane].started = other, 0
                return found
        self.hungry = self.hungry or (self.may_plan and self._seeks(lane))
        return None

    def _is_due_for_change(self, lane: int) -> bool:
        """Tell whether so much is put by for another model that this one has had its turn."""
        state = self.states[lane]
        if state.started < BLOCK:
            return False
        for block, routes in self._routes[lane].items():
            if block == state.block:
                continue
            if sum(len(self._own[lane, tier]) for tier, _ in routes) >= BLOCK:
                return True
            at_work = sum(s.block == block and not s.health.rests_now for s in self.states)
            if sum(len(self._fresh[tier]) for tier, _ in routes) >= BLOCK * (1 + at_work):
                return True
        return False

    def _take(self, lane: int, block: str, *, help_out: bool = False) -> tuple[T, Choice] | None:
        """Return an attempt at this model for this lane.

        Without `help_out`: its own, one not begun, or one that waits where it cannot run soon.
        """
        routes = list(self._open_routes(lane, block))
        for tier, choice in routes:
            if self._own[lane, tier]:
                self._waiting_at_hosts -= 1
                return self._own[lane, tier].popleft(), choice
        for tier, choice in routes:
            if self._fresh[tier]:
                return self._fresh[tier].popleft(), choice
        for tier, choice in routes if self._waiting_at_hosts else ():
            for other in range(len(self.states)):
                found = self._taken_over(lane, other, tier, help_out=help_out)
                if found:
                    return found, choice
        return None

    def _has_room(self, lane: int, block: str) -> bool:
        state = self.states[lane]
        return any(state.has_room(choice.steps[0].slots) for _, choice in self._routes[lane][block])

    def _open_routes(self, lane: int, block: str) -> Iterator[tuple[str, Choice]]:
        """Yield what may be begun on a lane at this model, as far as it has room."""
        state = self.states[lane]
        for tier, choice in self._routes[lane][block]:
            if state.has_room(choice.steps[0].slots) and self._may_begin(tier, choice):
                yield tier, choice

    def _may_begin(self, tier: str, choice: Choice) -> bool:
        """Tell whether a cascade may begin with this choice: a fallback waits for the others."""
        if not choice.fallback:
            return True
        return self._is_cut_off(c for c in self.lanes.choices[tier] if not c.fallback)

    def _serves_first(self, lane: int) -> bool:
        return any(lane in self._ring(tier) for tier in LOCAL_TIERS if tier in self.lanes.choices)

    def _seeks(self, lane: int) -> bool:
        """Tell whether the work list is searched for something to do for this lane."""
        return self._seekers[lane] or any(
            tier in LOCAL_TIERS and self._may_begin(tier, choice)
            for routes in self._routes[lane].values()
            for tier, choice in routes
        )

    def _taken_over(self, lane: int, other: int, tier: str, *, help_out: bool) -> T | None:
        """Return an attempt that waits at another lane, None if none should be moved."""
        queue = self._own[other, tier]
        if other == lane or not queue:
            return None
        state = self.states[other]
        rests = state.health.rests_now
        if not rests and not help_out and state.block == self._block(other, tier):
            return None
        for position, task in enumerate(itertools.islice(queue, 16)):
            if rests or lane not in task.been:
                del queue[position]
                self._waiting_at_hosts -= 1
                return task
        return None

    def _put_by(self, lane: int, block: str) -> int:
        return sum(
            len(self._own[lane, tier]) + len(self._fresh[tier])
            for tier, _ in self._routes[lane][block]
        )

    def _ring(self, tier: str) -> list[int]:
        """Return the lanes that a tier's work is spread over, in their order."""
        return [choice.lane for choice in self.lanes.choices[tier] if not choice.fallback]

    def _block(self, lane: int, tier: str) -> str | None:
        routes = self._routes[lane].items()
        return next((block for block, found in routes if tier in dict(found)), None)

    def _after(self, lane: int, task: T) -> int | None:
        """Return the next lane of the ring that the task's chain has not been to, if any."""
        ring = self._ring(task.tier)
        start = ring.index(lane) + 1 if lane in ring else 0
        around = ring[start:] + ring[:start]
        return next((lane for lane in around if lane not in task.been), None)


def _routes(lanes: Lanes, lane: int) -> dict[str, list[tuple[str, Choice]]]:
    """Return what a lane can do: for each model that it may hold, the tiers and how they get there.

    Where a change of model costs nothing, all models are one.
    """
    routes: dict[str, list[tuple[str, Choice]]] = {}
    for tier, choices in lanes.choices.items():
        choice = next((choice for choice in choices if choice.lane == lane), None)
        if choice:
            block = choice.steps[0].model if lanes.lanes[lane].one_model else ""
            routes.setdefault(block, []).append((tier, choice))
    return routes


def make(lanes: Lanes, order: str, now: float) -> Scheduler[T]:
    """Return the scheduler for a host order, "spread" or "failover"."""
    return InOrder(lanes, now) if order == "failover" else Spread(lanes, now)
