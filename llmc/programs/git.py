"""The user's git, asked about a repository whose own settings make it run nothing."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from llmc.errors import ConfigError
from llmc.programs.launching import GIT_OPTIONS, NEUTRAL_FOLDER, SearchPath, make_git_environ

SECONDS = 120
"""For a list of all files; a few names take milliseconds."""

_MOST_BYTES = 2 * 1024**3
"""The most memory that one git may take: enough for an index of several million files."""


class Git:
    """Git in a repository, found and told as the user's `environ` says."""

    def __init__(self, repo: Path, environ: Mapping[str, str]) -> None:
        self._repo = repo
        self._program = SearchPath.of(environ, repo).find("git")
        self._environ = make_git_environ(environ)

    @property
    def is_there(self) -> bool:
        return self._program is not None

    def __call__(
        self, *words: str, stdin: bytes = b"", seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command that only looks. Raises ConfigError if there is no git, or no end."""
        if self._program is None:
            raise ConfigError(
                f"git is needed to list the files of {str(self._repo)!r}, but there is no `git` on"
                " the PATH (where relative folders and those of the repository don't count);"
                " install it"
            )
        with subprocess.Popen(
            [self._program, "-C", str(self._repo.absolute()), *GIT_OPTIONS, *words],
            cwd=NEUTRAL_FOLDER,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            _bound(process)
            try:
                output, errors = process.communicate(stdin, seconds)
            except subprocess.TimeoutExpired as exc:
                raise ConfigError(
                    f"git gave no answer about {str(self._repo)!r} within {seconds:g} s; try"
                    " `git status`"
                ) from exc
            finally:
                process.kill()
        return subprocess.CompletedProcess(words, process.returncode, output, errors)


def is_bare(folder: Path) -> bool:
    """Tell whether a folder is a repository without files: what git itself keeps, and no more."""
    return (folder / "HEAD").is_file() and all(
        (folder / name).is_dir() for name in ("objects", "refs")
    )


def _bound(process: subprocess.Popen[bytes]) -> None:
    """Keep a process from eating all memory, where the system can: .git may link to /dev/zero."""
    if hasattr(resource, "prlimit"):
        with suppress(OSError):  # it is gone already
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
