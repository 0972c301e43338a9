"""Which repositories' settings the user takes as their own word, kept outside of every repository.

`trust.toml` in the user's folder names each by its real path, with the hash of every settings file
as it was shown. Another byte in one of them, one more file or one less, and the trust is gone until
the user has looked again; `trusted/` beside it keeps what was trusted, so that they see what
changed. Nothing else makes a file trusted.
"""

from __future__ import annotations

import difflib
import json
import re
import time
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from llmc.errors import ConfigError
from llmc.files import home
from llmc.settings.documents import SettingsFile
from llmc.settings.files import MAX_BYTES, run_within

STORE = "trust.toml"
COPIES = "trusted"

_MOST_BYTES = 16 << 20
_MOST_GRANTED = 100
_DIFF_SEC = 5.0
_DIFF_LINES = 400
_HASH = re.compile("[0-9a-f]{64}")
_HEAD = "# Repositories whose settings are taken as your own word. Written by: llmc trust\n"


class Record(BaseModel):
    """A trusted repository."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: str
    """Its real path."""

    trusted_at: str
    """When it was trusted, in UTC."""

    files: dict[str, str]
    """The hash, in hex, of each of its settings files."""

    granted: list[str]
    """What that allowed, in words."""


class _Store(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    repository: list[Record] = []


def read_records(folder: Path) -> dict[str, Record]:
    """Return what is trusted, by path; `folder` is the user's.

    Raises ConfigError for a file that isn't as llmc writes it: a guess could be trust.
    """
    path = folder / STORE
    raw = home.read(path, _MOST_BYTES)
    try:
        store = _Store.model_validate(tomllib.loads((raw or b"").decode()))
    except (ValueError, RecursionError) as error:
        why = "not as llmc writes it" if isinstance(error, ValidationError) else str(error)
        raise ConfigError(
            f"{path} is damaged: {why}; mend it, or remove it and trust the repositories again"
        ) from None
    found = {record.path: record for record in store.repository}
    if len(found) != len(store.repository):
        raise ConfigError(f"{path} is damaged: a repository is in it twice; remove one of them")
    return found


def check_standing(
    environ: Mapping[str, str], repo: Path, files: Mapping[str, SettingsFile]
) -> tuple[bool, str]:
    """Tell whether a repository's files are trusted; if that can't be told, no, and why not."""
    try:
        return bool(files) and is_trusted(home.find_folder(environ), repo, files), ""
    except ConfigError as error:
        return False, str(error)


def is_trusted(folder: Path, repo: Path, files: Mapping[str, SettingsFile]) -> bool:
    """Tell whether exactly these settings files of a repository were trusted.

    Raises ConfigError if that can't be told.
    """
    _keep_apart(folder, repo)
    record = read_records(folder).get(str(repo))
    return record is not None and record.files == _hashes(files)


def grant(
    folder: Path, repo: Path, files: Mapping[str, SettingsFile], granted: Iterable[str]
) -> None:
    """Trust these settings files of a repository; `granted` says what that allows.

    Raises ConfigError.
    """
    _keep_apart(folder, repo)
    record = Record(
        path=_utf8(repo),
        trusted_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        files=_hashes(files),
        granted=list(granted)[:_MOST_GRANTED],
    )
    with home.exclude_others(folder):
        for file in files.values():
            home.write(folder / COPIES / file.sha256, file.raw)
        _write(folder, read_records(folder) | {record.path: record})


def revoke(folder: Path, repo: Path) -> bool:
    """Take a repository's trust away; tell whether there was any. Raises ConfigError."""
    with home.exclude_others(folder):
        known = read_records(folder)
        if known.pop(str(repo), None) is None:
            return False
        _write(folder, known)
        return True


def list_changes(folder: Path, repo: Path, files: Mapping[str, SettingsFile]) -> list[str] | None:
    """Return how the files differ from what was trusted, as a diff; None if nothing was.

    Raises ConfigError.
    """
    _keep_apart(folder, repo)
    record = read_records(folder).get(str(repo))
    if record is None:
        return None
    now, lines = _hashes(files), []
    for name in sorted({*record.files, *now}):
        if record.files.get(name) != now.get(name):
            old = _copy(folder, record.files[name]) if name in record.files else ""
            new = files[name].text if name in files else ""
            lines += _diff(name, old, new)
    return lines


def _diff(name: str, old: str | None, new: str) -> list[str]:
    if old is None:
        return [f"{name} has changed; what it was is not kept any more"]
    lines = partial(difflib.unified_diff, old.splitlines(), new.splitlines(), name, name)
    try:
        found = run_within(_DIFF_SEC, lambda: list(lines(lineterm="")), "")
    except ConfigError:
        return [f"{name} has changed, by more than can be shown"]
    more = len(found) - _DIFF_LINES
    return found[:_DIFF_LINES] + ([f"… and {more} more lines of {name}"] if more > 0 else [])


def _copy(folder: Path, sha256: str) -> str | None:
    """Return the text that was trusted under a hash, None if it is gone or not what it was."""
    raw = home.read(folder / COPIES / sha256, MAX_BYTES) if _HASH.fullmatch(sha256) else None
    if raw is None:
        return None
    copy = SettingsFile(sha256, folder, raw, {})
    return copy.text if copy.sha256 == sha256 else None


def _write(folder: Path, known: Mapping[str, Record]) -> None:
    tables = [_HEAD]
    for record in known.values():
        files = ", ".join(f"{_quoted(name)} = {_quoted(h)}" for name, h in record.files.items())
        tables.append(
            f"\n[[repository]]\n"
            f"path = {_quoted(record.path)}\n"
            f"trusted_at = {_quoted(record.trusted_at)}\n"
            f"files = {{ {files} }}\n"
            f"granted = [{', '.join(map(_quoted, record.granted))}]\n"
        )
    raw = "".join(tables).encode()
    if len(raw) > _MOST_BYTES:
        raise ConfigError(f"{folder / STORE} would grow too large; revoke some repositories first")
    home.write(folder / STORE, raw)
    kept = {sha256 for record in known.values() for sha256 in record.files.values()}
    for copy in (folder / COPIES).glob("?" * 64):
        if copy.name not in kept:
            with suppress(OSError):
                copy.unlink()


def _quoted(text: str) -> str:
    """Return a TOML string: JSON's, but for the one character that TOML wants escaped besides."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _hashes(files: Mapping[str, SettingsFile]) -> dict[str, str]:
    return {name: file.sha256 for name, file in files.items()}


def _keep_apart(folder: Path, repo: Path) -> None:
    """Refuse a user's folder that a repository brings with it. Raises ConfigError."""
    for path in (folder, folder / STORE):
        if path.resolve().is_relative_to(repo):
            raise ConfigError(
                f"{path} lies inside the repository {repo}, so what it says of that is the "
                "repository's word; set XDG_CONFIG_HOME to a folder outside"
            )


def _utf8(repo: Path) -> str:
    try:
        str(repo).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{repo} can't be trusted: its path is not UTF-8; rename the folder"
        ) from None
    return str(repo)
