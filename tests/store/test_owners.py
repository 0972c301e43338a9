"""Whoever is at work on an index is told from who was: by locks, not by process numbers."""

import fcntl
import os
import subprocess
import sys
import threading

import pytest

from llmc.files.locks import lock
from llmc.store.owners import Owner, exclude_others, name_folder, survey, sweep

HOLD = """
import sys, time
from pathlib import Path
from llmc.store.owners import Owner
print(Owner.register(Path(sys.argv[1])).name, flush=True)
time.sleep(600)
"""


@pytest.fixture
def index(tmp_path):
    return tmp_path / "index.db"


@pytest.fixture
def killed(index):
    """The name of an owner whose process was killed."""
    command = [sys.executable, "-c", HOLD, index]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        name = process.stdout.readline().strip()
        process.kill()
    return name


def names(index):
    return {path.name for path in name_folder(index).iterdir()}


def test_an_owner_is_alive_until_it_is_released(index):
    owner = Owner.register(index)
    assert survey(index) == ({owner.name}, set())
    owner.release()
    assert survey(index) == (set(), set())


def test_releasing_twice_does_no_harm(index):
    owner = Owner.register(index)
    owner.release()
    other = Owner.register(index)
    owner.release()
    assert survey(index)[0] == {other.name}


def test_two_owners_in_one_process_are_two(index):
    first, second = Owner.register(index), Owner.register(index)
    assert survey(index, first.name) == ({second.name}, set())
    first.release()
    assert survey(index) == ({second.name}, set())


def test_a_killed_owner_is_dead_until_its_file_is_swept_away(index, killed):
    assert survey(index) == (set(), {killed})
    sweep(index, {killed})
    assert names(index) == set()
    assert survey(index) == (set(), set())


def test_looking_leaves_the_file(index, killed):
    assert survey(index) == (set(), {killed})
    assert names(index) == {killed}


def test_a_living_owner_is_not_swept_away(index):
    owner = Owner.register(index)
    sweep(index, {owner.name})
    assert survey(index) == ({owner.name}, set())


def test_two_who_look_at_a_dead_owner_at_once_both_see_it_dead(index, killed):
    with (name_folder(index) / killed).open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert survey(index) == (set(), {killed})


def test_the_folder_goes_with_its_last_owner(index):
    first, second = Owner.register(index), Owner.register(index)
    first.release()
    assert name_folder(index).exists()
    second.release()
    assert not name_folder(index).exists()


def test_nobody_owns_an_index_that_was_never_opened(index):
    assert survey(index) == (set(), set())


def test_other_files_in_the_folder_are_left_alone(index):
    owner = Owner.register(index)
    for name in ("notes.txt", "1-xyz", "12-0123456789abcdef.bak"):
        (name_folder(index) / name).write_text("mine")
    assert survey(index, owner.name) == (set(), set())
    owner.release()
    assert names(index) == {"notes.txt", "1-xyz", "12-0123456789abcdef.bak"}


def test_a_link_that_looks_like_an_owner_is_not_followed(index, tmp_path):
    owner = Owner.register(index)
    treasure = tmp_path / "treasure"
    treasure.write_text("gold")
    link = name_folder(index) / "1-0123456789abcdef"
    link.symlink_to(treasure)
    assert link.name in survey(index)[0], "what can't be told counts as alive"
    assert treasure.read_text() == "gold"
    assert link.is_symlink()
    owner.release()


def test_a_pipe_that_looks_like_an_owner_does_not_block(index):
    owner = Owner.register(index)
    os.mkfifo(name_folder(index) / "1-0123456789abcdef")
    assert owner.name in survey(index)[0]


def test_a_link_in_place_of_the_folder_is_refused(index, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    name_folder(index).symlink_to(tmp_path / "elsewhere")
    for use in (Owner.register, survey):
        with pytest.raises(OSError, match=r"index\.db\.runs"):
            use(index)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_nobody_else_may_write_whatever_the_umask(index, mask):
    before = os.umask(mask)
    try:
        owner = Owner.register(index)
    finally:
        os.umask(before)
    folder = name_folder(index)
    assert folder.stat().st_mode & 0o777 == 0o755 & ~mask
    assert (folder / owner.name).stat().st_mode & 0o777 == 0o644 & ~mask


def test_owners_that_come_and_go_in_many_threads_never_pass_for_dead(index):
    """Surveys run all the time: whoever is registered must be alive in each that follows."""
    wrong, done = [], threading.Event()

    def look():
        while not done.is_set():
            sweep(index, survey(index)[1])

    def come_and_go():
        for _ in range(150):
            owner = Owner.register(index)
            alive, _ = survey(index)
            if owner.name not in alive:
                wrong.append(owner.name)
            owner.release()

    lookers = [threading.Thread(target=look) for _ in range(2)]
    comers = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in lookers + comers:
        thread.start()
    for thread in comers:
        thread.join()
    done.set()
    for thread in lookers:
        thread.join()
    assert wrong == []


def test_a_file_that_can_not_be_locked_is_neither_free_nor_taken(tmp_path):
    """As on a network file system without such locks."""
    with (tmp_path / "file").open("w") as file:
        descriptor = file.fileno()
        assert lock(descriptor) is True
        with (tmp_path / "file").open() as other:
            assert lock(other.fileno()) is False
    assert lock(descriptor) is None


def test_only_one_at_a_time_is_alone(index):
    with exclude_others(index, 5):
        owner = Owner.register(index)
        with pytest.raises(TimeoutError), exclude_others(index, 0):
            pass
    with exclude_others(index, 0):
        assert survey(index)[0] == {owner.name}


def test_to_have_been_alone_leaves_nothing_behind(index):
    with exclude_others(index, 0):
        pass
    assert not name_folder(index).exists()
