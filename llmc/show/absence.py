"""Why an index has nothing of a file, and whether what it has is still true."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from llmc import languages
from llmc.errors import IndexingError
from llmc.files.ignorefile import open_file
from llmc.indexer.files import Ignored
from llmc.indexer.parsing import MAX_FILE_BYTES, parse_file
from llmc.settings.config import Settings
from llmc.store.tables.files import FileState


def explain_absence(path: str, settings: Settings, indexed: Iterable[str]) -> str:
    """Say why a path is not among those that are `indexed`, and what to do about it.

    Raises ConfigError for rules that can't be read.
    """
    repo = settings.repo
    full = repo / path
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        return f"it is outside of {repo}; name its repository with --repo"
    if not os.path.lexists(full):
        return f"there is no such file{_suggest(path, indexed)}"
    if reason := _explain_place(repo, full):
        return reason
    if rule := Ignored(repo, settings.exclude, settings.environ).explain(path):
        return f"it is left out by {rule}"
    return _explain_contents(repo, path)


def _suggest(path: str, indexed: Iterable[str]) -> str:
    name = PurePosixPath(path).name.lower()
    near = [other for other in indexed if PurePosixPath(other).name.lower() == name]
    return f"; did you mean {min(near, key=len)!r}?" if near else ""


def _explain_place(repo: Path, full: Path) -> str | None:
    """Say what is wrong with where a file is, or with what stands there."""
    for folder in (full, *full.parents):
        if folder == repo:
            break
        if folder.name == ".git":
            return "it is one of git's own files"
        if folder.is_symlink():
            what = "it is" if folder == full else f"{folder.relative_to(repo)} is"
            return f"{what} a link to {os.path.realpath(folder)}, and links are not followed"
        if os.path.lexists(folder / ".git"):
            where = folder.relative_to(repo)
            return (
                f"{where} is a repository of its own, a submodule perhaps; index it by itself: "
                f"llmc index {folder}"
            )
    if full.is_dir():
        return "it is a folder; name a file in it"
    return None if full.is_file() else "it is no plain file"


def _explain_contents(repo: Path, path: str) -> str:
    try:
        if languages.needs_content(path):
            with open_file(repo / path) as file:
                known = languages.find_language(path, file.readline(256))
        else:
            known = languages.find_language(path)
        if known is None:
            suffix = PurePosixPath(path).suffix
            return "it is in no language that llmc knows" + (f" ({suffix})" if suffix else "")
        parse_file(repo, path)
    except IndexingError as error:
        return f"it could not be read: {str(error).removeprefix(f'{path!r}: ')}"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return "it is new, or was changed, since the last llmc index; run that again"


def tell_change(path: str, repo: Path, state: FileState | None) -> str | None:
    """Say that a file is no longer the one that was indexed; None if it is."""
    full = repo / path
    try:
        found = full.stat()
    except OSError:
        return f"{path!r} is not there any more; this is what the index has of it"
    if state is None or (state.size, state.mtime) == (found.st_size, found.st_mtime):
        return None
    if found.st_size <= MAX_FILE_BYTES and _hash(full) == state.file_hash:
        return None
    return f"{path!r} has changed since it was indexed; llmc index brings this up to date"


def _hash(file: Path) -> str | None:
    try:
        with open_file(file) as opened:
            return hashlib.sha256(opened.read(MAX_FILE_BYTES)).hexdigest()
    except OSError:
        return None
