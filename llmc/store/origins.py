"""Where what an index holds was made: here, or by whoever else has written to the file.

A mark in `llmc_origins` is an installation's seal over one result, or one failure, of a span. The
hash that names the span is of its text, and every column is covered: what was changed, or put
beside another text, has no mark any more. Each installation has marks of its own, and believes no
others, so several may share an index.

Only evidence changes by right, when its span moves. It is sealed as it stood when the span began at
the `line` that the mark names, and moved back there to be checked: who moves a span needs no key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmc.store.database.handle import Database
from llmc.store.seal import Seal, Value, is_installation
from llmc.store.tables.failures import FailureRow
from llmc.store.tables.marks import JOINED, MARK, OTHER_MARKS, PUT_MARK, MarkRow, What
from llmc.store.tables.parts import Part, list_columns
from llmc.store.tables.results import ResultRow
from llmc.store.tables.values import is_time, measure_shift, shift_evidence

Made = Literal["here", "adopted", "elsewhere"]
Table = Literal["enrichments", "llmc_archive"]

FIRST, BEFORE_FIRST = -(2**63), -1e19
"""The least rowid, and a number below it: a row may stand there, too."""

_PAGE = 500
_FACTS = "facts"
_VERDICTS = "verdicts"
_RESULTS = list_columns(ResultRow, "r")
_PAGES = {
    "enrichments": f"SELECT r.rowid AS rowid, r.span_hash, s.start_line, {_RESULTS}, {MARK} "
    "FROM enrichments r LEFT JOIN spans s ON s.span_hash = r.span_hash ",
    "llmc_archive": f"SELECT r.rowid AS rowid, r.span_hash, r.start_line, {_RESULTS}, {MARK} "
    "FROM llmc_archive r ",
}
_RESULT = Part(ResultRow, 3)
_MARK = Part(MarkRow, _RESULT.end)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a result or a failure was made; if elsewhere, `installation` is what the index claims.

    What was made elsewhere is for people to look at. Agents take text for truth, so they are given
    none of it until somebody adopts it.
    """

    made: Made
    installation: str | None = None

    @property
    def servable(self) -> bool:
        """Whether the text may be given to agents."""
        return self.made != "elsewhere"


@dataclass(frozen=True, slots=True)
class Result:
    """A stored result and its row; `line` is where its span begins."""

    rowid: int
    span_hash: Any
    line: Any
    row: ResultRow
    made: Made


