"""A database is looked at as a stranger's before it is used as an index.

A schema is a program: a view may have no end, a trigger may replace a result by another, a default
or a generated column may run what it likes, a UNIQUE of its own makes INSERT OR REPLACE delete what
was paid for. So an index has plain tables and plain indexes, and the tables that llmc writes to
have just the columns, keys and references that `llmc.tables` gives them; columns that another
program has added may be there, and tables of its own beside them. Nothing of a schema is run by
looking at it, and the look ends in time.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from llmc.database.trouble import code_of, mapped
from llmc.errors import StoreError
from llmc.rows import as_text
from llmc.tables import COLUMNS, ESTABLISHED, OURS

LOOK_SEC = 5.0
"""How long a look may take; that of an index takes a millisecond."""

MAX_TABLES = 2_000
MAX_SQL_CHARS = 1_000_000
"""Tables and indexes in a schema, and the text of all of them; an index of ours has 25 in 4 kB."""

_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 64 * 2**20,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 200_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,  # a reference that cascades counts as one
}
_KINDS = {"table": ("CREATE TABLE ",), "index": ("CREATE INDEX ", "CREATE UNIQUE INDEX ")}
_QUOTED = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)",
    re.DOTALL,
)
_CLAUSE = re.compile(
    r"\b(CHECK|GENERATED|AS\s*\(|ON\s+CONFLICT\s+\w+|WITHOUT\s+ROWID|STRICT|COLLATE)", re.IGNORECASE
)
_LITERAL = re.compile(
    r"[+-]?[0-9.]+(?:e[+-]?[0-9]+)?|x?'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|"
    r"null|true|false|current_(?:time|date|timestamp)",
    re.IGNORECASE,
)


def hardened(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Set what keeps a hostile file from doing more than hold rows; return the connection."""
    connection.text_factory = as_text
    for limit, most in _LIMITS.items():
        connection.setlimit(limit, most)
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def opened(path: Path, options: str, timeout: float = 5.0) -> sqlite3.Connection:
    """Open a file, hardened; `options` are those of a file: address."""
    address = f"file:{quote(bytes(path))}?{options}"
    connection = sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None)
    try:
        return hardened(connection)
    except BaseException:
        connection.close()
        raise


def look_untouched(path: Path) -> None:
    """Look at a file without a trace: nothing is written, locked or played back.

    Raises StoreError if it is no index; CorruptIndexError if it can't be read.
    """
    with mapped(path), closing(opened(path, "mode=ro&immutable=1")) as connection:
        look(connection, path)


def look(connection: sqlite3.Connection, path: Path) -> frozenset[str]:
    """Return the names of the tables of an index; none in a file that is yet to become one.

    Raises StoreError if something is in it that no index has, sqlite3.Error.
    """
    with deadline(connection, path, LOOK_SEC):
        entries = connection.execute(
            f"SELECT type, name, sql FROM sqlite_master LIMIT {MAX_TABLES + 1}"
        ).fetchall()
        tables = {
            name.lower(): sql
            for kind, name, sql in entries
            if kind == "table" and isinstance(name, str)
        }
        if entries and not set(tables) >= set(COLUMNS):
            named = ", ".join(sorted(name[:60] for name in tables)[:20])
            raise StoreError(
                f"{path} has only some of an index's tables ({named}), or is another program's "
                "database; move it away and run: llmc index"
            )
        if problem := _strange(entries) or _unlike(connection, tables):
            raise StoreError(
                f"{path}: {problem}; this is not an index of llmc's format, and llmc neither uses "
                "nor changes it; move it away and run: llmc index"
            )
    return frozenset(tables)


def is_plain(connection: sqlite3.Connection, table: str) -> bool:
    """Tell whether rows of a table of ours can be read without running anything."""
    entry = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE lower(name) = ?", (table,)
    ).fetchall()
    return bool(entry) and not _strange(entry) and not _surprise(connection, table)


@contextmanager
def deadline(connection: sqlite3.Connection, path: Path, seconds: float) -> Iterator[None]:
    """Run a block whose statements end in time. Raises StoreError if they don't."""
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, 1_000)
    try:
        yield
    except sqlite3.OperationalError as error:
        if code_of(error) == "SQLITE_INTERRUPT":
            raise StoreError(
                f"{path} can't be looked at within {seconds:g} s, as no index is; move it away and "
                "run: llmc index"
            ) from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _strange(entries: list[tuple[object, object, object]]) -> str | None:
    """Say what in a schema is neither a plain table nor an index.

    The text is what SQLite goes by: it begins as SQLite itself writes it, whatever the kind says.
    """
    if len(entries) > MAX_TABLES:
        return f"it has more than {MAX_TABLES} tables and indexes"
    if sum(len(str(sql)) for *_, sql in entries) > MAX_SQL_CHARS:
        return f"its schema has more than {MAX_SQL_CHARS} characters"
    for kind, name, sql in entries:
        text = str(sql)
        if kind == "index" and sql is None and str(name).startswith("sqlite_autoindex_"):
            continue
        if not text.startswith(_KINDS.get(str(kind), ("\0",))):
            return f"it has a {str(kind)[:20]} {str(name)[:100]!r} ({text[:40]!r} …)"
    return None


