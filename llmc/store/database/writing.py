"""Writing to an index: every change is made in a transaction that opens with BEGIN IMMEDIATE.

So two processes wait for each other instead of failing half-way. A commit is on the disk before it
counts (synchronous = FULL): a reply that took a model seconds is worth the millisecond.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmc.store.database.trouble import BUSY, explain, find_code

BUSY_TIMEOUT_SEC = 30.0

_BUSY_TIMEOUT = f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SEC * 1000:.0f}"
_LONGEST_NAP_SEC = 0.004


@contextmanager
def change(
    connection: sqlite3.Connection,
    path: Path,
    *,
    lasting: bool = True,
    patience_sec: float = BUSY_TIMEOUT_SEC,
    ready: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Run a block as part of the write transaction under way, else as one of its own.

    `ready` is asked before each try to begin. Not `lasting`: a power failure may undo it. Raises
    StoreError; LockedIndexError if others hold the index for longer than `patience_sec`.
    """
    with explain(path):
        if connection.in_transaction:
            yield
        elif lasting:
            with transact(connection, patience_sec, ready):
                yield
        else:
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with transact(connection, patience_sec, ready):
                    yield
            finally:
                connection.execute("PRAGMA synchronous = FULL")


@contextmanager
def transact(
    connection: sqlite3.Connection,
    patience_sec: float = BUSY_TIMEOUT_SEC,
    ready: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Run a block in one write transaction; roll back if it raises or can't be committed."""
    try:
        _begin(connection, patience_sec, ready)
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def _begin(
    connection: sqlite3.Connection, patience_sec: float, ready: Callable[[], object]
) -> None:
    """Wait for one's turn in short naps.

    SQLite's own grow to 0.1 s: while others write all the time, the one that waits longest would
    have the smallest chance.
    """

    def begin() -> None:
        ready()
        connection.execute("BEGIN IMMEDIATE")

    connection.execute("PRAGMA busy_timeout = 0")
    try:
        retry_while_busy(begin, patience_sec)
    finally:
        connection.execute(_BUSY_TIMEOUT)


def retry_while_busy(action: Callable[[], object], patience_sec: float) -> None:
    """Try again while others hold the file: SQLite doesn't wait where waiting could deadlock."""
    deadline = time.monotonic() + patience_sec
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if not find_code(error).startswith(BUSY) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0, _LONGEST_NAP_SEC))
