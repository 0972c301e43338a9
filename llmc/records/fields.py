"""What a run writes of each span: its metrics record and its ledger record.

Their fields are a contract; docs/batch-driver.md gives each one.
"""

from __future__ import annotations

from typing import Any

from llmc.models import AttemptOutcome, SpanReport

_METRICS = (
    "timestamp repo_root span_hash path duration_sec model tier router_tier schema_ok tok_s "
    "gpu_util gpu_util_max vram_mib rss_mib ctx batch num_thread num_gpu vram_avg_mib attempts "
    "estimated_tokens_per_span cut_lines attempt_details"
)
_TOTALS = (
    "spans_total enrichments_total estimated_remote_tokens_saved estimated_remote_tokens_repo_cap"
)
_LEDGER = (
    "timestamp task_id path tier_used router_tier line_count nesting_depth node_count schema_depth "
    "tokens_in tokens_out k avg_score promo schema_ok tok_s gpu_util gpu_util_max vram_mib rss_mib "
    "ctx batch num_thread num_gpu attempts wall_ms result_model result reason"
)
METRICS_FIELDS = tuple(_METRICS.split())
TOTALS_FIELDS = tuple(_TOTALS.split())
"""What the metrics record of a success has, too."""
LEDGER_FIELDS = tuple(_LEDGER.split())


def make_metrics_record(
    report: SpanReport, timestamp: str, *, repo: str, est_tokens: int, rss_mib: float | None
) -> dict[str, Any]:
    """Return the metrics record of a span, without the totals of a success."""
    last = report.last
    return {
        "timestamp": timestamp,
        "repo_root": repo,
        "span_hash": report.span.span_hash,
        "path": report.span.path,
        "duration_sec": round(report.wall_sec, 3),
        "model": report.model,
        "tier": report.tier,
        "router_tier": last.attempt.tier,
        "schema_ok": report.success,
        "tok_s": report.tokens_per_sec,
        **_load(last, rss_mib),
        "vram_avg_mib": last.gpu.vram_avg_mib,
        "attempts": report.attempts,
        "estimated_tokens_per_span": est_tokens,
        "cut_lines": last.cut_lines,
        "attempt_details": [
            {
                "tier": outcome.attempt.tier,
                "backend": record.backend_name,
                "provider": record.provider,
                "model": record.model,
                "host": record.host,
                "duration_sec": round(record.duration_sec, 3),
                "success": record.success,
                "failure_type": record.failure_type,
                "error": record.error_message,
            }
            for outcome in report.outcomes
            for record in outcome.records
        ],
        **({"parroted": last.review.parroted} if last.review.parroted else {}),
    }


def make_totals(spans: int, enrichments: int, est_tokens: int) -> dict[str, Any]:
    """Return what the metrics record of a success says of the whole index."""
    return {
        "spans_total": spans,
        "enrichments_total": enrichments,
        "estimated_remote_tokens_saved": enrichments * est_tokens,
        "estimated_remote_tokens_repo_cap": spans * est_tokens,
    }


def make_ledger_record(
    report: SpanReport, timestamp: str, result: str, *, rss_mib: float | None
) -> dict[str, Any]:
    """Return the ledger record of a span; `result` is pass, fail or unfinished."""
    metrics, last = report.metrics, report.last
    return {
        "timestamp": timestamp,
        "task_id": report.span.span_hash,
        "path": report.span.path,
        "tier_used": report.tier,
        "router_tier": last.attempt.tier,
        "line_count": metrics.line_count,
        "nesting_depth": metrics.nesting_depth,
        "node_count": metrics.node_count,
        "schema_depth": metrics.schema_depth,
        "tokens_in": metrics.tokens_in,
        "tokens_out": metrics.tokens_out,
        "k": None,
        "avg_score": None,
        "promo": report.promo,
        "schema_ok": report.success,
        "tok_s": report.tokens_per_sec,
        **_load(last, rss_mib),
        "attempts": report.attempts,
        "wall_ms": round(report.wall_sec * 1000),
        "result_model": report.model,
        "result": result,
        "reason": "success" if report.success else last.failure_type,
    }


def _load(last: AttemptOutcome, rss_mib: float | None) -> dict[str, Any]:
    gpu, options = last.gpu, last.options or {}
    return {
        "gpu_util": gpu.util_avg,
        "gpu_util_max": gpu.util_max,
        "vram_mib": gpu.vram_max_mib,
        "rss_mib": rss_mib,
        "ctx": options.get("num_ctx"),
        "batch": options.get("num_batch"),
        "num_thread": options.get("num_thread"),
        "num_gpu": options.get("num_gpu"),
    }
