"""What has come to an index's place since it was last open: a journal, or another index.

A journal that was left by a run of this user is played back; one that came with the index is set
aside with the index as it came, unread, and the index goes on without it. An index that has taken
the place of the user's own is set aside, and the user's own is put back: a pull that brings one
over it unlinks a name, and the file has a second. Whatever is done is told; nothing is deleted.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from llmc.errors import CorruptIndexError, LockedIndexError, StoreError
from llmc.models import IndexPlace
from llmc.store.database.custody import name_kept, stat_at
from llmc.store.database.known import Known
from llmc.store.database.look import look_untouched, open_hardened
from llmc.store.database.presence import is_in_use

JOURNALS = ("-wal", "-journal")
_POLL_SEC = 0.01


@dataclass(frozen=True, slots=True)
class _At:
    """An index that is being opened, while nobody else opens it."""

    path: Path
    known: Known
    tell: Callable[[str], object]

    def is_ours(self, file: Path) -> bool:
        """Tell whether what stands there was opened for writing before, and by this user."""
        state = stat_at(file)
        return state is not None and self.known.has(self.path, state)


def receive(path: Path, place: IndexPlace, *, shared: bool, patience: float) -> bool:
    """Make an index ready to be opened for writing; make a missing one, empty.

    `shared`: others say that they are at work on it. Returns whether a journal was set aside, so
    that the index may be half-written. Raises StoreError if what is there is no index, OSError.
    """
    at = _At(path, Known(place.environ), place.tell)
    shared = shared and is_in_use(path)
    _put_back(at, shared=shared)
    state, torn = stat_at(path), False
    if state is None:
        for journal in _journals(path):
            aside = find_unused_name(journal, "set-aside")
            journal.rename(aside)
            at.tell(f"{journal} was left without its index; it is kept as {aside}")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))
    elif not ((ours := at.is_ours(path)) and shared):
        looked = _is_index(path, state, ours=ours)
        torn = _settle_journals(at, ours=ours, patience=patience)
        if not (looked or torn):
            return False
    _remember(at)
    return torn


def inspect(path: Path, place: IndexPlace, *, shared: bool) -> None:
    """Make sure that an index can be read as it is. Raises StoreError, OSError."""
    at = _At(path, Known(place.environ), place.tell)
    state = stat_at(path)
    ours = at.is_ours(path)
    if state is None or (ours and shared and is_in_use(path)):
        return
    if not ours and at.is_ours(name_kept(path)):
        raise StoreError(f"{path} has taken the place of your own index; llmc index puts it back")
    _is_index(path, state, ours=ours)
    foreign = _foreign(path, ours=ours)
    if foreign and not is_in_use(path) and (at.known.usable() or _is_rollback(foreign[-1])):
        raise StoreError(
            f"{foreign[0]} came with the index, or is another program's; llmc index sets it aside"
        )


def follow(path: Path, aside: Path) -> None:
    """Give up the second name of an index that was moved aside."""
    second, there = stat_at(name_kept(path)), stat_at(aside)
    if second and there and os.path.samestat(second, there):
        name_kept(path).unlink()


def _put_back(at: _At, *, shared: bool) -> None:
    """Give the user's own index its place again, if another has taken it."""
    second, there = stat_at(name_kept(at.path)), stat_at(at.path)
    if second is None or (there and os.path.samestat(second, there)):
        return
    ours = at.is_ours(name_kept(at.path))
    if there is None or not ours or at.is_ours(at.path):
        aside = find_unused_name(name_kept(at.path), "")
        name_kept(at.path).rename(aside)
        if there is None:
            for suffix in ("-wal", "-shm"):
                move_along(at.path, aside, suffix)
        what = "was removed" if there is None else "is another one than before"
        at.tell(f"{at.path} {what}; the earlier one is kept as {aside}: move it back, or remove it")
        return
    if shared:
        raise StoreError(f"{at.path} was replaced while others are at work on it; stop them first")
    theirs = find_unused_name(at.path, "theirs")
    counts = _results(at.path), _results(name_kept(at.path))
    for suffix in JOURNALS:
        journal = stat_at(Path(f"{at.path}{suffix}"))
        # Ours was last changed before theirs came; what came with it is as new.
        if journal and (suffix != "-wal" or journal.st_ctime_ns >= there.st_ctime_ns):
            move_along(at.path, theirs, suffix)
    move_along(at.path, theirs, "-shm")
    at.path.rename(theirs)
    os.link(name_kept(at.path), at.path, follow_symlinks=False)
    at.tell(
        f"another index had taken the place of {at.path}: it is moved to {theirs} ({counts[0]} "
        f"results), and yours is back ({counts[1]} results); to use the other one, remove "
        f"{name_kept(at.path)} and move it here"
    )


