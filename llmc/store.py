"""What is in the index, and every question asked of it: all queries of the project.

A span is known by the hash of its text, so an enrichment stays with the text wherever it goes:
- text that stands in two places is one span; the other place is a *twin* and shows the same result;
- a span that disappears leaves its enrichment in an archive, and gets it back when the text
  returns, as it does when somebody changes branches.
Nothing that was paid for is deleted.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from llmc.database import connect, connect_readonly, mapped, transaction
from llmc.models import Enrichment, ParsedFile, ParsedSpan, Span

_SPAN = (
    "s.id, f.path, f.lang, s.symbol, s.kind, s.start_line, s.end_line, "
    "s.byte_start, s.byte_end, s.span_hash, s.doc_hint"
)
_RESULT = (
    "summary, tags, evidence, model, created_at, schema_ver, "
    "inputs, outputs, side_effects, pitfalls, usage_snippet"
)
_PLACE = "symbol = ?, kind = ?, start_line = ?, end_line = ?, byte_start = ?, byte_end = ?"


@dataclass(frozen=True, slots=True)
class FileState:
    """What the index knows of a file; equal size and mtime (epoch seconds) mean unchanged."""

    file_hash: str
    size: int
    mtime: float
    lang: str


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


class Store:
    """One open index. Use from one thread; close it, or use it as a context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Store:
        """Open an index for writing. Raises StoreError."""
        return cls(path, connect(path, create=create))

    @classmethod
    def open_readonly(cls, path: Path) -> Store:
        """Open an index for reading. Raises StoreError."""
        return cls(path, connect_readonly(path))

    def close(self) -> None:
        """Close the index; what was committed is on disk."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Run a block as one write: all of it is stored, or none. Raises StoreError."""
        return self._writing()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with mapped(self.path):
            if self._db.in_transaction:
                yield
            else:
                with transaction(self._db):
                    yield

    def _rows(self, query: str, values: Iterable[Any] = ()) -> list[Any]:
        with mapped(self.path):
            return self._db.execute(query, tuple(values)).fetchall()

    # -- files and spans ---------------------------------------------------------------------

    def files(self) -> dict[str, FileState]:
        """Return every file of the index by its path."""
        rows = self._rows("SELECT path, file_hash, size, mtime, lang FROM files")
        return {row[0]: FileState(*row[1:]) for row in rows}

    def touch_file(self, path: str, size: int, mtime: float) -> None:
        """Note a new time stamp of a file whose bytes are the same."""
        with self._writing():
            self._db.execute(
                "UPDATE files SET size = ?, mtime = ? WHERE path = ?", (size, mtime, path)
            )

    def put_file(self, file: ParsedFile) -> None:
        """Store a file's spans in place of its earlier ones.

        Spans whose text is still there keep their row and enrichment, with lines moved along.
        """
        with self._writing():
            file_id = self._db.execute(
                "INSERT INTO files (path, lang, file_hash, size, mtime) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (path) DO UPDATE SET lang = excluded.lang, "
                "file_hash = excluded.file_hash, size = excluded.size, mtime = excluded.mtime "
                "RETURNING id",
                (file.path, file.lang, file.file_hash, file.size, file.mtime),
            ).fetchone()[0]
            self._db.execute("DELETE FROM llmc_twins WHERE file_id = ?", (file_id,))
            before = dict(
                self._db.execute(
                    "SELECT span_hash, start_line FROM spans WHERE file_id = ?", (file_id,)
                )
            )
            now = {span.span_hash for span in file.spans}
            self._drop_spans([span_hash for span_hash in before if span_hash not in now])
            placed: set[str] = set()
            for span in file.spans:
                if span.span_hash in placed:
                    self._add_twin(file_id, span)
                elif span.span_hash in before:
                    self._move(span, file_id, before[span.span_hash])
                else:
                    self._add(file_id, span)
                placed.add(span.span_hash)

    def remove_file(self, path: str) -> None:
        """Take a file out of the index; spans that also stand elsewhere move there."""
        with self._writing():
            rows = self._db.execute(
                "SELECT span_hash FROM spans WHERE file_id = (SELECT id FROM files WHERE path = ?)",
                (path,),
            ).fetchall()
            self._db.execute(
                "DELETE FROM llmc_twins WHERE file_id = (SELECT id FROM files WHERE path = ?)",
                (path,),
            )
            self._drop_spans([row[0] for row in rows])
            self._db.execute("DELETE FROM files WHERE path = ?", (path,))

    def _add(self, file_id: int, span: ParsedSpan) -> None:
        cursor = self._db.execute(
            "INSERT INTO spans (file_id, symbol, kind, start_line, end_line, byte_start, byte_end, "
            "span_hash, doc_hint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (span_hash) DO NOTHING",
            (file_id, *_place(span), span.span_hash, span.doc_hint),
        )
        if cursor.rowcount == 0:
            self._add_twin(file_id, span)
            return
        row = self._db.execute(
            "SELECT start_line FROM llmc_archive WHERE span_hash = ?", (span.span_hash,)
        ).fetchone()
        if row:
            self._db.execute(
                f"INSERT INTO enrichments (span_hash, {_RESULT}) "
                f"SELECT span_hash, {_RESULT} FROM llmc_archive WHERE span_hash = ?",
                (span.span_hash,),
            )
            self._db.execute("DELETE FROM llmc_archive WHERE span_hash = ?", (span.span_hash,))
            self._shift_evidence(span.span_hash, span.start_line - row[0])

    def _add_twin(self, file_id: int, span: ParsedSpan) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO llmc_twins (file_id, symbol, kind, start_line, end_line, "
            "byte_start, byte_end, span_hash, doc_hint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (file_id, *_place(span), span.span_hash, span.doc_hint),
        )

    def _move(self, span: ParsedSpan, file_id: int, old_start: int) -> None:
        self._db.execute(
            f"UPDATE spans SET file_id = ?, {_PLACE}, doc_hint = ? WHERE span_hash = ?",
            (file_id, *_place(span), span.doc_hint, span.span_hash),
        )
        self._shift_evidence(span.span_hash, span.start_line - old_start)

    def _drop_spans(self, hashes: Iterable[str]) -> None:
        """Remove spans: each goes to one of its twins, else its enrichment to the archive."""
        for span_hash in hashes:
            twin = self._db.execute(
                "SELECT rowid, file_id, symbol, kind, start_line, end_line, byte_start, byte_end, "
                "span_hash, doc_hint FROM llmc_twins WHERE span_hash = ? LIMIT 1",
                (span_hash,),
            ).fetchone()
            start = self._db.execute(
                "SELECT start_line FROM spans WHERE span_hash = ?", (span_hash,)
            ).fetchone()[0]
            if twin:
                self._db.execute("DELETE FROM llmc_twins WHERE rowid = ?", (twin[0],))
                self._move(ParsedSpan(*twin[2:]), twin[1], start)
            else:
                self._db.execute(
                    f"INSERT OR REPLACE INTO llmc_archive (span_hash, start_line, {_RESULT}) "
                    f"SELECT span_hash, ?, {_RESULT} FROM enrichments WHERE span_hash = ?",
                    (start, span_hash),
                )
                self._db.execute("DELETE FROM spans WHERE span_hash = ?", (span_hash,))

    def _shift_evidence(self, span_hash: str, by: int) -> None:
        if not by:
            return
        row = self._db.execute(
            "SELECT evidence FROM enrichments WHERE span_hash = ?", (span_hash,)
        ).fetchone()
        if row and row[0]:
            self._db.execute(
                "UPDATE enrichments SET evidence = ? WHERE span_hash = ?",
                (_shifted(row[0], by), span_hash),
            )

    # -- the work list -----------------------------------------------------------------------

    def pending(self, after_id: int, limit: int, newest_mtime: float | None = None) -> list[Span]:
        """Return up to `limit` spans without an enrichment whose id is above `after_id`, by id.

        Files changed after `newest_mtime` (epoch seconds) are left out.
        """
        rows = self._rows(
            f"SELECT {_SPAN} FROM spans s JOIN files f ON f.id = s.file_id "
            "WHERE s.id > ? AND (? IS NULL OR f.mtime <= ?) AND NOT EXISTS "
            "(SELECT 1 FROM enrichments e WHERE e.span_hash = s.span_hash) ORDER BY s.id LIMIT ?",
            (after_id, newest_mtime, newest_mtime, limit),
        )
        return [Span(*row) for row in rows]

    def counts(self) -> tuple[int, int]:
        """Return (spans, enrichments) of the whole index."""
        spans, enrichments = self._rows(
            "SELECT (SELECT count(*) FROM spans), (SELECT count(*) FROM enrichments)"
        )[0]
        return spans, enrichments

    def save_enrichment(
        self, span: Span, result: Enrichment, *, schema_version: str, outcome: Outcome
    ) -> bool:
        """Store a result and how it came about, in one transaction.

        Returns False if the span has meanwhile left the index; the result is then archived.
        """
        row = _row(result, outcome.model, schema_version, outcome.updated_at)
        marks = ", ".join("?" * len(row))
        with self._writing():
            there = self._db.execute(
                "SELECT 1 FROM spans WHERE span_hash = ?", (span.span_hash,)
            ).fetchone()
            if not there:
                self._db.execute(
                    f"INSERT OR REPLACE INTO llmc_archive (span_hash, start_line, {_RESULT}) "
                    f"VALUES (?, ?, {marks})",
                    (span.span_hash, span.start_line, *row),
                )
                return False
            self._db.execute(
                f"INSERT OR REPLACE INTO enrichments (span_hash, {_RESULT}) VALUES (?, {marks})",
                (span.span_hash, *row),
            )
            self._put_outcome(span.span_hash, outcome)
        return True

    def salvage(self, aside: Path) -> int:
        """Archive every enrichment that can be read from a damaged index; return how many."""
        columns = ", ".join(f"e.{name}" for name in _RESULT.split(", "))
        saved = 0
        # Row by row: up to the damage, what comes is sound.
        with closing(sqlite3.connect(aside)) as damaged, suppress(sqlite3.DatabaseError):
            for row in damaged.execute(
                f"SELECT e.span_hash, coalesce(s.start_line, 1), {columns} "
                "FROM enrichments e LEFT JOIN spans s ON s.span_hash = e.span_hash"
            ):
                marks = ", ".join("?" * len(row))
                with self._writing():
                    self._db.execute(
                        "INSERT OR REPLACE INTO llmc_archive (span_hash, start_line, "
                        f"{_RESULT}) VALUES ({marks})",
                        row,
                    )
                saved += 1
        return saved

    def save_failure(self, span: Span, outcome: Outcome) -> None:
        """Remember how a span failed, if it is still in the index."""
        with self._writing():
            self._put_outcome(span.span_hash, outcome)

    def _put_outcome(self, span_hash: str, outcome: Outcome) -> None:
        self._db.execute(
            "INSERT INTO llmc_outcomes (span_hash, result, reason, detail, tier, backend, model, "
            "attempts, prompt_tokens, completion_tokens, wall_ms, updated_at, failed_runs) "
            "SELECT span_hash, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM spans WHERE span_hash = ? "
            "ON CONFLICT (span_hash) DO UPDATE SET result = excluded.result, "
            "reason = excluded.reason, detail = excluded.detail, tier = excluded.tier, "
            "backend = excluded.backend, model = excluded.model, attempts = excluded.attempts, "
            "prompt_tokens = prompt_tokens + excluded.prompt_tokens, "
            "completion_tokens = completion_tokens + excluded.completion_tokens, "
            "wall_ms = excluded.wall_ms, updated_at = excluded.updated_at, "
            "failed_runs = failed_runs + excluded.failed_runs",
            (*astuple(outcome), int(outcome.result == "fail"), span_hash),
        )

    # -- reading -----------------------------------------------------------------------------

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
            enrichment = enrichment | {"evidence": _moved(enrichment["evidence"], by)}
        place = f"{original_path}:{original_start}"
        return StoredResult(span, original.summary, enrichment, original.outcome, place)

    def _results(self, condition: str, values: Iterable[Any]) -> list[StoredResult]:
        results = ", ".join(f"e.{name}" for name in _RESULT.split(", "))
        outcomes = "o." + ", o.".join(Outcome.__slots__)
        join = "LEFT JOIN llmc_outcomes o ON o.span_hash = s.span_hash"
        if not self._has_ours():
            outcomes, join = ", ".join(["NULL"] * len(Outcome.__slots__)), ""
        rows = self._rows(
            f"SELECT {_SPAN}, e.span_hash, {results}, {outcomes} FROM spans s "
            "JOIN files f ON f.id = s.file_id "
            f"LEFT JOIN enrichments e ON e.span_hash = s.span_hash {join} WHERE {condition}",
            values,
        )
        return [_result(row) for row in rows]

    def _has_ours(self) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE name = 'llmc_archive'"))


