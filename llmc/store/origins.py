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

from llmc.store.rows import is_time, lines_apart, shifted
from llmc.store.seal import Seal, is_installation
from llmc.store.tables import FAILURE_COLUMNS, ORIGIN_COLUMNS, RESULT_COLUMNS

What = Literal["result", "failure"]
Made = Literal["here", "adopted", "elsewhere"]
Table = Literal["enrichments", "llmc_archive"]

MARK = "m.line, m.adopted_at, m.mac"
NO_MARK = "NULL, NULL, NULL"
JOINED = "LEFT JOIN llmc_origins m ON m.span_hash = {} AND m.what = '{}' AND m.installation = ?"
"""Brings in the columns of MARK, for a column of hashes and one of What; takes `Origins.mine`."""

_PUT = (
    f"INSERT OR REPLACE INTO llmc_origins (span_hash, {ORIGIN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
)
_CLAIMED = (
    "SELECT installation FROM llmc_origins WHERE span_hash = ? AND what = ? AND installation <> ? "
    "ORDER BY rowid DESC LIMIT 9"
)
FIRST = -(2**63)
_PAGE = 500
_RESULTS = ", ".join(f"r.{name}" for name in RESULT_COLUMNS.split(", "))
_PAGES = {
    "enrichments": f"SELECT r.rowid, r.span_hash, s.start_line, {_RESULTS}, {MARK} "
    "FROM enrichments r LEFT JOIN spans s ON s.span_hash = r.span_hash ",
    "llmc_archive": f"SELECT r.rowid, r.span_hash, r.start_line, {_RESULTS}, {MARK} "
    "FROM llmc_archive r ",
}
_EVIDENCE = RESULT_COLUMNS.split(", ").index("evidence")
_WIDTH = {"result": RESULT_COLUMNS.count(",") + 1, "failure": FAILURE_COLUMNS.count(",") + 1}


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
    """A stored result as a row: `values` are its RESULT_COLUMNS, `line` where its span begins."""

    rowid: int
    span_hash: Any
    line: Any
    values: Sequence[Any]
    made: Made


class Origins:
    """The marks of one open index, made and checked by one installation's seal; None has none."""

    def __init__(self, connection: sqlite3.Connection, seal: Seal | None) -> None:
        self._db = connection
        self._seal = seal

    @property
    def mine(self) -> str:
        """This installation's name, "" if it has none."""
        return self._seal.installation if self._seal else ""

    def mark(
        self,
        what: What,
        span_hash: str,
        line: int,
        values: Sequence[Any],
        adopted_at: float | None = None,
    ) -> None:
        """Seal what was stored for a span; `values` are its columns as the index gives them back.

        Part of the transaction that stores them.
        """
        if self._seal is None:
            return
        assert len(values) == _WIDTH[what]
        mac = self._seal.mac(what, span_hash, line, adopted_at, *values)
        self._db.execute(_PUT, (span_hash, self.mine, what, line, adopted_at, mac))

    def verified(
        self, what: What, span_hash: str, line: object, values: Sequence[Any], mark: Sequence[Any]
    ) -> Made:
        """Tell where a row was made, by its columns, the line its span begins at and its mark."""
        then, adopted_at, mac = mark
        if self._seal is None or mac is None or not (adopted_at is None or is_time(adopted_at)):
            return "elsewhere"
        sealed = list(values)
        by = lines_apart(then, line)
        if by and what == "result":
            sealed[_EVIDENCE] = _moved_back(sealed[_EVIDENCE], by)
        if not self._seal.verifies(mac, what, span_hash, then, adopted_at, *sealed):
            return "elsewhere"
        return "here" if adopted_at is None else "adopted"

    def origin(
        self, what: What, span_hash: str, line: object, values: Sequence[Any], mark: Sequence[Any]
    ) -> Origin:
        """Return where a row was made, and by whom, as far as that is known."""
        made = self.verified(what, span_hash, line, values, mark)
        return Origin(made, self.mine if made != "elsewhere" else self.claimed(what, span_hash))

    def results(self, table: Table) -> Iterator[Result]:
        """Yield each result of a table, with its seal checked; takes about 10 s per million."""
        after = FIRST
        while page := self.page(table, after):
            yield from page
            after = page[-1].rowid

    def page(self, table: Table, after: int) -> list[Result]:
        """Return some results of a table whose rowid is above `after`, in that order."""
        query = f"{_PAGES[table]} {JOINED.format('r.span_hash', 'result')} "
        query += "WHERE r.rowid > ? ORDER BY r.rowid LIMIT ?"
        rows = self._db.execute(query, (self.mine, after, _PAGE)).fetchall()
        return [self._read(row) for row in rows]

    def _read(self, row: Sequence[Any]) -> Result:
        rowid, span_hash, line, *rest = row
        values, mark = rest[:-3], rest[-3:]
        made = self.verified("result", span_hash, line, values, mark)
        return Result(rowid, span_hash, line, values, made)

    def claimed(self, what: What, span_hash: str) -> str | None:
        """Return who else says to have made a row; anybody can say so. None: nobody does."""
        try:
            rows = self._db.execute(_CLAIMED, (span_hash, what, self.mine)).fetchall()
        except sqlite3.OperationalError:
            return None  # an index of an earlier llmc, or of another program, has no such table
        return next((name for (name,) in rows if is_installation(name)), None)


def _moved_back(evidence: Any, by: int) -> Any:
    """Return evidence as it stood before its span moved; what llmc would not store so stays."""
    return shifted(evidence, by) if evidence and shifted(evidence, 0) == evidence else evidence
