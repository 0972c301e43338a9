"""The index file: opening it, writing to it, and what SQLite's errors mean to a user.

Every write opens with BEGIN IMMEDIATE, so that two processes wait for each other instead of
failing half-way. A commit is on the disk before it counts (synchronous = FULL): a reply that took a
model seconds is worth the millisecond.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from io import FileIO
from pathlib import Path
from urllib.parse import quote

from llmc.errors import CorruptIndexError, FullDiskError, LockedIndexError, StoreError
from llmc.owners import Owner, alone, is_at, locked, survey
from llmc.tables import COLUMNS, EARLIER_FAILURES, ESTABLISHED, OUR_TABLES, OURS

BUSY_TIMEOUT_SEC = 30.0
OPENING_PATIENCE_SEC = 600.0
"""How long others may be opening an index, which after a crash includes a look at all of it."""

_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
_BUSY_POLL_SEC = 0.02
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)
_PROBE_BYTES = 64 * 1024
_CHUNK_BYTES = 1024 * 1024
_MOST_RESERVES = 1000
_PERMISSION = "give yourself write permission to the file and its folder"
_FREE_SPACE = "free some disk space; what was stored so far is safe"


def connect(path: Path, *, create: bool = False) -> tuple[sqlite3.Connection, Owner]:
    """Open an index for writing, with its tables checked and those of ours added.

    All of it is looked through for damage where its last end was unclean. `create` makes a missing
    file. Raises StoreError; CorruptIndexError if the file isn't a usable database.
    """
    with _files_of(path):
        _refuse_folder(path)
        if not create and not path.exists():
            raise StoreError(f"there is no index at {path}; make one with: llmc index")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _without_files(path, error, f"cannot create {path.parent}") from error
        with alone(path, OPENING_PATIENCE_SEC):
            owner = Owner.register(path)
            try:
                alive, dead = survey(path, owner.name)
                unclean = bool(dead) or (Path(f"{path}-wal").exists() and not alive)
                return _connected(path, unclean=unclean, shared=bool(alive)), owner
            except BaseException:
                owner.release()
                raise


def _connected(path: Path, *, unclean: bool, shared: bool) -> sqlite3.Connection:
    with mapped(path):
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SEC, isolation_level=None)
        try:
            _patiently(lambda: _prepare(connection, path, unclean=unclean, shared=shared))
        except BaseException:
            connection.close()
            raise
    return connection


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Open an index for reading only; nothing of it is changed, not even its tables.

    Raises StoreError.
    """
    with _files_of(path):
        _refuse_folder(path)
        if not path.exists():
            raise StoreError(f"there is no index at {path}; make one with: llmc index")
        # A directory that can't be written to has no room for the -shm file a reader needs.
        # Without one the file alone is read, which is right only if no journal belongs to it.
        journal = Path(f"{path}-wal")
        alone_there = not journal.exists() or not journal.stat().st_size
    with mapped(path):
        try:
            return _opened_readonly(path, "mode=ro")
        except sqlite3.OperationalError:
            if not alone_there:
                raise
            return _opened_readonly(path, "mode=ro&immutable=1")