def _place(span: ParsedSpan) -> tuple[str, str, int, int, int, int]:
    return (
        span.symbol,
        span.kind,
        span.start_line,
        span.end_line,
        span.byte_start,
        span.byte_end,
    )


def _row(result: Enrichment, model: str, schema_version: str, now: float) -> tuple[Any, ...]:
    """Return the values of `_RESULT`; what the reply names itself beats what the run knows."""
    given = result.model_fields_set
    return (
        result.summary_120w,
        ",".join(result.tags) or None,
        json.dumps([entry.model_dump() for entry in result.evidence]),
        result.model if "model" in given else model,
        str(int(now)),
        result.schema_version if "schema_version" in given else schema_version,
        json.dumps(result.inputs),
        json.dumps(result.outputs),
        json.dumps(result.side_effects),
        json.dumps(result.pitfalls),
        result.usage_snippet,
    )


def _result(row: Any) -> StoredResult:
    span, stored, rest = Span(*row[:11]), row[11], row[12:]
    outcome = Outcome(*rest[11:]) if rest[11] is not None else None
    if stored is None:
        return StoredResult(span, outcome=outcome)
    names = _RESULT.split(", ")
    enrichment = dict(zip(names, rest[:11], strict=True))
    for name in ("evidence", "inputs", "outputs", "side_effects", "pitfalls"):
        enrichment[name] = _listed(enrichment[name])
    enrichment["tags"] = enrichment["tags"].split(",") if enrichment["tags"] else []
    return StoredResult(span, enrichment["summary"], enrichment, outcome)


def _listed(text: str | None) -> list[Any]:
    """Read a JSON list that some program stored; anything else counts as empty."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _shifted(evidence: str, by: int) -> str:
    return json.dumps(_moved(_listed(evidence), by))


def _moved(entries: list[Any], by: int) -> list[Any]:
    return [
        {**entry, "lines": [line + by for line in entry["lines"]]}
        if isinstance(entry, dict)
        and isinstance(entry.get("lines"), list)
        and all(isinstance(line, int) for line in entry["lines"])
        else entry
        for entry in entries
    ]
