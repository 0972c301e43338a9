"""What a run comes to: its score while it goes on, and the reports that are made of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from llmc.events import Event, PromptLeft, SpanEnriched, SpanKept
from llmc.models import RunReport, SpanReport
from llmc.run.job import Job
from llmc.run.routing import name_tier
from llmc.settings.config import Settings


@dataclass(slots=True)
class Score:
    """The tallies of a run, as `RunReport` has them; a hook, as some of it is told.

    Among the prompts sent are those that no host took: what became of a request that broke off,
    nobody here knows. A request that never came back is in logs/egress.jsonl alone.
    """

    enriched: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    unfinished: int = 0
    kept: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    blotted: int = 0
    blotted_prompts: int = 0
    stopped: str | None = None
    by_rule: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __call__(self, event: Event) -> None:
        match event:
            case SpanKept():
                self.kept += 1
            case SpanEnriched(report=report) if report.by_rule:
                self.by_rule += 1
            case PromptLeft(departure=departure):
                self.sent[departure.host] += 1
                self.blotted += departure.blotted
                self.blotted_prompts += departure.blotted > 0

    def is_at(self, limit: int, under_way: int = 0) -> bool:
        """Tell whether enough is done, or would be with what is under way; a limit of 0 is none."""
        return bool(limit) and self.enriched + under_way >= limit

    def settle(self, report: SpanReport) -> None:
        """Count a span that is enriched, or has used up its attempts."""
        if report.success:
            self.enriched += 1
            self.dropped.update(report.dropped)
        else:
            self.failed[report.last.failure_type or "runtime"] += 1


def report_run(
    score: Score, *, left: int, resting: int, unsaved: int, wall_sec: float, interrupted: bool
) -> RunReport:
    """Return the report of a run; `unsaved` of its enrichments could not be stored."""
    return RunReport(
        enriched=score.enriched - unsaved,
        failed=dict(score.failed),
        left=left,
        wall_sec=wall_sec,
        interrupted=interrupted,
        unfinished=score.unfinished,
        resting=resting,
        stopped=score.stopped,
        sent=dict(score.sent),
        blotted=score.blotted,
        blotted_prompts=score.blotted_prompts,
        kept=score.kept,
        by_rule=score.by_rule,
        dropped=dict(score.dropped),
    )


def report_span(job: Job, settings: Settings, now: float) -> SpanReport:
    """Return the report of a span that had attempts, at this time of the monotonic clock."""
    last = job.outcomes[-1]
    tier = last.attempt.tier
    if last.success:
        model = last.model or settings.labels.model
        tier = name_tier(last.backend, model, tier)
    elif last.model is not None:
        model = last.model
    else:
        fallback = settings.labels.fallback_model
        model = (fallback if fallback.strip() else settings.ollama_model) or ""
    return SpanReport(
        span=job.span,
        metrics=job.metrics,
        outcomes=tuple(job.outcomes),
        tier=tier,
        model=model,
        schema_version=settings.labels.schema_version,
        wall_sec=now - job.started,
    )
