"""What a run would do with spans, as a person and as a program see it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from llmc.redaction.text import describe_place, make_one_line
from llmc.run.why import Asking, Next, Story
from llmc.store.provenance import Source, mark_sources
from llmc.store.tables.outcomes import BY_RULE, RULE_TIER

_NEXT: dict[Next, str] = {
    "nothing": "done",
    "rule": "written by rule at the next run",
    "ask": "asked about at the next run",
    "rest": "rests",
    "leave": "left alone",
}


def view_stories(stories: Iterable[Story]) -> RenderableType:
    """Return what a run would do with spans as a screen."""
    return Group(*(_view(story) for story in stories))


def _view(story: Story) -> RenderableType:
    span = story.result.span
    head = Text(describe_place(span), style="bold")
    head.append(f"  {make_one_line(str(span.kind))}", style="dim")
    lines = [Text(make_one_line(line)) for line in _lines(story)]
    return Group(head, Padding(Group(*lines), (0, 0, 1, 2), expand=False))


def _lines(story: Story) -> Iterator[str]:
    failure, asking = story.result.failure, story.asking
    if story.next == "nothing":
        yield f"{_NEXT['nothing']}: {_describe_maker(story)}"
        return
    because = f"{story.because} (a {story.rule})" if story.rule else story.because
    if story.next == "rest" and failure:
        yield (
            f"rests until {_clock(failure.retry_at)}, as it failed ({failure.kind}); then, or by "
            "--retry-failed, or once other models are configured:"
        )
    else:
        yield f"{_NEXT[story.next]}: {because}"
    if story.rule:
        yield "llmc enrich --all asks a model all the same"
    if asking:
        yield f"first at tier {asking.tier}, as {asking.because}"
        yield _describe_metrics(asking)
        models = ", ".join(dict.fromkeys(asking.models)) or "nobody: no model is configured there"
        kept = ", on this machine" if asking.kept else ""
        yield f"of {models}{kept}; {asking.attempts} attempts at most"


def _describe_maker(story: Story) -> str:
    enrichment, outcome = story.result.enrichment or {}, story.result.outcome
    when = _clock(enrichment.get("created_at"))
    at = f" at {when}" if when else ""
    if enrichment.get("model") == BY_RULE and outcome and outcome.tier == RULE_TIER:
        rule = f", a {outcome.detail}" if outcome.detail else ""
        return f"written by rule{at}{rule}"
    tier = f", {outcome.tier}" if outcome else ""
    attempts = f", after {outcome.attempts} attempts" if outcome and outcome.attempts > 1 else ""
    return f"enriched by {enrichment.get('model')}{tier}{at}{attempts}"


def _describe_metrics(asking: Asking) -> str:
    found = asking.metrics
    lines = f"{found.line_count} line{'' if found.line_count == 1 else 's'}"
    tokens = found.tokens_in + found.tokens_out
    return f"measured: {lines}, nested {found.nesting_depth} deep, about {tokens} tokens"


def _clock(seconds: Any) -> str:
    """Return an epoch time as people here write it, "" if it can't be one."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(float(seconds)))
    except (TypeError, OverflowError, ValueError, OSError):
        return ""


def record_story(story: Story) -> dict[str, Any]:
    """Return what a run would do with a span as a JSON object."""
    result = story.result.for_agents()
    span = result.span
    enrichment, failure, asking = result.enrichment or {}, result.failure, story.asking
    record = {
        "path": span.path,
        "symbol": span.symbol,
        "kind": span.kind,
        "lines": [span.start_line, span.end_line],
        "span_hash": span.span_hash,
        "state": "enriched" if story.result.enrichment else "failed" if failure else "pending",
        "next": story.next,
        "because": story.because,
        "rule": story.rule,
        "tier": asking.tier if asking else None,
        "tier_because": asking.because if asking else None,
        "models": list(dict.fromkeys(asking.models)) if asking else [],
        "attempts_at_most": asking.attempts if asking else None,
        "stays_here": asking.kept if asking else None,
        "measured": asdict(asking.metrics) if asking else None,
        "model": enrichment.get("model"),
        "enriched_at": enrichment.get("created_at"),
        "failed": failure.kind if failure else None,
        "retry_at": failure.retry_at if failure else None,
    }
    by_its_authors = ("path", "symbol", "kind", "enriched_at", "failed")
    sources: dict[str, Source] = dict.fromkeys(by_its_authors, "repository")
    return mark_sources(record, sources | {"model": "model"})
