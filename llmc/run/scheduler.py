"""Which attempt runs next, and where: the dispatcher. Pure: no thread, no network, no clock.

Two orders of work build on it. `failover` is the batch driver's: so many spans are open side by
side, each goes down the chain of hosts from the first one. `spread` keeps every host busy. What
follows a failure is decided elsewhere (routing); here it is only decided when, and on which host of
those that may have it. What it has to remember of an attempt, it notes down itself.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeVar

from llmc.run.health import FAILURES_BEFORE_REST, Health, Verdict
from llmc.run.lanes import Choice, Lane, Lanes, Step

BLOCK = 256
"""Attempts put by that make a change of model worth its 3 to 14 s; a host puts by twice as many at
most, spans not begun among them, at about 1.5 KB each."""


class Task(Protocol):
    """A span on its way, as the scheduler sees it: its route, and how far its chain has come."""

    @property
    def tier(self) -> str: ...

    @property
    def host_index(self) -> int: ...


T = TypeVar("T", bound=Task)


class _Wish(Enum):
    SPAN = "a span"


WANTS_SPAN: Final = _Wish.SPAN
"""Nothing that is open can run now, but a fresh span would find a free slot."""


class Start(NamedTuple, Generic[T]):
    """An attempt that can run now, and how."""

    job: T
    choice: Choice


Next = Start[T] | Literal[_Wish.SPAN] | None
"""What is to be done with the slots that are free: None for nothing."""


@dataclass(slots=True)
class LaneState:
    """A lane as it stands. `block` is the model loaded last, `started` the attempts since.

    `limit` is how many calls its host was found to do at once, None where that is no less than it
    is asked.
    """

    lane: Lane
    busy: int = 0
    block: str | None = None
    started: int = 0
    probing: bool = False
    health: Health = field(default_factory=Health)
    limit: int | None = None

    @property
    def slots(self) -> int:
        return self.lane.slots if self.limit is None else self.limit

    def has_room(self, slots: int) -> bool:
        """Tell whether one more request may go there."""
        if self.health.rests_now:
            return False
        return self.busy < (1 if self.health.on_trial else min(slots, self.slots))


class Scheduler(Generic[T]):
    """What both orders share: slots, rests, and attempts that wait for their time."""

    def __init__(self, lanes: Lanes, now: float) -> None:
        self.lanes = lanes
        self.states = [LaneState(lane) for lane in lanes.lanes]
        self._closed: set[tuple[int, str]] = set()
        self._shut: list[T] = []
        self._waiting: list[tuple[float, int, T]] = []
        self._order = itertools.count()
        for state in self.states:
            if state.lane.down:
                state.health.rest(now, "did not answer at the start")

    # -- work ------------------------------------------------------------------------------------

    def add(self, task: T) -> None:
        """Take an attempt that may run now."""
        raise NotImplementedError

    def next(self, *, may_plan: bool) -> Next[T]:
        """Return an attempt that can run now, or the wish for a fresh span if one `may_plan` it."""
        raise NotImplementedError

    def has_room(self, open_tasks: int) -> bool:
        """Tell whether another span may be begun beside so many.

        Those that only wait for a host to return don't count, up to a bound.
        """
        raise NotImplementedError

    def shed(self) -> T | None:
        """Give up one attempt that waits for a host to return, if too many do."""
        raise NotImplementedError

    def forget(self, task: T) -> None:
        """Drop what is noted of an attempt whose span is settled or left."""

    def _is_cut_off(self, choices: Iterable[Choice]) -> bool:
        """Tell whether none of these choices has a host that is awake, and takes us."""
        return all(
            self.states[choice.lane].health.rests_now or not self.is_open(choice.steps[0])
            for choice in choices
        )

    # -- ways that are closed for good -----------------------------------------------------------

    def is_open(self, step: Step) -> bool:
        """Tell whether a host may be asked for a model."""
        return not self._closed or (step.lane, step.model) not in self._closed

    def close(self, step: Step) -> bool:
        """Ask a host for this model no more; tell whether it was asked so far."""
        if not self.is_open(step):
            return False
        self._closed.add((step.lane, step.model))
        for task in self._drain():
            self.add(task)
        return True

    def is_shut(self, tier: str) -> bool:
        """Tell whether nobody is left who may be asked for a tier; nobody can be, if nobody was."""
        return not any(
            self.is_open(choice.steps[0]) and self.lanes.lanes[choice.lane].name
            for choice in self.lanes.choices[tier]
        )

    def take_shut(self) -> list[T]:
        """Return the attempts for which nobody is left, each once."""
        shut, self._shut = self._shut, []
        return shut

    def _keep_shut(self, task: T) -> bool:
        """Put an attempt aside if nobody is left for it; tell whether that is so."""
        is_shut = bool(self._closed) and self.is_shut(task.tier)
        if is_shut:
            self._shut.append(task)
        return is_shut

    def _drain(self) -> list[T]:
        """Give up all attempts that may run now, in their order: they are added anew."""
        raise NotImplementedError

    # -- time ------------------------------------------------------------------------------------

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
        if verdict in (Verdict.ANSWERED, Verdict.TURNED_AWAY):
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
