"""Which seals were checked before, so that of an index that has changed only the change is checked.

A check costs a hash and two lookups for each result, and while a run stores one after the other,
the index is never as it was. So the rows that decide where results were made are hashed by pages of
their rowids, which is six times as fast, and only results of a page that isn't as it was are
checked again. Nothing in the index says what has changed: whoever wrote to it, and however, that
is found. The hashes are keyed, and stand in the user's own folder.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from llmc.store.database.handle import Database
from llmc.store.origins import FIRST, Origins
from llmc.store.tables.parts import list_columns
from llmc.store.tables.results import RESULT_COLUMNS
from llmc.store.tables.values import is_hash
from llmc.store.tables.verdicts import CountRow
from llmc.store.verdicts import Verdicts

PAGE_ROWS = 2048
"""A change has so many results checked, which takes 50 ms; a million rows make 500 hashes."""

_MOST_PAGES = 20_000
_MOST_WRONG = 1_000
"""What has more is strange, or of ten million spans, and is checked row by row each time."""

_AT_ONCE = 500
_MARSHAL = 2
"""Its last format in which equal values always become the same bytes."""

_TABLES = {
    "enrichments": f"SELECT rowid, span_hash, {RESULT_COLUMNS} FROM enrichments WHERE ",
    "llmc_verdicts": f"SELECT rowid, span_hash, {list_columns(CountRow)}, counted "
    "FROM llmc_verdicts WHERE installation = ? AND ",
    "spans": "SELECT rowid, span_hash, start_line FROM spans WHERE ",
    "llmc_origins": "SELECT rowid, span_hash, line, adopted_at, mac FROM llmc_origins "
    "WHERE what = 'result' AND installation = ? AND ",
}
_WITHOUT_SPAN = (
    "SELECT span_hash FROM enrichments EXCEPT SELECT span_hash FROM spans ORDER BY 1 LIMIT -1"
)
_ON_PAGE = "r.rowid BETWEEN ? AND ?"
_AMONG = "r.span_hash IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found of an index: the hash of each page by its table and number.

    `invalid` results have a mark of this installation which is not one over what stands there, and
    `unsound` ones have such verdicts.
    """

    pages: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    invalid: frozenset[str] = frozenset()
    unsound: frozenset[str] = frozenset()


class _StrangeError(Exception):
    """Something stands in the index that llmc would not write there."""


class Checks:
    """The marks and verdicts that this installation has in one open index."""

    def __init__(self, db: Database, origins: Origins, verdicts: Verdicts) -> None:
        self._db = db
        self._origins = origins
        self._find_wrong = {
            "enrichments": origins.find_invalid,
            "llmc_verdicts": verdicts.find_unsound,
        }

    def check(self, before: Seen) -> Seen | None:
        """Check what isn't as it was; return what is so now, None where rows must tell one by one.

        Part of a `freeze`. Raises StoreError.
        """
        tables = [name for name in _TABLES if name in self._db.list_own_tables()]
        pages: dict[str, dict[int, str]] = {table: {} for table in tables}
        wrong: dict[str, set[str]] = {table: set() for table in self._find_wrong}
        try:
            alone = _names(self._db.read_plain(_WITHOUT_SPAN), 0)
            doubted = {"enrichments": before.invalid | alone, "llmc_verdicts": before.unsound}
            for table, number, names in self._find_changed(before, pages):
                if table in doubted:
                    self._check(table, _ON_PAGE, _bounds(number), wrong)
                    doubted[table] -= names
                elif before.pages:  # else all results are checked, whatever stands beside them
                    doubted = {name: known | names for name, known in doubted.items()}
            for table in doubted.keys() & pages.keys():
                rest = iter(doubted[table])
                while some := list(islice(rest, _AT_ONCE)):
                    self._check(table, _AMONG, (json.dumps(some),), wrong)
        except (_StrangeError, UnicodeError):
            return None
        return Seen(pages, frozenset(wrong["enrichments"]), frozenset(wrong["llmc_verdicts"]))

    def _find_changed(
        self, before: Seen, pages: dict[str, dict[int, str]]
    ) -> Iterator[tuple[str, int, frozenset[str]]]:
        """Fill in the hash of each page; yield (table, number, its spans) where it is another."""
        for table in pages:
            known = before.pages.get(table, {})
            for number, rows in self._read_pages(table):
                page = self._origins.hash_rows(marshal.dumps((table, rows), _MARSHAL))
                pages[table][number] = page
                if len(pages[table]) > _MOST_PAGES:
                    raise _StrangeError
                if page != known.get(number):
                    yield table, number, _names(rows, 1)

    def _read_pages(self, table: str) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
        """Yield (number, rows) of each page that has any, by number."""
        query = f"{_TABLES[table]} rowid BETWEEN ? AND ? ORDER BY rowid"
        mine = (self._origins.mine,) if "installation" in _TABLES[table] else ()
        start = FIRST
        while start <= -FIRST - 1:
            first = f"SELECT min(rowid) FROM {table} WHERE rowid >= ?"
            [(rowid,)] = self._db.read_plain(first, (start,))
            if rowid is None:
                break
            number = rowid // PAGE_ROWS
            yield number, self._db.read_plain(query, (*mine, *_bounds(number)))
            start = (number + 1) * PAGE_ROWS

    def _check(
        self, table: str, where: str, values: Sequence[object], wrong: dict[str, set[str]]
    ) -> None:
        """Add what is wrong among some rows."""
        wrong[table] |= self._find_wrong[table](where, values)
        if len(wrong[table]) > _MOST_WRONG:
            raise _StrangeError


def _bounds(number: int) -> tuple[int, int]:
    """Return the first and the last rowid of a page."""
    return number * PAGE_ROWS, (number + 1) * PAGE_ROWS - 1


def _names(rows: Sequence[tuple[Any, ...]], place: int) -> frozenset[str]:
    """Return a column of hashes. Raises _StrangeError if one can't be any."""
    names = frozenset(row[place] for row in rows)
    if not all(map(is_hash, names)):
        raise _StrangeError
    return names
