"""The programs that llmc starts: which file a name stands for, and what the program is told.

A repository may bring a `git`, a `node` or an `nvidia-smi` of its own, and a `.` on the PATH, or a
folder of the repository on it, would start that one. So a program is looked for in absolute folders
outside of the repository only. And a program gets what any program needs to work for its user, and
the variables that the user has listed for it: the environment is where people keep their keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_EVERYDAY = frozenset(
    ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM")
)

_GIT_KEPT = ("GIT_CONFIG_", "GIT_EXEC_PATH")
"""The user's own settings of git; every other GIT_* says which repository, which is ours to say."""

_GIT_FIXED = {
    # No protocol has this name: a promised object that is missing is not fetched, by whatever
    # program the repository's settings name for that.
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}

NEUTRAL_FOLDER = "/"
"""Where a program is started that need not stand in the repository: an empty part of the user's
LD_LIBRARY_PATH means the folder that one stands in, and its libraries."""

GIT_OPTIONS = (
    "--no-pager",
    *("-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}"),
    *("-c", "safe.bareRepository=explicit"),
)
"""With these before a command of git that only looks, no setting of a repository runs a program."""


@dataclass(frozen=True, slots=True)
class SearchPath:
    """Where programs are looked for: absolute folders outside of `repo`, and no file inside it."""

    folders: tuple[str, ...] = tuple(os.defpath.split(os.pathsep))
    repo: str | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], repo: Path | None = None) -> SearchPath:
        """Take the PATH of an environment; where it has none, the system's own default."""
        inside = None if repo is None else os.path.realpath(repo)
        named = environ.get("PATH", os.defpath).split(os.pathsep)
        folders = [name for name in named if Path(name).is_absolute() and not _is_in(name, inside)]
        return cls(tuple(folders), inside)

    def find(self, name: str) -> str | None:
        """Return the first executable file of this name, None if there is none."""
        for folder in self.folders:
            file = f"{folder}/{name}"
            if os.access(file, os.X_OK) and Path(file).is_file() and not _is_in(file, self.repo):
                return file
        return None

    def __str__(self) -> str:
        """Return it as the value of a PATH."""
        return os.pathsep.join(self.folders)


STANDARD = SearchPath()
"""Where the system itself has its programs."""


def pick_minimal(environ: Mapping[str, str], search: SearchPath) -> dict[str, str]:
    """Return what any program needs of an environment: home, language, time zone, and its PATH."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _EVERYDAY or name.startswith(("LC_", "XDG_"))
    }
    return kept | {"PATH": str(search)}


def pick_listed(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the variables of these names that are set."""
    return {name: environ[name] for name in names if name in environ}


def make_git_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which git looks at the repository it is started in, and starts none.

    Run by a hook, llmc has GIT_DIR and its like in its own environment, of another repository
    perhaps.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith("GIT_") or name.startswith(_GIT_KEPT)
    }
    return kept | _GIT_FIXED


def _is_in(path: str, folder: str | None) -> bool:
    """Tell whether a path is really in a folder, or the folder itself."""
    return folder is not None and Path(os.path.realpath(path)).is_relative_to(folder)
