"""Room on the disk that is kept for what is paid for."""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
from contextlib import closing, suppress
from io import FileIO
from pathlib import Path

from llmc.errors import FullDiskError
from llmc.files.advice import NO_ROOM
from llmc.files.locks import is_at, lock
from llmc.store.database.look import open_hardened
from llmc.store.database.trouble import explain_files

_CHUNK_BYTES = 1024 * 1024


class Reserve:
    """A file of real bytes that is given up when the disk is full.

    The room it leaves is for replies that are paid for and not yet stored. Each run has its own:
    `<index>.reserve`, or with a number behind it while other runs are at work on the index.
    """

    def __init__(self, index_path: Path, path: Path, file: FileIO) -> None:
        self.path = path
        self._index_path = index_path
        self._file = file

    @classmethod
    def make(cls, index_path: Path, size: int) -> Reserve:
        """Set `size` bytes aside beside an index; what killed runs left is cleared away.

        Raises FullDiskError, which says how much room is missing, and StoreError.
        """
        with explain_files(index_path, f"cannot set room aside beside {index_path}"):
            name = re.compile(re.escape(index_path.name) + r"\.reserve(-[0-9]+)?")
            for left in index_path.parent.iterdir():
                if name.fullmatch(left.name) and (old := _taken(left)):
                    _give_up(left, old)
            numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
            paths = (Path(f"{index_path}.reserve{number}") for number in numbers)
            path, file = next((path, file) for path in paths if (file := _taken(path, make=True)))
            missing = size - _fill(file, size)
            if missing:
                _give_up(path, file)
                raise FullDiskError(
                    f"{index_path}: {_mib(size)} are kept free for replies that are paid for, and "
                    f"{_mib(missing)} of that are missing on the disk; free some disk space"
                )
        return cls(index_path, path, file)

    def spend(self, *, fold: bool = True) -> bool:
        """Give the room up; False if that was done before.

        The index's journal is folded into it as well, which leaves room for a new one; not where
        another file stands there by now. Call it outside of a transaction.
        """
        if self._file.closed:
            return False
        self.remove()
        with suppress(sqlite3.Error):
            if fold:
                with closing(open_hardened(self._index_path, "mode=rw")) as index:
                    index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    def remove(self) -> None:
        """Remove the file, at the end of a run; a second time does nothing."""
        if not self._file.closed:
            _give_up(self.path, self._file)


def _taken(path: Path, *, make: bool = False) -> FileIO | None:
    """Open a reserve and lock it; None if a living run has it."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT if make else 0)
    try:
        file = FileIO(os.open(path, flags, 0o644), "r+")
    except FileNotFoundError:
        return None
    if lock(file.fileno()) is False or not is_at(file.fileno(), path):
        file.close()
        return None
    return file


def _give_up(path: Path, file: FileIO) -> None:
    """Remove a reserve; one that the disk doesn't let go of is cleared away by a later run."""
    with suppress(OSError), file:
        # Cut first: a file that somebody still has open would keep its room.
        file.truncate(0)
        path.unlink()


def _fill(file: FileIO, size: int) -> int:
    """Write noise, which no file system stores in less room; return how much of it fitted."""
    noise, written = os.urandom(_CHUNK_BYTES), 0
    try:
        while written < size:
            written += file.write(noise[: size - written])
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
    return written


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
