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
from llmc.languages import Language

Stamp = tuple[int, float]
"""Size in bytes and time of the last change in epoch seconds: the same two mean the same file."""

_TEST_FOLDERS = frozenset({"test", "tests", "testing", "testdata", "__tests__", "spec", "specs"})
_TEST_FILE = re.compile(r"(test|conftest)\.\w+|test_.*|.*[_.-](test|spec)\.\w+|.*Tests?\.java")


class Tree:
    """A work tree; `folders` are the names asked for that are folders, each a repository."""

    def __init__(self, repo: Path) -> None:
        self._root = f"{repo.resolve() / '_'}"[:-1]
        self._real: dict[str, bool] = {}
        self._for_tests: dict[str, bool] = {}
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
                if stat.S_ISDIR(status.st_mode):
                    self.folders.append(path)
                folder, _, name = path.rpartition("/")
                if not (stat.S_ISREG(status.st_mode) and self._is_real(folder)):
                    continue
                language = languages.find_language(name, self._read_first_line(path, name))
            except OSError:  # deleted, or no permission to look for a shebang
                continue
            except UnicodeEncodeError as error:
                raise ConfigError(
                    f"{path!a} cannot be named in this process, whose file names are in "
                    f"{error.encoding}; start Python with PYTHONUTF8=1"
                ) from None
            if language:
                rank = self._rank(folder, name, language)
                ranked[rank][path] = (status.st_size, status.st_mtime)
        return {path: files[path] for files in ranked for path in sorted(files)}

    def _read_first_line(self, path: str, name: str) -> bytes:
        """Return what tells the language of a script; nothing where the name does."""
        if not languages.needs_content(name):
            return b""
        with open_file(Path(self._root + path)) as file:
            return file.readline(256)

    def _is_real(self, folder: str) -> bool:
        if folder not in self._real:
            full = (self._root + folder).rstrip("/") or "/"
            self._real[folder] = os.path.realpath(full) == full
        return self._real[folder]

    def _rank(self, folder: str, name: str, language: Language) -> int:
        """Return 0 for code, 1 for tests, 2 for documents."""
        if language.document:
            return 2
        if folder not in self._for_tests:
            parts = folder.lower().split("/")
            self._for_tests[folder] = not _TEST_FOLDERS.isdisjoint(parts)
        return int(self._for_tests[folder] or _TEST_FILE.fullmatch(name) is not None)
