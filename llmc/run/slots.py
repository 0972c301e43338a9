"""The hosts of a run: whose slots are busy, who rests, who is asked whether it is back.

A slot is a call that a host may get at once: the limit on concurrency.
On the main thread, but for `_ask`, which a worker runs.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

from llmc.events import (
    CallFinished,
    CallStarted,
    Event,
    HostRests,
    HostReturned,
    HostSlots,
    Warned,
)
from llmc.models import CallTimes
from llmc.net.client import Client
from llmc.net.probe import find_trouble
from llmc.net.routes import STRAIGHT, Network
from llmc.run.concurrency import Observer
from llmc.run.flights import Flight, Message, Probed, Ticket
from llmc.run.health import Verdict
from llmc.run.job import Job
from llmc.run.lanes import Lane, Step
from llmc.run.scheduler import Scheduler
from llmc.run.stock import find_missing
from llmc.run.trial import Trial
from llmc.run.workers import Workers


class Slots:
    """Keeps the slots of every host while calls come and go.

    `rests` off: nobody ever rests, which is the batch driver's way. `timeout` (seconds) bounds the
    request that asks a host whether it is back.
    """

    def __init__(
        self,
        scheduler: Scheduler[Job],
        *,
        rests: bool,
        timeout: float,
        network: Network = STRAIGHT,
        post: Callable[[Message], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._states = scheduler.states
        self._scheduler = scheduler
        self._rests = rests
        self._timeout = timeout
        self._post = post
        self._tell = tell
        self._client = Client(connect_timeout=timeout, network=network)
        self._tickets: deque[Ticket] = deque()
        self._turned_away: dict[tuple[int, str], str] = {}
        self._observers = {
            index: (Observer(state.lane.slots), Trial(state.lane.slots))
            for index, state in enumerate(self._states)
            if rests and state.lane.kind == "host" and state.lane.slots > 1
        }
        self.answers = 0

    @property
    def hosts(self) -> tuple[HostSlots, ...]:
        """The hosts by the names that events give them."""
        lanes = [state.lane for state in self._states]
        return tuple(HostSlots(lane.name, lane.slots) for lane in lanes if lane.name)

    def name(self, flight: Flight) -> str:
        """Return what the host is called that a flight has asked last."""
        asked = flight.choice.lane if flight.asked is None else flight.asked
        return self._states[asked].lane.name

    def enter(self, flight: Flight, step: Step) -> None:
        """Give a slot to a call that is about to be made."""
        flight.held = step
        flight.asked = step.lane
        state = self._scheduler.occupy(step.lane)
        self._tell(CallStarted(state.lane.name, step.model))

    def leave(self, flight: Flight) -> None:
        """Free the slot that a flight holds, and let its host rest if the call showed a reason."""
        step, flight.held = flight.held, None
        if step is None:
            return
        verdict = flight.verdict if self._rests else Verdict.UNKNOWN
        name = self._states[step.lane].lane.name
        self.answers += verdict is Verdict.ANSWERED
        seconds = self._scheduler.leave(step.lane, verdict, flight.reason, time.monotonic())
        self._tell(CallFinished(name))
        if seconds is not None:
            self._tell(HostRests(name, seconds, flight.reason))
        elif verdict is Verdict.TURNED_AWAY:
            self.close(step, flight.reason)
        self._observe(step, flight.times)

    def _observe(self, step: Step, times: CallTimes | None) -> None:
        """Ask a host for no more at once than calls show it to do; say so."""
        index = step.lane
        if index not in self._observers:
            return
        observer, trial = self._observers[index]
        state = self._states[index]
        if times is None:
            trial.give_up()
        else:
            trial.note(times, step.model)
        state.limit = trial.limit
        found = observer.note(times) if times and not trial.limit else None
        if found is None and not trial.over:
            return
        del self._observers[index]
        state.limit = found or trial.limit
        if state.limit is not None:
            self._tell(Warned(self._describe_limit(state.lane, state.limit)))

    def _describe_limit(self, lane: Lane, limit: int) -> str:
        setting = " (OLLAMA_NUM_PARALLEL)" if lane.one_model else ""
        does = f"{lane.name} does {limit} request{'s' * (limit > 1)} at once{setting}"
        return f"{does}; {lane.slots} slots were asked for"

    def close(self, step: Step, reason: str) -> None:
        """Ask a host for a model no more, and say so: it would answer all requests alike."""
        if self._scheduler.close(step):
            self._turned_away[step.lane, step.model] = reason
            self._tell(Warned(f"{self._states[step.lane].lane.name} is asked no more: {reason}"))

    def who_turned_away(self) -> str:
        """Return why the ways that are closed are, each reason once; empty if none is closed."""
        return "; ".join(dict.fromkeys(self._turned_away.values()))

    def spares_span(self, flight: Flight, *, ending: bool) -> bool:
        """Tell whether the failure of a flight is none of its span's; where nobody rests, it is."""
        return self._rests and flight.spares_span(ending=ending)

    def move_on(self, ticket: Ticket) -> None:
        """Take back the slot of a cascade that asks for one of its next host."""
        self.leave(ticket.flight)
        self._tickets.append(ticket)

    @property
    def moving(self) -> int:
        """How many cascades wait for a slot of their next host."""
        return len(self._tickets)

    def admit(self) -> None:
        """Give slots to cascades that have moved on to their next host."""
        for _ in range(len(self._tickets)):
            ticket = self._tickets.popleft()
            state = self._states[ticket.step.lane]
            if reason := self._turned_away.get((ticket.step.lane, ticket.step.model)):
                ticket.refuse(f"{state.lane.name} is asked no more: {reason}")
            elif state.health.rests_now:
                ticket.refuse(f"{state.lane.name} rests: {state.health.reason}")
            elif not state.has_room(ticket.step.slots):
                self._tickets.append(ticket)
            elif ticket.grant():
                self.enter(ticket.flight, ticket.step)

    def look_after(self, workers: Workers) -> None:
        """Ask the hosts whose rest is over, once each, whether they are there."""
        for lane in self._scheduler.find_rested(time.monotonic()):
            state = self._states[lane]
            if state.lane.probe is None:
                self.take_answer(Probed(lane, None))
            else:
                state.probing = True
                any_status = not state.lane.one_model
                workers.submit(partial(self._ask, lane, state.lane.probe, any_status))

    def _ask(self, lane: int, address: str, any_status: bool) -> None:
        try:
            found = find_trouble(self._client, address, self._timeout, any_status=any_status)
        except ValueError as error:  # an address that only the request finds fault with
            found = str(error)
        self._post(Probed(lane, found))

    def take_answer(self, answer: Probed) -> None:
        """Let a host that answers return, another one rest longer."""
        state = self._states[answer.lane]
        state.probing = False
        if answer.trouble is None:
            state.health.wake()
            self._tell(HostReturned(state.lane.name))
        else:
            seconds = state.health.rest(time.monotonic(), answer.trouble)
            self._tell(HostRests(state.lane.name, seconds, answer.trouble))

    def begin(self, *, take_stock: bool) -> None:
        """Tell which hosts rest from the start, and ask the others for no model that they lack."""
        if take_stock and self._rests:
            lanes = self._scheduler.lanes
            for step, reason in find_missing(self._client, lanes, self._timeout):
                self.close(step, reason)
        for state in self._states:
            if state.health.rests_now:
                seconds = state.health.until - time.monotonic()
                self._tell(HostRests(state.lane.name, max(0.0, seconds), state.health.reason))

    @property
    def is_trusted(self) -> bool:
        """Tell whether a host that is not on trial has a call under way."""
        return any(state.busy and not state.health.on_trial for state in self._states)

    def who_rests(self) -> str:
        """Return the hosts that rest with their reasons, empty if none does."""
        resting = [state for state in self._states if state.health.rests_now]
        return "; ".join(f"{state.lane.name}: {state.health.reason}" for state in resting)

    def cut_off(self) -> None:
        """Send away the cascades that wait for a slot, and end the questions under way."""
        while self._tickets:
            self._tickets.popleft().refuse("the run was stopped")
        self._client.cancellation.cancel()
