"""A second copy of what a run stores, for the case that others damage the index in place.

It is a database of its own, which SQLite keeps in memory as long as it is small, and then in a file
without a name: nobody else can get at it, and it ends with its process. Losing it costs nothing, so
whatever goes wrong with it only ends it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from llmc.store.database.look import harden
from llmc.store.database.migrations import build
from llmc.store.salvage import PUT, Found, Table, read_open

MOST_BYTES = 64 * 2**20
"""Of results and what belongs to them, as text: some 20,000 results. Older ones give way."""

_SETTINGS = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -512")


class Carbon:
    """The results and failures that an open index was given; `complete` while it has all."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        # The older one goes when the newer one has half of what there may be.
        self._copies: list[sqlite3.Connection] = []
        self._bytes = 0
        self._ended = False
        self.complete = True

    def keep(self, table: Table, row: tuple[Any, ...] | None) -> None:
        """Keep a row that is being stored, in place of an earlier one; None is no row."""
        if self._ended or row is None:
            return
        try:
            if not self._copies or self._bytes > self._most_bytes // 2:
                self._turn()
            self._copies[-1].execute(PUT[table], row)
            self._bytes += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        except sqlite3.Error:  # no room for it, as a rule
            self.close()
            self.complete = False

    def _turn(self) -> None:
        while len(self._copies) > 1:
            self._copies.pop(0).close()
            self.complete = False
        self._bytes = 0
        copy = harden(sqlite3.connect("", isolation_level=None))
        self._copies.append(copy)
        for setting in _SETTINGS:
            copy.execute(f"PRAGMA {setting}")
        build(copy)

    def read_rows(self) -> Iterator[Found]:
        """Yield all that is kept, the newest last."""
        for copy in self._copies:
            with suppress(sqlite3.Error):
                yield from read_open(copy)

    def close(self) -> None:
        """Give up all that is kept, and keep no more."""
        self._ended = True
        while self._copies:
            self._copies.pop().close()
