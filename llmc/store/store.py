"""An open index, for writing too: its files and spans, the claims on them, and what was paid for.

`spans` has the files and spans, `claims` who works on what, `adoption` what was made elsewhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llmc.models import IndexPlace, Span, Verdict
from llmc.store.adoption import Adoption
from llmc.store.carbon import Carbon
from llmc.store.claims import Claims
from llmc.store.database.custody import locate, make_place
from llmc.store.database.displaced import Displaced, leave, open_saved, save_part, save_whole
from llmc.store.database.opening import connect
from llmc.store.database.trouble import explain
from llmc.store.database.watch import REMOVED, REPLACED, OpenFile, Watch
from llmc.store.evidence import follow_span
from llmc.store.owners import Owner
from llmc.store.reader import Reader
from llmc.store.retries import compute_pause
from llmc.store.salvage import put_rows, read_open
from llmc.store.seal import Seal
from llmc.store.spans import Spans
from llmc.store.tables.failures import (
    ARCHIVED,
    END_FAILURE,
    LIVING,
    PUT_FAILURE,
    RUNS_FAILED,
    FailureRow,
)
from llmc.store.tables.outcomes import (
    ADD_TOKENS,
    BY_RULE,
    PUT_OUTCOME,
    RULE_TIER,
    Outcome,
    write_outcome,
)
from llmc.store.tables.results import (
    FORGET,
    IS_ENRICHED,
    PUT_ARCHIVED,
    PUT_RESULT,
    RESULT_COLUMNS,
    RULE_WRITTEN,
    ResultRow,
    write_result,
)
from llmc.store.tables.values import count_runs, make_storable

if TYPE_CHECKING:
    from llmc.models import Enrichment

DAMAGED = "was damaged"
EXCERPT_CHARS = 500
"""How much of a refused reply is kept beside the failure."""


class Store(Reader):
    """One open index, for writing too; `owner` is the name that its claims are under."""

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
        self._place = replace(place or IndexPlace(path), path=path)
        self._files: list[OpenFile] = []
        self._watch(self._file)
        self._carbon = Carbon()
        self._left: list[tuple[sqlite3.Connection, Displaced]] = []
        self._registered = owner
        self.owner = owner.name if owner else ""
        self.spans = Spans(self._db, self._origins)
        self.claims = Claims(self._db, self.owner)
        self.adoption = Adoption(self._db, self._origins)

    @classmethod
    def open(
        cls, index: IndexPlace | Path, *, create: bool = False, seal: Seal | None = None
    ) -> Self:
        """Open an index for writing, as one of its owners; `seal` marks what is stored.

        Raises StoreError.
        """
        connected = connect(index, create=create)
        return cls(locate(index), *connected, seal=seal, place=make_place(index))

    def close(self) -> None:
        """End the claims and close the index; what was committed is on disk."""
        try:
            if self._registered:
                self.claims.give_up()
            self._db.close()
            for connection, fate in self._left:
                leave(connection, self._place, fate, self.owner)
        finally:
            self._let_go()
            for file in self._files:
                file.release()
            self._carbon.close()
            if self._registered:
                # What of an index was damaged, the next look at it must find.
                self._registered.release(cleanly=not self._is_part)

    def _watch(self, file: OpenFile | None) -> None:
        if file:
            self._db.watch = Watch(self._db.path, file, self._db.connection)

    def find_fate(self) -> str | None:
        """Say what others did to the index that is open: removed it, replaced it, cut it short."""
        return self._db.watch.find_fate() if self._db.watch else None

    @property
    def displaced(self) -> Displaced | None:
        """What became of the index; None while it is the one that was opened."""
        return self._left[0][1] if self._left else None

    @property
    def has_all_of_its_own(self) -> bool:
        """Tell whether all that was stored by this one would outlive damage to the file."""
        return self._carbon.complete

    def save_beside(self, *, damaged: bool = False) -> tuple[Path, int]:
        """Save a displaced index, or a `damaged` one, in a file beside its place, and go on there.

        Returns that file, the same one while it is there, and how many results it has. Raises
        StoreError.
        """
        what = self.find_fate()
        if what or (damaged and not self._left):
            self._go_on_beside(what or DAMAGED)
        archived = self._db.count("SELECT count(*) FROM llmc_archive") if self._is_part else 0
        return self._db.path, self._db.count("SELECT count(*) FROM enrichments") + archived

    @property
    def _is_part(self) -> bool:
        return self.displaced is not None and not self.displaced.whole

    def _go_on_beside(self, what: str) -> None:
        connection, watch, file = self._db.connection, self._db.watch, None
        if what in (REMOVED, REPLACED):
            file = save_whole(connection, self._place)
        whole = file is not None
        if file is None:
            file = save_part(self._place, self._fill)
        saved = open_saved(file)
        journal = watch.journal if watch else None
        self._left.append((connection, Displaced(what, file, whole, journal)))
        self._db.move(file, saved, None)
        if held := OpenFile.hold(file):
            self._files.append(held)
            self._watch(held)

    def _fill(self, new: sqlite3.Connection) -> None:
        """Put what can be read of a damaged index in a new one, and all that was stored here."""
        with explain(self._db.path):
            put_rows(read_open(self._db.connection), new)
        put_rows(self._carbon.read_rows(), new)

    def set_patience(self, seconds: float) -> None:
        """Say how long a write waits for other programs that hold the index."""
        self._db.patience_sec = seconds

    def transaction(self) -> AbstractContextManager[None]:
        """Run a block as one write: all of it is stored, or none. Raises StoreError."""
        return self._db.write()

    def save_enrichment(
        self,
        span: Span,
        result: Enrichment,
        *,
        schema_version: str,
        outcome: Outcome,
        verdicts: Sequence[Verdict] = (),
    ) -> bool:
        """Store a result and how it came about, and end the claim, in one transaction.

        `verdicts` are on its claims and on those that were dropped. Returns True if the index has
        one enrichment more by that: False if it replaced another, or if the span has meanwhile left
        the index; the result is then archived.
        Raises StoreError; in a `transaction` the whole of that is then lost.
        """
        row = write_result(result, outcome.model, schema_version, outcome.updated_at)
        with self._db.write():
            more = not self._is_enriched(span.span_hash)
            if self._put_outcome(span.span_hash, outcome):
                [stored] = self._db.execute(PUT_RESULT, (span.span_hash, *row)).fetchall()
                mark = self._seal_result(span, ResultRow._make(stored))
                follow_span(self._db, span.span_hash, span.start_line)
                self._db.execute(END_FAILURE.format(table=LIVING), (span.span_hash,))
            else:
                more = False
                mark = self._archive(span, row)
            found = self._verdicts.keep(span.span_hash, mark, result, verdicts)
            self._carbon.keep("llmc_verdicts", found)
            self.claims.end(span.span_hash)
        return more

    def forget_by_rule(self) -> int:
        """Take out what this installation wrote by rule, so that it is pending; return how many.

        It can be written again at no cost. Raises StoreError.
        """
        with self._db.write():
            of = (BY_RULE, RULE_TIER, self._origins.mine)
            found = [(row["span_hash"],) for row in self._db.execute(RULE_WRITTEN, of).fetchall()]
            for table in ("enrichments", "llmc_outcomes", "llmc_origins", "llmc_verdicts"):
                self._db.execute_many(FORGET.format(table=table), found)
        return len(found)

    def save_failure(
        self, span: Span, outcome: Outcome, *, signature: str = "", excerpt: str | None = None
    ) -> None:
        """Remember how a span failed, and end the claim; one that is enriched stays as it is.

        Until a pause that grows from run to run is over, the span rests for the same `signature`;
        `excerpt` is the start of the reply that was refused. Raises StoreError.
        """
        with self._db.write():
            if self._is_enriched(span.span_hash):
                row = write_outcome(outcome)
                tokens = (row.prompt_tokens, row.completion_tokens)
                self._db.execute(ADD_TOKENS, (*tokens, span.span_hash))
            else:
                there = self._put_outcome(span.span_hash, outcome)
                table = LIVING if there else ARCHIVED
                self._put_failure(table, span.span_hash, outcome, signature, excerpt)
            self.claims.end(span.span_hash)

    def _is_enriched(self, span_hash: str) -> bool:
        return self._db.execute(IS_ENRICHED, (span_hash,)).fetchone() is not None

    def _archive(self, span: Span, row: ResultRow) -> tuple[Any, ...] | None:
        """Keep the result of a span that has left the index; return its mark."""
        query = f"{PUT_ARCHIVED} RETURNING {RESULT_COLUMNS}"
        [stored] = self._db.execute(query, (span.span_hash, span.start_line, *row)).fetchall()
        return self._seal_result(span, ResultRow._make(stored))

    def _seal_result(self, span: Span, row: ResultRow) -> tuple[Any, ...] | None:
        mark = self._origins.mark(span.span_hash, span.start_line, row)
        self._carbon.keep("llmc_archive", (span.span_hash, span.start_line, *row))
        self._carbon.keep("llmc_origins", mark)
        return mark

    def _put_failure(
        self, table: str, span_hash: str, outcome: Outcome, signature: str, excerpt: str | None
    ) -> None:
        query = RUNS_FAILED.format(table=table)
        before = self._db.execute(query, (span_hash, signature)).fetchone()
        count = count_runs(before["count"], 0) + 1 if before else 1
        failed_at = outcome.updated_at
        row = FailureRow(
            count=count,
            kind=outcome.reason,
            detail=make_storable(outcome.detail),
            excerpt=make_storable(excerpt and excerpt[:EXCERPT_CHARS]),
            failed_at=failed_at,
            retry_at=failed_at + compute_pause(outcome.reason, count),
            signature=signature,
        )
        query = PUT_FAILURE.format(table=table)
        [stored] = self._db.execute(query, (span_hash, *row)).fetchall()
        mark = self._origins.mark(span_hash, 0, FailureRow._make(stored))
        self._carbon.keep("llmc_failures_archive", (span_hash, *stored))
        self._carbon.keep("llmc_origins", mark)

    def _put_outcome(self, span_hash: str, outcome: Outcome) -> bool:
        """Store how a span was left; False if it isn't in the index."""
        failed = int(outcome.result == "fail")
        row = (*write_outcome(outcome), failed, span_hash)
        return self._db.execute(PUT_OUTCOME, row).rowcount > 0
