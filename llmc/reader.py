"""What is asked of an index: counts, and spans with what is known of them.

Nothing here changes the index; `store.Store` adds the writing.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmc.database import connect_readonly, mapped
from llmc.models import Span
from llmc.owners import survey
from llmc.tables import RESULT_COLUMNS, SPAN_COLUMNS


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
class Failure:
    """That a span failed, over all runs: how often, how last, the start of the refused reply.

    Times are epoch seconds; before `retry_at` it is left alone.
    """

    count: int
    kind: str
    detail: str | None
    excerpt: str | None
    failed_at: float
    retry_at: float


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A span as `llmc show` prints it; None for what is not there."""

    span: Span
    summary: str | None = None
    enrichment: dict[str, Any] | None = None
    outcome: Outcome | None = None
    twin_of: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of the whole index; `spans` = enriched + pending + the sum of `failed`.

    `claimed` spans are in work now; they are among the pending and the failed ones.
    """

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
    claimed: int = 0


class Reader:
    """One open index, for questions. Use from one thread; a context manager, or close it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        self._version = self._data_version()

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

    def changed_elsewhere(self) -> bool:
        """Tell whether another connection has changed the index since this was last asked."""
        before, self._version = self._version, self._data_version()
        return self._version != before

    def _data_version(self) -> int:
        version: int = self._rows("PRAGMA data_version")[0][0]
        return version

    def resting(self, signature: str, now: float | None = None) -> int:
        """Count the spans that failed under this signature and are left alone for now.

        A signature says what they failed with (model, prompt, schema): with another one they are
        tried again. `now` is in epoch seconds.
        """
        return int(self._rest("count(*)", signature, now) or 0)

    def next_retry(self, signature: str) -> float | None:
        """Return when the first resting span may be tried again, in epoch seconds; None if none."""
        return self._rest("min(retry_at)", signature, None)

    def _rest(self, what: str, signature: str, now: float | None) -> float | None:
        if "llmc_failures" not in self._ours():
            return None
        value: float | None = self._rows(
            f"SELECT {what} FROM llmc_failures x WHERE signature = ? AND retry_at > ? "
            "AND NOT EXISTS (SELECT 1 FROM enrichments e WHERE e.span_hash = x.span_hash)",
            (signature, time.time() if now is None else now),
        )[0][0]
        return value

    def totals(self) -> Totals:
        """Count everything, for `llmc status`; all counts are of one moment."""
        with mapped(self.path):
            if self._db.in_transaction:
                return self._counted()
            self._db.execute("BEGIN")
            try:
                return self._counted()
            finally:
                self._db.execute("ROLLBACK")

    def _counted(self) -> Totals:
        ours = self._ours()
        by_language = self._rows(
            "SELECT f.lang, count(DISTINCT f.id), count(s.id), count(e.span_hash) FROM files f "
            "LEFT JOIN spans s ON s.file_id = f.id "
            "LEFT JOIN enrichments e ON e.span_hash = s.span_hash GROUP BY f.lang ORDER BY 3 DESC"
        )
        files, spans, enriched = (sum(row[place] for row in by_language) for place in (1, 2, 3))
        failed = self._failed(ours)
        outcomes = "llmc_outcomes" in ours
        tokens = self._rows(
            "SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) "
            "FROM llmc_outcomes"
            if outcomes
            else "SELECT 0, 0"
        )[0]
        tier = "coalesce(o.tier, '-')" if outcomes else "'-'"
        join = "LEFT JOIN llmc_outcomes o ON o.span_hash = e.span_hash" if outcomes else ""
        by_model = self._rows(
            f"SELECT coalesce(e.model, '-'), {tier}, count(*) FROM enrichments e {join} "
            "GROUP BY 1, 2 ORDER BY 3 DESC"
        )
        return Totals(
            files=files,
            spans=spans,
            enriched=enriched,
            pending=spans - enriched - sum(failed.values()),
            twins=self._rows("SELECT count(*) FROM llmc_twins")[0][0]
            if "llmc_twins" in ours
            else 0,
            by_language={lang: (files, n, done) for lang, files, n, done in by_language},
            failed=failed,
            by_model={(model, tier): count for model, tier, count in by_model},
            prompt_tokens=tokens[0],
            completion_tokens=tokens[1],
            claimed=self._claimed() if "llmc_claims" in ours else 0,
        )

    def _failed(self, ours: set[str]) -> dict[str, int]:
        if "llmc_failures" in ours:
            failures = "SELECT kind AS reason, span_hash FROM llmc_failures"
        elif "llmc_outcomes" in ours:
            failures = "SELECT reason, span_hash FROM llmc_outcomes WHERE result = 'fail'"
        else:
            return {}
        return dict(
            self._rows(
                f"SELECT x.reason, count(*) FROM ({failures}) x "
                "JOIN spans s ON s.span_hash = x.span_hash WHERE NOT EXISTS "
                "(SELECT 1 FROM enrichments e WHERE e.span_hash = x.span_hash) "
                "GROUP BY x.reason ORDER BY x.reason"
            )
        )

    def _claimed(self) -> int:
        """Count claims that count: not expired, of owners that live."""
        claims = dict(
            self._rows(
                "SELECT c.owner, count(*) FROM llmc_claims c "
                "JOIN spans s ON s.span_hash = c.span_hash WHERE c.expires > ? AND NOT EXISTS "
                "(SELECT 1 FROM enrichments e WHERE e.span_hash = c.span_hash) GROUP BY c.owner",
                (time.time(),),
            )
        )
        if not claims:
            return 0
        try:
            alive, _ = survey(self.path, sweep=False)
        except OSError:
            alive = frozenset()
        return sum(claims.get(owner, 0) for owner in alive)

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
        return replace(original, span=span, enrichment=enrichment, twin_of=place)

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
        found = [_result(row) for row in rows]
        if "llmc_failures" not in self._ours():
            return found
        return [
            result if result.enrichment else replace(result, failure=self._failure(result.span))
            for result in found
        ]

    def _failure(self, span: Span) -> Failure | None:
        columns = ", ".join(Failure.__slots__)
        query = f"SELECT {columns} FROM llmc_failures WHERE span_hash = ?"
        rows = self._rows(query, (span.span_hash,))
        return Failure(*rows[0]) if rows else None

    def _has_ours(self) -> bool:
        return {"llmc_twins", "llmc_outcomes", "llmc_archive"} <= self._ours()

    def _ours(self) -> set[str]:
        """Return which of llmc's own tables there are: another program's index has none."""
        return {row[0] for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}

    # -- what the logs are compared with -----------------------------------------------------

    def recorded(self, page: int = 1000) -> Iterator[tuple[Span, Outcome, bool]]:
        """Yield each span that a run settled, its outcome and whether it is enriched, by id."""
        if not self._has_ours():
            return
        outcomes, after = "o." + ", o.".join(Outcome.__slots__), 0
        while rows := self._rows(
            f"SELECT {SPAN_COLUMNS}, EXISTS (SELECT 1 FROM enrichments e WHERE "
            f"e.span_hash = s.span_hash), {outcomes} FROM spans s "
            "CROSS JOIN llmc_outcomes o ON o.span_hash = s.span_hash "
            "CROSS JOIN files f ON f.id = s.file_id WHERE s.id > ? ORDER BY s.id LIMIT ?",
            (after, page),
        ):
            yield from ((Span(*row[:11]), Outcome(*row[12:]), bool(row[11])) for row in rows)
            after = rows[-1][0]

    def enriched_elsewhere(self) -> int:
        """Count enrichments without an outcome: of another program, or back from the archive."""
        ours = (
            " WHERE NOT EXISTS (SELECT 1 FROM llmc_outcomes o WHERE o.span_hash = e.span_hash)"
            if self._has_ours()
            else ""
        )
        return int(self._rows(f"SELECT count(*) FROM enrichments e{ours}")[0][0])

    def without_result(self, hashes: Sequence[str]) -> list[Span]:
        """Return the spans among some hashes that have no enrichment, not even an archived one."""
        sources = ("enrichments", "llmc_archive") if self._has_ours() else ("enrichments",)
        absent = "".join(
            f" AND NOT EXISTS (SELECT 1 FROM {name} e WHERE e.span_hash = s.span_hash)"
            for name in sources
        )
        rows = self._rows(
            f"SELECT {SPAN_COLUMNS} FROM spans s JOIN files f ON f.id = s.file_id "
            f"WHERE s.span_hash IN ({', '.join('?' * len(hashes))}){absent} ORDER BY s.id",
            hashes,
        )
        return [Span(*row) for row in rows]


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
