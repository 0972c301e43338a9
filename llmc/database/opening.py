"""Opening an index: for writing, for reading, and what happens to one that is damaged."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from llmc.database.trouble import corrupt, files_of, inode_of, mapped, without_files
from llmc.database.writing import BUSY_TIMEOUT_SEC, patiently, transaction
from llmc.errors import CorruptIndexError, StoreError
from llmc.folders import make_folder
from llmc.owners import Owner, alone, survey, sweep
from llmc.rows import as_text
from llmc.tables import COLUMNS, EARLIER_FAILURES, ESTABLISHED, OUR_TABLES, OURS

OPENING_PATIENCE_SEC = 600.0
"""How long others may be opening an index, which after a crash includes a look at all of it."""


def located(path: Path) -> Path:
    """Return where an index really is: who opens it through a link must meet the same owners."""
    return Path(os.path.realpath(path))


def connect(path: Path, *, create: bool = False) -> tuple[sqlite3.Connection, Owner]:
    """Open an index for writing, with its tables checked and those of ours added.

    All of it is looked through for damage where its last end was unclean. `create` makes a missing
    file. Raises StoreError; CorruptIndexError if the file isn't a usable database.
    """
    path = located(path)
    with files_of(path):
        _refuse_folder(path)
        if not create and not path.exists():
            raise StoreError(f"there is no index at {path}; make one with: llmc index")
        try:
            make_folder(path.parent)
        except OSError as error:
            raise without_files(path, error, f"cannot create {path.parent}") from error
        with alone(path, OPENING_PATIENCE_SEC):
            owner, unclean = Owner.register(path), False
            try:
                alive, dead = survey(path, owner.name)
                unclean = bool(dead) or (_has_journal(path) and not alive)
                connection = _connected(path, unclean=unclean, shared=bool(alive))
                sweep(path, dead)
                return connection, owner
            except BaseException:
                # A look that broke off must be made by the next one: the marks stay.
                owner.release(cleanly=not unclean)
                raise


def _has_journal(path: Path) -> bool:
    """Tell whether a journal was left to be played back; a mere reader leaves an empty one."""
    journal = Path(f"{path}-wal")
    return journal.exists() and journal.stat().st_size > 0


def _connected(path: Path, *, unclean: bool, shared: bool) -> sqlite3.Connection:
    with mapped(path):
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SEC, isolation_level=None)
        connection.text_factory = as_text
        try:
            patiently(
                lambda: _prepare(connection, path, unclean=unclean, shared=shared), BUSY_TIMEOUT_SEC
            )
        except BaseException:
            connection.close()
            raise
    return connection


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Open an index for reading only; nothing of it is changed, not even its tables.

    Raises StoreError.
    """
    path = located(path)
    with files_of(path):
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
    connection.text_factory = as_text
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
    path = located(path)
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


def move_aside(path: Path, found: CorruptIndexError | None = None) -> Path:
    """Rename an unusable index, with its journal files, and return its new place.

    Given the error that told of the damage, only the file that it was about is moved. Raises
    StoreError, also while other processes are at work on the index, and for a link: whose file it
    leads to isn't known here.
    """
    if path.is_symlink():
        raise StoreError(
            f"{path} is a link to {located(path)}, which is no usable index; remove the link, or "
            "move that file away yourself"
        )
    path = located(path)
    with files_of(path, f"cannot move {path} aside"), alone(path, OPENING_PATIENCE_SEC):
        if found is not None and found.inode not in (None, inode_of(path)):
            raise StoreError(f"{path} has just been replaced by another process; start again")
        others, dead = survey(path)
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
        sweep(path, dead)
    return aside


def _prepare(connection: sqlite3.Connection, path: Path, *, unclean: bool, shared: bool) -> None:
    tables = _tables(connection)
    if unclean:
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise corrupt(path, f"{path} is damaged: {problem}")
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
