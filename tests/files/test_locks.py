"""Locks on open files, and waiting for them."""

import os
import time

import pytest

from llmc.files.locks import is_at, lock, lock_in_time


@pytest.fixture
def two(tmp_path):
    """Two openings of one file."""
    path = tmp_path / "a"
    path.write_text("")
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    yield first, second
    for descriptor in {first, second}:
        os.close(descriptor)


def test_a_second_opening_waits_until_its_deadline_and_not_longer(two):
    first, second = two
    assert lock(first) is True
    began = time.monotonic()
    assert lock_in_time(second, began + 0.05, 0.001) is False
    assert time.monotonic() >= began + 0.05


def test_a_deadline_that_has_passed_still_leaves_one_try(two):
    assert lock_in_time(two[0], time.monotonic() - 1, 0.001) is True


def test_what_shares_a_lock_keeps_out_who_wants_it_alone(two):
    first, second = two
    assert lock(first, shared=True) is True
    assert lock(second) is False
    assert lock(second, shared=True) is True


def test_an_open_file_is_at_the_link_that_leads_to_it_only_where_links_are_followed(two, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert is_at(two[0], tmp_path / "a")
    assert not is_at(two[0], tmp_path / "link")
    assert is_at(two[0], tmp_path / "link", follow=True)
