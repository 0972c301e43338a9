"""What was made elsewhere is counted, taken as one's own, or set aside; see `origins`.

An adopted result is sealed by this installation, with the time of that, and from then on checked
like one made here. One that is set aside goes to a table that nothing returns from by itself: its
span is asked for anew, and nothing that somebody paid for is deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from llmc.store.database.handle import Database
from llmc.store.database.trouble import explain
from llmc.store.origins import BEFORE_FIRST, Origins, Result, Table
from llmc.store.tables.results import SET_ASIDE
from llmc.store.tables.values import is_whole, read_text, shift_evidence

_TABLES: tuple[Table, ...] = ("enrichments", "llmc_archive")


@dataclass(frozen=True, slots=True)
class Strangers:
    """Results made elsewhere: how many by (model, installation as claimed), archived ones too."""

    by_maker: Counter[tuple[str, str | None]]
    archived: int = 0

    @property
    def count(self) -> int:
        return self.by_maker.total()


class Adoption:
    """The results of one open index that were made elsewhere."""

    def __init__(self, db: Database, origins: Origins) -> None:
        self._db = db
        self._origins = origins

    def count_strangers(self) -> Strangers:
        """Count what was made elsewhere. Raises StoreError."""
        makers: Counter[tuple[str, str | None]] = Counter()
        archived = 0
        with explain(self._db.path):
            for table in _TABLES:
                for result in self._origins.read_results(table):
                    if result.made != "elsewhere":
                        continue
                    claimed = self._origins.find_claimed("result", result.span_hash)
                    makers[read_text(result.row.model) or "-", claimed] += 1
                    archived += table == "llmc_archive"
        return Strangers(makers, archived)

    def adopt(self, now: float) -> int:
        """Seal what was made elsewhere as adopted; return how many that were. Raises StoreError."""
        return self._each(lambda table, result: self._adopt(table, result, now))

    def set_aside(self, now: float) -> int:
        """Move what was made elsewhere out of the way; return how many. Raises StoreError."""
        return self._each(lambda table, result: self._set_aside(table, result, now))

    def _each(self, settle: Callable[[Table, Result], None]) -> int:
        """Change what was made elsewhere, a page at a time: read and changed in one transaction."""
        count = 0
        for table in _TABLES:
            after: float | None = BEFORE_FIRST
            while after is not None:
                with self._db.write():
                    page = self._origins.read_page(table, after)
                    strangers = [found for found in page if found.made == "elsewhere"]
                    for result in strangers:
                        settle(table, result)
                count += len(strangers)
                after = page[-1].rowid if page else None
        return count

    def _adopt(self, table: Table, result: Result, now: float) -> None:
        row = result.row
        if row.evidence:
            # As llmc writes it, so that it can be moved along with its span and still be checked.
            row = row._replace(evidence=shift_evidence(row.evidence, 0))
            change = f"UPDATE {table} SET evidence = ? WHERE rowid = ?"
            self._db.execute(change, (row.evidence, result.rowid))
        line = result.line if is_whole(result.line) else 0
        self._origins.mark(result.span_hash, line, row, adopted_at=now)

    def _set_aside(self, table: Table, result: Result, now: float) -> None:
        self._db.execute(SET_ASIDE.format(table=table), (now, result.line, result.rowid))
        self._db.execute(f"DELETE FROM {table} WHERE rowid = ?", (result.rowid,))
