"""The order of work that keeps every host busy, and each on one model for long.

A span begins on the host with a free slot. As a host that loads a model for every change of mind
does little else, attempts at another model are put by and run in blocks.

Rules for a free slot, in order:
1. go on with the model that is loaded: attempts that belong here, then spans not begun, then
   attempts that wait at hosts which are busy with another model, or rest;
2. take a fresh span; one that needs another model is put by;
3. help out hosts that are behind with this model;
4. change to the model for which most is put by.
A host changes without waiting for 4 when BLOCK attempts at another model are put by for it, or as
many more as hosts already work on that model: with several hosts, some end up staying on one.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llmc.run.failover import InOrder
from llmc.run.lanes import Choice, Lanes, Step
from llmc.run.scheduler import BLOCK, WANTS_SPAN, Next, Scheduler, Start, T

LOCAL_TIERS = ("7b", "14b")
"""A free slot of a host that serves one of these has the work list searched for something to do.
For the cloud tier alone it doesn't pay: its spans are few, and every span would be read twice."""


@dataclass(slots=True)
class Note:
    """What is noted of a span on its way.

    `lane` is the host that its next attempt belongs to, None for any; `asked` are all that were
    asked so far, `been` those of them that its chain has left behind.
    """

    host_index: int
    lane: int | None = None
    been: frozenset[int] = frozenset()
    asked: frozenset[int] = frozenset()


class Spread(Scheduler[T]):
    """Every slot busy, every host on one model for as long as there is work for it."""

    def __init__(self, lanes: Lanes, now: float) -> None:
        super().__init__(lanes, now)
        self._notes: dict[int, Note] = {}
        self._fresh: defaultdict[str, deque[T]] = defaultdict(deque)
        self._own: defaultdict[tuple[int, str], deque[T]] = defaultdict(deque)
        self._waiting_at_hosts = 0
        self._lay_routes()
        self._most_fresh = BLOCK * len(lanes.lanes)
        slots = sum(lane.slots for lane in lanes.lanes)
        self._most_open = slots + 2 * BLOCK * len(lanes.lanes)

    def _lay_routes(self) -> None:
        lanes = range(len(self.lanes.lanes))
        self._routes = [_routes(self.lanes, index, self.is_open) for index in lanes]
        self._seekers = [self._serves_first(index) for index in lanes]
        for state, routes in zip(self.states, self._routes, strict=True):
            if state.block not in routes:
                state.block = None

    def _drain(self) -> list[T]:
        ready = [task for queue in (*self._own.values(), *self._fresh.values()) for task in queue]
        self._own.clear()
        self._fresh.clear()
        self._waiting_at_hosts = 0
        self._lay_routes()
        return ready

    def add(self, task: T) -> None:
        if self._keep_shut(task):
            return
        note = self._noted(task)
        lane = note.lane
        if lane is not None and lane in note.been:
            lane = self._after(lane, task.tier, note.been)
        elif lane is not None and lane not in self._ring(task.tier):
            lane = None
        note.lane = lane
        if lane is None:
            self._fresh[task.tier].append(task)
        else:
            self._own[lane, task.tier].append(task)
            self._waiting_at_hosts += 1

    def forget(self, task: T) -> None:
        self._notes.pop(id(task), None)

    def _noted(self, task: T) -> Note:
        """Return what is noted of a span, brought up to date: its chain may have gone on."""
        note = self._notes.get(id(task))
        if note is None:
            note = self._notes[id(task)] = Note(task.host_index)
        elif note.host_index != task.host_index:
            note.host_index, note.been = task.host_index, note.asked
        return note

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
        self._waiting_at_hosts -= self._notes[id(task)].lane is not None
        return task

    def _dead_tiers(self) -> Iterator[str]:
        """Yield the tiers that no host serves just now."""
        if self._closed or any(state.health.rests_now for state in self.states):
            for tier, choices in self.lanes.choices.items():
                if self._is_cut_off(choices):
                    yield tier

    def _stranded(self, dead: Sequence[str]) -> list[deque[T]]:
        """Return the queues of these tiers."""
        own = [queue for (_, tier), queue in self._own.items() if tier in dead]
        return own + [self._fresh[tier] for tier in dead]

    def next(self, *, may_plan: bool) -> Next[T]:
        free = [i for i, state in enumerate(self.states) if state.has_room(state.slots)]
        wish = False
        for lane in sorted(free, key=self._load):
            found = self._for_lane(lane, may_plan=may_plan)
            if isinstance(found, Start):
                note = self._notes[id(found.job)]
                note.lane, note.asked = lane, note.asked | {lane}
                return found
            wish = wish or found is WANTS_SPAN
        return WANTS_SPAN if wish else None

    def _load(self, lane: int) -> float:
        state = self.states[lane]
        return state.busy / state.slots

    def _for_lane(self, lane: int, *, may_plan: bool) -> Next[T]:
        block, due = self.states[lane].block, self._is_due_for_change(lane)
        if block is not None and not due:
            if self.states[lane].busy and not self._has_room(lane, block):
                return None  # full, though another of its models might have more slots
            found = self._take(lane, block)
            if not found and may_plan and self._seeks(lane):
                return WANTS_SPAN
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
        return WANTS_SPAN if may_plan and self._seeks(lane) else None

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

    def _take(self, lane: int, block: str, *, help_out: bool = False) -> Start[T] | None:
        """Return an attempt at this model for this lane.

        Without `help_out`: its own, one not begun, or one that waits where it cannot run soon.
        """
        routes = list(self._open_routes(lane, block))
        for tier, choice in routes:
            if self._own[lane, tier]:
                self._waiting_at_hosts -= 1
                return Start(self._own[lane, tier].popleft(), choice)
        for tier, choice in routes:
            if self._fresh[tier]:
                return Start(self._fresh[tier].popleft(), choice)
        for tier, choice in routes if self._waiting_at_hosts else ():
            for other in range(len(self.states)):
                found = self._taken_over(lane, other, tier, help_out=help_out)
                if found:
                    return Start(found, choice)
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
            if rests or lane not in self._notes[id(task)].been:
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
        choices = self.lanes.choices[tier]
        return [c.lane for c in choices if not c.fallback and self.is_open(c.steps[0])]

    def _block(self, lane: int, tier: str) -> str | None:
        routes = self._routes[lane].items()
        return next((block for block, found in routes if tier in dict(found)), None)

    def _after(self, lane: int, tier: str, been: frozenset[int]) -> int | None:
        """Return the next lane of the ring that a span's chain has not been to, if any."""
        ring = self._ring(tier)
        start = ring.index(lane) + 1 if lane in ring else 0
        around = ring[start:] + ring[:start]
        return next((lane for lane in around if lane not in been), None)


def _routes(
    lanes: Lanes, lane: int, is_open: Callable[[Step], bool]
) -> dict[str, list[tuple[str, Choice]]]:
    """Return what a lane can do: for each model that it may hold, the tiers and how they get there.

    Where a change of model costs nothing, all models are one.
    """
    routes: dict[str, list[tuple[str, Choice]]] = {}
    for tier, choices in lanes.choices.items():
        here = (choice for choice in choices if choice.lane == lane and is_open(choice.steps[0]))
        choice = next(here, None)
        if choice:
            block = choice.steps[0].model if lanes.lanes[lane].one_model else ""
            routes.setdefault(block, []).append((tier, choice))
    return routes


def make_scheduler(lanes: Lanes, order: str, now: float) -> Scheduler[T]:
    """Return the scheduler for a host order, "spread" or "failover"."""
    return InOrder(lanes, now) if order == "failover" else Spread(lanes, now)
