"""What goes wrong with an index file, told so that a user knows what to do."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmc.errors import CorruptIndexError, FullDiskError, LockedIndexError, StoreError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNTOLD = ("SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")
"""Errors of the system's that SQLite passes on without the reason."""

BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_NO_PERMISSION = (errno.EACCES, errno.EPERM)
_PROBE_BYTES = 64 * 1024
_PERMISSION = "give yourself write permission to the file and its folder"
_FREE_SPACE = "free some disk space; what was stored so far is safe"
_READ_ONLY = (
    "the file system is read-only; if it became so by itself, its disk had an error (see dmesg): "
    "check it (fsck), mount it for writing and start again; what was stored so far is safe"
)


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreError with what to do about them."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translated(path, error) from error


@contextmanager
def files_of(path: Path, failing: str = "") -> Iterator[None]:
    """Turn errors about the files beside an index into StoreError with what to do about them."""
    try:
        yield
    except OSError as error:
        raise without_files(path, error, failing or f"cannot open {path}") from error


def without_files(path: Path, error: OSError, failing: str) -> StoreError:
    text = f"{failing}: {error.strerror or error}"
    if error.errno in NO_ROOM:
        return FullDiskError(f"{text}; {_FREE_SPACE}")
    if error.errno == errno.EROFS:
        return StoreError(f"{failing}: {_READ_ONLY}")
    if error.errno in _NO_PERMISSION:
        return StoreError(f"{text}; {_PERMISSION}")
    if isinstance(error, TimeoutError):
        return LockedIndexError(f"{text}; wait for the others, or stop them")
    return StoreError(f"{text}; see what {error.filename or path} is")


def _translated(path: Path, error: sqlite3.DatabaseError) -> StoreError:
    text, code = str(error), code_of(error)
    if code.startswith(_DAMAGED):
        return corrupt(
            path,
            f"{path} is not a usable SQLite database: {text}; "
            "llmc index moves it aside and makes a new one",
        )
    if code.startswith(BUSY):
        advice = "another program holds it for writing; wait for it to end, or stop it"
        return LockedIndexError(f"{path}: {text}; {advice}")
    refusal = _refusal(path) if code.startswith(_UNTOLD) else None
    if code == "SQLITE_FULL" or (code.startswith("SQLITE_IOERR") and refusal in NO_ROOM):
        return FullDiskError(f"{path}: {text}: no room is left; {_FREE_SPACE}")
    if refusal == errno.EROFS:
        return StoreError(f"{path}: {text}: {_READ_ONLY}")
    return StoreError(f"{path}: {text}; {_advice(code)}")


def corrupt(path: Path, message: str) -> CorruptIndexError:
    error = CorruptIndexError(message)
    error.inode = inode_of(path)
    return error


def inode_of(path: Path) -> int | None:
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


def _refusal(path: Path) -> int | None:
    """Return the system's reason for not writing beside an index, as an errno; None if it does."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY:
        sizes = [file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists()]
        if any(size + _PROBE_BYTES > limit for size in sizes):
            return errno.EFBIG
    try:
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as probe:
            return None if probe.write(os.urandom(_PROBE_BYTES)) == _PROBE_BYTES else errno.ENOSPC
    except OSError as error:
        return error.errno


def code_of(error: sqlite3.Error) -> str:
    """Return SQLite's name of an error; empty for one of Python's own."""
    return getattr(error, "sqlite_errorname", "")
