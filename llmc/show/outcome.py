"""What `llmc enrich --json` shows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from llmc.events import Event, EventHook, SpanFailed
from llmc.models import RunReport
from llmc.show.remains import Reason
from llmc.store.provenance import mark_sources


def record_run(
    report: RunReport,
    failures: list[dict[str, object]],
    where: dict[str, object],
    elsewhere: int,
    reasons: Sequence[Reason] = (),
) -> dict[str, object]:
    """Return what a run did as a JSON object; `where` is where code may have gone."""
    record = {
        "destinations": where,
        "enriched": report.enriched,
        "written_by_rule": report.by_rule,
        "failed": dict(report.failed),
        "left": report.left,
        "left_because": [asdict(reason) for reason in reasons],
        "wall_sec": round(report.wall_sec, 3),
        "interrupted": report.interrupted,
        "unfinished": report.unfinished,
        "resting": report.resting,
        "stopped": report.stopped,
        "sent": dict(report.sent),
        "secrets_blotted": report.blotted,
        "prompts_blotted": report.blotted_prompts,
        "kept_here": report.kept,
        "made_elsewhere": elsewhere,
        "claims_dropped": dict(report.dropped),
        "failures": failures,
    }
    return mark_sources(
        record,
        {
            "left_because[].why": "repository",
            "stopped": "host",
            "failures[].path": "repository",
            "failures[].symbol": "repository",
            "failures[].detail": "host",
        },
    )


def collect(failures: list[dict[str, object]]) -> EventHook:
    """Return a hook that adds each failed span to a list."""

    def take(event: Event) -> None:
        if isinstance(event, SpanFailed):
            span, last = event.report.span, event.report.last
            failures.append(
                {
                    "path": span.path,
                    "lines": [span.start_line, span.end_line],
                    "symbol": span.symbol,
                    "reason": last.failure_type,
                    "detail": last.detail,
                }
            )

    return take
