"""The text of spans as it is in their files, and the names around them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

from llmc.enrichment.wording import read_tokens
from llmc.errors import StoreError
from llmc.indexer.encodings import HEAD_BYTES, decode
from llmc.indexer.unchanged import IndexedFiles
from llmc.models import Span, hash_span
from llmc.store.reader import Reader

MAX_FILE_BYTES = 2_000_000
"""Of a file that is looked through for names."""


class Names:
    """The names that the words about a span may use, its own aside."""

    def __init__(self, repo: Path, open_index: Callable[[], Reader]) -> None:
        self._repo = repo
        self._defined = _DefinedNames(open_index)
        self._last: tuple[str, Container[str]] | None = None

    def find_around(self, span: Span) -> tuple[Container[str], Container[str]]:
        """Return the names in a span's file, and the index's; each is read when one is looked for.

        What is returned may be asked on any thread.
        """
        if self._last is None or self._last[0] != span.path:
            self._last = span.path, _FileNames(self._repo, span)
        return self._last[1], self._defined


class _DefinedNames:
    """The names of all that an index defines. Of one that can't be read, no name is unknown."""

    def __init__(self, open_index: Callable[[], Reader]) -> None:
        self._open_index = open_index

    def __contains__(self, name: object) -> bool:
        return self._names is None or name in self._names

    @cached_property
    def _names(self) -> frozenset[str] | None:
        try:
            with self._open_index() as index:
                return index.definitions.list_names()
        except StoreError:
            return None


class _FileNames:
    """The names in a span's file."""

    def __init__(self, repo: Path, span: Span) -> None:
        self._repo = repo
        self._span = span

    def __contains__(self, name: object) -> bool:
        return name in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        whole = replace(self._span, byte_start=0, byte_end=MAX_FILE_BYTES)
        return read_tokens(read_source(self._repo, whole, verify=False) or "")


def read_source(
    repo: Path, span: Span, *, verify: bool = True, files: IndexedFiles | None = None
) -> str | None:
    """Return a span's text, None if it can't be read or, with `verify`, is no longer the same.

    With `files`, also None if its whole file is not the one that they know. The path comes from the
    database. What counts is where the opened file really is: one outside the repository, or one
    that is no plain file, is not read.
    """
    root = _root(repo)
    path = f"{root}{span.path}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        if not (stat.S_ISREG(status.st_mode) and _real_path(descriptor, path).startswith(root)):
            return None
        start, end = max(0, span.byte_start), min(span.byte_end, status.st_size)
        code = os.pread(descriptor, max(0, end - start), start)
        if files and not files.holds(span, descriptor):
            return None
        head = os.pread(descriptor, HEAD_BYTES, 0) if verify and not _is_plain(code) else b""
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    if verify and span.span_hash != hash_span(span.lang, code):
        return None
    return decode(code, head)


def _is_plain(code: bytes) -> bool:
    """Tell whether bytes are text as nearly all of it is: no encoding but UTF-8 is to be seen."""
    if code.isascii():
        return b"\0" not in code
    try:
        code.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in code


@lru_cache(maxsize=8)
def _root(repo: Path) -> str:
    """Return where a repository really is, with a slash at the end."""
    return str(repo.resolve() / "_")[:-1]


def _real_path(descriptor: int, path: str) -> str:
    """Return where an open file is; the system knows best, and nobody can swap a link meanwhile."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - text is all we need
    except OSError:
        return os.path.realpath(path)
