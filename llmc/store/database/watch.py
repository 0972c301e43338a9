"""Is an open index still the file that it was? Others may remove it, replace it, cut it short, or
write over it.

SQLite asks for none of that while it has a file open. It goes on with what it holds in memory and
in the journal, and in the end moves that into a file that is another by now.

In WAL mode a file is changed by checkpoints alone, which bring it nearer to what SQLite has of the
index: its size, and the number of pages in its header, lie between what they were and what they are
there, and its change counter never goes back. More can't be asked: a checkpoint may be another
process's, and SQLite need not count a change in this mode. So an earlier copy of the index that is
as long as the file, and was taken since its header changed last, passes for the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmc.errors import CorruptIndexError, DisplacedIndexError
from llmc.store.database.custody import stat_at
from llmc.store.database.trouble import explain, explain_files

_HEADER_BYTES = 100
_SHARED_PAGE = 4096
"""SQLite makes what is shared longer by so many bytes, whatever the system's pages."""

_WAL_MAGIC = b"\x37\x7f\x06"
"""How each journal begins; a fourth byte tells the order of bytes in its checksums."""

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

REMOVED, REPLACED = "was removed", "was replaced"
TRUNCATED, OVERWRITTEN = "was truncated", "was overwritten in place"
EMPTIED = "lost what its journal (-wal) held"
UNSHARED = "lost what those who have it open share (-shm)"


class OpenFile:
    """The file of an open index, to look at its bytes; all of a process share one for each file.

    When a process closes any descriptor of a file, the system drops all locks that it has there,
    SQLite's own too. So this is to be released once SQLite has closed the file, and the descriptor
    goes with the last who holds one.
    """

    _lock: Final = threading.Lock()
    _descriptors: Final[dict[tuple[int, int], int]] = {}
    _holders: Final[Counter[tuple[int, int]]] = Counter()

    def __init__(self, key: tuple[int, int]) -> None:
        self._key = key
        self._released = False

    @classmethod
    def hold(cls, path: Path) -> OpenFile | None:
        """Open the file that stands at a path; None if there is none that can be opened."""
        with cls._lock, suppress(OSError):
            state = stat_at(path)
            key = (state.st_dev, state.st_ino) if state else (0, 0)
            if state and key not in cls._descriptors:
                descriptor = os.open(path, _READ)
                opened = os.fstat(descriptor)
                key = opened.st_dev, opened.st_ino
                if key in cls._descriptors:
                    os.close(descriptor)
                cls._descriptors.setdefault(key, descriptor)
            if state:
                cls._holders[key] += 1
                return cls(key)
        return None

    def release(self) -> None:
        """Let go of the file; a second time does nothing."""
        with self._lock:
            if self._released:
                return
            self._released = True
            self._holders[self._key] -= 1
            if not self._holders[self._key]:
                del self._holders[self._key]
                os.close(self._descriptors.pop(self._key))

    def stat(self) -> os.stat_result:
        return os.fstat(self._descriptors[self._key])

    def read_header(self) -> bytes:
        """Return how the file begins, as far as a database has its header there."""
        return os.pread(self._descriptors[self._key], _HEADER_BYTES, 0)


