"""One open index: what is asked of it, and changed in it, with SQLite's errors as StoreError."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from llmc.errors import StoreError
from llmc.store.database.shape import find_incomplete
from llmc.store.database.trouble import explain, find_code
from llmc.store.database.watch import Shared, Watch
from llmc.store.database.writing import BUSY_TIMEOUT_SEC, change

_Values = Sequence[Any] | Mapping[str, Any]


class Database:
    """An open index, for one thread. `patience_sec` is how long a write waits for other programs.

    `incomplete` names llmc's own tables that lack a column, which are not to be read. With a
    `watch`, nothing is written to a file that others have taken away or damaged.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.patience_sec = BUSY_TIMEOUT_SEC
        self.move(path, connection, None)
        with explain(path):
            self.incomplete = find_incomplete(connection)

    def move(self, path: Path, connection: sqlite3.Connection, watch: Watch | None) -> None:
        """Go on with another file; who has the earlier one open closes it."""
        self.path = path
        self.connection = connection
        self.watch = watch
        self._shared = Shared(path)
        self.execute = connection.execute
        self.execute_many = connection.executemany

    def read(self, query: str, values: _Values = ()) -> list[sqlite3.Row]:
        """Return the rows of a query. Raises StoreError."""
        self._shared.keep()
        with explain(self.path):
            return self.execute(query, values).fetchall()

    def read_plain(self, query: str, values: _Values = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query as they are stored, several times as fast.

        Raises StoreError; UnicodeError where a text is not UTF-8.
        """
        self._shared.keep()
        cursor, usual = self.connection.cursor(), self.connection.text_factory
        cursor.row_factory = None
        self.connection.text_factory = str
        try:
            with explain(self.path):
                return cursor.execute(query, values).fetchall()
        except StoreError as error:
            # Python's own complaint bears no code of SQLite's.
            if isinstance(error.__cause__, sqlite3.Error) and not find_code(error.__cause__):
                raise UnicodeError(str(error.__cause__)) from error
            raise
        finally:
            self.connection.text_factory = usual

    def read_first(self, query: str, values: _Values = ()) -> sqlite3.Row | None:
        """Return the first row of a query, None if it has none. Raises StoreError."""
        self._shared.keep()
        with explain(self.path):
            row: sqlite3.Row | None = self.execute(query, values).fetchone()
            return row

    def count(self, query: str, values: _Values = ()) -> int:
        """Return the number that is all of a query's answer. Raises StoreError."""
        row = self.read_first(query, values)
        return int(row[0]) if row else 0

    def write(
        self, *, lasting: bool = True, patience_sec: float | None = None
    ) -> AbstractContextManager[None]:
        """Run a block as one write: all of it is stored, or none; see `writing`. Raises StoreError.

        Inside of it, `execute` is the way to ask. DisplacedIndexError: the file is another by now.
        """
        if self.watch and not self.connection.in_transaction:
            self.watch.require()
        patience = self.patience_sec if patience_sec is None else patience_sec
        return change(
            self.connection,
            self.path,
            lasting=lasting,
            patience_sec=patience,
            ready=self._shared.keep,
        )

    @contextmanager
    def freeze(self) -> Iterator[None]:
        """Run several questions that see the index as it is at one moment. Raises StoreError."""
        with explain(self.path):
            if self.connection.in_transaction:
                yield
                return
            self._shared.keep()
            self.execute("BEGIN")
            try:
                yield
            finally:
                self.execute("ROLLBACK")

    def list_own_tables(self) -> set[str]:
        """Return which of llmc's own tables can be read: another program's index has none."""
        rows = self.read("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {row["name"].lower() for row in rows} - self.incomplete

    def close(self) -> None:
        """Close the index; what was committed is on disk."""
        self.connection.close()
