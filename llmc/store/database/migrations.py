"""How an index of any earlier llmc becomes one of this: steps that are made once, in order.

A step is one transaction with the row of `llmc_migrations` that records it, so a kill leaves the
index as it was before or after. Releases before the count kept no record, and another program may
have removed a table, so a step may find its work done: it says how things are to be, and does
nothing where they are so. Only tables named llmc_* are made or changed, the established never.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from llmc.store.database.writing import transact
from llmc.store.tables.established import ESTABLISHED

_RECORD = """
CREATE TABLE IF NOT EXISTS llmc_migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at REAL NOT NULL);
"""

_FIRST_TABLES = """
CREATE TABLE IF NOT EXISTS llmc_twins (
    file_id INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE,
    span_hash TEXT NOT NULL REFERENCES spans(span_hash) ON DELETE CASCADE,
    symbol TEXT NOT NULL, kind TEXT NOT NULL, start_line INTEGER NOT NULL,
    end_line INTEGER NOT NULL, byte_start INTEGER NOT NULL, byte_end INTEGER NOT NULL,
    doc_hint TEXT NULL, PRIMARY KEY (file_id, byte_start, byte_end, symbol));
CREATE INDEX IF NOT EXISTS llmc_idx_twins_hash ON llmc_twins(span_hash);
CREATE TABLE IF NOT EXISTS llmc_outcomes (
    span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE,
    result TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT, tier TEXT NOT NULL,
    backend TEXT NOT NULL, model TEXT NOT NULL, attempts INTEGER NOT NULL,
    failed_runs INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, wall_ms INTEGER NOT NULL, updated_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS llmc_archive (
    span_hash TEXT PRIMARY KEY, start_line INTEGER NOT NULL, summary TEXT, tags TEXT,
    evidence TEXT, model TEXT, created_at DATETIME, schema_ver TEXT, inputs TEXT, outputs TEXT,
    side_effects TEXT, pitfalls TEXT, usage_snippet TEXT);
"""

_CLAIMS = """
CREATE TABLE IF NOT EXISTS llmc_claims (
    span_hash TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
"""

_FAILURES = """
CREATE TABLE IF NOT EXISTS llmc_failures (
    span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE,
    count INTEGER NOT NULL, kind TEXT NOT NULL, detail TEXT, excerpt TEXT,
    failed_at REAL NOT NULL, retry_at REAL NOT NULL, signature TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS llmc_idx_failures_retry ON llmc_failures(signature, retry_at);
"""

_EARLIER_FAILURES = """
INSERT OR IGNORE INTO llmc_failures
    (span_hash, count, kind, detail, excerpt, failed_at, retry_at, signature)
SELECT o.span_hash, max(1, o.failed_runs), o.reason, o.detail, NULL, o.updated_at, o.updated_at, ''
FROM llmc_outcomes o WHERE o.result = 'fail'
AND EXISTS (SELECT 1 FROM spans s WHERE s.span_hash = o.span_hash)
AND NOT EXISTS (SELECT 1 FROM enrichments e WHERE e.span_hash = o.span_hash);
"""
"""Fills llmc_failures in an index that had none; those spans may be tried again at once."""

_FAILURES_ARCHIVE = """
CREATE TABLE IF NOT EXISTS llmc_failures_archive (
    span_hash TEXT PRIMARY KEY, count INTEGER NOT NULL, kind TEXT NOT NULL, detail TEXT,
    excerpt TEXT, failed_at REAL NOT NULL, retry_at REAL NOT NULL, signature TEXT NOT NULL);
"""

_ORIGINS = """
CREATE TABLE IF NOT EXISTS llmc_origins (
    span_hash TEXT NOT NULL, installation TEXT NOT NULL, what TEXT NOT NULL,
    line INTEGER NOT NULL, adopted_at REAL, mac BLOB NOT NULL,
    PRIMARY KEY (span_hash, installation, what));
CREATE TABLE IF NOT EXISTS llmc_set_aside (
    span_hash TEXT NOT NULL, set_aside_at REAL NOT NULL, start_line INTEGER, summary TEXT,
    tags TEXT, evidence TEXT, model TEXT, created_at DATETIME, schema_ver TEXT, inputs TEXT,
    outputs TEXT, side_effects TEXT, pitfalls TEXT, usage_snippet TEXT);
CREATE INDEX IF NOT EXISTS llmc_idx_set_aside_hash ON llmc_set_aside(span_hash);
"""

_FACTS = """
CREATE TABLE IF NOT EXISTS llmc_facts (
    file_id INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE ON UPDATE CASCADE,
    installation TEXT NOT NULL, version INTEGER NOT NULL, file_hash TEXT NOT NULL,
    facts BLOB NOT NULL, mac BLOB NOT NULL, PRIMARY KEY (file_id, installation));
"""
"""What each installation proved of a file's spans, by which version and of which bytes."""

_VERDICTS = """
CREATE TABLE IF NOT EXISTS llmc_verdicts (
    span_hash TEXT NOT NULL, installation TEXT NOT NULL, proven INTEGER NOT NULL,
    not_provable INTEGER NOT NULL, dropped TEXT NOT NULL, counted BLOB NOT NULL,
    verdicts TEXT NOT NULL, mac BLOB NOT NULL, PRIMARY KEY (span_hash, installation));
"""


def _make_first_tables(connection: sqlite3.Connection) -> None:
    _run(connection, _FIRST_TABLES)


def _make_claims(connection: sqlite3.Connection) -> None:
    _run(connection, _CLAIMS)


def _make_failures(connection: sqlite3.Connection) -> None:
    query = "SELECT 1 FROM sqlite_master WHERE name = 'llmc_failures'"
    there = connection.execute(query).fetchone()
    _run(connection, _FAILURES)
    if not there:
        _run(connection, _EARLIER_FAILURES)


def _make_failures_archive(connection: sqlite3.Connection) -> None:
    _run(connection, _FAILURES_ARCHIVE)


def _make_origins(connection: sqlite3.Connection) -> None:
    _run(connection, _ORIGINS)


def _make_facts(connection: sqlite3.Connection) -> None:
    _run(connection, _FACTS)


def _make_verdicts(connection: sqlite3.Connection) -> None:
    _run(connection, _VERDICTS)


_STEPS: tuple[tuple[str, Callable[[sqlite3.Connection], None]], ...] = (
    ("first tables", _make_first_tables),
    ("claims", _make_claims),
    ("failures", _make_failures),
    ("failures archive", _make_failures_archive),
    ("origins", _make_origins),
    ("facts", _make_facts),
    ("verdicts", _make_verdicts),
)
"""The history, by name; a step's number is its place, from 1. Add at the end, change nothing."""

LATEST = len(_STEPS)
UNCOUNTED = 5
"""The steps that releases made before there was a record of them: any of their tables may be there
in an index that records fewer."""


def build(connection: sqlite3.Connection, number: int = LATEST) -> None:
    """Make all tables of an empty index, as they are after a step; part of a transaction."""
    _run(connection, ESTABLISHED)
    for each in range(1, number + 1):
        _apply(connection, each)


@contextmanager
def build_in_memory(number: int) -> Iterator[sqlite3.Connection]:
    """Give an empty index in memory as it is after a step."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        build(connection, number)
        yield connection


def migrate(connection: sqlite3.Connection, *, anew: bool = False) -> None:
    """Make the steps that an index doesn't record; who else makes them meanwhile has made them.

    `anew` makes all of them again, which brings back tables that are gone. Raises sqlite3.Error.
    """
    first = 1 if anew else find_number(connection) + 1
    for number in range(first, LATEST + 1):
        with transact(connection):
            if anew or number > find_number(connection):
                _apply(connection, number)


def find_number(connection: sqlite3.Connection) -> int:
    """Return the last step that an index records, 0 for none or where that can't be told."""
    columns = connection.execute("PRAGMA table_info(llmc_migrations)").fetchall()
    if "number" not in {row[1].lower() for row in columns}:
        return 0
    [found] = connection.execute("SELECT max(number) FROM llmc_migrations").fetchone()
    return found if isinstance(found, int) and found > 0 else 0


def _apply(connection: sqlite3.Connection, number: int) -> None:
    name, step = _STEPS[number - 1]
    _run(connection, _RECORD)
    step(connection)
    connection.execute(
        "INSERT OR REPLACE INTO llmc_migrations (number, name, applied_at) VALUES (?, ?, ?)",
        (number, name, time.time()),
    )


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        connection.execute(statement)
