"""The process's environment, and the places that it names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from llmc.files import home, tilde
from llmc.models import IndexPlace

DEFAULT_INDEX = ".rag/index_v2.db"


def copy_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a copy of `environ`, of the process's own environment if that is None."""
    return dict(os.environ if environ is None else environ)


def find_user_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where llmc keeps what it knows of its user. Raises ConfigError."""
    return home.find_folder(os.environ if environ is None else environ)


def find_index_path(repo: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Return where a repository's index is. Raises ConfigError."""
    env = os.environ if environ is None else environ
    for name in ("LLMC_RAG_INDEX_PATH", "EMBEDDING_INDEX_PATH"):
        if env.get(name):
            return repo / tilde.expand(env[name], env, name)
    name = env.get("EMBEDDING_INDEX_NAME", "")
    return repo / (f".rag/{name}" if name else DEFAULT_INDEX)


def locate_index(repo: Path, environ: Mapping[str, str] | None = None) -> IndexPlace:
    """Return a repository's index, to be opened without the settings. Raises ConfigError."""
    env = copy_environment(environ)
    repo = repo.resolve()
    return IndexPlace(find_index_path(repo, env), repo, env)


def find_logs(repo: Path, index: Path) -> Path:
    """Return the folder of a repository's logs: beside the index where that alone can be written.

    An index elsewhere is how a repository is read that is mounted read-only.
    """
    logs = repo / "logs"
    place = logs if logs.is_dir() else repo
    beside = not index.is_relative_to(repo) and not os.access(place, os.W_OK)
    return index.parent / "logs" if beside and place.is_dir() else logs
