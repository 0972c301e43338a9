"""An attempt in flight, and what its worker tells the main thread meanwhile.

A cascade asks several hosts in turn, and each has its slots. The first one's slot is given by the
scheduler; when the cascade moves on, the worker gives that slot back and waits for one of the next
host. All of that is settled on the main thread: the worker sends a message and waits, with an end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from llmc.errors import (
    BackendError,
    HostUnreachableError,
    RateLimitedError,
    TurnedAwayError,
)
from llmc.models import Attempt, AttemptOutcome, CallTimes
from llmc.programs.launching import SearchPath
from llmc.run.attempts import Builder, make_attempt
from llmc.run.health import Verdict
from llmc.run.job import Job
from llmc.run.lanes import Choice, Step

GRACE_SEC = 60.0
"""What an attempt may overrun all its deadlines by before it counts as hung."""

_CHARGED = (Verdict.ANSWERED, Verdict.FAILED)


@dataclass(eq=False, slots=True)
class Flight:
    """One attempt on its way.

    `held` is the step whose host has a slot busy for it, if any; `asked` the lane asked last.
    `times` are those of a reply that was whole. `charged`: a host has had a look at the prompt.
    `busy`: one asked to come back later.
    """

    job: Job
    attempt: Attempt
    choice: Choice
    overdue: float
    held: Step | None = None
    verdict: Verdict = Verdict.UNKNOWN
    reason: str = ""
    times: CallTimes | None = None
    asked: int | None = None
    charged: bool = False
    busy: bool = False

    def spares_span(self, *, ending: bool) -> bool:
        """Tell whether its failure is none of the span's, as nobody has had a look at the prompt.

        Who waited for a busy server when the run was asked to end was not looked at either.
        """
        if self.busy and ending:
            return True
        return not self.charged and self.verdict in (Verdict.UNREACHABLE, Verdict.TURNED_AWAY)


@dataclass(frozen=True, slots=True)
class Landed:
    """An attempt came back."""

    flight: Flight
    outcome: AttemptOutcome


@dataclass(frozen=True, slots=True)
class Crashed:
    """An attempt raised what no attempt should: the run ends with it."""

    flight: Flight
    error: BaseException


@dataclass(frozen=True, slots=True)
class Probed:
    """A host that rested was asked whether it is there; `trouble` says why not."""

    lane: int
    trouble: str | None


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The run was asked to end, once more."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A cascade that moves on waits with it for a slot of its next host."""

    flight: Flight
    step: Step
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _decided: threading.Event = field(default_factory=threading.Event)
    _refusal: str | None = None
    _gone: bool = False

    def grant(self) -> bool:
        """Let the call go ahead; False if its worker no longer waits."""
        with self._lock:
            if not self._gone:
                self._decided.set()
            return not self._gone

    def refuse(self, why: str) -> None:
        """Send the worker away."""
        with self._lock:
            self._refusal = why
            self._decided.set()

    def wait(self) -> None:
        """Wait for the decision. Raises BackendError if there is to be no call."""
        if not self._decided.wait(self.step.timeout):
            with self._lock:
                if not self._decided.is_set():
                    self._gone = True
                    self._refusal = f"no slot was free in {self.step.timeout:g} s"
        if self._refusal is not None:
            raise BackendError(self._refusal, failure_type="runtime")


Message = Landed | Crashed | Probed | StopAsked | Ticket


class CallGate:
    """The gate of one attempt, on its worker's side."""

    def __init__(self, flight: Flight, post: Callable[[Message], None]) -> None:
        self._flight = flight
        self._post = post
        self._refused: BackendError | None = None

    def enter(self, step: int) -> None:
        """Wait for a slot; the first step has one already. Raises BackendError."""
        steps = self._flight.choice.steps
        if step and step < len(steps):
            ticket = Ticket(self._flight, steps[step])
            self._post(ticket)
            ticket.wait()

    def leave(self, error: BackendError | None, times: CallTimes | None = None) -> None:
        """Take note of what a call showed about its host."""
        flight = self._flight
        flight.times = times
        flight.reason = str(error) if error else ""
        self._refused = error if error and error.failure else None
        if error is None or error.failure is not None:
            flight.verdict = Verdict.ANSWERED
        elif isinstance(error, HostUnreachableError):
            flight.verdict = Verdict.UNREACHABLE
            flight.reason = error.why or flight.reason
        elif isinstance(error, TurnedAwayError):
            flight.verdict = Verdict.TURNED_AWAY
            said = str(error)  # an Ollama server's has the remedy in it: the driver tells no more
            flight.reason = said if error.remedy in said else f"{said}; {error.remedy}"
        else:
            flight.verdict = Verdict.FAILED
        silent = isinstance(error, HostUnreachableError) and error.silent
        flight.charged = flight.charged or silent or flight.verdict in _CHARGED
        flight.busy = isinstance(error, RateLimitedError)

    def judge(self, error: BackendError) -> BackendError:
        """Return the error of the last call that was made: a host that was passed over made none.

        So a refused reply counts as that, though an entry behind it rests.
        """
        refused = self._refused
        if refused is None or error.failure is not None:
            return error
        return refused.after(error.attempts)


def aim(attempt: Attempt, choice: Choice) -> Attempt:
    """Return an attempt as it is made by a choice: from the host and the entry that it begins with.

    Where neither is named, the span's own host counts.
    """
    if choice.host_index is None and not choice.first_entry:
        return attempt
    index = attempt.host_index if choice.host_index is None else choice.host_index
    return replace(attempt, host_index=index, first_entry=choice.first_entry)


def fly(
    builder: Builder,
    search: SearchPath,
    post: Callable[[Message], None],
    flight: Flight,
    prompt: str,
) -> None:
    """Make one attempt, on a worker thread, and post what came of it; `search` finds programs."""
    gate = CallGate(flight, post)
    try:
        outcome = make_attempt(builder, flight.job.span, prompt, flight.attempt, gate, search)
    except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised there
        post(Crashed(flight, error))
    else:
        post(Landed(flight, outcome))


def give_up(flight: Flight) -> AttemptOutcome:
    """Return the outcome of an attempt that overran all its deadlines."""
    seconds = flight.choice.timeout + GRACE_SEC
    return AttemptOutcome(
        attempt=flight.attempt,
        backend="unknown",
        duration_sec=seconds,
        failure_type="runtime",
        detail=f"the call did not come back within {seconds:g} s",
    )
