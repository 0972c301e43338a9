"""What can still be read from a damaged index, on either side of its bad pages.

Rows are asked for by their number: an index over a table may be damaged where the table is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmc.store.database.look import is_plain, open_hardened
from llmc.store.database.trouble import explain, find_code
from llmc.store.database.writing import transact
from llmc.store.tables.failures import FAILURE_COLUMNS, PUT_FAILURE_ARCHIVED
from llmc.store.tables.marks import MARK_COLUMNS, PUT_MARK
from llmc.store.tables.results import (
    PUT_ARCHIVED,
    PUT_SET_ASIDE,
    RESULT_COLUMNS,
    SET_ASIDE_COLUMNS,
)
from llmc.store.tables.spans import START_OF_SPAN
from llmc.store.tables.values import is_hash, is_whole
from llmc.store.tables.verdicts import PUT_VERDICTS, VERDICT_COLUMNS, VerdictRow

Table = Literal[
    "llmc_archive", "llmc_failures_archive", "llmc_set_aside", "llmc_origins", "llmc_verdicts"
]

_PAGE = 500
_SMALL_STEPS = 20_000
"""Row numbers tried one by one in a damaged stretch; after that the steps double."""

_LAST = 2**63 - 1

PUT: Mapping[Table, str] = {
    "llmc_archive": PUT_ARCHIVED,
    "llmc_failures_archive": PUT_FAILURE_ARCHIVED,
    "llmc_set_aside": PUT_SET_ASIDE,
    "llmc_origins": PUT_MARK,
    "llmc_verdicts": PUT_VERDICTS,
}
_FAILURE_NEEDS = ("count", "kind", "failed_at", "retry_at", "signature")
_MARK_NEEDS = ("installation", "what", "line", "mac")
_VERDICT_NEEDS = ("installation", *VerdictRow._fields)
_NAMED = 2
"""Columns before those of the table itself: the row's number, the hash of its span."""

_PASSING = (
    *("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL", "SQLITE_INTERRUPT", "SQLITE_NOMEM"),
    *("SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR_NOMEM"),
    *("SQLITE_IOERR_SHM", "SQLITE_IOERR_LOCK", "SQLITE_IOERR_RDLOCK", "SQLITE_IOERR_ACCESS"),
)
"""Errors that tell of a moment rather than of the file: nothing may be given up for them."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows that were read, (span_hash, ...), and the table that keeps such rows."""

    table: Table
    rows: list[tuple[Any, ...]]


def copy_readable(damaged: Path, new: sqlite3.Connection) -> None:
    """Store the enrichments, failures, marks and verdicts of a damaged index in a new one.

    Raises StoreError if it can't be read just now, sqlite3.Error if they can't be written.
    """
    put_rows(read_rows(damaged), new)


def put_rows(rows: Iterable[Found], new: sqlite3.Connection) -> None:
    """Store rows in a new index, as far as they can be a span's. Raises sqlite3.Error."""
    for found in rows:
        with transact(new):
            fit = [row for row in found.rows if is_hash(row[0])]
            new.executemany(PUT[found.table], fit)


def read_rows(damaged: Path) -> Iterator[Found]:
    """Yield what is readable of a damaged index, some rows at a time; the newest come last.

    Raises StoreError if it can't be read just now, for want of room or because of a lock.
    """
    # What is no journal of ours was set aside before.
    journal = Path(f"{damaged}-wal")
    options = "mode=ro" if journal.exists() else "mode=ro&immutable=1"
    with explain(damaged), closing(open_hardened(damaged, options)) as database:
        yield from read_open(database, looked_over=False)


def read_open(database: sqlite3.Connection, *, looked_over: bool = True) -> Iterator[Found]:
    """Yield what is readable of an open index, as `read_rows` does; part of it may be in memory.

    `looked_over`: its tables are known to be plain, which its schema may no longer tell.
    Raises sqlite3.Error.
    """

    def plain(*tables: str) -> Iterator[str]:
        return iter(tables) if looked_over else _plain(database, *tables)

    for table in plain("llmc_archive", "enrichments"):
        start = "start_line" if table == "llmc_archive" else "NULL AS start_line"
        for page in _pages(database, table, f"span_hash, {start}, {RESULT_COLUMNS}"):
            yield Found("llmc_archive", [_archived(database, table, row) for row in page])
    for table in plain("llmc_failures_archive", "llmc_failures"):
        for page in _pages(database, table, f"span_hash, {FAILURE_COLUMNS}"):
            yield Found("llmc_failures_archive", _select(page, _FAILURE_NEEDS))
    for table in plain("llmc_set_aside"):
        for page in _pages(database, table, f"span_hash, {SET_ASIDE_COLUMNS}"):
            yield Found("llmc_set_aside", _select(page, ("set_aside_at",)))
    for table in plain("llmc_origins"):
        for page in _pages(database, table, f"span_hash, {MARK_COLUMNS}"):
            # As they are: a mark that fitted its row still does, and no other.
            yield Found("llmc_origins", _select(page, _MARK_NEEDS))
    for table in plain("llmc_verdicts"):
        for page in _pages(database, table, f"span_hash, {VERDICT_COLUMNS}"):
            yield Found("llmc_verdicts", _select(page, _VERDICT_NEEDS))


def _plain(database: sqlite3.Connection, *tables: str) -> Iterator[str]:
    """Yield the tables that hold rows, and don't compute them."""
    for table in tables:
        with _damage_passed_over():  # what can't be told of it can't be read either
            if is_plain(database, table):
                yield table


@contextmanager
def _damage_passed_over() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if find_code(error).startswith(_PASSING):
            raise


def _start(database: sqlite3.Connection, span_hash: object) -> object:
    found = None
    with _damage_passed_over():
        found = database.execute(START_OF_SPAN, (span_hash,)).fetchone()
    return found["start_line"] if found else None


def _archived(database: sqlite3.Connection, table: str, row: sqlite3.Row) -> tuple[Any, ...]:
    """Return a result as the archive keeps it: a line that isn't known is 0."""
    known = table == "llmc_archive"
    line = row["start_line"] if known else _start(database, row["span_hash"])
    return (row["span_hash"], line if is_whole(line) else 0, *row[_NAMED + 1 :])


def _select(page: list[sqlite3.Row], needed: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Return the rows of a page that have all that their table asks for."""
    return [tuple(row)[1:] for row in page if all(row[name] is not None for name in needed)]


def _pages(database: sqlite3.Connection, table: str, columns: str) -> Iterator[list[sqlite3.Row]]:
    query = f"SELECT rowid AS number, {columns} FROM {table} NOT INDEXED "
    query += "WHERE rowid > ? ORDER BY rowid"
    after, misses = -_LAST - 1, 0
    while after < _LAST:
        page: list[sqlite3.Row] = []
        try:
            for row in database.execute(f"{query} LIMIT {_PAGE}", (after,)):
                page.append(row)
                after, misses = row["number"], 0
            if not page:
                return
        except sqlite3.DatabaseError as error:
            if find_code(error).startswith(_PASSING):
                raise
            if not find_code(error).startswith(("SQLITE_CORRUPT", "SQLITE_IOERR")):
                return  # there is no such table, or no database at all
            misses += 1
            after = min(max(after, 0) + _step(misses), _LAST)
        if page:
            yield page


def _step(misses: int) -> int:
    return 1 if misses <= _SMALL_STEPS else 1 << min(62, misses - _SMALL_STEPS)
