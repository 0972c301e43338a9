"""Whether what an index has of a file is still true."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llmc.files.ignorefile import open_file
from llmc.indexer.tree import MAX_FILE_BYTES
from llmc.store.tables.files import FileState


def tell_change(path: str, repo: Path, state: FileState | None) -> str | None:
    """Say that a file is no longer the one that was indexed; None if it is."""
    full = repo / path
    try:
        found = full.stat()
    except OSError:
        return f"{path!r} is not there any more; this is what the index has of it"
    if state is None or (state.size, state.mtime) == (found.st_size, found.st_mtime):
        return None
    if found.st_size <= MAX_FILE_BYTES and _hash(full) == state.file_hash:
        return None
    return f"{path!r} has changed since it was indexed; llmc index brings this up to date"


def _hash(file: Path) -> str | None:
    try:
        with open_file(file) as opened:
            return hashlib.sha256(opened.read(MAX_FILE_BYTES)).hexdigest()
    except OSError:
        return None
