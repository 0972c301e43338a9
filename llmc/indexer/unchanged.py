"""Tells whether a file is still the one that was indexed.

An index made by another program may be older than the files it names. What then stands at a span's
bytes is other code, and a reply about it would be stored under the name of the old.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from llmc.models import Span

Known = Callable[[Span], tuple[str, int] | None]
"""Gives the sha256 in hex and the size in bytes that a span's file had when it was indexed; None if
the index has the span no longer, or elsewhere."""

_State = tuple[int, int, int, int, int]

_CHUNK_BYTES = 1 << 20


class IndexedFiles:
    """Compares open files with what an index knows of them.

    A file is read whole for that, but only once for each state that it is seen in, however many
    spans it has.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._seen: dict[str, tuple[_State, str]] = {}

    def holds(self, span: Span, descriptor: int) -> bool:
        """Tell whether the open file is the one that a span was found in.

        To be asked after a part of it was read, so that the answer is true of that part. Raises
        OSError.
        """
        indexed = self._known(span)
        status = os.fstat(descriptor)
        if indexed is None or indexed[1] != status.st_size:
            return False
        state = (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        seen, digest = self._seen.get(span.path, (None, ""))
        if seen != state:
            digest = _sha256(descriptor, status.st_size)
            self._seen[span.path] = state, digest
        return digest == indexed[0]


def _sha256(descriptor: int, size: int) -> str:
    """Return the hash of a file's first `size` bytes in hex, wherever it is read at the moment."""
    digest = hashlib.sha256()
    for start in range(0, size, _CHUNK_BYTES):
        digest.update(os.pread(descriptor, min(_CHUNK_BYTES, size - start), start))
    return digest.hexdigest()
