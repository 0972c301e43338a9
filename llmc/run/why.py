"""What a run would do with a span, and why: found as a run finds it, and nobody is asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmc.events import Event, SpanKept
from llmc.models import Span, SpanMetrics, SpanReport
from llmc.run import routing
from llmc.run.job import Job
from llmc.run.lanes import Lanes
from llmc.run.worklist import Rules, WorkList, compute_newest_mtime
from llmc.settings.config import Settings
from llmc.store.results import StoredResult
from llmc.store.store import Store

Next = Literal["nothing", "rule", "ask", "rest", "leave"]
"""What a run does with a span: it is done; written by rule; asked about; rests after a failure; is
left alone."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a model would be asked: the first tier and the rule that chose it, and of whom.

    `models` are those of that tier, as far as they are configured; None of them may be there.
    """

    tier: str
    because: str
    metrics: SpanMetrics
    attempts: int
    models: tuple[str, ...]
    kept: bool


@dataclass(frozen=True, slots=True)
class Story:
    """What comes next for a span of the index, and why; `rule` is what it would be written by."""

    result: StoredResult
    next: Next
    because: str
    rule: str | None = None
    asking: Asking | None = None


class Teller:
    """Tells what a run with these settings would do. Contacts no host, changes nothing."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._events: list[Event] = []
        self._work = WorkList(settings, store, Rules(), (self._events.append,))
        self._models = Lanes.of(settings).models()

    def tell(self, results: Sequence[StoredResult]) -> list[Story]:
        """Return what comes next for each span. Raises StoreError."""
        return [self._tell(result) for result in results]

    def _tell(self, result: StoredResult) -> Story:
        if result.enrichment is not None and not self._is_asked_anew(result):
            return Story(result, "nothing", "it is enriched")
        self._events.clear()
        found = self._work.make_job(result.span)
        if found is None:
            return Story(result, "leave", self._explain_left())
        if self._is_fresh(result.span):
            seconds = self._settings.pace.cooldown
            return Story(result, "leave", f"its file changed less than {seconds} s ago")
        if isinstance(found, SpanReport):
            return Story(result, "rule", "the parser says all of it", found.last.detail)
        if self._rests(result):
            return Story(result, "rest", "it failed", asking=self._explain_asking(found))
        return Story(result, "ask", "it is not enriched", asking=self._explain_asking(found))

    def _is_asked_anew(self, result: StoredResult) -> bool:
        outcome = result.outcome
        return self._settings.pace.ask_all and outcome is not None and outcome.attempts == 0

    def _explain_left(self) -> str:
        if any(isinstance(event, SpanKept) for event in self._events):
            return "it must not leave this machine, where no model is configured"
        return "it has changed since the last llmc index, or can't be read"

    def _is_fresh(self, span: Span) -> bool:
        newest = compute_newest_mtime(self._settings)
        state = None if newest is None else self._store.spans.find_file(span)
        return state is not None and newest is not None and state.mtime > newest

    def _rests(self, result: StoredResult) -> bool:
        failure = result.failure
        if failure is None or self._settings.pace.retry_failed:
            return False
        return failure.retry_at > time.time()

    def _explain_asking(self, job: Job) -> Asking:
        plan, metrics = job.state.plan, job.metrics
        tier, because = routing.explain_tier(metrics, self._settings.router)
        if tier != job.state.tier:
            because = f"it would be {tier}, as {because}, but the span must stay on this machine"
        return Asking(
            tier=job.state.tier,
            because=because,
            metrics=metrics,
            attempts=plan.limit,
            models=tuple(model for known, model in self._models if known == job.state.route),
            kept=plan.kept,
        )