class Shared:
    """What those who have an index open share: a file (-shm) that is mapped into memory.

    To read beyond its end kills the process (SIGBUS), so one that was cut short gets its size back,
    empty: SQLite makes anew what it holds, from the journal. A byte more tells the others, who may
    be writing by what it held. Without its name, those who open the index next would write into the
    same journal unseen.
    """

    def __init__(self, path: Path) -> None:
        self._name = name_shared(path)
        self._state = stat_at(self._name)
        self.is_lost = False

    def keep(self) -> None:
        """Look at it, and make it fit to be read; by its name alone: see `OpenFile`."""
        if self._state is None:
            return
        with suppress(OSError):
            there = stat_at(self._name)
            if there is None or not os.path.samestat(there, self._state):
                self.is_lost = True
            elif there.st_size < self._state.st_size:
                self.is_lost = True
                os.truncate(self._name, 0)
                os.truncate(self._name, self._state.st_size + 1)
            else:
                self.is_lost = self.is_lost or there.st_size % _SHARED_PAGE > 0
                self._state = there


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of a file and its journal, whose size is None where there is none."""

    size: int
    header: bytes
    journal_size: int | None
    journal_begin: bytes

    @property
    def format(self) -> bytes:
        """What never changes while somebody has the file open."""
        return self.header[:24]

    @property
    def page_bytes(self) -> int:
        found = int.from_bytes(self.header[16:18], "big")
        return 65536 if found == 1 else found

    @property
    def counter(self) -> int:
        return int.from_bytes(self.header[24:28], "big")

    @property
    def pages(self) -> int:
        return int.from_bytes(self.header[28:32], "big")


class Watch:
    """Compares the file of an open index with what it was when it was last looked at.

    `journal` is the number (inode) of the journal that it had at first. Raises StoreError.
    """

    def __init__(self, path: Path, file: OpenFile, connection: sqlite3.Connection) -> None:
        self._path = path
        self._file = file
        self._connection = connection
        with explain_files(path):
            self._shared = Shared(path)
            self._last = self._look()
            journal = stat_at(name_journal(path))
        self.journal: Final = journal and journal.st_ino

    def require(self) -> None:
        """Raise DisplacedIndexError if the file is no more what it was."""
        if what := self.find_fate():
            raise DisplacedIndexError(f"{self._path} {what} while it was written to; start again")

    def find_fate(self) -> str | None:
        """Say what others did to the index; None if nothing is known. Raises StoreError.

        Not to be asked in a transaction.
        """
        self._shared.keep()
        with suppress(OSError):
            if what := self._find_absence():
                return what
            # Who looks while another process writes a header may see half of it.
            if what := self._find_damage() and self._find_damage():
                return what
        return UNSHARED if self._shared.is_lost else None

    def _find_absence(self) -> str | None:
        try:
            there = stat_at(self._path)
        except NotADirectoryError:
            there = None
        if there is None:
            return REMOVED
        return None if os.path.samestat(self._file.stat(), there) else REPLACED

    def _find_damage(self) -> str | None:
        look, last = self._look(), self._last
        if look == last:
            return None
        what = _compare_journals(look, last) or self._compare(look)
        if what is None:
            self._last = look
        return what

    def _look(self) -> _Look:
        header, size = self._file.read_header(), self._file.stat().st_size
        try:
            journal = os.open(name_journal(self._path), _READ)
        except FileNotFoundError:
            return _Look(size, header, None, b"")
        try:  # SQLite locks nothing of a journal
            return _Look(size, header, os.fstat(journal).st_size, os.pread(journal, 3, 0))
        finally:
            os.close(journal)

    def _compare(self, look: _Look) -> str | None:
        last = self._last
        if len(look.header) < min(len(last.header), _HEADER_BYTES):
            return TRUNCATED
        if look.format != last.format or look.counter < last.counter:
            return OVERWRITTEN
        pages = self._count_pages()
        size = pages * last.page_bytes
        if look.size < (min(last.size, size) if pages else last.size):
            return TRUNCATED
        grown = look.size <= max(last.size, size)
        counted = min(last.pages, pages) <= look.pages <= max(last.pages, pages)
        return None if pages and grown and counted else OVERWRITTEN

    def _count_pages(self) -> int:
        """Return how many pages SQLite has of the index now, 0 if it can't read it any more."""
        try:
            with explain(self._path):
                return int(self._connection.execute("PRAGMA page_count").fetchone()[0])
        except CorruptIndexError:
            return 0


def name_journal(path: Path) -> Path:
    """Return where the journal of an index is."""
    return Path(f"{path}-wal")


def name_shared(path: Path) -> Path:
    """Return where the index of a journal is, which those who have the file open share."""
    return Path(f"{path}-shm")


def _compare_journals(look: _Look, last: _Look) -> str | None:
    """Say if a journal has lost something: it may be emptied, but begins and grows as SQLite does.

    One that isn't there is the business of who removed it: it goes on without a name.
    """
    if not look.journal_size or last.journal_size is None:
        return None
    shrunk = look.journal_size < last.journal_size
    return EMPTIED if shrunk or look.journal_begin != _WAL_MAGIC else None
