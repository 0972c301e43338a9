"""The index file: opening it, its tables, and what SQLite's errors mean to a user.

The first six tables are an established format that other programs write too, so they are never
changed; what llmc adds are tables named llmc_*. Every write opens with BEGIN IMMEDIATE, so that
two processes wait for each other instead of failing half-way.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from llmc.errors import CorruptIndexError, LockedIndexError, StoreError

BUSY_TIMEOUT_SEC = 30.0

_ESTABLISHED = """
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL, lang TEXT NOT NULL,
    file_hash TEXT NOT NULL, size INTEGER NOT NULL, mtime REAL NOT NULL);
CREATE TABLE IF NOT EXISTS spans (
    id INTEGER PRIMARY KEY, file_id INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE,
    symbol TEXT NOT NULL, kind TEXT NOT NULL, start_line INTEGER NOT NULL,
    end_line INTEGER NOT NULL, byte_start INTEGER NOT NULL, byte_end INTEGER NOT NULL,
    span_hash TEXT NOT NULL UNIQUE, doc_hint TEXT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE IF NOT EXISTS embeddings_meta (
    model TEXT PRIMARY KEY, dim INTEGER NOT NULL, created_at DATETIME NOT NULL);
CREATE TABLE IF NOT EXISTS embeddings (
    span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE, vec BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS enrichments (
    span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE,
    summary TEXT, tags TEXT, evidence TEXT, model TEXT, created_at DATETIME, schema_ver TEXT,
    inputs TEXT, outputs TEXT, side_effects TEXT, pitfalls TEXT, usage_snippet TEXT);
CREATE INDEX IF NOT EXISTS idx_files_path ON files(path);
CREATE INDEX IF NOT EXISTS idx_spans_file_id ON spans(file_id);
CREATE INDEX IF NOT EXISTS idx_spans_span_hash ON spans(span_hash);
"""

_OURS = """
CREATE TABLE IF NOT EXISTS llmc_twins (
    file_id INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE,
    span_hash TEXT NOT NULL REFERENCES spans(span_hash) ON DELETE CASCADE,
    symbol TEXT NOT NULL, kind TEXT NOT NULL, start_line INTEGER NOT NULL,
    end_line INTEGER NOT NULL, byte_start INTEGER NOT NULL, byte_end INTEGER NOT NULL,
    doc_hint TEXT NULL, PRIMARY KEY (file_id, byte_start, byte_end, symbol));
CREATE INDEX IF NOT EXISTS llmc_idx_twins_hash ON llmc_twins(span_hash);
CREATE TABLE IF NOT EXISTS llmc_outcomes (
    span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE,
    result TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT, tier TEXT NOT NULL,
    backend TEXT NOT NULL, model TEXT NOT NULL, attempts INTEGER NOT NULL,
    failed_runs INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, wall_ms INTEGER NOT NULL, updated_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS llmc_archive (
    span_hash TEXT PRIMARY KEY, start_line INTEGER NOT NULL, summary TEXT, tags TEXT,
    evidence TEXT, model TEXT, created_at DATETIME, schema_ver TEXT, inputs TEXT, outputs TEXT,
    side_effects TEXT, pitfalls TEXT, usage_snippet TEXT);
"""

_COLUMNS = {
    "files": {"id", "path", "lang", "file_hash", "size", "mtime"},
    "spans": {"id", "file_id", "symbol", "kind", "start_line", "end_line"}
    | {"byte_start", "byte_end", "span_hash", "doc_hint"},
    "enrichments": {"span_hash", "summary", "tags", "evidence", "model", "created_at"}
    | {"schema_ver", "inputs", "outputs", "side_effects", "pitfalls", "usage_snippet"},
}


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open an index for writing, with its tables checked and those of ours added.

    `create` makes a missing file. Raises StoreError; CorruptIndexError if the file isn't a
    usable database.
    """
    if not create and not path.exists():
        raise StoreError(f"there is no index at {path}; make one with: llmc index")
    unclean = Path(f"{path}-wal").exists()
    with mapped(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot create {path.parent}: {error.strerror}") from error
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SEC, isolation_level=None)
        try:
            _prepare(connection, path, unclean)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Open an index for reading only; nothing of it is changed, not even its tables.

    Raises StoreError.
    """
    if not path.exists():
        raise StoreError(f"there is no index at {path}; make one with: llmc index")
    # A directory that can't be written to has no room for the -shm file a reader needs.
    # Without one the file alone is read, which is right only if no journal belongs to it.
    journal = Path(f"{path}-wal")
    alone = not journal.exists() or not journal.stat().st_size
    with mapped(path):
        try:
            return _opened_readonly(path, "mode=ro")
        except sqlite3.OperationalError:
            if not alone:
                raise
            return _opened_readonly(path, "mode=ro&immutable=1")


def _opened_readonly(path: Path, options: str) -> sqlite3.Connection:
    address = f"file:{quote(os.fsencode(path))}?{options}"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_SEC)
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
    if not path.exists() or Path(f"{path}-wal").exists():
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
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a block in one write transaction; roll back if it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StoreError with what to do about them."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "not a database" in text or "malformed" in text:
            raise CorruptIndexError(
                f"{path} is not a usable SQLite database: {text}; "
                "llmc index moves it aside and makes a new one"
            ) from error
        if "locked" in text:
            raise LockedIndexError(f"{path}: {text}; {_advice(text)}") from error
        raise StoreError(f"{path}: {text}; {_advice(text)}") from error


def move_aside(path: Path) -> Path:
    """Rename an unusable index, with its journal files, and return its new place.

    Raises StoreError.
    """
    stamp = time.strftime("%Y%m%dT%H%M%S")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    counter = 1
    while aside.exists():
        counter += 1
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{counter}")
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm", "-journal"):
            companion = Path(f"{path}{suffix}")
            if companion.exists():
                companion.rename(f"{aside}{suffix}")
    except OSError as error:
        raise StoreError(f"cannot move {path} aside: {error.strerror}") from error
    return aside


def _prepare(connection: sqlite3.Connection, path: Path, unclean: bool) -> None:
    tables = _tables(connection)
    if unclean:
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise CorruptIndexError(f"{path} is damaged: {problem}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    if not tables >= set(_COLUMNS):
        if tables:
            raise StoreError(
                f"{path} has only some of an index's tables ({', '.join(sorted(tables))}), or is "
                "another program's database; move it away and run: llmc index"
            )
        connection.executescript(f"BEGIN IMMEDIATE; {_ESTABLISHED} COMMIT;")
    _check_columns(connection, path)
    if not {"llmc_twins", "llmc_outcomes", "llmc_archive"} <= tables:
        connection.executescript(f"BEGIN IMMEDIATE; {_OURS} COMMIT;")
    with transaction(connection):
        pass  # a file that can't be written is found out now, not when a paid reply is at hand


def _check_columns(connection: sqlite3.Connection, path: Path) -> None:
    for table, wanted in _COLUMNS.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if missing := wanted - there:
            raise StoreError(
                f"{path}: table {table} lacks {', '.join(sorted(missing))}; "
                "this is not an index of llmc's format"
            )


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}


def _advice(text: str) -> str:
    if "locked" in text:
        return "another program holds it for writing; wait for it to end, or stop it"
    if "readonly" in text or "read-only" in text:
        return "give yourself write permission to the file and its folder"
    if "unable to open" in text:
        return "check that the file and its folder can be read and written"
    if "full" in text:
        return "free some disk space; what was stored so far is safe"
    if "disk I/O" in text:
        return "check the disk; what was stored so far is safe"
    return "see if another program changed the file"
