"""Table files: the files of a repository, as they were when they were read."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from llmc.store.parsed import ParsedFile
from llmc.store.tables.values import is_name

ALL_FILES = "SELECT path, lang, file_hash, size, mtime FROM files"
# As bytes: made text one at a time by a text factory, 200,000 paths take half a second.
ALL_STAMPS = (
    "SELECT CAST(path AS BLOB), size, mtime, typeof(size) = 'integer' AND "
    "typeof(file_hash) = 'text' AND typeof(lang) = 'text' AND "
    "NOT instr(CAST(file_hash || lang AS BLOB), x'00') FROM files "
    "WHERE typeof(path) = 'text' AND NOT instr(CAST(path AS BLOB), x'00')"
)
FILE_OF_SPAN = (
    "SELECT f.lang, f.file_hash, f.size, f.mtime FROM spans s "
    "JOIN files f ON f.id = s.file_id WHERE s.id = ? AND s.span_hash = ? "
    "AND f.path = ? AND s.byte_start = ? AND s.byte_end = ?"
)
PUT_FILE = (
    "INSERT INTO files (path, lang, file_hash, size, mtime) "
    "VALUES (:path, :lang, :file_hash, :size, :mtime) "
    "ON CONFLICT (path) DO UPDATE SET lang = excluded.lang, file_hash = excluded.file_hash, "
    "size = excluded.size, mtime = excluded.mtime RETURNING id"
)
TOUCH_FILE = (
    "UPDATE files SET size = :size, mtime = :mtime "
    "WHERE path = :path AND file_hash = :file_hash AND lang = :lang"
)
READ_ANEW = "UPDATE files SET size = -1, file_hash = '' WHERE"
"""Makes files look changed; a condition follows."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What the index knows of a file; equal size and mtime (epoch seconds) mean unchanged."""

    file_hash: str
    size: int
    mtime: float
    lang: str


_CHANGED = FileState("", -1, 0.0, "")


def read_state(row: sqlite3.Row) -> FileState:
    """Return what a row says of a file; one of which something can't be used looks changed."""
    file_hash, size, lang = row["file_hash"], row["size"], row["lang"]
    if not (is_name(file_hash) and is_name(lang) and isinstance(size, int)):
        return _CHANGED
    return FileState(file_hash, size, row["mtime"], lang)


def write_file(file: ParsedFile) -> dict[str, object]:
    """Return the columns of a file."""
    return {name: getattr(file, name) for name in ("path", "lang", "file_hash", "size", "mtime")}
