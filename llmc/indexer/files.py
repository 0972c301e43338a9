"""Which files of a repository are source, and which are not to be looked at.

Three things can rule a file out: git's ignore rules, a `.ragignore` of the same syntax in the root
of the repository, and a list of patterns from the configuration. Symbolic links are never followed,
so nothing outside the repository is ever read.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

from llmc import languages
from llmc.errors import ConfigError
from llmc.files.ignorefile import open_file, read_lines
from llmc.programs.git import Git

RAGIGNORE = ".ragignore"

_TEST_FOLDERS = frozenset({"test", "tests", "testing", "testdata", "__tests__", "spec", "specs"})
_TEST_FILE = re.compile(r"(test|conftest)\.\w+|test_.*|.*[_.-](test|spec)\.\w+|.*Tests?\.java")


@dataclass(frozen=True, slots=True)
class Nested:
    """A repository inside another one, whose files belong to it alone.

    `files` counts those that could be indexed, None where its git doesn't list them.
    """

    path: str
    is_submodule: bool
    files: int | None


def find_source_files(
    repo: Path, exclude: str = "", environ: Mapping[str, str] | None = None
) -> list[str]:
    """Return the paths of all source files: see `survey`."""
    return survey(repo, exclude, environ)[0]


def survey(
    repo: Path, exclude: str = "", environ: Mapping[str, str] | None = None
) -> tuple[list[str], list[Nested]]:
    """Return the paths of all source files, relative to `repo`, with "/", and what is nested in it.

    Code comes first, then tests, then documents, each by path: so they are enriched. Left out are
    links, submodules and other repositories, and whatever else is no regular file. Bytes of a name
    that are not UTF-8 are surrogates, as `os.fsdecode` gives them; `parse_file` refuses such a file
    with a word on its name. `exclude` and `environ` are as in `Ignored`. Raises ConfigError if git
    is missing or knows no repository at `repo`.
    """
    excluded = _Rules(repo, exclude)
    tree = _Tree(repo)
    files = [
        path
        for path in set(_list_paths(repo, environ or {}))
        if not excluded.match(path) and tree.is_source(path)
    ]
    inside = [path for path in sorted(tree.folders) if not excluded.match(f"{path.rstrip('/')}/x")]
    nested = [found for path in inside if (found := _look_into(repo, path, environ or {}))]
    return sorted(files, key=lambda path: (_rank(path), path)), nested


def _look_into(repo: Path, name: str, environ: Mapping[str, str]) -> Nested | None:
    """Return the repository in a folder that git lists as one name, None without any files."""
    path = name.rstrip("/")
    if not (repo / path / ".git").exists():
        return None  # a submodule that was not fetched
    try:
        listed = set(_list_paths(repo / path, environ))
        count = sum(languages.find_language(each) is not None for each in listed)
    except ConfigError:
        return Nested(path, name == path, None)
    return Nested(path, name == path, count) if count else None


def _list_paths(repo: Path, environ: Mapping[str, str]) -> Iterator[str]:
    listing = Git(repo, environ)("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listing.returncode:
        raise ConfigError(_explain(repo, listing))
    return _paths(listing.stdout)


def _explain(repo: Path, listing: subprocess.CompletedProcess[bytes]) -> str:
    """Return why git lists nothing, with git's own remedy where it names one."""
    said = listing.stderr.decode("utf-8", "replace")
    if "safe.directory" in said:
        remedy = f"git config --global --add safe.directory {shlex.quote(str(repo))}"
        return (
            f"{str(repo)!r} belongs to another user, so git doesn't read it; if you trust whoever "
            f"that is, run: {remedy}"
        )
    if "bare repository" in said or "must be run in a work tree" in said:
        return (
            f"{str(repo)!r} is a bare repository, which holds no files to read; make a clone, and "
            f"name that: git clone {shlex.quote(str(repo))}"
        )
    return (
        f"{str(repo)!r} cannot be listed by git ({_complaint(listing)}); name the root of a"
        " work tree, or make it one with `git init`"
    )


