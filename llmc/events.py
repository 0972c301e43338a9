"""What the engine tells the world while it works.

The engine never prints: it hands frozen values to hooks, on the main thread, in order. A progress
display, the ledger and a user's own code are hooks alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llmc.models import Attempt, AttemptOutcome, RunReport, Span, SpanReport


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The work list is known: `pending` spans wait, of which at most `limit` are taken (0: all)."""

    pending: int
    limit: int


@dataclass(frozen=True, slots=True)
class SpanStarted:
    """A span is about to be tried for the first time in this run."""

    span: Span
    tier: str


@dataclass(frozen=True, slots=True)
class AttemptFinished:
    """One attempt came back; `following` is the next one, None when the span is settled."""

    span: Span
    outcome: AttemptOutcome
    following: Attempt | None


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
    RunStarted
    | SpanStarted
    | AttemptFinished
    | SpanEnriched
    | SpanFailed
    | FileGone
    | Warned
    | RunFinished
)


class EventHook(Protocol):
    """Anything that takes an event. It is called on the engine's main thread and must be quick."""

    def __call__(self, event: Event, /) -> None: ...
