"""Files of one JSON object a line, which several processes may write at the same time.

What is appended together goes out in one write at the end of the file, under a lock on the file:
writers never mix, also where the system alone would not see to it. A write that a full disk cuts
short is undone before the lock is given up. The line that a crash has torn is sealed with a
newline, never glued to the next one. The file is opened for each write, so one that was moved
away, by the rotation of logs for example, is made anew.

A repository may be anybody's, and may hold links where files of ours belong. `within` names one:
then nothing is written through a link that leads out of it, nor through one that stands in the
place of the file. What is no file, such as a pipe that nobody reads, is refused in any case.
"""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
import stat
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmc.errors import FullDiskError, StoreError
from llmc.files import folders
from llmc.files.advice import NO_ROOM, describe
from llmc.files.locks import is_at, lock_in_time

LOCK_PATIENCE_SEC = 5.0
_NAP_SEC = 0.001
MAX_LINE_BYTES = 1 << 24
"""A longer line is no record of ours; it isn't held in memory to find out."""

_encode = json.JSONEncoder(allow_nan=False, default=str).encode


def append(path: Path, records: Sequence[Mapping[str, Any]], *, within: Path | None = None) -> None:
    """Append one line a record, all of them in one write. Raises StoreError."""
    if records:
        data = b"".join(map(_line, records))
        with mapped(path), _locked(path, within) as descriptor:
            _write(descriptor, b"\n" + data if _is_torn(descriptor) else data)


def seal(path: Path, *, within: Path | None = None) -> None:
    """End a last line that was torn; a missing file is fine.

    Finds out, too, whether the file can be written. Raises StoreError.
    """
    if os.path.lexists(path):
        with mapped(path), _locked(path, within) as descriptor:
            if _is_torn(descriptor):
                _write(descriptor, b"\n")


def read(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield (line number, object) of each line that isn't blank, from a .gz file too.

    None stands for what is no JSON object, or longer than MAX_LINE_BYTES. A missing file is empty.
    Raises StoreError.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                whole = line
                while len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                    line, whole = file.readline(MAX_LINE_BYTES), b"too long"
                if not whole.isspace():
                    yield number, _object(whole)
    except FileNotFoundError:
        return
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield number + 1, None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {describe(error, 'check the disk')}") from error


def create(path: Path, data: bytes, *, within: Path | None = None) -> None:
    """Write a file, whole or not at all. Raises StoreError."""
    with mapped(path):
        descriptor = _opened(path, os.O_WRONLY | os.O_TRUNC, within)
        try:
            _write(descriptor, data)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)


def make_folder(path: Path, *, within: Path | None = None) -> None:
    """Make a folder and those above it, with 0755 at most. Raises StoreError."""
    _stay(str(path), within)
    with mapped(path):
        folders.make_folder(path)


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Turn the system's errors about a file into StoreError with what to do about them.

    FullDiskError if there is no room.
    """
    try:
        yield
    except OSError as error:
        kind = FullDiskError if error.errno in NO_ROOM else StoreError
        raise kind(f"cannot write to {path}: {describe(error, 'check the disk')}") from error


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _line(record: Mapping[str, Any]) -> bytes:
    try:
        text = _encode(record)
    except ValueError:  # a number that JSON doesn't have, from a server or a preset
        text = _encode(_finite(record))
    return text.encode("ascii") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if isinstance(value, int) and value.bit_length() > 64 else value


def _stay(folder: str, within: Path | None) -> None:
    """See that no link on the way to a folder leads out of a repository. Raises StoreError."""
    if within is None:
        return
    for link in filter(Path.is_symlink, _steps(folder, within)):
        target = Path(os.path.realpath(link))  # of a loop, too
        if not target.is_relative_to(os.path.realpath(within)):
            raise StoreError(
                f"{link} is a link that leads out of the repository, to {target}, and what a run "
                "records would be written there; remove the link, or put a folder in its place"
            )


@lru_cache(maxsize=64)
def _steps(folder: str, within: Path) -> tuple[Path, ...]:
    """Return the folders on the way from a repository to one of its folders, outermost first."""
    steps = (Path(folder), *Path(folder).parents)
    return tuple(step for step in reversed(steps) if step != within and step.is_relative_to(within))


@contextmanager
def _locked(path: Path, within: Path | None) -> Iterator[int]:
    """Open a file for appending and lock it; one that was moved away meanwhile is made anew."""
    deadline = time.monotonic() + LOCK_PATIENCE_SEC
    while True:
        descriptor = _opened(path, os.O_RDWR | os.O_APPEND, within)
        try:
            _lock(descriptor, path, deadline)
            if is_at(descriptor, path, follow=True) or time.monotonic() > deadline:
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _opened(path: Path, flags: int, within: Path | None) -> int:
    """Open a file for writing, make it if need be. Raises OSError, StoreError."""
    _stay(os.path.dirname(path), within)  # noqa: PTH120 - for each append: a Path costs more
    # A pipe that nobody reads, or a terminal that was told to pause, must not hold us up.
    flags |= os.O_CREAT | os.O_NONBLOCK | (0 if within is None else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, 0o644)
    except FileNotFoundError:
        make_folder(path.parent, within=within)
        descriptor = os.open(path, flags, 0o644)
    if not _takes_lines(os.fstat(descriptor)):
        os.close(descriptor)
        raise StoreError(f"cannot write to {path}: it is no file; name one, or move it away")
    return descriptor


def _takes_lines(state: os.stat_result) -> bool:
    """Tell a file from pipes and devices; the one that swallows everything will do, too."""
    return stat.S_ISREG(state.st_mode) or (
        stat.S_ISCHR(state.st_mode) and state.st_rdev == Path(os.devnull).stat().st_rdev
    )


def _lock(descriptor: int, path: Path, deadline: float) -> None:
    # On a file system without locks the single write has to do.
    if lock_in_time(descriptor, deadline, _NAP_SEC) is False:
        raise StoreError(
            f"another program has held a lock on {path} for {LOCK_PATIENCE_SEC:g} s; "
            "stop it, then run: llmc ledger check --rebuild"
        )


def _is_torn(descriptor: int) -> bool:
    state = os.fstat(descriptor)
    if not state.st_size or not stat.S_ISREG(state.st_mode):
        return False
    return os.pread(descriptor, 1, state.st_size - 1) != b"\n"


def _write(descriptor: int, data: bytes) -> None:
    """Write data at once; what a full disk cuts short is taken back."""
    written = os.write(descriptor, data)
    if written == len(data):
        return
    regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    start = os.lseek(descriptor, 0, os.SEEK_CUR) - written if regular else 0
    try:
        while written < len(data):  # only a second write tells what is wrong
            step = os.write(descriptor, data[written:])
            if not step:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written += step
    except OSError:
        # Whoever appends without our lock keeps their line.
        if regular and os.fstat(descriptor).st_size == start + written:
            with suppress(OSError):
                os.ftruncate(descriptor, start)
        raise