class Origins:
    """The marks of one open index, made and checked by one installation's seal; None has none."""

    def __init__(self, db: Database, seal: Seal | None) -> None:
        self._db = db
        self._seal = seal

    @property
    def mine(self) -> str:
        """This installation's name, "" if it has none."""
        return self._seal.installation if self._seal else ""

    def mark(
        self,
        span_hash: str,
        line: int,
        row: ResultRow | FailureRow,
        adopted_at: float | None = None,
    ) -> tuple[Any, ...] | None:
        """Seal what was stored for a span; its row is to be as the index gives it back.

        Returns the mark's row, None without a seal. Part of the transaction that stores them.
        """
        if self._seal is None:
            return None
        mac = self._seal.sign(_name(row), span_hash, line, adopted_at, *row)
        mark = (span_hash, self.mine, _name(row), line, adopted_at, mac)
        self._db.execute(PUT_MARK, mark)
        return mark

    def verify(
        self, span_hash: str, line: object, row: ResultRow | FailureRow, mark: MarkRow
    ) -> Made:
        """Tell where a row was made, by its columns, the line its span begins at and its mark."""
        then, adopted_at, mac = mark
        if self._seal is None or mac is None or not (adopted_at is None or is_time(adopted_at)):
            return "elsewhere"
        by = measure_shift(then, line)
        if by and isinstance(row, ResultRow):
            row = row._replace(evidence=_move_back(row.evidence, by))
        if not self._seal.verifies(mac, _name(row), span_hash, then, adopted_at, *row):
            return "elsewhere"
        return "here" if adopted_at is None else "adopted"

    def sign_facts(self, facts: bytes) -> bytes | None:
        """Return the mark of what was proven of a file's spans, None without a seal to make one.

        The facts name the texts that they are of by their hashes, so they are true in any file.
        """
        return self._seal.sign(_FACTS, facts) if self._seal else None

    def verify_facts(self, mac: object, facts: object) -> bool:
        """Tell whether facts were proven here: nothing else says so of them."""
        if self._seal is None or not isinstance(facts, bytes):
            return False
        return self._seal.verifies(mac, _FACTS, facts)

    def sign_verdicts(self, span_hash: str, mark: bytes | None, *found: Value) -> bytes | None:
        """Return a seal over what was found of a result that bears a mark; None if it has none."""
        if self._seal is None or mark is None:
            return None
        return self._seal.sign(_VERDICTS, span_hash, mark.hex(), *found)

    def verify_verdicts(self, mac: object, span_hash: str, mark: object, *found: Value) -> bool:
        """Tell whether it was found here, of the very result that the mark was made for."""
        if self._seal is None or not isinstance(mark, bytes):
            return False
        return self._seal.verifies(mac, _VERDICTS, span_hash, mark.hex(), *found)

    def trace(
        self, span_hash: str, line: object, row: ResultRow | FailureRow, mark: MarkRow
    ) -> Origin:
        """Return where a row was made, and by whom, as far as that is known."""
        made = self.verify(span_hash, line, row, mark)
        who = self.mine if made != "elsewhere" else self.find_claimed(_name(row), span_hash)
        return Origin(made, who)

    def hash_rows(self, rows: bytes) -> str:
        """Return what rows are known by again; without a seal there is nothing to keep it for."""
        return self._seal.hash_rows(rows) if self._seal else ""

    def find_invalid(self, where: str, values: Sequence[object]) -> set[Any]:
        """Return the spans whose result has a mark of ours that is not over it.

        `where` is a condition on the results, `r`. Raises UnicodeError as `read_plain` does.
        """
        query = f"{_PAGES['enrichments']} {JOINED.format('r.span_hash', 'result')} "
        query += f"WHERE {where} AND typeof(m.rowid) = 'integer'"
        found = map(self._read, self._db.read_plain(query, (self.mine, *values)))
        return {result.span_hash for result in found if result.made == "elsewhere"}

    def read_results(self, table: Table) -> Iterator[Result]:
        """Yield each result of a table, with its seal checked; takes about 10 s per million."""
        after: float = BEFORE_FIRST
        while page := self.read_page(table, after):
            yield from page
            after = page[-1].rowid

    def read_page(self, table: Table, after: float) -> list[Result]:
        """Return some results of a table whose rowid is above `after`, in that order."""
        query = f"{_PAGES[table]} {JOINED.format('r.span_hash', 'result')} "
        query += "WHERE r.rowid > ? ORDER BY r.rowid LIMIT ?"
        rows = self._db.execute(query, (self.mine, after, _PAGE)).fetchall()
        return [self._read(row) for row in rows]

    def _read(self, row: Sequence[Any]) -> Result:
        rowid, span_hash, line = row[:3]
        result = _RESULT.read(row)
        made = self.verify(span_hash, line, result, _MARK.read(row))
        return Result(rowid, span_hash, line, result, made)

    def find_claimed(self, what: What, span_hash: str) -> str | None:
        """Return who else says to have made a row; anybody can say so. None: nobody does."""
        try:
            rows = self._db.execute(OTHER_MARKS, (span_hash, what, self.mine)).fetchall()
        except sqlite3.OperationalError:
            return None  # an index of an earlier llmc, or of another program, has no such table
        return next((row[0] for row in rows if is_installation(row[0])), None)


def _move_back(evidence: Any, by: int) -> Any:
    """Return evidence as it stood before its span moved; what llmc would not store so stays."""
    if evidence and shift_evidence(evidence, 0) == evidence:
        return shift_evidence(evidence, by)
    return evidence


def _name(row: ResultRow | FailureRow) -> What:
    return "result" if isinstance(row, ResultRow) else "failure"
