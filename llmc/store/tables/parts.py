"""Columns by name: a NamedTuple for each kind of row, whose fields are the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

Row = TypeVar("Row", bound=NamedTuple)


class Part(Generic[Row]):
    """Where the columns of one table stand in the rows of a query over several; see `end`."""

    def __init__(self, kind: type[Row], start: int = 0) -> None:
        self._make = kind._make
        self._place = slice(start, start + len(kind._fields))

    @property
    def end(self) -> int:
        """The place of the first column behind it."""
        return int(self._place.stop)

    def read(self, found: Sequence[Any]) -> Row:
        """Return the columns of this table in a row that was found."""
        return self._make(found[self._place])


def list_columns(kind: type[NamedTuple], table: str = "") -> str:
    """Return the columns of a kind of row for a query; `table` is its short name there."""
    before = f"{table}." if table else ""
    return ", ".join(f"{before}{name}" for name in kind._fields)


def make_insertion(table: str, columns: str) -> str:
    """Return the statement that stores a row of a span, (span_hash, columns), or replaces it."""
    return f"INSERT OR REPLACE INTO {table} (span_hash, {columns}) VALUES ({_mark(columns)}, ?)"


def _mark(columns: str) -> str:
    return ", ".join("?" for _ in columns.split(","))
