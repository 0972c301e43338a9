"""An open index, for writing too: its files and spans, the claims on them, and what was paid for.

`spans` has the files and spans, `claims` who works on what, `adoption` what was made elsewhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from llmc.models import Enrichment, IndexPlace, Span, Verdict
from llmc.store.adoption import Adoption
from llmc.store.claims import Claims
from llmc.store.database.custody import locate, make_place, stat_at
from llmc.store.database.displaced import save_beside, tell_fate
from llmc.store.database.opening import connect
from llmc.store.evidence import follow_span
from llmc.store.owners import Owner
from llmc.store.reader import Reader
from llmc.store.retries import compute_pause
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
        self._place = place or IndexPlace(path)
        self._file = stat_at(path)
        self._saved: Path | None = None
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
        if self._registered is None:
            super().close()
            return
        try:
            self.claims.give_up()
            super().close()
        finally:
            self._registered.release()

    def find_fate(self) -> str | None:
        """Say what others did to the index since it was opened: removed it, or replaced it."""
        return self._file and tell_fate(self.path, self._file)

    def save_beside(self) -> tuple[Path, int]:
        """Copy a displaced index, which ends with this process, to a file beside its place.

        Returns that file, the same one each time, and how many enrichments it has. Raises
        StoreError.
        """
        place = replace(self._place, path=self.path)
        self._saved = save_beside(self._db.connection, place, self._saved)
        return self._saved, self._db.count("SELECT count(*) FROM enrichments")

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
            self._verdicts.keep(span.span_hash, mark, result, verdicts)
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
        return self._origins.mark(span.span_hash, span.start_line, row)

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
        self._origins.mark(span_hash, 0, FailureRow._make(stored))

    def _put_outcome(self, span_hash: str, outcome: Outcome) -> bool:
        """Store how a span was left; False if it isn't in the index."""
        failed = int(outcome.result == "fail")
        row = (*write_outcome(outcome), failed, span_hash)
        return self._db.execute(PUT_OUTCOME, row).rowcount > 0
