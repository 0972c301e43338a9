"""What the engine tells the world while it works.

The engine never prints: it hands frozen values to hooks, on the main thread, in order. A progress
display, the ledger and a user's own code are hooks alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llmc.models import Attempt, AttemptOutcome, Departure, RunReport, Span, SpanReport
from llmc.net.places import is_this_machine


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where a run may take code, known before any goes there.

    `hosts` are addresses, this machine's own among them. `programs` get the code on their standard
    input, and are free to send it on. `in_process` are models in this process. `cloud_models` are
    those that an Ollama server doesn't run, but hands on to their makers. `relays` are servers on
    this machine that may pass it on, as proxies do. `own` are hosts of the user's own network.
    `exposed` are the hosts that get a key without encryption, over a network.
    """

    hosts: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    in_process: tuple[str, ...] = ()
    cloud_models: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()

    @property
    def away(self) -> tuple[str, ...]:
        """The hosts that aren't this machine, those of the user's own network among them."""
        return tuple(host for host in self.hosts if not is_this_machine(host))

    @property
    def leaves_this_machine(self) -> bool:
        return bool(self.away or self.programs or self.cloud_models or self.relays)


@dataclass(frozen=True, slots=True)
class HostSlots:
    """One place that requests go to, as the user knows it, and how many it takes at once."""

    name: str
    slots: int


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The work list is known: `pending` spans wait, of which at most `limit` are taken (0: all)."""

    pending: int
    limit: int
    hosts: tuple[HostSlots, ...] = ()


@dataclass(frozen=True, slots=True)
class SpanStarted:
    """A span is about to be tried for the first time in this run."""

    span: Span
    tier: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A request is on its way to a host, and one of its slots is busy."""

    host: str
    model: str


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A request to a host is over, whatever came of it, and its slot is free."""

    host: str


@dataclass(frozen=True, slots=True)
class HostRests:
    """A host does not answer, or only with errors: it gets no request for so many seconds."""

    host: str
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class HostReturned:
    """A host that rested answers again."""

    host: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The run was asked to end: it takes no further span; `in_flight` requests are finished."""

    in_flight: int


@dataclass(frozen=True, slots=True)
class AttemptFinished:
    """One attempt came back; `following` is the next one, None when the span is settled.

    `host` is the place its first request went to, by the name that `RunStarted` gives it.
    """

    span: Span
    outcome: AttemptOutcome
    following: Attempt | None
    host: str = ""


@dataclass(frozen=True, slots=True)
class PromptLeft:
    """A prompt about a span was sent beyond this machine, without the likely secrets in it."""

    span: Span
    departure: Departure


@dataclass(frozen=True, slots=True)
class SpanKept:
    """A span stays pending: it must not leave, and no model that stays could be asked."""

    span: Span


@dataclass(frozen=True, slots=True)
class SpanLeft:
    """A span stays pending; `why` reads after a number of spans: "in work in another run"."""

    span: Span
    why: str


@dataclass(frozen=True, slots=True)
class SpanEnriched:
    """A span's enrichment is stored; the totals are of the whole index, this span included."""

    report: SpanReport
    spans_total: int
    enrichments_total: int


@dataclass(frozen=True, slots=True)
class SpanFailed:
    """A span has used up its attempts in this run."""

    report: SpanReport


@dataclass(frozen=True, slots=True)
class SpanUnfinished:
    """A span had attempts in this run, but the run ended before it was settled."""

    report: SpanReport


@dataclass(frozen=True, slots=True)
class FileGone:
    """A file of the index is no longer there; so many spans and enrichments left with it."""

    path: str
    spans: int
    enrichments: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know that stops nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over, whatever the reason."""

    report: RunReport


Event = (
    Destinations
    | RunStarted
    | SpanStarted
    | CallStarted
    | CallFinished
    | HostRests
    | HostReturned
    | Stopping
    | AttemptFinished
    | PromptLeft
    | SpanKept
    | SpanLeft
    | SpanEnriched
    | SpanFailed
    | SpanUnfinished
    | FileGone
    | Warned
    | RunFinished
)


class EventHook(Protocol):
    """Anything that takes an event. It is called on the engine's main thread and must be quick."""

    def __call__(self, event: Event, /) -> None: ...
