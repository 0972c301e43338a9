"""A damaged index gives its place to what could be read from it: wholly, or not yet.

What is readable goes to a file of its own, `.rescue`. Once that is whole, on the disk and known as
the user's, it is named `.rescued`, and from then on the exchange is a matter of names: the damaged
file keeps a name beside its own, its journals follow, and the other takes its place in one step.
Whoever dies before that name leaves the damaged index as it was; whoever dies after it leaves the
rest to the next one that opens the index for writing.
"""

from __future__ import annotations

import glob
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from llmc.errors import StoreError
from llmc.models import IndexPlace
from llmc.store.database.arrival import JOURNALS, find_unused_name, follow, move_along
from llmc.store.database.custody import stat_at
from llmc.store.database.known import Known
from llmc.store.database.look import open_hardened
from llmc.store.database.migrations import build
from llmc.store.database.trouble import explain
from llmc.store.owners import survey

Fill = Callable[[sqlite3.Connection], object]
"""Writes what can be read of a damaged index to a new one. Raises StoreError, sqlite3.Error."""


def make_ready(path: Path, place: IndexPlace, fill: Fill) -> None:
    """Make the index that is to take the place of a damaged one; that one stays as it is.

    Raises StoreError, OSError.
    """
    partial = _partial(path)
    try:
        _make(partial, like=path)
        with explain(partial), closing(open_hardened(partial, "mode=rw")) as new:
            # What a crash leaves of it is thrown away: nothing need be on the disk before the end.
            new.execute("PRAGMA journal_mode = MEMORY")
            new.execute("PRAGMA synchronous = OFF")
            build(new)
            fill(new)
        _on_disk(partial)
        Known(place.environ).add(path, partial.lstat())
        partial.rename(_whole(path))
    except StoreError as error:
        text = f"{path} is damaged, and stays as it is: {error}; then run: llmc index"
        raise type(error)(text) from error
    finally:
        partial.unlink(missing_ok=True)
    _on_disk(path.parent)


def is_pending(path: Path, place: IndexPlace) -> bool:
    """Tell whether an index of the user's waits to take the place of a damaged one.

    Where no index is ever known, one must be believed: it may be all that was paid for.
    """
    state, known = stat_at(_whole(path)), Known(place.environ)
    return state is not None and (known.has(path, state) or not known.usable())


def go_on(path: Path, place: IndexPlace) -> None:
    """End a rescue that broke off, while nobody else opens the index. Raises StoreError, OSError.

    One that wasn't yet whole is begun anew by whoever finds the damage; what bears the name of a
    rescued index and isn't known as the user's is put out of the way.
    """
    if stat_at(_partial(path)):
        _partial(path).unlink()
    if is_pending(path, place):
        if not survey(path)[0]:
            exchange(path, place, f"{path} was damaged")
    elif stat_at(_whole(path)):
        aside = find_unused_name(_whole(path), "set-aside")
        _whole(path).rename(aside)
        place.tell(f"{_whole(path)} is no index that llmc made here; it is kept as {aside}")


def exchange(path: Path, place: IndexPlace, why: str) -> tuple[Path, int]:
    """Put the index that was built in place of the damaged one, and say so.

    Returns where the damaged one is now and how many enrichments were saved. It may have been begun
    before. Raises StoreError, OSError.
    """
    saved, damaged = _results(_whole(path)), stat_at(path)
    aside = _aside(path, damaged)
    if damaged:
        with suppress(OSError):  # it has that name, or the file system knows no second names
            os.link(path, aside, follow_symlinks=False)
    # Said before it is done: said twice is better than never.
    place.tell(f"{why}; it is kept as {aside}; {saved} enrichments could be read from it")
    follow(path, aside)
    for suffix in (*JOURNALS, "-shm"):
        move_along(path, aside, suffix)
    if damaged and not stat_at(aside):
        path.rename(aside)
    _whole(path).rename(path)
    _on_disk(path.parent)
    return aside, saved


def _partial(path: Path) -> Path:
    return Path(f"{path}.rescue")


def _whole(path: Path) -> Path:
    return Path(f"{path}.rescued")


def _make(file: Path, *, like: Path) -> None:
    """Make an empty file, which nobody may read who may not read the other one."""
    file.unlink(missing_ok=True)
    mode = stat.S_IMODE(like.stat().st_mode) & 0o666 | 0o600
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode))


def _aside(path: Path, damaged: os.stat_result | None) -> Path:
    """Return the name that a damaged index has beside its own, else one that it may have."""
    for file in path.parent.glob(f"{glob.escape(path.name)}.corrupt-*"):
        state = stat_at(file)
        if damaged and state and os.path.samestat(state, damaged):
            return file
    return find_unused_name(path, "corrupt")


def _results(rescued: Path) -> int:
    with explain(rescued), closing(open_hardened(rescued, "mode=ro&immutable=1")) as database:
        return int(database.execute("SELECT count(*) FROM llmc_archive").fetchone()[0])


def _on_disk(place: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
