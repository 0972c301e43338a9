"""Who is at work on an index: one locked file each, so that a dead owner is told from a live one.

A process that is killed can't say so, and its number may soon be another's. What the kernel does
for certain is to drop the locks of a dead process: an owner whose file can be locked is dead. Each
open file counts by itself, so two runs in one process are two owners. Names are never used again.

Some network file systems know no such locks. There every owner whose file is left counts as alive,
and only the expiry of its claims ends them.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from io import FileIO
from pathlib import Path

from llmc.files.folders import make_folder
from llmc.files.locks import is_at, lock, lock_in_time

_NAME = re.compile(r"[0-9]+-[0-9a-f]{16}")
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_TRIES = 100
_POLL_SEC = 0.01


class Owner:
    """One holder of claims, known by `name`; it lives until it is released, closed or killed."""

    def __init__(self, name: str, path: Path, file: FileIO) -> None:
        self.name = name
        self._path = path
        self._file = file

    @classmethod
    def register(cls, index_path: Path) -> Owner:
        """Become an owner of an index. Raises OSError."""
        for _ in range(_TRIES):
            # Before it is locked, the file may have passed for a dead owner's; the folder goes
            # with its last owner.
            with suppress(FileNotFoundError), _folder(index_path) as folder:
                name = f"{os.getpid()}-{secrets.token_hex(8)}"
                path = name_folder(index_path) / name
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN
                file = FileIO(os.open(name, flags, 0o644, dir_fd=folder), "r+")
                if lock(file.fileno()) is not False and is_at(file.fileno(), path):
                    return cls(name, path, file)
                file.close()
                path.unlink(missing_ok=True)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(name_folder(index_path)))

    def release(self, *, cleanly: bool = True) -> None:
        """Stop being an owner, unless `cleanly` as if killed; a second time does nothing."""
        if not self._file.closed:
            if cleanly:
                with suppress(OSError):
                    self._path.unlink()
            self._file.close()
            with suppress(OSError), _opened(self._path.parent) as folder:
                if lock(folder) is not False:
                    _remove_empty(folder, self._path.parent)


def name_folder(index_path: Path) -> Path:
    """Return where the owners of an index have their files."""
    return Path(f"{index_path}.runs")


def leave_doubt(index_path: Path) -> None:
    """Have the next who opens an index for writing look through all of it, as after a kill."""
    with suppress(OSError):
        Owner.register(index_path).release(cleanly=False)


def survey(index_path: Path, except_: str | None = None) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of (living, dead) owners, `except_` left out. Raises OSError.

    The files of dead ones stay: they tell that the index was not closed.
    """
    alive: set[str] = set()
    dead: set[str] = set()
    with suppress(FileNotFoundError), _opened(name_folder(index_path)) as folder:
        for name in os.listdir(folder):  # noqa: PTH208 - of an open folder, not of a path
            if name != except_ and _NAME.fullmatch(name):
                living = _lives(folder, name)
                if living is not None:
                    (alive if living else dead).add(name)
    return frozenset(alive), frozenset(dead)


def sweep(index_path: Path, dead: Iterable[str]) -> None:
    """Remove the files of owners that a survey found dead."""
    with suppress(OSError), _opened(name_folder(index_path)) as folder:
        for name in dead:
            _lives(folder, name, remove=True)


def _lives(folder: int, name: str, *, remove: bool = False) -> bool | None:
    """Tell whether an owner lives; None if it has left. What can't be told counts as alive."""
    try:
        file = FileIO(os.open(name, os.O_RDONLY | _OPEN, dir_fd=folder))
    except FileNotFoundError:
        return None
    except OSError:
        return True
    with closing(file):
        # Shared, so that two who look at the same time don't take each other for the owner.
        if not lock(file.fileno(), shared=True):
            return True
        if remove:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)  # still locked: nobody can register by it
        return False


@contextmanager
def exclude_others(index_path: Path, patience_sec: float) -> Iterator[None]:
    """Run a block while nobody else is in such a block for the same index.

    Raises TimeoutError when others are in it for longer than `patience_sec`, OSError.
    """
    place, deadline = name_folder(index_path), time.monotonic() + patience_sec
    while True:
        with _folder(index_path) as folder:
            if lock_in_time(folder, deadline, _POLL_SEC) is False:
                raise TimeoutError(errno.ETIMEDOUT, "others are opening it", str(index_path))
            if is_at(folder, place):  # else it went with its last owner while we waited
                try:
                    yield
                finally:
                    _remove_empty(folder, place)
                return


@contextmanager
def _folder(index_path: Path) -> Iterator[int]:
    """Open the owners' folder, made if it isn't there; it may go with its last owner any time."""
    place = name_folder(index_path)
    for _ in range(_TRIES - 1):
        with suppress(FileExistsError):  # it was, and is gone again
            make_folder(place, above=False)
        with suppress(FileNotFoundError):
            descriptor = _open_folder(place)
            break
    else:
        descriptor = _open_folder(place)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = _open_folder(folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(folder: Path) -> int:
    """Open the owners' folder; a link in its place is refused, as its files are to be removed."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _remove_empty(folder: int, place: Path) -> None:
    """Remove the folder with its last owner; it is locked, so nobody is about to register."""
    if is_at(folder, place):
        with suppress(OSError):
            place.rmdir()
