"""A file is compared, whole, with what the index knows of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmc.indexer.unchanged import IndexedFiles
from llmc.models import Span

TEXT = b"def pay(x):\n    return x * 2\n"
OTHER = b"def pay(x):\n    return x * 3\n"


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "a.py"
    path.write_bytes(TEXT)
    opened = os.open(path, os.O_RDWR)
    yield opened
    os.close(opened)


SPAN = Span(1, "a.py", "python", "pay", "function", 1, 2, 0, 28, "sha256:0")


def known_as(text: bytes) -> Callable[[Span], tuple[str, int] | None]:
    return {SPAN: (hashlib.sha256(text).hexdigest(), len(text))}.get


def test_the_file_that_was_indexed_is_told(descriptor: int) -> None:
    assert IndexedFiles(known_as(TEXT)).holds(SPAN, descriptor)


@pytest.mark.parametrize("text", [OTHER, b"", TEXT + b"\n", TEXT[:-1]])
def test_another_text_is_told(descriptor: int, text: bytes) -> None:
    assert not IndexedFiles(known_as(text)).holds(SPAN, descriptor)


def test_a_span_that_the_index_has_no_longer_at_its_place_is_in_no_file(descriptor: int) -> None:
    moved = replace(SPAN, byte_start=5)
    assert not IndexedFiles(known_as(TEXT)).holds(moved, descriptor)


def test_a_change_in_place_between_two_looks_is_noticed_by_the_second(descriptor: int) -> None:
    files = IndexedFiles(known_as(TEXT))
    assert files.holds(SPAN, descriptor)
    before = os.fstat(descriptor)
    os.pwrite(descriptor, OTHER, 0)
    os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert not files.holds(SPAN, descriptor)


def test_a_file_indexed_anew_between_two_looks_is_told_by_the_second(descriptor: int) -> None:
    known = {SPAN: (hashlib.sha256(OTHER).hexdigest(), len(OTHER))}
    files = IndexedFiles(known.get)
    assert not files.holds(SPAN, descriptor)
    known[SPAN] = (hashlib.sha256(TEXT).hexdigest(), len(TEXT))
    assert files.holds(SPAN, descriptor)


def test_a_file_larger_than_what_is_read_at_a_time_is_compared_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"a" * (3 << 20) + b"b")
    opened = os.open(path, os.O_RDONLY)
    try:
        assert IndexedFiles(known_as(b"a" * (3 << 20) + b"b")).holds(SPAN, opened)
        assert not IndexedFiles(known_as(b"a" * (3 << 20) + b"c")).holds(SPAN, opened)
    finally:
        os.close(opened)
