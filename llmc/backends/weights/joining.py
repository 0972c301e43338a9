"""A model's file while it grows: piece after piece, and only verified ones stay in it.

It lies beside the place where it belongs and is moved there whole, so whoever finds a file there
finds all of it. One that a kill left behind is gone on with after its last good piece.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from llmc.backends.weights.disk import map_errors
from llmc.errors import ConfigError
from llmc.settings.catalogue import Part

CHUNK_BYTES = 1 << 20


class Joining:
    """The growing file at a path. `size` is how much of it is verified, in bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with map_errors(path):
            self._file = os.fdopen(os.open(path, flags, 0o600), "r+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def keep(self, parts: Iterable[Part]) -> int:
        """Keep the pieces that are here already; return how many, and drop what follows them."""
        kept = 0
        for part in parts:
            if copy_hashed(self._file, None, part.size) != (part.size, part.sha256):
                break
            self.size, kept = self.size + part.size, kept + 1
        self._cut()
        return kept

    def append(self, source: IO[bytes], size: int, sha256: str, what: str) -> None:
        """Add a piece. Raises ConfigError if it is not the one that is meant; none of it stays.

        `what` is what the piece is called. Raises FullDiskError.
        """
        try:
            with map_errors(self.path):
                found = copy_hashed(source, self._file, size)
                self._file.flush()
                os.fsync(self._file.fileno())
            refuse_other(what, found, (size, sha256), more=bool(source.read(1)))
        except BaseException:
            self._cut()
            raise
        self.size += size

    def finish(self, place: Path, sha256: str) -> None:
        """Move the file to its place if it is what it has to be, as it stands on the disk.

        Raises ConfigError; then nothing of it stays.
        """
        self._file.seek(0)
        _, found = copy_hashed(self._file, None, self.size)
        if found != sha256:
            self.path.unlink(missing_ok=True)
            raise ConfigError(f"joined, the parts are not the model: SHA-256 {found}, not {sha256}")
        put_in_place(self.path, place)

    def _cut(self) -> None:
        """Drop what is not verified."""
        with map_errors(self.path):
            self._file.seek(self.size)
            self._file.truncate()


def copy_hashed(source: IO[bytes], to: IO[bytes] | None, most: int) -> tuple[int, str]:
    """Read at most so many bytes, write them where wanted; return their number and SHA-256."""
    found, left = hashlib.sha256(), most
    while left and (data := source.read(min(CHUNK_BYTES, left))):
        found.update(data)
        if to:
            to.write(data)
        left -= len(data)
    return most - left, found.hexdigest()


def refuse_other(
    what: str, found: tuple[int, str], meant: tuple[int, str], *, more: bool = False
) -> None:
    """Raise ConfigError if (size, SHA-256) are others than those meant, or there is `more`."""
    if found[0] != meant[0] or more:
        than = "more" if more else f"{found[0]}"
        raise ConfigError(f"{what} is refused: it has {than} bytes, where {meant[0]} are expected")
    if found[1] != meant[1]:
        raise ConfigError(f"{what} is refused: its SHA-256 is {found[1]}, not {meant[1]}")


def put_in_place(path: Path, place: Path) -> None:
    """Rename a file, so that it is there after a power cut, too."""
    with map_errors(place):
        path.replace(place)
        descriptor = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