def _results(path: Path) -> str:
    """Count the enrichments of an index without opening its journal."""
    try:
        look_untouched(path)
        with closing(open_hardened(path, "mode=ro&immutable=1")) as connection:
            return str(connection.execute("SELECT count(*) FROM enrichments").fetchone()[0])
    except (StoreError, sqlite3.Error):
        return "an unknown number of"


def _is_index(path: Path, state: os.stat_result, *, ours: bool) -> bool:
    """Look at a file; False if it isn't ours and can't be told for what its journal holds back.

    Then the look comes once it is open, before anything is written. Raises StoreError.
    """
    if ours and _journals(path):
        return True
    second = stat_at(name_kept(path))
    names = 2 if second and os.path.samestat(second, state) else 1
    if not ours and state.st_nlink > names:
        raise StoreError(
            f"{path} is a hard link to a file that has other names, which would change with it; "
            f"make it a file of its own: cp {path} {path}.copy && mv {path}.copy {path}"
        )
    try:
        look_untouched(path)
    except CorruptIndexError:
        if not _journals(path):
            raise
        return False
    return True


def _journals(path: Path) -> list[Path]:
    """Return the journals that hold something; a mere reader leaves an empty one."""
    files = [Path(f"{path}{suffix}") for suffix in JOURNALS]
    return [file for file in files if (state := stat_at(file)) and state.st_size]


def _foreign(path: Path, *, ours: bool) -> list[Path]:
    """Return the journals that llmc didn't write: it writes ahead, and only to an index of its own.

    The other kind comes last. It can name a further file, which playing it back would delete.
    """
    return [file for file in _journals(path) if _is_rollback(file) or not ours]


def _is_rollback(journal: Path) -> bool:
    return journal.name.endswith("-journal")


def _settle_journals(at: _At, *, ours: bool, patience: float) -> bool:
    """Set aside what an index brought along; what a living program is at work on is its own."""
    deadline = time.monotonic() + patience
    while (foreign := _foreign(at.path, ours=ours)) and is_in_use(at.path):
        if not _is_rollback(foreign[-1]):
            return False
        if time.monotonic() > deadline:
            raise LockedIndexError(
                f"{at.path}: another program holds it for writing; wait for it to end, or stop it"
            )
        time.sleep(_POLL_SEC)
    if not foreign or not (_remembers(at) or _is_rollback(foreign[-1])):
        return False
    _set_aside(at, foreign)
    return True


def _remembers(at: _At) -> bool:
    """Note an index that is about to be set aside; False where nothing can be noted.

    Moved back by its user, it is known. Where no index ever is, a journal must be believed: it may
    hold what was paid for.
    """
    state = stat_at(at.path)
    return state is not None and at.known.add(at.path, state)


def _set_aside(at: _At, foreign: list[Path]) -> None:
    """Rename an index with its journals, which belong together, and go on with a copy of it."""
    aside, copy = find_unused_name(at.path, "set-aside"), find_unused_name(at.path, "copy")
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as target, at.path.open("rb") as source:
        shutil.copyfileobj(source, target, 2**20)
        target.flush()
        os.fsync(descriptor)
    at.path.rename(aside)
    for journal in foreign:
        move_along(at.path, aside, journal.name.removeprefix(at.path.name))
    move_along(at.path, aside, "-shm")
    copy.rename(at.path)
    follow(at.path, aside)
    at.tell(
        f"{', '.join(map(str, foreign))} came with the index, or was left by another program: it "
        f"is kept as it was with {aside}, and the index goes on without it; if it is yours, move "
        "both back in place of what is there"
    )


def move_along(path: Path, aside: Path, suffix: str) -> None:
    with suppress(FileNotFoundError):
        Path(f"{path}{suffix}").rename(f"{aside}{suffix}")


def find_unused_name(path: Path, why: str) -> Path:
    """Return a name beside a file that nothing has."""
    stem = f"{path}.{why}-" if why else f"{path}-"
    stamp = time.strftime("%Y%m%dT%H%M%S")
    names = [f"{stem}{stamp}", *(f"{stem}{stamp}-{number}" for number in range(2, 1000))]
    return next(Path(name) for name in names if stat_at(Path(name)) is None)


def _remember(at: _At) -> None:
    """Note an index as the user's, and give it its second name, before the first write to it."""
    state = stat_at(at.path)
    if state and (at.known.has(at.path, state) or at.known.add(at.path, state)):
        with suppress(OSError):  # it has one, or the file system knows no second names
            os.link(at.path, name_kept(at.path), follow_symlinks=False)
