"""The batch driver's order of work: a few spans side by side, each down the chain of hosts."""

from __future__ import annotations

from collections import deque

from llmc.run.health import Verdict
from llmc.run.lanes import Choice, Lanes
from llmc.run.scheduler import BLOCK, WANTS_SPAN, Next, Scheduler, Start, T


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
        if not self._keep_shut(task):
            self._ready.append(task)

    def _drain(self) -> list[T]:
        ready, self._ready = self._ready, deque()
        return list(ready)

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

    def next(self, *, may_plan: bool) -> Next[T]:
        for position, task in enumerate(self._ready):
            choice = self._choice(task)
            if choice:
                del self._ready[position]
                return Start(task, choice)
        return WANTS_SPAN if may_plan else None

    def _own(self, task: T) -> list[Choice]:
        choices = self.lanes.choices[task.tier]
        return [c for c in choices if c.host_index is None or c.host_index >= task.host_index]

    def _choice(self, task: T) -> Choice | None:
        for choice in self._own(task):
            state = self.states[choice.lane]
            if not state.health.rests_now and self.is_open(choice.steps[0]):
                return choice if state.has_room(choice.steps[0].slots) else None
        return None
