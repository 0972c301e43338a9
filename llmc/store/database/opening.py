"""Opening an index: for writing, for reading, and what happens to one that is damaged."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from llmc.errors import CorruptIndexError, StoreError
from llmc.files.folders import hide_from_git, make_folder
from llmc.models import IndexPlace
from llmc.store.database.arrival import inspect, receive
from llmc.store.database.custody import examine, make_place, stat_at
from llmc.store.database.look import look_over, open_hardened
from llmc.store.database.migrations import LATEST, build, migrate
from llmc.store.database.repair import mend
from llmc.store.database.replacing import go_on, is_pending
from llmc.store.database.shape import name_tables
from llmc.store.database.trouble import explain, explain_files, find_inode, translate
from llmc.store.database.writing import BUSY_TIMEOUT_SEC, retry_while_busy, transact
from llmc.store.owners import Owner, exclude_others, survey, sweep

_Tell = Callable[[str], object]

OPENING_PATIENCE_SEC = 600.0
"""How long others may be opening an index, which after a crash includes a look at all of it."""


def connect(index: IndexPlace | Path, *, create: bool = False) -> tuple[sqlite3.Connection, Owner]:
    """Open an index for writing, with its tables checked and those of ours added.

    All of it is looked through for damage where its last end was unclean. `create` makes a missing
    file. Raises StoreError, also for a file that isn't the user's own or no index, which is left as
    it is; CorruptIndexError if it isn't a usable database.
    """
    place = make_place(index)
    with explain_files(place.path):
        path = examine(place)
        if not create and not path.exists():
            raise StoreError(f"there is no index at {path}; make one with: llmc index")
        _make_folder(path.parent, hidden=place.repo is not None)
        with exclude_others(path, OPENING_PATIENCE_SEC):
            go_on(path, place)
            owner, unclean = Owner.register(path), False
            try:
                alive, dead = survey(path, owner.name)
                torn = receive(path, place, shared=bool(alive), patience=BUSY_TIMEOUT_SEC)
                unclean = torn or bool(dead) or (_has_journal(path) and not alive)
                connection = _connected(path, place.tell, unclean=unclean, shared=bool(alive))
                sweep(path, dead)
                return connection, owner
            except BaseException:
                # A look that broke off must be made by the next one: the marks stay.
                owner.release(cleanly=not unclean)
                raise


def _make_folder(folder: Path, *, hidden: bool) -> None:
    if folder.is_dir():
        return
    try:
        make_folder(folder)
        if hidden:
            hide_from_git(folder)
    except OSError as error:
        raise translate(folder, error, f"cannot create {folder}") from error


def _has_journal(path: Path) -> bool:
    """Tell whether a journal was left to be played back; a mere reader leaves an empty one."""
    journal = Path(f"{path}-wal")
    return journal.exists() and journal.stat().st_size > 0


def _connected(path: Path, tell: _Tell, *, unclean: bool, shared: bool) -> sqlite3.Connection:
    with explain(path):
        connection = _opened(path, "mode=rw")
        try:
            retry_while_busy(
                lambda: _prepare(connection, path, tell, unclean=unclean, shared=shared),
                BUSY_TIMEOUT_SEC,
            )
        except BaseException:
            connection.close()
            raise
    return connection


def _opened(path: Path, options: str) -> sqlite3.Connection:
    """Open the very file that was examined."""
    before = stat_at(path)
    connection = open_hardened(path, options, BUSY_TIMEOUT_SEC)
    after = stat_at(path)
    if before and after and os.path.samestat(before, after):
        return connection
    connection.close()
    raise StoreError(f"{path} was replaced while it was opened; see which program does that")


def connect_readonly(index: IndexPlace | Path) -> sqlite3.Connection:
    """Open an index for reading only; nothing of it is changed, not even its tables.

    Raises StoreError.
    """
    path = _inspected(make_place(index))
    with explain_files(path):
        # A directory that can't be written to has no room for the -shm file a reader needs.
        # Without one the file alone is read, which is right only if no journal belongs to it.
        alone_there = not _has_journal(path)
    with explain(path):
        try:
            return _opened_readonly(path, "mode=ro")
        except sqlite3.OperationalError:
            if not alone_there:
                raise
            return _opened_readonly(path, "mode=ro&immutable=1")


def connect_untouched(index: IndexPlace | Path) -> sqlite3.Connection:
    """Open an index for reading without leaving a trace; SQLite would add -wal and -shm files.

    Only for a short look: what another program writes meanwhile may not be seen. Raises StoreError.
    """
    path = _inspected(make_place(index))
    if Path(f"{path}-wal").exists():
        return connect_readonly(index)
    with explain(path):
        return _opened_readonly(path, "mode=ro&immutable=1")


def _inspected(place: IndexPlace) -> Path:
    """Return where an index really is, once it is found fit to be read."""
    with explain_files(place.path):
        path = examine(place)
        if is_pending(path, place):
            raise StoreError(
                f"the rescue of a damaged {path} broke off; llmc index goes on with it"
            )
        if not path.exists():
            raise StoreError(f"there is no index at {path}; make one with: llmc index")
        inspect(path, place, shared=bool(survey(path)[0]))
    return path


def _opened_readonly(path: Path, options: str) -> sqlite3.Connection:
    connection = _opened(path, options)
    try:
        if not look_over(connection, path).tables:
            raise StoreError(f"{path} is empty; llmc index fills it")
    except BaseException:
        connection.close()
        raise
    return connection


def find_damage(connection: sqlite3.Connection, path: Path, seconds: float) -> str | None:
    """Return the first damage that SQLite finds in an index; None if there is none.

    Raises StoreError, TimeoutError if `seconds` are not enough to look at all of it.
    """
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        with explain(path):
            problem = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except StoreError as error:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is too big to be checked in {seconds:g} s") from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return None if problem == "ok" else problem


def _prepare(
    connection: sqlite3.Connection, path: Path, tell: _Tell, *, unclean: bool, shared: bool
) -> None:
    found = look_over(connection, path)
    if unclean:
        _refuse_damage(connection, path, found.tables)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # Not enforced while tables change: one that is made anew keeps its rows as they are.
    connection.execute("PRAGMA foreign_keys = OFF")
    for what in mend(connection, found.number) if found.lacking else ():
        tell(f"{path}: {what}")
    if found.tables and (found.number < LATEST or found.gone):
        migrate(connection, anew=bool(found.gone))
    connection.execute("PRAGMA foreign_keys = ON")
    # Begun even if nothing is to be written: a file that can't be is found out now, not when a
    # paid reply is at hand.
    with transact(connection):
        if not found.tables:
            build(connection)
        if not shared:
            connection.execute("DELETE FROM llmc_claims")  # all of them are dead owners'


def _refuse_damage(connection: sqlite3.Connection, path: Path, tables: frozenset[str]) -> None:
    """Look through all tables of an index, not those of others: they may compute without end."""
    known = name_tables()
    for only in ["(1)"] if tables <= known else [f"({name})" for name in sorted(tables & known)]:
        problem = connection.execute(f"PRAGMA quick_check{only}").fetchone()[0]
        if problem != "ok":
            raise CorruptIndexError(f"{path} is damaged: {problem}", inode=find_inode(path))
