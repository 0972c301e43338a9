"""An open index, for questions: `counts`, `results` with what is known of each span, and the
`definitions` of a name.

Nothing here changes the index; `store.Store` adds the writing.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from llmc.errors import CorruptIndexError
from llmc.models import IndexPlace
from llmc.store.database.custody import locate, make_place
from llmc.store.database.handle import Database
from llmc.store.database.opening import connect_readonly
from llmc.store.database.watch import OpenFile
from llmc.store.names import Definitions
from llmc.store.origins import Origins
from llmc.store.owners import leave_doubt
from llmc.store.results import Results
from llmc.store.seal import Seal
from llmc.store.totals import Counts
from llmc.store.verdicts import Verdicts


class Reader:
    """One open index, for questions. Use from one thread; a context manager, or close it.

    Without the `seal` of an installation, everything in it counts as made elsewhere. Damage that
    ends its context is noted beside the index: who opens that for writing need not meet it.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, *, seal: Seal | None = None
    ) -> None:
        self.path = path
        self._file = OpenFile.hold(path)
        self._db = Database(path, connection)
        self._origins = Origins(self._db, seal)
        self._verdicts = Verdicts(self._db, self._origins)
        self.counts = Counts(self._db, self._origins, self._verdicts)
        self.results = Results(self._db, self._origins, self._verdicts)
        self.definitions = Definitions(self._db)
        self._version = self._data_version()

    @classmethod
    def open_readonly(cls, index: IndexPlace | Path, *, seal: Seal | None = None) -> Self:
        """Open an index for reading; what lacks a column is left out, and told. Raises StoreError.

        Nothing is changed, not even what `Store.open` would bring up to date.
        """
        reader = cls(locate(index), connect_readonly(index), seal=seal)
        if incomplete := reader._db.incomplete:
            make_place(index).tell(
                f"{reader.path}: what {', '.join(sorted(incomplete))} holds is left out, since "
                "a column is missing; llmc index mends that"
            )
        return reader

    @property
    def installation(self) -> str:
        """The installation whose marks it believes, "" for none."""
        return self._origins.mine

    def close(self) -> None:
        """Close the index; what was committed is on disk."""
        self._db.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._file:
            self._file.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if isinstance(error, CorruptIndexError):
            leave_doubt(self.path)

    def is_changed_elsewhere(self) -> bool:
        """Tell whether another connection has changed the index since this was last asked."""
        before, self._version = self._version, self._data_version()
        return self._version != before

    def _data_version(self) -> int:
        return self._db.count("PRAGMA data_version")
