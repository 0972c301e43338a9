"""A file is compared, whole, with what the index knows of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmc.unchanged import IndexedFiles

TEXT = b"def pay(x):\n    return x * 2\n"
OTHER = b"def pay(x):\n    return x * 3\n"


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "a.py"
    path.write_bytes(TEXT)
    opened = os.open(path, os.O_RDWR)
    yield opened
    os.close(opened)


def known_as(text: bytes) -> Callable[[str], tuple[str, int] | None]:
    return {"a.py": (hashlib.sha256(text).hexdigest(), len(text))}.get


def test_the_file_that_was_indexed_is_told(descriptor: int) -> None:
    assert IndexedFiles(known_as(TEXT)).holds("a.py", descriptor)


@pytest.mark.parametrize("text", [OTHER, b"", TEXT + b"\n", TEXT[:-1]])
def test_another_text_is_told(descriptor: int, text: bytes) -> None:
    assert not IndexedFiles(known_as(text)).holds("a.py", descriptor)


def test_a_path_that_the_index_does_not_have_is_no_file_of_it(descriptor: int) -> None:
    assert not IndexedFiles(known_as(TEXT)).holds("b.py", descriptor)


def test_a_change_in_place_between_two_looks_is_noticed_by_the_second(descriptor: int) -> None:
    files = IndexedFiles(known_as(TEXT))
    assert files.holds("a.py", descriptor)
    before = os.fstat(descriptor)
    os.pwrite(descriptor, OTHER, 0)
    os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert not files.holds("a.py", descriptor)


def test_a_file_indexed_anew_between_two_looks_is_told_by_the_second(descriptor: int) -> None:
    known = {"a.py": (hashlib.sha256(OTHER).hexdigest(), len(OTHER))}
    files = IndexedFiles(known.get)
    assert not files.holds("a.py", descriptor)
    known["a.py"] = (hashlib.sha256(TEXT).hexdigest(), len(TEXT))
    assert files.holds("a.py", descriptor)


def test_a_file_larger_than_what_is_read_at_a_time_is_compared_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"a" * (3 << 20) + b"b")
    opened = os.open(path, os.O_RDONLY)
    try:
        assert IndexedFiles(known_as(b"a" * (3 << 20) + b"b")).holds("a.py", opened)
        assert not IndexedFiles(known_as(b"a" * (3 << 20) + b"c")).holds("a.py", opened)
    finally:
        os.close(opened)