def _opened_readonly(path: Path, options: str) -> sqlite3.Connection:
    address = f"file:{quote(os.fsencode(path))}?{options}"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_SEC, isolation_level=None)
    try:
        _check_columns(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_untouched(path: Path) -> sqlite3.Connection:
    """Open an index for reading without leaving a trace; SQLite would add -wal and -shm files.

    Only for a short look: what another program writes meanwhile may not be seen. Raises StoreError.
    """
    if not path.is_file() or Path(f"{path}-wal").exists():
        return connect_readonly(path)
    with mapped(path):
        return _opened_readonly(path, "mode=ro&immutable=1")


def damage(connection: sqlite3.Connection, path: Path, seconds: float) -> str | None:
    """Return the first damage that SQLite finds in an index; None if there is none.

    Raises StoreError, TimeoutError if `seconds` are not enough to look at all of it.
    """
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        with mapped(path):
            problem = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except StoreError as error:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is too big to be checked in {seconds:g} s") from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return None if problem == "ok" else problem


@contextmanager
def writing(connection: sqlite3.Connection, path: Path, *, lasting: bool = True) -> Iterator[None]:
    """Run a block as part of the write transaction under way, else as one of its own.

    Not `lasting`: a power failure may undo it. Raises StoreError.
    """
    with mapped(path):
        if connection.in_transaction:
            yield
        elif lasting:
            with transaction(connection):
                yield
        else:
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with transaction(connection):
                    yield
            finally:
                connection.execute("PRAGMA synchronous = FULL")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a block in one write transaction; roll back if it raises or can't be committed."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreError with what to do about them."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translated(path, error) from error


def move_aside(path: Path, found: CorruptIndexError | None = None) -> Path:
    """Rename an unusable index, with its journal files, and return its new place.

    Given the error that told of the damage, only the file that it was about is moved. Raises
    StoreError, also while other processes are at work on the index.
    """
    with _files_of(path, f"cannot move {path} aside"), alone(path, OPENING_PATIENCE_SEC):
        if found is not None and found.inode not in (None, _inode(path)):
            raise StoreError(f"{path} has just been replaced by another process; start again")
        others, _ = survey(path)
        if others:
            raise StoreError(
                f"{path} is damaged, and others are at work on it (process "
                f"{', '.join(sorted(name.split('-')[0] for name in others))}); "
                "stop them, then run: llmc index"
            )
        stamp = time.strftime("%Y%m%dT%H%M%S")
        aside = path.with_name(f"{path.name}.corrupt-{stamp}")
        counter = 1
        while aside.exists():
            counter += 1
            aside = path.with_name(f"{path.name}.corrupt-{stamp}-{counter}")
        path.rename(aside)
        for suffix in ("-wal", "-shm", "-journal"):
            companion = Path(f"{path}{suffix}")
            if companion.exists():
                companion.rename(f"{aside}{suffix}")
    return aside


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
        with _files_of(index_path, f"cannot set room aside beside {index_path}"):
            for left in index_path.parent.iterdir():
                if left.name.startswith(f"{index_path.name}.reserve") and (old := _taken(left)):
                    _give_up(left, old)
            numbers = ("", *(f"-{number}" for number in range(2, _MOST_RESERVES)))
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

    def spend(self) -> bool:
        """Give the room up; False if that was done before.

        The index's journal is folded into it as well, which leaves room for a new one. Call it
        outside of a transaction.
        """
        if self._file.closed:
            return False
        self.remove()
        address = f"file:{quote(os.fsencode(self._index_path))}?mode=rw"
        with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
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
    if locked(file.fileno(), fcntl.LOCK_EX) is False or not is_at(file.fileno(), path):
        file.close()
        return None
    return file


def _give_up(path: Path, file: FileIO) -> None:
    # Cut first: a file that somebody still has open would keep its room.
    file.truncate(0)
    with suppress(FileNotFoundError):
        path.unlink()
    file.close()


def _fill(file: FileIO, size: int) -> int:
    """Write noise, which no file system stores in less room; return how much of it fitted."""
    noise, written = os.urandom(_CHUNK_BYTES), 0
    try:
        while written < size:
            written += file.write(noise[: size - written])
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
    return written


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _patiently(action: Callable[[], None]) -> None:
    """Try again while others hold the file: SQLite doesn't wait where waiting could deadlock."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SEC
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not _code(error).startswith(_BUSY) or time.monotonic() > deadline:
                raise
        time.sleep(_BUSY_POLL_SEC)


def _prepare(connection: sqlite3.Connection, path: Path, *, unclean: bool, shared: bool) -> None:
    tables = _tables(connection)
    if unclean:
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise _corrupt(path, f"{path} is damaged: {problem}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    if tables and not tables >= set(COLUMNS):
        raise StoreError(
            f"{path} has only some of an index's tables ({', '.join(sorted(tables))}), or is "
            "another program's database; move it away and run: llmc index"
        )
    # Begun even if nothing is to be written: a file that can't be is found out now, not when a
    # paid reply is at hand.
    with transaction(connection):
        if not tables:
            _run(connection, ESTABLISHED)
        if not tables >= OUR_TABLES:
            _run(connection, OURS)
        if "llmc_outcomes" in tables and "llmc_failures" not in tables:
            _run(connection, EARLIER_FAILURES)
        if not shared:
            connection.execute("DELETE FROM llmc_claims")  # all of them are dead owners'
    _check_columns(connection, path)


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        connection.execute(statement)


def _check_columns(connection: sqlite3.Connection, path: Path) -> None:
    for table, wanted in COLUMNS.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if missing := wanted - there:
            raise StoreError(
                f"{path}: table {table} lacks {', '.join(sorted(missing))}; "
                "this is not an index of llmc's format"
            )


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder, and an index is a file; move the folder away")


@contextmanager
def _files_of(path: Path, failing: str = "") -> Iterator[None]:
    """Turn errors about the files beside an index into StoreError with what to do about them."""
    try:
        yield
    except OSError as error:
        raise _without_files(path, error, failing or f"cannot open {path}") from error


def _without_files(path: Path, error: OSError, failing: str) -> StoreError:
    text = f"{failing}: {error.strerror or error}"
    if error.errno in _NO_ROOM:
        return FullDiskError(f"{text}; {_FREE_SPACE}")
    if error.errno in _NO_PERMISSION:
        return StoreError(f"{text}; {_PERMISSION}")
    if isinstance(error, TimeoutError):
        return LockedIndexError(f"{text}; wait for the others, or stop them")
    return StoreError(f"{text}; see what {error.filename or path} is")


def _translated(path: Path, error: sqlite3.DatabaseError) -> StoreError:
    text, code = str(error), _code(error)
    if code.startswith(_DAMAGED) or "Could not decode" in text:
        return _corrupt(
            path,
            f"{path} is not a usable SQLite database: {text}; "
            "llmc index moves it aside and makes a new one",
        )
    if code.startswith(_BUSY):
        advice = "another program holds it for writing; wait for it to end, or stop it"
        return LockedIndexError(f"{path}: {text}; {advice}")
    if code == "SQLITE_FULL" or (code.startswith("SQLITE_IOERR") and _lacks_room(path)):
        return FullDiskError(f"{path}: {text}: no room is left; {_FREE_SPACE}")
    return StoreError(f"{path}: {text}; {_advice(code)}")


def _corrupt(path: Path, message: str) -> CorruptIndexError:
    error = CorruptIndexError(message)
    error.inode = _inode(path)
    return error


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _advice(code: str) -> str:
    if code.startswith("SQLITE_READONLY"):
        return _PERMISSION
    if code.startswith("SQLITE_CANTOPEN"):
        return "check that the file and its folder can be read and written"
    if code.startswith("SQLITE_IOERR"):
        return "check the disk; what was stored so far is safe"
    return "see if another program changed the file"


def _lacks_room(path: Path) -> bool:
    """Tell whether a write failed for want of room; SQLite passes on only that it failed."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY:
        sizes = [file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists()]
        if any(size + _PROBE_BYTES > limit for size in sizes):
            return True
    try:
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as probe:
            return probe.write(os.urandom(_PROBE_BYTES)) < _PROBE_BYTES
    except OSError as error:
        return error.errno in _NO_ROOM


def _code(error: sqlite3.Error) -> str:
    """Return SQLite's name of an error; empty for one of Python's own."""
    return getattr(error, "sqlite_errorname", "")
