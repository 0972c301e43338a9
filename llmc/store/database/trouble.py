"""What goes wrong with an index file, told so that a user knows what to do."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from llmc.errors import CorruptIndexError, FullDiskError, LockedIndexError, StoreError
from llmc.files.advice import NO_ROOM, describe, describe_number

_UNTOLD = ("SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")
"""Errors of the system's that SQLite passes on without the reason."""

BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_PROBE_BYTES = 64 * 1024
_FILES_OF_SQLITE = 4
"""That it opens for one index: the file, its journal, what is shared of that, their folder."""

_FREE_SPACE = "free some disk space"
_SAFE = "what was stored so far is safe"


@contextmanager
def explain(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreError with what to do about them."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translated(path, error) from error


@contextmanager
def explain_files(path: Path, failing: str = "") -> Iterator[None]:
    """Turn errors about the files beside an index into StoreError with what to do about them."""
    try:
        yield
    except OSError as error:
        raise translate(path, error, failing or f"cannot open {path}") from error


def translate(path: Path, error: OSError, failing: str) -> StoreError:
    named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    place = named if named.startswith("/") else str(path)
    text = failing if place in failing else f"{failing}: {place}"
    if isinstance(error, TimeoutError):
        return LockedIndexError(f"{text}: {error.strerror}; wait for the others, or stop them")
    text = f"{text}: {describe(error, f'see what {place} is')}"
    return FullDiskError(f"{text}; {_SAFE}") if error.errno in NO_ROOM else StoreError(text)


def _translated(path: Path, error: sqlite3.DatabaseError) -> StoreError:
    text, code = str(error), find_code(error)
    if code.startswith(_DAMAGED):
        return CorruptIndexError(
            f"{path} is not a usable SQLite database: {text}; "
            "llmc index moves it aside and makes a new one",
            inode=find_inode(path),
        )
    if code.startswith(BUSY):
        advice = "another program holds it for writing; wait for it to end, or stop it"
        return LockedIndexError(f"{path}: {text}; {advice}")
    refusal = _refusal(path) if code.startswith(_UNTOLD) else None
    if code == "SQLITE_FULL" or (code.startswith("SQLITE_IOERR") and refusal in NO_ROOM):
        return FullDiskError(f"{path}: {text}: no room is left; {_FREE_SPACE}; {_SAFE}")
    if refusal is not None and (told := describe_number(refusal)):
        return StoreError(f"{path}: {text}: {told}; {_SAFE}")
    return StoreError(f"{path}: {text}; {_advice(code)}")


def find_inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _advice(code: str) -> str:
    if code.startswith("SQLITE_READONLY"):
        return "give yourself write permission to the file and its folder"
    if code.startswith("SQLITE_CANTOPEN"):
        return "check that the file and its folder can be read and written"
    if code.startswith("SQLITE_IOERR"):
        return f"check the disk; {_SAFE}"
    return "see if another program changed the file"


def _refusal(path: Path) -> int | None:
    """Return the system's reason for not writing beside an index, as an errno; None if it does."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY:
        sizes = [file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists()]
        if any(size + _PROBE_BYTES > limit for size in sizes):
            return errno.EFBIG
    try:
        with ExitStack() as files:  # what it had open when it was refused is closed by now
            for _ in range(_FILES_OF_SQLITE):
                files.enter_context(open(os.devnull, "rb"))  # noqa: PTH123 - not a path
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as probe:
            return None if probe.write(os.urandom(_PROBE_BYTES)) == _PROBE_BYTES else errno.ENOSPC
    except OSError as error:
        return error.errno


def find_code(error: sqlite3.Error) -> str:
    """Return SQLite's name of an error; empty for one of Python's own."""
    return getattr(error, "sqlite_errorname", "")
