"""Every refusal of the system says what to do, and what it isn't."""

import errno
import os
import subprocess
import sys

import pytest

from llmc.files.advice import describe
from llmc.files.folders import make_folder

EXHAUSTED = """
import os, resource, sys
from pathlib import Path
from llmc.errors import StoreError
from llmc.records import jsonl
from llmc.store.database.trouble import FullDiskError
from llmc.store.store import Store

path = Path(sys.argv[1])
Store.open(path, create=True).close()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
# Each further one lets the opening come one step further before it fails.
for _ in range(6):
    for action in (
        lambda: Store.open(path).close(),
        lambda: Store.open_readonly(path).close(),
        lambda: jsonl.append(path.with_name("log"), [{}]),
    ):
        try:
            action()
        except FullDiskError as error:
            print("full", error)
        except StoreError as error:
            print("refused", error)
    os.close(taken.pop())
"""


def test_too_many_open_files_is_told_as_that_and_with_what_to_do(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", EXHAUSTED, tmp_path / "index.db"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert len(lines) > 6
    for line in lines:
        assert line.startswith("refused ")
        assert "Too many open files" in line
        assert "ulimit -n" in line


def test_a_refusal_that_is_not_known_gets_the_advice_of_who_asks():
    error = OSError(errno.EDOM, os.strerror(errno.EDOM))
    assert describe(error, "look at it").endswith("; look at it")


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_folder_and_those_above_it_are_nobody_elses_whatever_the_umask(tmp_path, mode):
    before = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b", mode=mode)
    finally:
        os.umask(before)
    for name in ("a", "a/b"):
        assert (tmp_path / name).stat().st_mode & 0o777 == mode
