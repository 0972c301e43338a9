"""An index that others take away or damage while it is open is saved to a file beside its place.

One that was removed or replaced lives on without a name, and is copied whole. Of one that was
damaged in place, the copy gets what can be read. Whoever had it open goes on in the copy.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from llmc.errors import CorruptIndexError, StoreError
from llmc.files.folders import hide_from_git, make_folder
from llmc.models import IndexPlace
from llmc.store.database.arrival import find_unused_name, follow
from llmc.store.database.custody import find_own_folder, stat_at
from llmc.store.database.known import Known
from llmc.store.database.look import open_hardened
from llmc.store.database.migrations import build
from llmc.store.database.trouble import explain, explain_files
from llmc.store.database.watch import name_journal
from llmc.store.database.writing import BUSY_TIMEOUT_SEC
from llmc.store.owners import exclude_others, survey

Fill = Callable[[sqlite3.Connection], object]
"""Writes to a new index what is to be in it. Raises StoreError, sqlite3.Error."""

_PATIENCE_SEC = 1.0


@dataclass(frozen=True, slots=True)
class Displaced:
    """What became of an index, and where it is saved: `whole`, or what could be read of it.

    `journal` is the number (inode) of the one that it had.
    """

    what: str
    file: Path
    whole: bool
    journal: int | None


def save_whole(connection: sqlite3.Connection, place: IndexPlace) -> Path | None:
    """Copy an index to a file beside its place; None if it turns out to be damaged.

    The copy is known as the user's, so that it can be moved into place. Raises StoreError.
    """
    try:
        return _save(place, lambda copy: _copy(connection, copy))
    except CorruptIndexError:
        return None


def save_part(place: IndexPlace, fill: Fill) -> Path:
    """Make an index beside the place of a damaged one, known as the user's. Raises StoreError."""

    def make(copy: sqlite3.Connection) -> None:
        build(copy)
        fill(copy)

    return _save(place, make)


def open_saved(file: Path) -> sqlite3.Connection:
    """Open a saved index to go on in it. What is committed is in the file itself: it may be moved.

    Raises StoreError.
    """
    with explain(file):
        connection = open_hardened(file, "mode=rw", BUSY_TIMEOUT_SEC)
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    return connection


def leave(connection: sqlite3.Connection, place: IndexPlace, fate: Displaced, owner: str) -> None:
    """Close an index that is saved; what stands at its place stays as others have made it.

    Its own journal is put out of the way: it would be played back into whatever stands there next.
    """
    path = place.path
    with ExitStack() as files:
        if not fate.whole:
            # The last to close an index moves its journal into it, unless it may not write.
            with suppress(sqlite3.Error):
                other = files.enter_context(closing(open_hardened(path, "mode=ro", 0)))
                other.execute("SELECT 1 FROM sqlite_master").fetchone()
        connection.close()
    with suppress(OSError):
        if not fate.whole:
            follow(path, path)
        journal = name_journal(path)
        there = stat_at(journal)
        if there and there.st_ino == fate.journal:
            with exclude_others(path, _PATIENCE_SEC):
                if not survey(path, owner)[0]:
                    journal.rename(find_unused_name(journal, "set-aside"))


def _save(place: IndexPlace, fill: Fill) -> Path:
    with explain_files(place.path, f"cannot save what {place.path} held"):
        file = _new_file(_folder(place) / place.path.name)
        Known(place.environ).add(place.path, file.lstat())
    try:
        with explain(file), closing(open_hardened(file, "mode=rw")) as copy:
            fill(copy)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    return file


def _copy(connection: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    connection.backup(copy)
    problem = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise CorruptIndexError(f"the index is damaged: {problem}")


def _new_file(beside: Path) -> Path:
    """Make an empty file whose name nothing has, not even another run that does the same."""
    while True:
        file = find_unused_name(beside, "saved")
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))
            return file


def _folder(place: IndexPlace) -> Path:
    """Return the folder of an index, made anew if need be; another one if it can't be used."""
    try:
        folder = find_own_folder(place)
        if not folder.is_dir():
            make_folder(folder)
            if place.repo is not None:
                hide_from_git(folder)
    except (OSError, StoreError):
        return Path(tempfile.mkdtemp(prefix="llmc-"))
    return folder
