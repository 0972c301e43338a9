"""Why spans are left at the end of a run, and when those that failed are tried again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmc.events import Event, SpanEnriched, SpanFailed, SpanLeft
from llmc.models import RunReport
from llmc.redaction.text import make_one_line

ELSEWHERE = "in work in another run"


@dataclass(frozen=True, slots=True)
class Reason:
    """So many spans are left, as `why` says, which reads after their number."""

    count: int
    why: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What else bears on what is left.

    The run's limit (0: none) and cooldown (seconds); and what the index says after the run: spans
    in work in other runs, and when the first that rests is tried again (epoch seconds).
    """

    limit: int = 0
    cooldown: int = 0
    claimed: int = 0
    next_retry: float | None = None


class Remains:
    """A hook that remembers why a run left spans alone."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case SpanLeft(span=span, why=why):
                self._why[span.span_hash] = why
            case SpanEnriched(report=report) | SpanFailed(report=report):
                self._why.pop(report.span.span_hash, None)

    def explain(self, report: RunReport, around: Outlook) -> Iterator[Reason]:
        """Yield the reasons for the spans that are left, but those that must stay here."""
        unexplained = report.left - report.kept  # which has a line of its own
        for found in self._known(around):
            count = min(found.count, unexplained)
            unexplained -= count
            if count:
                yield Reason(count, found.why)
        if unexplained > 0:
            yield Reason(unexplained, _rest(report, around))

    def _known(self, around: Outlook) -> Iterator[Reason]:
        counts = Counter(make_one_line(why) for why in self._why.values())
        counts[ELSEWHERE] = max(counts[ELSEWHERE], around.claimed)
        yield from (Reason(count, why) for why, count in sorted(counts.items()))


def _rest(report: RunReport, around: Outlook) -> str:
    if report.stopped or report.interrupted:
        return "not begun or not settled when the run ended"
    if around.limit and report.enriched >= around.limit:
        return f"beyond the limit of {around.limit}"
    if around.cooldown:
        return f"in files that changed less than {around.cooldown} s ago (the cooldown)"
    return "new in the index since the run began"


def tell_remains(reasons: Sequence[Reason]) -> Iterator[str]:
    """Yield a line for each reason."""
    yield from (f"left      {reason.count} {reason.why}" for reason in reasons)


def tell_retry(next_retry: float | None, now: float | None = None) -> str:
    """Say when the first of the spans that rest is tried again; empty if nobody knows."""
    if next_retry is None:
        return ""
    now = time.time() if now is None else now
    days = "%Y-%m-%d " if next_retry - now > 12 * 3600 else ""
    return time.strftime(f"{days}%H:%M", time.localtime(next_retry))
