"""Spans that nobody is asked about, as the parser says all of them."""

from __future__ import annotations

import time

from llmc.enrichment.asking import Question
from llmc.enrichment.written import write_enrichment
from llmc.facts.plain import find_plain
from llmc.models import Attempt, AttemptOutcome, Review, Span, SpanMetrics, SpanReport
from llmc.run import measures
from llmc.settings.config import Settings
from llmc.store.tables.outcomes import BY_RULE, RULE_TIER


def settle_by_rule(span: Span, question: Question, settings: Settings) -> SpanReport | None:
    """Return the report of a span that is written by rule, None if a model is to be asked."""
    started = time.monotonic()
    if settings.pace.ask_all or question.facts is None:
        return None
    plain = find_plain(question.source, question.lang, question.facts)
    written = plain and write_enrichment(plain, question, span)
    if not (plain and written):
        return None
    enrichment, verdicts = written
    outcome = AttemptOutcome(
        attempt=Attempt(0, RULE_TIER, 0),
        backend=BY_RULE,
        duration_sec=0.0,
        model=BY_RULE,
        enrichment=enrichment,
        detail=plain.rule,
        review=Review(verdicts=verdicts),
    )
    return SpanReport(
        span=span,
        metrics=_measure(span, question.source),
        outcomes=(outcome,),
        tier=RULE_TIER,
        model=BY_RULE,
        schema_version=settings.labels.schema_version,
        wall_sec=time.monotonic() - started,
    )


def _measure(span: Span, code: str) -> SpanMetrics:
    """Measure a span of which nothing is read or written by a model."""
    found = measures.measure(
        code, line_count=span.line_count, prompt_chars=0, nesting=measures.count_code_nesting
    )
    return SpanMetrics(
        found.line_count, found.nesting_depth, found.node_count, found.schema_depth, 0, 0
    )
