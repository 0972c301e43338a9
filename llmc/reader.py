"""What is asked of an index: counts, and spans with what is known of them.

Nothing here changes the index; `store.Store` adds the writing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmc.database import connect_readonly, mapped
from llmc.models import Span

SPAN_COLUMNS = (
    "s.id, f.path, f.lang, s.symbol, s.kind, s.start_line, s.end_line, "
    "s.byte_start, s.byte_end, s.span_hash, s.doc_hint"
)
RESULT_COLUMNS = (
    "summary, tags, evidence, model, created_at, schema_ver, "
    "inputs, outputs, side_effects, pitfalls, usage_snippet"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last run left a span. `reason` is success or the kind of the last failure."""

    result: str
    reason: str
    detail: str | None
    tier: str
    backend: str
    model: str
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    wall_ms: int
    updated_at: float


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A span as `llmc show` prints it: its enrichment and its last outcome, None if not there."""

    span: Span
    summary: str | None = None
    enrichment: dict[str, Any] | None = None
    outcome: Outcome | None = None
    twin_of: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of the whole index; `spans` = enriched + pending + the sum of `failed`."""

    files: int
    spans: int
    enriched: int
    pending: int
    twins: int
    by_language: dict[str, tuple[int, int, int]]
    failed: dict[str, int]
    by_model: dict[tuple[str, str], int]
    prompt_tokens: int
    completion_tokens: int


