"""What is written to an index, and the work list; `reader` has the questions, `claims` the claims.

A span is known by the hash of its text, so an enrichment stays with the text wherever it goes:
- text that stands in two places is one span; the other place is a *twin* and shows the same result;
- a span that disappears leaves its enrichment in an archive, and gets it back when the text
  returns, as it does when somebody changes branches.
Nothing that was paid for is deleted.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

from llmc.errors import CorruptIndexError
from llmc.files.owners import Owner
from llmc.models import Enrichment, IndexPlace, ParsedFile, ParsedSpan, Span
from llmc.store.adoption import Adoption
from llmc.store.claims import Claims, Wanted
from llmc.store.database.custody import located, placed, standing
from llmc.store.database.displaced import fate, save_beside
from llmc.store.database.opening import connect, replaced
from llmc.store.database.writing import BUSY_TIMEOUT_SEC, writing
from llmc.store.origins import What
from llmc.store.reader import Reader
from llmc.store.retries import retry_pause
from llmc.store.rows import (
    BAD_SPAN,
    MAX_TOKENS,
    MAX_WHOLE,
    Outcome,
    is_name,
    is_path,
    is_whole,
    lines_apart,
    runs,
    shifted,
    spans_of,
)
from llmc.store.salvage import salvage
from llmc.store.seal import Seal
from llmc.store.tables import FAILURE_COLUMNS, RESULT_COLUMNS, SPAN_COLUMNS, insertion

EXCERPT_CHARS = 500
"""How much of a refused reply is kept beside the failure."""


_PUT_ENRICHMENT = f"{insertion('enrichments', RESULT_COLUMNS)} RETURNING {RESULT_COLUMNS}"
_PUT_ARCHIVED = insertion("llmc_archive", f"start_line, {RESULT_COLUMNS}")
_ADDED_UP = ("prompt_tokens", "completion_tokens", "failed_runs")


def _sane(name: str) -> str:
    """Return SQL for a number of llmc_outcomes that is to be added to; one past belief is 0."""
    column = f"llmc_outcomes.{name}"
    return (
        f"CASE WHEN typeof({column}) = 'integer' AND {column} BETWEEN 0 AND {MAX_TOKENS} "
        f"THEN {column} ELSE 0 END"
    )


_OUTCOME = attrgetter(*Outcome.__slots__)
_PUT_OUTCOME = (
    f"INSERT INTO llmc_outcomes ({', '.join(Outcome.__slots__)}, failed_runs, span_hash) "
    f"SELECT {', '.join('?' * len(Outcome.__slots__))}, ?, span_hash FROM spans "
    "WHERE span_hash = ? ON CONFLICT (span_hash) DO UPDATE SET result = excluded.result, "
    "reason = excluded.reason, detail = excluded.detail, tier = excluded.tier, "
    "backend = excluded.backend, model = excluded.model, attempts = excluded.attempts, "
    "wall_ms = excluded.wall_ms, updated_at = excluded.updated_at, "
    + ", ".join(f"{name} = excluded.{name} + {_sane(name)}" for name in _ADDED_UP)
)
_ADD_TOKENS = (
    "UPDATE llmc_outcomes SET "
    + ", ".join(f"{name} = ? + {_sane(name)}" for name in _ADDED_UP[:2])
    + " WHERE span_hash = ?"
)
_IS_ENRICHED = "SELECT 1 FROM enrichments WHERE span_hash = ?"
_PUT_FAILURE = f"{insertion('{}', FAILURE_COLUMNS)} RETURNING {FAILURE_COLUMNS}"
_MOVE_FAILURE = (
    f"INSERT OR REPLACE INTO {{}} (span_hash, {FAILURE_COLUMNS}) "
    f"SELECT span_hash, {FAILURE_COLUMNS} FROM {{}} WHERE span_hash = ?"
)
_FAILURES = "SELECT count FROM {} WHERE span_hash = ? AND signature = ?"
_END_FAILURE = "DELETE FROM {} WHERE span_hash = ?"
_FAILED, _FAILED_ONCE = "llmc_failures", "llmc_failures_archive"
_READ_ANEW = "UPDATE files SET size = -1, file_hash = '' WHERE"
_HASH = "SELECT span_hash FROM spans WHERE id = ?"
_PLACES = (
    "SELECT file_id FROM spans WHERE id = ? "
    f"UNION SELECT file_id FROM llmc_twins WHERE span_hash = ({_HASH})"
)
_PUT_FACTS = (
    "INSERT OR REPLACE INTO llmc_facts (span_hash, facts) "
    "SELECT span_hash, ? FROM spans WHERE span_hash = ?"
)
_FACTS_READ = (
    "INSERT OR REPLACE INTO llmc_facts_read (file_id, version) "
    "SELECT id, ? FROM files WHERE path = ?"
)
_END_CLAIM = "DELETE FROM llmc_claims WHERE span_hash = ? AND owner = ?"
_PLACE = "symbol = ?, kind = ?, start_line = ?, end_line = ?, byte_start = ?, byte_end = ?"


@dataclass(frozen=True, slots=True)
class FileState:
    """What the index knows of a file; equal size and mtime (epoch seconds) mean unchanged."""

    file_hash: str
    size: int
    mtime: float
    lang: str


class Store(Reader):
    """One open index, for writing too; `owner` is the name that its claims are under.

    `patience_sec` is how long a write waits for other programs that hold the index. `adoption` is
    about what was made elsewhere.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        owner: Owner | None = None,
        *,
        seal: Seal | None = None,
        place: IndexPlace | None = None,
    ) -> None:
        super().__init__(path, connection, seal=seal)
        self._place = place or IndexPlace(path)
        self._file = standing(path)
        self._saved: Path | None = None
        self.patience_sec = BUSY_TIMEOUT_SEC
        self._registered = owner
        self.owner = owner.name if owner else ""
        self._claims = Claims(path, connection, self.owner)
        self.adoption = Adoption(path, connection, self._origins)

    @classmethod
    def open(
        cls, index: IndexPlace | Path, *, create: bool = False, seal: Seal | None = None
    ) -> Self:
        """Open an index for writing, as one of its owners; `seal` marks what is stored.

        Raises StoreError.
        """
        connected = connect(index, create=create)
        return cls(located(index), *connected, seal=seal, place=placed(index))

    @classmethod
    def rescue(cls, index: IndexPlace | Path, found: CorruptIndexError) -> tuple[Path, int]:
        """Replace a corrupt index by a new one with all that can still be read; it is kept aside.

        Returns where the corrupt one is now and how many enrichments were saved. A rescue that
        breaks off leaves the index as it was, or is ended by the next open. Raises StoreError, also
        where another process has done this already.
        """
        path = located(index)
        return replaced(index, found, lambda new: salvage(path, new))

    def close(self) -> None:
        """End the claims and close the index; what was committed is on disk."""
        if self._registered is None:
            super().close()
            return
        try:
            self._claims.give_up()
            super().close()
        finally:
            self._registered.release()

    def displaced(self) -> str | None:
        """Say what others did to the index since it was opened: removed it, or replaced it."""
        return self._file and fate(self.path, self._file)

    def save_beside(self) -> tuple[Path, int]:
        """Copy a displaced index, which ends with this process, to a file beside its place.

        Returns that file, the same one each time, and how many enrichments it has. Raises
        StoreError.
        """
        self._saved = save_beside(self._db, replace(self._place, path=self.path), self._saved)
        return self._saved, self._rows("SELECT count(*) FROM enrichments")[0][0]

    def transaction(self) -> AbstractContextManager[None]:
        """Run a block as one write: all of it is stored, or none. Raises StoreError."""
        return writing(self._db, self.path, patience_sec=self.patience_sec)

    _writing = transaction

    # -- files and spans ---------------------------------------------------------------------

    def files(self) -> dict[str, FileState]:
        """Return every file of the index by its path.

        One of which something can't be used looks changed.
        """
        rows = self._rows("SELECT path, file_hash, size, mtime, lang FROM files")
        return {row[0]: _state(*row[1:]) for row in rows if is_name(row[0])}

    def file_of(self, span: Span) -> FileState | None:
        """Return the file that a span is in, None if the span is no longer at its place there."""
        rows = self._rows(
            "SELECT f.file_hash, f.size, f.mtime, f.lang FROM spans s "
            "JOIN files f ON f.id = s.file_id WHERE s.id = ? AND s.span_hash = ? "
            "AND f.path = ? AND s.byte_start = ? AND s.byte_end = ?",
            (span.id, span.span_hash, span.path, span.byte_start, span.byte_end),
        )
        return _state(*rows[0]) if rows else None

    def mend(self) -> int:
        """Remove files and spans that can't be any; return how many.

        Files that had such spans look changed afterwards, so that an index pass reads them anew.
        """
        lost = self._ids("id < 1 OR NOT EXISTS (SELECT 1 FROM files f WHERE f.id = spans.file_id)")
        bad_spans = lost | self._ids(BAD_SPAN)
        bad_twins = self._rows(f"SELECT rowid, file_id FROM llmc_twins WHERE {BAD_SPAN}")
        paths = self._rows("SELECT id, typeof(path), CAST(path AS BLOB) FROM files")
        bad_files = [row[0] for row in paths if row[1] != "text" or not is_path(row[2])]
        if not (bad_spans or bad_twins or bad_files):
            return 0
        with self._writing():
            for rowid, file_id in bad_twins:
                self._db.execute("DELETE FROM llmc_twins WHERE rowid = ?", (rowid,))
                self._db.execute(f"{_READ_ANEW} id = ?", (file_id,))
            if lost:  # of any file
                self._db.execute(f"{_READ_ANEW} 1")
            for span_id in bad_spans:
                self._db.execute(f"{_READ_ANEW} id IN ({_PLACES})", (span_id, span_id))
                self._db.execute(f"DELETE FROM llmc_twins WHERE span_hash = ({_HASH})", (span_id,))
                self._drop_spans([span_id])
            for file_id in bad_files:
                self._remove_file(file_id)
        return len(bad_spans) + len(bad_twins) + len(bad_files)

    def _ids(self, condition: str) -> set[int]:
        return {row[0] for row in self._rows(f"SELECT id FROM spans WHERE {condition}")}

    def touch_file(self, file: ParsedFile) -> bool:
        """Note a new time stamp of a file; False if the index has other bytes of it, or none."""
        with self._writing():
            found = self._db.execute(
                "UPDATE files SET size = ?, mtime = ? "
                "WHERE path = ? AND file_hash = ? AND lang = ?",
                (file.size, file.mtime, file.path, file.file_hash, file.lang),
            )
        return found.rowcount > 0

    def read_anew(self, paths: Iterable[str]) -> None:
        """Have the next index pass read these files, whatever their size and time."""
        with self._writing():
            for path in paths:
                self._db.execute(f"{_READ_ANEW} path = ?", (path,))

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
            rows = self._db.execute(
                "SELECT id, span_hash, start_line FROM spans WHERE file_id = ?", (file_id,)
            ).fetchall()
            before = {span_hash: start for _, span_hash, start in rows}
            now = {span.span_hash for span in file.spans}
            self._drop_spans([row[0] for row in rows if row[1] not in now])
            placed: set[str] = set()
            for span in file.spans:
                if span.span_hash in placed:
                    self._add_twin(file_id, span)
                elif span.span_hash in before:
                    self._move(span, file_id, before[span.span_hash])
                else:
                    self._add(file_id, span)
                placed.add(span.span_hash)
            self.put_facts(file)

    def put_facts(self, file: ParsedFile) -> None:
        """Store what was proven of a file's spans, as far as the index has them."""
        rows = [(_storable(span.facts), span.span_hash) for span in file.spans if span.facts]
        with self._writing():
            self._db.executemany(_PUT_FACTS, rows)
            self._db.execute(_FACTS_READ, (file.facts_version, file.path))

    def without_facts(self, version: int) -> set[str]:
        """Return the paths whose spans have no facts of this version."""
        query = (
            "SELECT f.path FROM files f LEFT JOIN llmc_facts_read r ON r.file_id = f.id "
            "WHERE r.version IS NOT ?"
        )
        return {path for (path,) in self._rows(query, (version,))}

    def remove_file(self, path: str) -> tuple[int, int]:
        """Take a file out of the index; spans that also stand elsewhere move there.

        Returns how many spans and enrichments left the index.
        """
        with self._writing():
            found = self._db.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
            return self._remove_file(found[0]) if found else (0, 0)

    def _remove_file(self, file_id: int) -> tuple[int, int]:
        rows = self._db.execute("SELECT id FROM spans WHERE file_id = ?", (file_id,)).fetchall()
        self._db.execute("DELETE FROM llmc_twins WHERE file_id = ?", (file_id,))
        gone = self._drop_spans([row[0] for row in rows])
        self._db.execute("DELETE FROM files WHERE id = ?", (file_id,))
        return gone

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
                f"INSERT INTO enrichments (span_hash, {RESULT_COLUMNS}) "
                f"SELECT span_hash, {RESULT_COLUMNS} FROM llmc_archive WHERE span_hash = ?",
                (span.span_hash,),
            )
            self._db.execute("DELETE FROM llmc_archive WHERE span_hash = ?", (span.span_hash,))
            self._shift_evidence(span.span_hash, lines_apart(span.start_line, row[0]))
        else:
            self._db.execute(_MOVE_FAILURE.format(_FAILED, _FAILED_ONCE), (span.span_hash,))
        self._db.execute(_END_FAILURE.format(_FAILED_ONCE), (span.span_hash,))

    def _add_twin(self, file_id: int, span: ParsedSpan) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO llmc_twins (file_id, symbol, kind, start_line, end_line, "
            "byte_start, byte_end, span_hash, doc_hint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (file_id, *_place(span), span.span_hash, span.doc_hint),
        )

    def _move(self, span: ParsedSpan, file_id: int, old_start: object) -> None:
        self._db.execute(
            f"UPDATE spans SET file_id = ?, {_PLACE}, doc_hint = ? WHERE span_hash = ?",
            (file_id, *_place(span), span.doc_hint, span.span_hash),
        )
        self._shift_evidence(span.span_hash, lines_apart(span.start_line, old_start))

    def _drop_spans(self, ids: Iterable[int]) -> tuple[int, int]:
        """Remove spans: each goes to one of its twins, else what is known of it to the archive.

        Returns how many spans and enrichments are no longer there.
        """
        spans = enrichments = 0
        for span_id in ids:
            span_hash, start = self._db.execute(
                "SELECT span_hash, start_line FROM spans WHERE id = ?", (span_id,)
            ).fetchone()
            twin = self._db.execute(
                "SELECT rowid, file_id, symbol, kind, start_line, end_line, byte_start, byte_end, "
                "span_hash, doc_hint FROM llmc_twins WHERE span_hash = ? LIMIT 1",
                (span_hash,),
            ).fetchone()
            if twin:
                self._db.execute("DELETE FROM llmc_twins WHERE rowid = ?", (twin[0],))
                self._move(ParsedSpan(*twin[2:]), twin[1], start)
                continue
            enrichments += self._db.execute(
                "INSERT OR REPLACE INTO llmc_archive "
                f"(span_hash, start_line, {RESULT_COLUMNS}) "
                f"SELECT span_hash, ?, {RESULT_COLUMNS} FROM enrichments WHERE span_hash = ?",
                (start if is_whole(start) else 0, span_hash),
            ).rowcount
            self._db.execute(_MOVE_FAILURE.format(_FAILED_ONCE, _FAILED), (span_hash,))
            self._db.execute("DELETE FROM spans WHERE id = ?", (span_id,))
            spans += 1
        return spans, enrichments

    def _shift_evidence(self, span_hash: str, by: int) -> None:
        if not by:
            return
        row = self._db.execute(
            "SELECT evidence FROM enrichments WHERE span_hash = ?", (span_hash,)
        ).fetchone()
        if row and row[0]:
            self._db.execute(
                "UPDATE enrichments SET evidence = ? WHERE span_hash = ?",
                (shifted(row[0], by), span_hash),
            )

    # -- the work list -----------------------------------------------------------------------

    def pending(self, after_id: int, limit: int, newest_mtime: float | None = None) -> list[Span]:
        """Return up to `limit` spans without an enrichment whose id is above `after_id`, by id.

        Files changed after `newest_mtime` (epoch seconds) are left out. Raises StoreError.
        """
        spans: list[Span] = []
        while not spans:
            rows = self._rows(
                f"SELECT {SPAN_COLUMNS} FROM spans s JOIN files f ON f.id = s.file_id "
                "WHERE s.id > ? AND (? IS NULL OR f.mtime <= ?) AND NOT EXISTS (SELECT 1 "
                "FROM enrichments e WHERE e.span_hash = s.span_hash) ORDER BY s.id LIMIT ?",
                (after_id, newest_mtime, newest_mtime, limit),
            )
            if not rows:
                break
            spans, after_id = spans_of(rows), rows[-1][0]
        return spans

    def claim(
        self,
        after_id: int,
        limit: int,
        *,
        lease_sec: float,
        newest_mtime: float | None = None,
        signature: str | None = None,
    ) -> list[Span]:
        """Claim up to `limit` pending spans whose id is above `after_id`; return them by id.

        Left out are spans claimed by a living owner, of files changed after `newest_mtime`, and
        those that failed under this very `signature` and rest (None: none rest). Raises StoreError.
        """
        return self._claims.take(after_id, limit, lease_sec, Wanted(newest_mtime, signature))

    def take_over(
        self,
        *,
        lease_sec: float,
        newest_mtime: float | None = None,
        signature: str | None = None,
    ) -> list[Span]:
        """Claim what dead owners had claimed or others let expire; return what still is pending.

        Left out, and free for everybody, are files changed lately and what rests, as in `claim`.
        Raises StoreError.
        """
        return self._claims.take_over(lease_sec, Wanted(newest_mtime, signature))

    def owns(self, span_hash: str) -> bool:
        """Tell whether a claim of ours on a span still counts. Raises StoreError.

        To be asked after a `renew` that came late: what had expired may be another's by then.
        """
        return self._claims.owns(span_hash)

    def renew(self, lease_sec: float) -> int:
        """Let every claim count for `lease_sec` from now; return how many there are still."""
        return self._claims.renew(lease_sec)

    def release(self, span_hashes: Iterable[str]) -> None:
        """End the claims on some spans, so that others may have them. Raises StoreError."""
        self._claims.release(span_hashes)

    def save_enrichment(
        self, span: Span, result: Enrichment, *, schema_version: str, outcome: Outcome
    ) -> bool:
        """Store a result and how it came about, and end the claim, in one transaction.

        Returns True if the index has one enrichment more by that: False if it replaced another,
        or if the span has meanwhile left the index; the result is then archived.
        Raises StoreError; in a `transaction` the whole of that is then lost.
        """
        row = _row(result, outcome.model, schema_version, outcome.updated_at)
        with self._writing():
            more = not self._is_enriched(span.span_hash)
            if self._put_outcome(span.span_hash, outcome):
                self._put_sealed("result", _PUT_ENRICHMENT, (span.span_hash, *row), span.start_line)
                self._follow(span)
                self._db.execute(_END_FAILURE.format(_FAILED), (span.span_hash,))
            else:
                more = False
                archived = f"{_PUT_ARCHIVED} RETURNING {RESULT_COLUMNS}"
                place = (span.span_hash, span.start_line)
                self._put_sealed("result", archived, (*place, *row), span.start_line)
            self._db.execute(_END_CLAIM, (span.span_hash, self.owner))
        return more

    def _put_sealed(self, what: What, query: str, row: Sequence[Any], line: int = 0) -> None:
        """Store a row, and seal it as the database gives it back: its columns have types."""
        [stored] = self._db.execute(query, row).fetchall()
        self._origins.mark(what, row[0], line, stored)

    def _follow(self, span: Span) -> None:
        """Move the evidence along with a span that has moved since it was planned."""
        query = "SELECT start_line FROM spans WHERE span_hash = ?"
        [(now,)] = self._db.execute(query, (span.span_hash,)).fetchall()
        self._shift_evidence(span.span_hash, lines_apart(now, span.start_line))

    def save_failure(
        self, span: Span, outcome: Outcome, *, signature: str = "", excerpt: str | None = None
    ) -> None:
        """Remember how a span failed, and end the claim; one that is enriched stays as it is.

        Until a pause that grows from run to run is over, the span rests for the same `signature`;
        `excerpt` is the start of the reply that was refused. Raises StoreError.
        """
        with self._writing():
            if self._is_enriched(span.span_hash):
                tokens = map(_storable, (outcome.prompt_tokens, outcome.completion_tokens))
                self._db.execute(_ADD_TOKENS, (*tokens, span.span_hash))
            else:
                there = self._put_outcome(span.span_hash, outcome)
                place = _FAILED if there else _FAILED_ONCE
                self._put_failure(place, span.span_hash, outcome, signature, excerpt)
            self._db.execute(_END_CLAIM, (span.span_hash, self.owner))

    def _is_enriched(self, span_hash: str) -> bool:
        return self._db.execute(_IS_ENRICHED, (span_hash,)).fetchone() is not None

    def _put_failure(
        self, place: str, span_hash: str, outcome: Outcome, signature: str, excerpt: str | None
    ) -> None:
        query = _FAILURES.format(place)
        before = self._db.execute(query, (span_hash, signature)).fetchone()
        count = runs(before[0], 0) + 1 if before else 1
        failed_at = outcome.updated_at
        self._put_sealed(
            "failure",
            _PUT_FAILURE.format(place),
            (
                span_hash,
                count,
                outcome.reason,
                _storable(outcome.detail),
                _storable(excerpt and excerpt[:EXCERPT_CHARS]),
                failed_at,
                failed_at + retry_pause(outcome.reason, count),
                signature,
            ),
        )

    def _put_outcome(self, span_hash: str, outcome: Outcome) -> bool:
        """Store how a span was left; False if it isn't in the index."""
        values = [_storable(value) for value in _OUTCOME(outcome)]
        failed = int(outcome.result == "fail")
        return self._db.execute(_PUT_OUTCOME, (*values, failed, span_hash)).rowcount > 0


def _state(file_hash: Any, size: Any, mtime: Any, lang: Any) -> FileState:
    if not (is_name(file_hash) and is_name(lang) and isinstance(size, int)):
        return FileState("", -1, 0.0, "")
    return FileState(file_hash, size, mtime, lang)


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
    """Return the values of RESULT_COLUMNS; what the reply names itself beats what the run knows."""
    given = result.model_fields_set
    return (
        _storable(result.summary_120w),
        _storable(",".join(result.tags)) or None,
        json.dumps([{"field": entry.field, "lines": entry.lines} for entry in result.evidence]),
        _storable(result.model if "model" in given else model),
        str(int(now)),
        _storable(result.schema_version if "schema_version" in given else schema_version),
        json.dumps(result.inputs),
        json.dumps(result.outputs),
        json.dumps(result.side_effects),
        json.dumps(result.pitfalls),
        _storable(result.usage_snippet),
    )


def _storable(value: Any) -> Any:
    """Replace what a database can't hold: half a surrogate pair, or a number beyond 64 bits."""
    if isinstance(value, int):
        return max(-MAX_WHOLE, min(value, MAX_WHOLE))
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()
