"""Tables of ours that lack a column or a key, as another program's hand has left them, are mended.

A column that lacks is added, empty. A table without its key, or one that wants values that llmc
doesn't have, is made anew from the rows that fit, and kept under another name if that leaves out
anything. Only tables named llmc_* are touched.
"""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import dataclass

from llmc.store.database.migrations import UNCOUNTED, build_in_memory
from llmc.store.database.shape import Shape, describe_shape, find_lacking
from llmc.store.database.writing import transact

_EMPTY = {"TEXT": "''", "INTEGER": "0", "REAL": "0", "BLOB": "x''"}
"""What stands in a column that may not be null: a failure that may be tried again at once, a claim
that has ended, a mark that fits nothing."""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    kind: str
    required: bool

    @property
    def definition(self) -> str:
        end = f" NOT NULL DEFAULT {_EMPTY[self.kind]}" if self.required else ""
        return f"{self.name} {self.kind}{end}"

    def value(self, *, there: bool) -> str:
        """Return SQL for what a row has in this column, `there` or not."""
        if not there:
            return _EMPTY[self.kind] if self.required else "NULL"
        return f"coalesce({self.name}, {_EMPTY[self.kind]})" if self.required else self.name


def mend(connection: sqlite3.Connection, number: int) -> list[str]:
    """Give tables of ours what they lack at a step, all in one transaction; say what was done.

    References are not to be enforced meanwhile. Raises sqlite3.Error.
    """
    with transact(connection), build_in_memory(max(number, UNCOUNTED)) as model:
        tables = sorted(find_lacking(connection, number))
        return [_mend(connection, model, table) for table in tables]


def _mend(connection: sqlite3.Connection, model: sqlite3.Connection, table: str) -> str:
    wanted, found = describe_shape(model, table), describe_shape(connection, table)
    columns = [
        _Column(name, kind, bool(required))
        for _, name, kind, required, *_ in model.execute(f"PRAGMA table_info({table})")
    ]
    if not found.is_bound_as(wanted):
        return _make_anew(connection, model, table, columns)
    missing = [column for column in columns if column.name not in found.columns]
    for column in missing:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {column.definition}")
    names = ", ".join(column.name for column in missing)
    return f"table {table} lacked {names}, which is empty in the rows that were there"


def _make_anew(
    connection: sqlite3.Connection, model: sqlite3.Connection, table: str, columns: list[_Column]
) -> str:
    found, aside = describe_shape(connection, table), _unused(connection, table)
    query = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = ? AND sql NOT NULL"
    entries = model.execute(f"{query} ORDER BY type DESC", (table,)).fetchall()
    for kind, name, _ in entries:
        if kind == "index":
            connection.execute(f"DROP INDEX IF EXISTS {name}")
    connection.execute(f"ALTER TABLE {table} RENAME TO {aside}")
    for _, _, definition in entries:
        connection.execute(definition)
    [rows] = connection.execute(f"SELECT count(*) FROM {aside}").fetchone()
    copied = _copy(connection, aside, table, found, columns)
    said = (
        f"table {table} lacked keys, or had columns that want values, and was made anew with "
        f"{copied} of its {rows} rows"
    )
    if copied == rows and found.columns.keys() <= {column.name for column in columns}:
        connection.execute(f"DROP TABLE {aside}")
        return said
    return f"{said}; the table as it was is kept as {aside}"


def _copy(
    connection: sqlite3.Connection, source: str, table: str, found: Shape, columns: list[_Column]
) -> int:
    """Copy the rows that fit; return how many did. None do without all that names them."""
    keys = {name for key in describe_shape(connection, table).keys for name in key}
    if not found.columns.keys() >= keys:
        return 0
    names = ", ".join(column.name for column in columns)
    values = ", ".join(column.value(there=column.name in found.columns) for column in columns)
    named = " AND ".join(f"{name} NOT NULL" for name in sorted(keys)) or "1"
    return connection.execute(
        f"INSERT OR IGNORE INTO {table} ({names}) SELECT {values} FROM {source} WHERE {named}"
    ).rowcount


def _unused(connection: sqlite3.Connection, table: str) -> str:
    """Return a name that nothing in an index has."""
    query = "SELECT lower(name) FROM sqlite_master"
    taken = {row[0] for row in connection.execute(query)}
    names = (f"{table}_was_{number}" for number in itertools.count(1))
    return next(name for name in names if name not in taken)
