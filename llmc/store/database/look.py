"""A database is looked at as a stranger's before it is used as an index.

A schema is a program: a view may have no end, a trigger may replace a result by another, a default
or a generated column may run what it likes, a UNIQUE of its own makes INSERT OR REPLACE delete what
was paid for. So an index has plain tables and plain indexes, and the tables that llmc writes to
have no keys and references but those that `shape` gives them; columns that another program has
added may be there, and tables of its own beside them. What a table of llmc's own lacks is only
told: it can be mended. Nothing of a schema is run by looking at it, and the look ends in time.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from llmc.errors import StoreError
from llmc.store.database.migrations import LATEST, find_number
from llmc.store.database.shape import (
    Shape,
    build_own_shapes,
    build_shapes,
    describe_shape,
    find_surprise,
)
from llmc.store.database.trouble import explain, find_code
from llmc.store.tables.established import COLUMNS
from llmc.store.tables.values import as_text

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


def harden(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Set what keeps a hostile file from doing more than hold rows; return the connection."""
    connection.text_factory = as_text
    connection.row_factory = sqlite3.Row
    for limit, most in _LIMITS.items():
        connection.setlimit(limit, most)
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    connection.execute("PRAGMA trusted_schema = OFF")
    # Whoever cuts a file that is mapped into memory kills the process that reads it.
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def open_hardened(path: Path, options: str, timeout: float = 5.0) -> sqlite3.Connection:
    """Open a file, hardened; `options` are those of a file: address."""
    address = f"file:{quote(bytes(path))}?{options}"
    connection = sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None)
    try:
        return harden(connection)
    except BaseException:
        connection.close()
        raise


def look_untouched(path: Path) -> None:
    """Look at a file without a trace: nothing is written, locked or played back.

    Raises StoreError if it is no index; CorruptIndexError if it can't be read.
    """
    with explain(path), closing(open_hardened(path, "mode=ro&immutable=1")) as connection:
        look_over(connection, path)


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has found to be an index; without tables, a file that is yet to become one."""

    tables: frozenset[str]
    number: int
    """The last step of `migrations` that it records; 0 for none."""

    lacking: frozenset[str]
    """Tables of ours without a column or a key that they have at that step."""

    @property
    def gone(self) -> frozenset[str]:
        """Tables of ours that it doesn't have, though it records their making."""
        return frozenset(build_own_shapes(self.number) if self.number else ()) - self.tables


def look_over(connection: sqlite3.Connection, path: Path) -> Found:
    """Tell an index from what is none.

    Raises StoreError if something is in it that no index has, or if a newer llmc has made it;
    sqlite3.Error.
    """
    with end_in_time(connection, path, LOOK_SEC):
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
        number = _number(connection, path) if "llmc_migrations" in tables else 0
        found: dict[str, Shape] = {}
        if not (problem := _strange(entries)):
            for name in build_shapes(number).keys() & tables.keys():
                found[name] = describe_shape(connection, name, str(tables[name]))
            problem = _unlike(connection, found, build_shapes(number))
        if problem:
            raise StoreError(
                f"{path}: {problem}; this is not an index of llmc's format, and llmc neither uses "
                "nor changes it; move it away and run: llmc index"
            )
    lacking = (
        name
        for name, wanted in build_own_shapes(number).items()
        if name in found and not found[name].holds(wanted)
    )
    return Found(frozenset(tables), number, frozenset(lacking))


def _number(connection: sqlite3.Connection, path: Path) -> int:
    """Return the step that an index is at; what a newer llmc has made is not judged by this one."""
    number = find_number(connection) if is_plain(connection, "llmc_migrations") else 0
    if number > LATEST:
        raise StoreError(
            f"{path} was made by a newer llmc (its tables are at step {number}, and this one knows "
            f"{LATEST}); update llmc"
        )
    return number


def is_plain(connection: sqlite3.Connection, table: str) -> bool:
    """Tell whether rows of a table of ours can be read without running anything."""
    entry = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE lower(name) = ?", (table,)
    ).fetchall()
    return bool(entry) and not _strange(entry) and not find_surprise(connection, table)


@contextmanager
def end_in_time(connection: sqlite3.Connection, path: Path, seconds: float) -> Iterator[None]:
    """Run a block whose statements end in time. Raises StoreError if they don't."""
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, 1_000)
    try:
        yield
    except sqlite3.OperationalError as error:
        if find_code(error) == "SQLITE_INTERRUPT":
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


def _unlike(
    connection: sqlite3.Connection, found: Mapping[str, Shape], wanted: Mapping[str, Shape]
) -> str | None:
    """Say in what a table that llmc writes to is more than it is to be, or an established less."""
    for name, shape in found.items():
        problem = find_surprise(connection, name) or _differs(shape, wanted[name])
        if name in COLUMNS and not problem:
            problem = _falls_short(shape, wanted[name], COLUMNS[name])
        if problem:
            return f"table {name} {problem}"
    return None


def _falls_short(found: Shape, wanted: Shape, used: set[str]) -> str | None:
    """Say why rows can't be written to an established table, which is not ours to mend."""
    if missing := used - found.columns.keys():
        return f"lacks {', '.join(sorted(missing))}"
    if demanded := found.demands(wanted):
        return f"wants a value for {', '.join(demanded)}"
    return None


def _differs(found: Shape, wanted: Shape) -> str | None:
    """Say in what a table goes beyond the one that is wanted."""
    if clauses := found.clauses - wanted.clauses:
        return f"has {', '.join(sorted(clauses))} in its definition"
    if keys := found.keys - wanted.keys:
        return f"has a key of its own ({', '.join(sorted(map(', '.join, keys)))})"
    if references := found.references - wanted.references:
        return f"has a reference of its own to {', '.join(sorted(row[0] for row in references))}"
    return None
