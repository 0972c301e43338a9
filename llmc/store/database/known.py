"""Which indexes this user made, or has taken over: what only the user's own folder can tell.

A journal beside an index is a change that is yet to be made to it. After a run that was killed it
holds paid results; in an archive it holds whatever somebody wanted. The file system tells one from
the other: an index that was opened here for writing is known by its inode and its place, and an
index that came later is another file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from llmc.errors import ConfigError
from llmc.files import home

_FILE = "indexes.json"
_MAX_BYTES = 2**20
_MOST = 2_000
"""Indexes that are remembered; of more, those that were noted last."""

_Entry = tuple[str, int, int]


class Known:
    """The user's list of indexes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        try:
            self._file: Path | None = home.find_folder(environ) / _FILE
        except ConfigError:
            self._file = None

    def usable(self) -> bool:
        """Tell whether an index could be remembered."""
        folders = () if self._file is None else self._file.parents
        there = next((folder for folder in folders if folder.exists()), None)
        return there is not None and os.access(there, os.W_OK | os.X_OK)

    def has(self, path: Path, state: os.stat_result) -> bool:
        """Tell whether a file is an index of this user.

        One that was moved within its file system is, and one whose disk has another number since.
        """
        try:
            entries = [] if self._file is None else _read(self._file)
        except ConfigError:
            return False
        return any(
            inode == state.st_ino and (place == str(path) or device == state.st_dev)
            for place, device, inode in entries
        )

    def add(self, path: Path, state: os.stat_result) -> bool:
        """Remember an index; False where nothing can be kept for this user."""
        entry = (str(path), state.st_dev, state.st_ino)
        if self._file is None:
            return False
        try:
            with home.exclude_others(self._file.parent):
                others = [known for known in _read(self._file) if known[1:] != entry[1:]]
                text = json.dumps([*others, entry][-_MOST:], indent=0)
                home.write(self._file, text.encode("ascii"))
        except ConfigError:
            return False
        return True


def _read(file: Path) -> list[_Entry]:
    """Return the list; a damaged one is empty. Raises ConfigError if it isn't the user's."""
    try:
        found = json.loads(home.read(file, _MAX_BYTES) or b"[]")
        return [(str(path), int(device), int(inode)) for path, device, inode in found]
    except (ValueError, TypeError, RecursionError):
        return []