class Ignored:
    """Tell which paths are not to be looked at: by git, by .ragignore, or by `exclude`.

    `exclude` is a comma-separated list: "dir/" rules out all paths that begin so, anything else is
    an fnmatch pattern for the whole path, in which "*" also matches "/". Tracked files are never
    ignored by git. Where there is no git repository, the other two rules hold alone. `environ` is
    the user's environment, with the PATH that git is on and the home that its settings are in.
    """

    def __init__(
        self, repo: Path, exclude: str = "", environ: Mapping[str, str] | None = None
    ) -> None:
        self._git = Git(repo, environ or {})
        self._rules = _Rules(repo, exclude)
        self._has_git: bool | None = None

    def __call__(self, path: str) -> bool:
        return bool(self.matching([path]))

    def matching(self, paths: Iterable[str]) -> set[str]:
        """Return those of the paths that are ignored; git is asked once for all of them."""
        wanted = set(paths)
        ruled_out = {path for path in wanted if self._rules.match(path)}
        rest = sorted(wanted - ruled_out - {""})
        return ruled_out | (self._by_git(rest) if rest and self._git_knows_the_repo() else set())

    def explain(self, path: str) -> str | None:
        """Say which rule rules a path out, None if none does."""
        return self._rules.find(path) or (
            self._find_in_git(path) if self._git_knows_the_repo() else None
        )

    def _git_knows_the_repo(self) -> bool:
        if self._has_git is None:
            try:
                self._has_git = self._git("rev-parse", "--git-dir").returncode == 0
            except ConfigError:
                self._has_git = False
        return self._has_git

    def _by_git(self, paths: list[str]) -> set[str]:
        """Ask git; a path that it refuses, outside the tree or behind a link, counts as ignored.

        One such path spoils the whole question, so that is then asked in halves.
        """
        # git takes a leading ":" for the start of a pattern language.
        asked = {f"./{path}" if path.startswith(":") else path: path for path in paths}
        question = "\0".join(asked).encode("utf-8", "surrogateescape")
        answer = self._git("check-ignore", "-z", "--stdin", stdin=question)
        if answer.returncode in (0, 1):
            return {asked[path] for path in _paths(answer.stdout)}
        if len(paths) == 1:
            return set(paths)
        middle = len(paths) // 2
        return self._by_git(paths[:middle]) | self._by_git(paths[middle:])

    def _find_in_git(self, path: str) -> str | None:
        question = f"./{path}".encode("utf-8", "surrogateescape")
        answer = self._git("check-ignore", "-v", "-z", "--stdin", stdin=question)
        source, line, pattern = [*_paths(answer.stdout), "", "", ""][:3]
        if answer.returncode or pattern.startswith("!"):
            return None
        return f"{pattern!r} in line {line} of {source}"


class _Rules:
    """The rules that are not git's: .ragignore in the root of the repository, and `exclude`."""

    def __init__(self, repo: Path, exclude: str) -> None:
        items = [item.strip() for item in exclude.split(",") if item.strip()]
        self._prefixes = tuple(item for item in items if item.endswith("/"))
        self._patterns = [item for item in items if not item.endswith("/")]
        self._ragignore = _ragignore(repo / RAGIGNORE)

    def match(self, path: str) -> bool:
        return (
            path.startswith(self._prefixes)
            or any(fnmatchcase(path, pattern) for pattern in self._patterns)
            or self._ragignore.match_file(path)
        )

    def find(self, path: str) -> str | None:
        """Say which rule matches a path, None if none does."""
        for item in (*self._prefixes, *self._patterns):
            if path.startswith(item) if item.endswith("/") else fnmatchcase(path, item):
                return f"{item!r}, which is excluded"
        found = self._ragignore.check_file(path)
        if not found.include or found.index is None:
            return None
        return f"line {found.index + 1} of {RAGIGNORE}"


class _Tree:
    """The work tree on the disk; whether a folder is real is asked once per folder."""

    def __init__(self, repo: Path) -> None:
        self._root = repo.resolve()
        self._real: dict[Path, bool] = {self._root: True}
        self.folders: list[str] = []
        """Names that git lists and that are folders: each a repository."""

    def is_source(self, path: str) -> bool:
        """Tell whether a path is a regular file of a known language, reached without a link."""
        full = self._root / path
        first_line = b""
        try:
            mode = full.lstat().st_mode
            if stat.S_ISDIR(mode):
                self.folders.append(path)
            if not stat.S_ISREG(mode) or not self._is_real(full.parent):
                return False
            if languages.needs_content(path):
                with open_file(full) as file:
                    first_line = file.readline(256)
        except OSError:  # deleted, or no permission to look for a shebang
            return False
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"{path!a} cannot be named in this process, whose file names are in "
                f"{error.encoding}; start Python with PYTHONUTF8=1"
            ) from None
        return languages.find_language(path, first_line) is not None

    def _is_real(self, folder: Path) -> bool:
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder) == str(folder)
        return self._real[folder]


def _ragignore(file: Path) -> GitIgnoreSpec:
    """Read a .ragignore; a link to another file of the repository is as good as a file.

    Raises ConfigError.
    """
    try:
        return GitIgnoreSpec.from_lines(read_lines(file))
    except FileNotFoundError:
        return GitIgnoreSpec.from_lines([])
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"{str(file)!r} cannot be used ({exc}); it takes .gitignore lines in UTF-8"
        ) from exc


def _complaint(result: subprocess.CompletedProcess[bytes]) -> str:
    lines = result.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else f"exit status {result.returncode}"


def _paths(listing: bytes) -> Iterator[str]:
    return (name.decode("utf-8", "surrogateescape") for name in listing.split(b"\0") if name)


def _rank(path: str) -> int:
    """Return 0 for code, 1 for tests, 2 for documents."""
    pure = PurePosixPath(path)
    language = languages.find_language(path)
    if language is not None and language.document:
        return 2
    in_tests = not _TEST_FOLDERS.isdisjoint(part.lower() for part in pure.parts[:-1])
    return 1 if in_tests or _TEST_FILE.fullmatch(pure.name) else 0
