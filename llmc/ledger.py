"""The records of a run: a metrics line and a ledger line per span, and refused replies.

A hook on the engine's events. Each line is written by one append, so that two processes can share
a file without mixing lines.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmc.errors import StoreError
from llmc.events import Event, SpanEnriched, SpanFailed
from llmc.models import SpanReport


class Ledger:
    """Writes `logs/run_ledger.log`, the metrics log and `logs/failed_enrichments/` of a repository.

    `log_fields` are names that every metrics record has, null if there is nothing to say.
    """

    def __init__(
        self,
        repo: Path,
        metrics_log: Path,
        *,
        est_tokens_per_span: int,
        log_fields: tuple[str, ...] = (),
    ) -> None:
        self._repo = repo
        self._metrics_log = metrics_log
        self._ledger_log = repo / "logs" / "run_ledger.log"
        self._est_tokens = est_tokens_per_span
        self._log_fields = log_fields
        for folder in (repo / "logs", metrics_log.parent):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"cannot create {folder}: {error.strerror}") from error

    def __call__(self, event: Event) -> None:
        """Record a span that is settled; other events are nothing to the ledger."""
        if not isinstance(event, SpanEnriched | SpanFailed):
            return
        metrics = metrics_record(event.report, self._repo, self._est_tokens)
        if isinstance(event, SpanEnriched):
            metrics |= {
                "spans_total": event.spans_total,
                "enrichments_total": event.enrichments_total,
                "estimated_remote_tokens_saved": event.enrichments_total * self._est_tokens,
                "estimated_remote_tokens_repo_cap": event.spans_total * self._est_tokens,
            }
        metrics = dict.fromkeys(self._log_fields) | metrics
        append_line(self._metrics_log, metrics)
        append_line(self._ledger_log, ledger_record(event.report))
        if isinstance(event, SpanFailed):
            save_refused_reply(self._repo, event.report)


def save_refused_reply(repo: Path, report: SpanReport) -> Path | None:
    """Save the last reply of a failed span if it could not be read as JSON; return its file.

    Raises StoreError.
    """
    last = report.last
    if last.failure_type not in ("parse", "truncation") or last.payload is None:
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = repo / "logs" / "failed_enrichments"
    # The hash comes from the database: whatever it holds, it names a file in this folder.
    path = folder / f"{report.span.span_hash}_{stamp}.json".replace("/", "_")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(last.payload, encoding="utf-8", errors="replace")
    except OSError as error:
        raise StoreError(f"cannot save a reply in {folder}: {error.strerror}") from error
    return path


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON line in a single write. Raises StoreError."""
    line = json.dumps(record).encode() + b"\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"cannot write to {path}: {error.strerror}") from error


def metrics_record(report: SpanReport, repo: Path, est_tokens: int) -> dict[str, Any]:
    """Return the metrics record of a settled span; docs/batch-driver.md gives each field."""
    return {
        "timestamp": _now(),
        "repo_root": str(repo),
        "span_hash": report.span.span_hash,
        "path": report.span.path,
        "duration_sec": round(report.wall_sec, 3),
        "model": report.model,
        "tier": report.tier,
        "router_tier": report.last.attempt.tier,
        "schema_ok": report.success,
        "tok_s": report.tokens_per_sec,
        **_load(report),
        "vram_avg_mib": report.last.gpu.vram_avg_mib,
        "attempts": len(report.outcomes),
        "estimated_tokens_per_span": est_tokens,
        "cut_lines": report.last.cut_lines,
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
    }


def ledger_record(report: SpanReport) -> dict[str, Any]:
    """Return the run-ledger record of a settled span; docs/batch-driver.md gives each field."""
    metrics, last = report.metrics, report.last
    return {
        "timestamp": _now(),
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
        **_load(report),
        "attempts": len(report.outcomes),
        "wall_ms": round(report.wall_sec * 1000),
        "result_model": report.model,
        "result": "pass" if report.success else "fail",
        "reason": "success" if report.success else last.failure_type,
    }


def _load(report: SpanReport) -> dict[str, Any]:
    gpu, options = report.last.gpu, report.last.options or {}
    return {
        "gpu_util": gpu.util_avg,
        "gpu_util_max": gpu.util_max,
        "vram_mib": gpu.vram_max_mib,
        "rss_mib": resident_mib(),
        "ctx": options.get("num_ctx"),
        "batch": options.get("num_batch"),
        "num_thread": options.get("num_thread"),
        "num_gpu": options.get("num_gpu"),
    }


def resident_mib() -> float | None:
    """Return this process's resident memory in MiB, None where the system doesn't tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1048576, 1)


def _now() -> str:
    return datetime.now(UTC).isoformat()