class Reader:
    """One open index, for questions. Use from one thread; a context manager, or close it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open_readonly(cls, path: Path) -> Self:
        """Open an index for reading. Raises StoreError."""
        return cls(path, connect_readonly(path))

    def close(self) -> None:
        """Close the index; what was committed is on disk."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _rows(self, query: str, values: Iterable[Any] = ()) -> list[Any]:
        with mapped(self.path):
            return self._db.execute(query, tuple(values)).fetchall()

    def counts(self) -> tuple[int, int]:
        """Return (spans, enrichments) of the whole index."""
        spans, enrichments = self._rows(
            "SELECT (SELECT count(*) FROM spans), (SELECT count(*) FROM enrichments)"
        )[0]
        return spans, enrichments

    def totals(self) -> Totals:
        """Count everything, for `llmc status`."""
        spans, enriched = self.counts()
        ours = self._has_ours()
        failed = dict(
            self._rows(
                "SELECT o.reason, count(*) FROM llmc_outcomes o WHERE o.result = 'fail' AND NOT "
                "EXISTS (SELECT 1 FROM enrichments e WHERE e.span_hash = o.span_hash) "
                "GROUP BY o.reason ORDER BY o.reason"
            )
            if ours
            else ()
        )
        tokens = self._rows(
            "SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) "
            "FROM llmc_outcomes"
            if ours
            else "SELECT 0, 0"
        )[0]
        tier = "coalesce(o.tier, '-')" if ours else "'-'"
        join = "LEFT JOIN llmc_outcomes o ON o.span_hash = e.span_hash" if ours else ""
        by_model = self._rows(
            f"SELECT coalesce(e.model, '-'), {tier}, count(*) FROM enrichments e {join} "
            "GROUP BY 1, 2 ORDER BY 3 DESC"
        )
        by_language = self._rows(
            "SELECT f.lang, count(DISTINCT f.id), count(s.id), count(e.span_hash) FROM files f "
            "LEFT JOIN spans s ON s.file_id = f.id "
            "LEFT JOIN enrichments e ON e.span_hash = s.span_hash GROUP BY f.lang ORDER BY 3 DESC"
        )
        return Totals(
            files=self._rows("SELECT count(*) FROM files")[0][0],
            spans=spans,
            enriched=enriched,
            pending=spans - enriched - sum(failed.values()),
            twins=self._rows("SELECT count(*) FROM llmc_twins")[0][0] if ours else 0,
            by_language={lang: (files, n, done) for lang, files, n, done in by_language},
            failed=failed,
            by_model={(model, tier): count for model, tier, count in by_model},
            prompt_tokens=tokens[0],
            completion_tokens=tokens[1],
        )

    def spans_of(self, path: str, line: int | None = None) -> list[StoredResult]:
        """Return a file's spans and twins by line, those that contain `line` if one is given."""
        condition = "f.path = ?" + (
            " AND {0}.start_line <= ? AND {0}.end_line >= ?" if line else ""
        )
        values = (path, line, line) if line else (path,)
        found = self._results(condition.format("s") + " ORDER BY s.byte_start", values)
        if self._has_ours():
            for row in self._rows(
                "SELECT s.id, f.path, f.lang, t.symbol, t.kind, t.start_line, t.end_line, "
                "t.byte_start, t.byte_end, t.span_hash, t.doc_hint, s.start_line, o.path "
                "FROM llmc_twins t JOIN files f ON f.id = t.file_id "
                "JOIN spans s ON s.span_hash = t.span_hash JOIN files o ON o.id = s.file_id "
                f"WHERE {condition.format('t')}",
                values,
            ):
                found.append(self._twin(Span(*row[:11]), row[11], row[12]))
        return sorted(found, key=lambda result: (result.span.byte_start, -result.span.byte_end))

    def latest(self, limit: int) -> list[StoredResult]:
        """Return the spans enriched last, the newest first."""
        return self._results(
            "e.span_hash IS NOT NULL ORDER BY CAST(e.created_at AS REAL) DESC, s.id DESC LIMIT ?",
            (limit,),
        )

    def _twin(self, span: Span, original_start: int, original_path: str) -> StoredResult:
        [original] = self._results("s.span_hash = ?", (span.span_hash,))
        enrichment = original.enrichment
        if enrichment:
            by = span.start_line - original_start
            enrichment = enrichment | {"evidence": moved(enrichment["evidence"], by)}
        place = f"{original_path}:{original_start}"
        return StoredResult(span, original.summary, enrichment, original.outcome, place)

    def _results(self, condition: str, values: Iterable[Any]) -> list[StoredResult]:
        results = ", ".join(f"e.{name}" for name in RESULT_COLUMNS.split(", "))
        outcomes = "o." + ", o.".join(Outcome.__slots__)
        join = "LEFT JOIN llmc_outcomes o ON o.span_hash = s.span_hash"
        if not self._has_ours():
            outcomes, join = ", ".join(["NULL"] * len(Outcome.__slots__)), ""
        rows = self._rows(
            f"SELECT {SPAN_COLUMNS}, e.span_hash, {results}, {outcomes} FROM spans s "
            "JOIN files f ON f.id = s.file_id "
            f"LEFT JOIN enrichments e ON e.span_hash = s.span_hash {join} WHERE {condition}",
            values,
        )
        return [_result(row) for row in rows]

    def _has_ours(self) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE name = 'llmc_archive'"))


def _result(row: Any) -> StoredResult:
    span, stored, rest = Span(*row[:11]), row[11], row[12:]
    outcome = Outcome(*rest[11:]) if rest[11] is not None else None
    if stored is None:
        return StoredResult(span, outcome=outcome)
    names = RESULT_COLUMNS.split(", ")
    enrichment = dict(zip(names, rest[:11], strict=True))
    for name in ("evidence", "inputs", "outputs", "side_effects", "pitfalls"):
        enrichment[name] = listed(enrichment[name])
    enrichment["tags"] = enrichment["tags"].split(",") if enrichment["tags"] else []
    return StoredResult(span, enrichment["summary"], enrichment, outcome)


def listed(text: str | None) -> list[Any]:
    """Read a JSON list that some program stored; anything else counts as empty."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def moved(entries: list[Any], by: int) -> list[Any]:
    return [
        {**entry, "lines": [line + by for line in entry["lines"]]}
        if isinstance(entry, dict)
        and isinstance(entry.get("lines"), list)
        and all(isinstance(line, int) for line in entry["lines"])
        else entry
        for entry in entries
    ]
