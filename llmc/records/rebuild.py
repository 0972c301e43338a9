"""Missing lines of the logs, made again from the index.

A rebuilt line says so, bears the time of its outcome, and has null for what the index doesn't know.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmc.errors import StoreError
from llmc.files.locks import lock
from llmc.models import Span
from llmc.records import jsonl
from llmc.records.audit import PATIENCE_SEC, Audit, Gap, examine
from llmc.records.fields import LEDGER_FIELDS, METRICS_FIELDS, TOTALS_FIELDS
from llmc.records.ledger import guarded, ledger_path
from llmc.store.reader import Reader
from llmc.store.tables.outcomes import Outcome

PAGE = 500
"""Lines that are written at a time."""


def rebuild(
    reader: Reader,
    repo: Path,
    metrics_log: Path,
    *,
    log_fields: tuple[str, ...] = (),
    logs: Path | None = None,
    patience: float = PATIENCE_SEC,
) -> Audit:
    """Examine the logs and write the lines that are missing; return what was found and mended.

    A metrics line that is missing from the usual log too goes to `metrics_log`.
    Raises StoreError.
    """
    ledger_log, within = ledger_path(logs or repo / "logs"), guarded(metrics_log, repo)
    beside = guarded(ledger_log, repo)
    jsonl.make_folder(ledger_log.parent, within=beside)
    jsonl.make_folder(metrics_log.parent, within=within)
    with _alone(ledger_log.parent):
        jsonl.seal(ledger_log, within=beside)
        jsonl.seal(metrics_log, within=within)
        audit = examine(reader, repo, metrics_log, logs=logs, patience=patience)
        gaps = {gap.span_hash: gap for gap in audit.gaps}
        rebuilt = 0
        for page in _pages(reader, gaps):
            jsonl.append(
                metrics_log,
                [
                    dict.fromkeys(log_fields) | rebuilt_metrics(span, outcome, repo)
                    for span, outcome in page
                    if gaps[span.span_hash].metrics
                ],
                within=within,
            )
            jsonl.append(
                ledger_log,
                [
                    rebuilt_ledger(span, outcome)
                    for span, outcome in page
                    if gaps[span.span_hash].ledger
                ],
                within=beside,
            )
            rebuilt += len(page)
    return replace(audit, rebuilt=rebuilt)


def rebuilt_metrics(span: Span, outcome: Outcome, repo: Path) -> dict[str, Any]:
    """Return the metrics record of an outcome, as far as the index knows it."""
    passed = outcome.result == "pass"
    return dict.fromkeys(METRICS_FIELDS + (TOTALS_FIELDS if passed else ())) | {
        "timestamp": _iso(outcome.updated_at),
        "repo_root": str(repo),
        "span_hash": span.span_hash,
        "path": span.path,
        "duration_sec": outcome.wall_ms / 1000,
        "model": outcome.model,
        "tier": outcome.tier,
        "router_tier": None if passed else outcome.tier,
        "schema_ok": passed,
        "attempts": outcome.attempts,
        "rebuilt": True,
    }


def rebuilt_ledger(span: Span, outcome: Outcome) -> dict[str, Any]:
    """Return the ledger record of an outcome, as far as the index knows it."""
    passed = outcome.result == "pass"
    return dict.fromkeys(LEDGER_FIELDS) | {
        "timestamp": _iso(outcome.updated_at),
        "task_id": span.span_hash,
        "path": span.path,
        "tier_used": outcome.tier,
        "router_tier": None if passed else outcome.tier,
        "line_count": span.line_count,
        "promo": "none" if outcome.attempts == 1 else None,
        "schema_ok": passed,
        "attempts": outcome.attempts,
        "wall_ms": outcome.wall_ms,
        "result_model": outcome.model,
        "result": outcome.result,
        "reason": outcome.reason,
        "rebuilt": True,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _pages(reader: Reader, gaps: dict[str, Gap]) -> Iterator[list[tuple[Span, Outcome]]]:
    """Yield the outcomes to write, leaving out those that have changed since they were examined."""
    page: list[tuple[Span, Outcome]] = []
    for span, outcome, _ in reader.results.read_recorded():
        gap = gaps.get(span.span_hash)
        if gap and gap.updated_at == outcome.updated_at:
            page.append((span, outcome))
            if len(page) == PAGE:
                yield page
                page = []
    if page:
        yield page


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from rebuilding the same logs: each would write what is missing.

    Raises StoreError.
    """
    with jsonl.mapped(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if lock(descriptor) is False:
            raise StoreError(f"another program rebuilds the logs in {folder}; wait for it to end")
        yield
    finally:
        os.close(descriptor)