@dataclass(frozen=True, slots=True)
class _Table:
    """What of a table decides how a write to it goes."""

    columns: dict[str, bool]
    """Whether each may be left out, or be null."""

    keys: frozenset[tuple[str, ...]]
    references: frozenset[tuple[str, ...]]
    clauses: frozenset[str]


def known_tables() -> frozenset[str]:
    """Return the names of the tables that llmc writes to, or other programs in its place."""
    return frozenset(_expected())


@cache
def _expected() -> dict[str, _Table]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(ESTABLISHED + OURS)
        tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        return {name: _described(connection, name, sql) for name, sql in tables.fetchall()}


def _described(connection: sqlite3.Connection, table: str, sql: str) -> _Table:
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    keys = {
        tuple(_parts(connection, name))
        for _, name, unique, *_ in connection.execute(f"PRAGMA index_list({table})").fetchall()
        if unique
    }
    if primary := tuple(row[1].lower() for row in columns if row[5]):
        keys.add(primary)
    return _Table(
        {row[1].lower(): not row[3] or row[4] is not None for row in columns},
        frozenset(keys),
        frozenset(
            tuple(str(part).lower() for part in row[2:7])
            for row in connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
        ),
        frozenset(" ".join(found.upper().split()) for found in _CLAUSE.findall(_bare(sql))),
    )


def _parts(connection: sqlite3.Connection, index: str) -> list[str]:
    """Return the columns of an index; an expression, or an order other than by bytes, is none."""
    query = "SELECT cid, name, coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno"
    return [
        name.lower() if cid >= 0 and order == "BINARY" else ""
        for cid, name, order in connection.execute(query, (index,))
    ]


def _bare(sql: str) -> str:
    """Return a statement without what is quoted and what is a remark."""
    return _QUOTED.sub(" _ ", sql)


def _unlike(connection: sqlite3.Connection, tables: dict[str, object]) -> str | None:
    """Say in what a table that llmc writes to isn't as `llmc.tables` has it."""
    for name, wanted in _expected().items():
        if name not in tables:
            continue
        problem = _surprise(connection, name) or _differs(
            _described(connection, name, str(tables[name])), wanted, COLUMNS.get(name)
        )
        if problem:
            return f"table {name} {problem}"
    return None


def _surprise(connection: sqlite3.Connection, table: str) -> str | None:
    """Say what in a table would be run by reading or writing a row."""
    for _, column, _, _, default, _, hidden in connection.execute(f"PRAGMA table_xinfo({table})"):
        if hidden:
            return f"computes its column {column[:60]!r}"
        if default is not None and not _LITERAL.fullmatch(str(default).strip("() ")):
            return f"computes a default for its column {column[:60]!r}"
    for _, index, _, _, partial in connection.execute(f"PRAGMA index_list({table})").fetchall():
        if partial or "" in _parts(connection, index):
            return f"has an index over more than columns, {index[:60]!r}"
    return None


def _differs(found: _Table, wanted: _Table, used: set[str] | None) -> str | None:
    """Say why rows can't be written to a table as to the one that is wanted."""
    if missing := (set(wanted.columns) if used is None else used) - set(found.columns):
        return f"lacks {', '.join(sorted(missing))}"
    if clauses := found.clauses - wanted.clauses:
        return f"has {', '.join(sorted(clauses))} in its definition"
    if keys := found.keys - wanted.keys:
        return f"has a key of its own ({', '.join(sorted(map(', '.join, keys)))})"
    if references := found.references - wanted.references:
        return f"has a reference of its own to {', '.join(sorted(row[0] for row in references))}"
    nullable = {name for name, null in wanted.columns.items() if null}
    nullable -= {name for key in wanted.keys for name in key}
    extra = set(found.columns) - set(wanted.columns)
    if strict := [name for name in sorted(nullable | extra) if not found.columns.get(name, True)]:
        return f"wants a value for {', '.join(strict)}"
    return None
