"""A rescue of a damaged index is whole, or has not happened; nobody else's file passes for one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from llmc.engine import open_store
from llmc.errors import CorruptIndexError, FullDiskError, StoreError
from llmc.events import Event, Warned
from llmc.models import IndexPlace
from llmc.store.database.migrations import build
from llmc.store.rescue import rescue
from llmc.store.salvage import copy_readable
from llmc.store.store import Store
from tests.store.test_disk import file, fill, leaves, save_all

STORED = 600


@pytest.fixture
def place(tmp_path: Path, own_environ: dict[str, str]) -> IndexPlace:
    """An index of which one page of results is damaged, in the place of a user."""
    return damaged(IndexPlace(tmp_path / "index.db", environ=own_environ))


def damaged(place: IndexPlace) -> IndexPlace:
    with Store.open(place, create=True) as store:
        store.spans.put_file(file(STORED))
        save_all(store, store.spans.list_pending(0, STORED))
    spoil(place.path)
    return place


def spoil(path: Path) -> None:
    """Make the page in the middle of the results unreadable, in the file that is there."""
    pages = leaves(path, b"x" * 500)
    with path.open("r+b") as index:
        index.seek(pages[len(pages) // 2] * 4096)
        index.write(b"\xff" * 4096)


def rescued(place: IndexPlace) -> int:
    return rescue(place, CorruptIndexError("as if"))[1]


def opened(place: IndexPlace) -> list[str]:
    """Open an index for writing; return what is told of it."""
    told: list[str] = []

    def hear(event: Event) -> None:
        assert isinstance(event, Warned)
        told.append(event.message)

    open_store(place, (hear,)).close()
    return told


def beside(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir() if entry.is_file()}


def test_a_rescued_index_is_the_users_own_and_told_of_once(place: IndexPlace) -> None:
    saved = rescued(place)
    assert STORED - 10 < saved < STORED
    assert opened(place) == []
    assert place.path.samefile(f"{place.path}.kept")
    [aside] = beside(place.path) - {"index.db", "index.db.kept"}
    assert aside.startswith("index.db.corrupt-")
    assert (place.path.parent / aside).stat().st_nlink == 1


def test_a_rescued_index_is_read_by_no_more_people_than_the_damaged_one(place: IndexPlace) -> None:
    place.path.chmod(0o600)
    rescued(place)
    assert place.path.stat().st_mode & 0o777 == 0o600


def test_a_half_made_rescue_is_cleared_away(place: IndexPlace) -> None:
    partial = Path(f"{place.path}.rescue")
    partial.write_bytes(b"half of it")
    assert rescued(place) > STORED - 10
    partial.write_bytes(b"half of it")
    opened(place)
    assert not partial.exists()


def broken_off(place: IndexPlace) -> bytes:
    """Leave a rescue as one that was killed before the exchange; return the damaged file."""
    before = place.path.read_bytes()
    rescued(place)
    [aside] = place.path.parent.glob("*.corrupt-*")
    place.path.rename(f"{place.path}.rescued")
    aside.rename(place.path)
    return before


def test_a_rescue_that_broke_off_is_ended_by_the_next_open_and_told_of(place: IndexPlace) -> None:
    before = broken_off(place)
    with pytest.raises(StoreError, match="broke off; llmc index goes on with it"):
        Store.open_readonly(place)
    [told] = opened(place)
    [aside] = place.path.parent.glob("*.corrupt-*")
    assert told.startswith(f"{place.path} was damaged; it is kept as {aside}; 59")
    assert aside.read_bytes() == before
    assert opened(place) == []


def test_a_rescue_is_ended_where_the_user_has_no_folder_to_know_it_by(tmp_path: Path) -> None:
    place = damaged(IndexPlace(tmp_path / "index.db"))
    broken_off(place)
    [told] = opened(place)
    assert "enrichments could be read from it" in told


def test_a_file_that_only_bears_the_name_of_a_rescued_index_is_put_aside(
    own_environ: dict[str, str], tmp_path: Path
) -> None:
    """As one that an archive brought along; the index of the user's stays in its place."""
    place = IndexPlace(tmp_path / "index.db", environ=own_environ)
    Store.open(place, create=True).close()
    theirs = tmp_path / "theirs.db"
    Store.open(theirs, create=True).close()
    theirs.rename(f"{place.path}.rescued")
    inode = place.path.stat().st_ino
    [told] = opened(place)
    assert "is no index that llmc made here; it is kept as" in told
    assert place.path.stat().st_ino == inode
    [kept] = place.path.parent.glob("*.rescued.set-aside-*")
    assert str(kept) in told


@pytest.mark.parametrize("name", ["rescue", "rescued"])
def test_a_link_in_place_of_what_is_rescued_is_refused(
    place: IndexPlace, tmp_path: Path, name: str
) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_text("gold")
    Path(f"{place.path}.{name}").symlink_to(treasure)
    with pytest.raises(StoreError, match="is a link"):
        open_store(place)
    assert treasure.read_text() == "gold"


# A full disk


@pytest.fixture
def full(small_disk: Path, own_environ: dict[str, str]) -> tuple[IndexPlace, Path]:
    """A damaged index on a disk of 4 MiB that is filled up, and the file that takes the room."""
    place = damaged(IndexPlace(small_disk / "index.db", environ=own_environ))
    return place, fill(small_disk)


@pytest.mark.parametrize("kib", [0, 4, 16, 64, 256, 512])
def test_a_disk_that_is_full_in_mid_rescue_leaves_the_damaged_index_and_the_next_one_has_all(
    full: tuple[IndexPlace, Path], kib: int
) -> None:
    place, ballast = full
    os.truncate(ballast, ballast.stat().st_size - kib * 1024)
    before, names = place.path.read_bytes(), beside(place.path)
    with pytest.raises(FullDiskError, match="free some disk space"):
        rescued(place)
    assert (place.path.read_bytes(), beside(place.path)) == (before, names)
    ballast.unlink()
    assert rescued(place) > STORED - 10
    assert opened(place) == []


def test_a_full_disk_is_no_damage_where_the_last_run_left_a_journal(small_disk: Path) -> None:
    """Reading it takes room for what SQLite keeps beside it; nothing may be given up for that."""
    path = small_disk / "index.db"
    with Store.open(path, create=True) as store:
        store.spans.put_file(file(STORED))
        save_all(store, store.spans.list_pending(0, STORED))
        files = {name: Path(name).read_bytes() for name in (path, f"{path}-wal")}
    for name, data in files.items():
        Path(name).write_bytes(data)
    ballast = fill(small_disk)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as new:
        build(new)
        with pytest.raises(StoreError):
            copy_readable(path, new)
        assert new.execute("SELECT count(*) FROM llmc_archive").fetchone() == (0,)
        ballast.unlink()
        copy_readable(path, new)
        assert new.execute("SELECT count(*) FROM llmc_archive").fetchone() == (STORED,)


def test_a_damaged_index_on_a_read_only_disk_says_so(full: tuple[IndexPlace, Path]) -> None:
    place, ballast = full
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,ro", place.path.parent], check=True)
    with pytest.raises(StoreError, match="mount it for writing"):
        rescued(place)
