"""Which definitions of an index bear a name: a symbol table, as far as an index tells."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from functools import cached_property

from llmc.models import Span
from llmc.store.database.handle import Database
from llmc.store.tables.spans import SPAN_COLUMNS, read_spans
from llmc.store.tables.values import is_name

MAX_NAMESAKES = 200
"""Definitions of one name that are told apart; names with more lead nowhere."""

_NO_DEFINITIONS = "('section', 'module', 'impl')"
_SYMBOLS = f"SELECT s.id AS number, s.symbol FROM spans s WHERE s.kind NOT IN {_NO_DEFINITIONS}"
_TWIN_SYMBOLS = (
    f"SELECT t.rowid AS number, t.symbol FROM llmc_twins t WHERE t.kind NOT IN {_NO_DEFINITIONS}"
)
_SPANS = f"SELECT {SPAN_COLUMNS} FROM spans s JOIN files f ON f.id = s.file_id WHERE s.id IN ({{}})"
_TWINS = (
    "SELECT s.id, f.path, f.lang, t.symbol, t.kind, t.start_line, t.end_line, t.byte_start, "
    "t.byte_end, t.span_hash, t.doc_hint FROM llmc_twins t JOIN files f ON f.id = t.file_id "
    "JOIN spans s ON s.span_hash = t.span_hash WHERE t.rowid IN ({})"
)
_NAME = re.compile(r"[^\W\d]\w*")
_BITS, _MOST = 32, 2**32


class NameTable:
    """Numbers below 2^32 by name, in 8 bytes each: a million take what a thousand files do.

    Names are known by their hashes, so what is found may be another's: whoever asks looks.
    """

    def __init__(self) -> None:
        self._rows = array("Q")
        self._is_sorted = True

    def add(self, name: str, number: int) -> None:
        if 0 <= number < _MOST:
            self._rows.append((hash(name) % _MOST) << _BITS | number)
            self._is_sorted = False

    def find(self, name: str, most: int) -> list[int]:
        """Return the least `most` numbers of a name, in their order."""
        if not self._is_sorted:
            self._rows, self._is_sorted = array("Q", sorted(self._rows)), True
        first = (hash(name) % _MOST) << _BITS
        start = bisect_left(self._rows, first)
        end = bisect_left(self._rows, first + _MOST, start, min(start + most, len(self._rows)))
        return [row - first for row in self._rows[start:end]]


class Definitions:
    """The definitions of one open index by their names. Every method raises StoreError.

    The names are read once, when first one is asked for: 0.3 s for a hundred thousand spans.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def find(self, name: str) -> list[Span]:
        """Return all definitions of a name, each at its place, twins too; none if it has too many.

        `Stock.take` is one of `take`.
        """
        return self._find(name, self._spans, _SPANS) + self._find(name, self._twins, _TWINS)

    def list_names(self) -> frozenset[str]:
        """Return the names of all that is defined in the index, each part of a dotted one."""
        symbols = (row["symbol"] for row in self._db.read("SELECT DISTINCT symbol FROM spans"))
        return frozenset(name for symbol in symbols for name in str(symbol).split("."))

    def list_files(self) -> list[tuple[str, str]]:
        """Return path and language of every file of the index."""
        rows = self._db.read("SELECT path, lang FROM files ORDER BY path")
        return [(path, lang) for path, lang in rows if is_name(path) and is_name(lang)]

    def _find(self, name: str, table: NameTable, query: str) -> list[Span]:
        numbers = table.find(name, MAX_NAMESAKES + 1)
        if not numbers or len(numbers) > MAX_NAMESAKES:
            return []
        rows = self._db.read(query.format(", ".join("?" * len(numbers))), numbers)
        return [span for span in read_spans(rows) if read_name(span.symbol) == name]

    @cached_property
    def _spans(self) -> NameTable:
        return self._read(_SYMBOLS)

    @cached_property
    def _twins(self) -> NameTable:
        there = "llmc_twins" in self._db.list_own_tables()
        return self._read(_TWIN_SYMBOLS) if there else NameTable()

    def _read(self, query: str) -> NameTable:
        table = NameTable()
        for row in self._db.read(query):
            if isinstance(row["symbol"], str) and (name := read_name(row["symbol"])):
                table.add(name, row["number"])
        return table


def read_name(symbol: str) -> str:
    """Return what a definition is called by: the last name of its symbol, "" if that is none."""
    name = symbol.partition("(")[0].rpartition(".")[2].strip()
    return name if _NAME.fullmatch(name) else ""
