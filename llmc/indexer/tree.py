"""The files of a work tree as they are on the disk: which are source, and whether they changed.

Repositories of 200,000 files are looked at before each run, so a file costs one question to the
system and a few operations on text; what is true of a whole folder is found out once.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from llmc import languages
from llmc.errors import ConfigError
from llmc.files.ignorefile import open_file

Stamp = tuple[int, float]
"""Size in bytes and time of the last change in epoch seconds: the same two mean the same file."""

MAX_FILE_BYTES = 2 * 1024 * 1024
"""Larger files are generated or data, and their trees take a hundred times the room."""

_TEST_FOLDERS = frozenset({"test", "tests", "testing", "testdata", "__tests__", "spec", "specs"})
_TEST_FILE = re.compile(r"(test|conftest)\.\w+|test_.*|.*[_.-](test|spec)\.\w+|.*Tests?\.java")


class Tree:
    """A work tree; `folders` are the names asked for that are folders, each a repository."""

    def __init__(self, repo: Path) -> None:
        self._root = f"{repo.resolve() / '_'}"[:-1]
        self._known: dict[str, tuple[bool, bool]] = {}
        self.folders: list[str] = []

    def find_sources(self, paths: Iterable[str]) -> dict[str, Stamp]:
        """Return the regular files of a known language that are reached without a link.

        Code comes first, then tests, then documents, each by path. Raises ConfigError for a name
        that this process can't use.
        """
        ranked: tuple[dict[str, Stamp], ...] = ({}, {}, {})
        for path in paths:
            try:
                status = os.lstat(self._root + path)
                if not stat.S_ISREG(status.st_mode):
                    if stat.S_ISDIR(status.st_mode):
                        self.folders.append(path)
                    continue
                folder, _, name = path.rpartition("/")
                is_real, is_for_tests = self._known.get(folder) or self._look_at(folder)
                if not is_real:
                    continue
                line = self._read_first_line(path) if languages.needs_content(name) else b""
            except OSError:  # deleted, or no permission to look for a shebang
                continue
            except UnicodeEncodeError as error:
                raise ConfigError(
                    f"{path!a} cannot be named in this process, whose file names are in "
                    f"{error.encoding}; start Python with PYTHONUTF8=1"
                ) from None
            if language := languages.find_language(name, line):
                rank = 2 if language.document else int(is_for_tests or _is_test(name))
                ranked[rank][path] = (status.st_size, status.st_mtime)
        return {path: files[path] for files in ranked for path in sorted(files)}

    def _read_first_line(self, path: str) -> bytes:
        with open_file(Path(self._root + path)) as file:
            return file.readline(256)

    def _look_at(self, folder: str) -> tuple[bool, bool]:
        """Tell whether a folder is reached without a link, and whether it is one of tests."""
        full = (self._root + folder).rstrip("/") or "/"
        is_real = os.path.realpath(full) == full
        is_for_tests = not _TEST_FOLDERS.isdisjoint(folder.lower().split("/"))
        self._known[folder] = is_real, is_for_tests
        return is_real, is_for_tests


def is_for_tests(path: str) -> bool:
    """Tell whether a file holds tests, or what they work with, by its path."""
    folder, _, name = path.rpartition("/")
    return not _TEST_FOLDERS.isdisjoint(folder.lower().split("/")) or _is_test(name)


def _is_test(name: str) -> bool:
    return _TEST_FILE.fullmatch(name) is not None
