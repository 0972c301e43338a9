"""The user's git, asked about a repository: what is tracked, what is ignored."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from llmc.errors import ConfigError

SECONDS = 120


class Git:
    """Git in a repository, with `environ` as its environment; an empty one stands for our own."""

    def __init__(self, repo: Path, environ: Mapping[str, str]) -> None:
        self._repo = repo
        self._environ = dict(environ) or None

    def __call__(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command that only looks. Raises ConfigError if there is no git, or no end."""
        # Without fsmonitor, a question about the tree starts no further program.
        command = ["git", "-C", str(self._repo), "-c", "core.fsmonitor=false", *words]
        try:
            return subprocess.run(
                command,
                env=self._environ,
                input=stdin,
                capture_output=True,
                check=False,
                timeout=SECONDS,
            )
        except FileNotFoundError as exc:
            raise ConfigError(
                f"git is needed to list the files of {str(self._repo)!r}, but there is no `git` on "
                "the PATH; install it"
            ) from exc
        except subprocess.TimeoutExpired as exc:
            raise ConfigError(
                f"git gave no answer about {str(self._repo)!r} within {SECONDS} s; try `git status`"
            ) from exc
