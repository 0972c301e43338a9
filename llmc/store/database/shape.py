"""What of a table decides how its rows are read and written, and how each is to be.

How it is to be is found by making the tables in memory, by the very steps that make those of an
index: so it is written down in one place, `migrations`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from llmc.store.database.migrations import LATEST, UNCOUNTED, build_in_memory

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


@dataclass(frozen=True, slots=True)
class Shape:
    """A table, without what its rows hold. All names are in small letters."""

    columns: dict[str, bool]
    """Whether each may be left out, or be null."""

    keys: frozenset[tuple[str, ...]]
    references: frozenset[tuple[str, ...]]
    clauses: frozenset[str]

    def holds(self, wanted: Shape) -> bool:
        """Tell whether it can take the place of the wanted table."""
        return self.columns.keys() >= wanted.columns.keys() and self.is_bound_as(wanted)

    def is_bound_as(self, wanted: Shape) -> bool:
        """Tell whether rows that have the wanted columns are kept apart, and let in, as wanted."""
        return (
            self.keys >= wanted.keys
            and self.references >= wanted.references
            and not self.demands(wanted)
        )

    def demands(self, wanted: Shape) -> list[str]:
        """Return the columns that must have a value where rows of the wanted table have none."""
        nullable = {name for name, null in wanted.columns.items() if null}
        nullable -= {name for key in wanted.keys for name in key}
        own = self.columns.keys() - wanted.columns.keys()
        return [name for name in sorted(nullable | own) if not self.columns.get(name, True)]


def name_tables() -> frozenset[str]:
    """Return the names of the tables that llmc writes to, or other programs in its place."""
    return frozenset(build_shapes(LATEST))


@cache
def build_shapes(number: int) -> Mapping[str, Shape]:
    """Return how the tables are in an index that records a step; 0 is any of before the record."""
    with build_in_memory(max(number, UNCOUNTED)) as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        return {name: describe_shape(connection, name, sql) for name, sql in tables.fetchall()}


def build_own_shapes(number: int) -> Mapping[str, Shape]:
    """Return the shapes of llmc's own tables alone."""
    return {name: shape for name, shape in build_shapes(number).items() if name.startswith("llmc_")}


def describe_shape(connection: sqlite3.Connection, table: str, sql: str = "") -> Shape:
    """Describe a table; its clauses only by its definition. Raises sqlite3.Error."""
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    keys = {
        tuple(_parts(connection, name))
        for _, name, unique, *_ in connection.execute(f"PRAGMA index_list({table})").fetchall()
        if unique
    }
    if primary := tuple(row[1].lower() for row in columns if row[5]):
        keys.add(primary)
    return Shape(
        {row[1].lower(): not row[3] or row[4] is not None for row in columns},
        frozenset(keys),
        frozenset(
            tuple(str(part).lower() for part in row[2:7])
            for row in connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
        ),
        frozenset(" ".join(found.upper().split()) for found in _CLAUSE.findall(_bare(sql))),
    )


def find_lacking(connection: sqlite3.Connection, number: int) -> frozenset[str]:
    """Return which tables of ours lack something that they have at a step. Raises sqlite3.Error."""
    return frozenset(
        name
        for name, wanted in build_own_shapes(number).items()
        if (found := describe_shape(connection, name)).columns and not found.holds(wanted)
    )


def find_incomplete(connection: sqlite3.Connection) -> frozenset[str]:
    """Return which tables of ours lack a column that llmc reads. Raises sqlite3.Error."""
    return frozenset(
        name
        for name, wanted in build_own_shapes(LATEST).items()
        if (found := connection.execute(f"PRAGMA table_info({name})").fetchall())
        and not {row[1].lower() for row in found} >= wanted.columns.keys()
    )


def find_surprise(connection: sqlite3.Connection, table: str) -> str | None:
    """Say what in a table would be run by reading or writing a row, or keep rows from being read.

    Rows are read by their number, which SQLite gives by the name of rowid unless a column has it.
    """
    for _, column, _, _, default, _, hidden in connection.execute(f"PRAGMA table_xinfo({table})"):
        if column.lower() == "rowid":
            return f"has a column {column!r}, which hides the numbers of its rows"
        if hidden:
            return f"computes its column {column[:60]!r}"
        if default is not None and not _LITERAL.fullmatch(str(default).strip("() ")):
            return f"computes a default for its column {column[:60]!r}"
    for _, index, _, _, partial in connection.execute(f"PRAGMA index_list({table})").fetchall():
        if partial or "" in _parts(connection, index):
            return f"has an index over more than columns, {index[:60]!r}"
    return None


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
