"""An index that is removed or replaced while it is open: its file lives on without a name.

What is written to it is as good as lost, for it ends with the last one who has it open. Until then
all that it holds can be copied to a file that has a name.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from llmc.errors import StoreError
from llmc.files.folders import hide_from_git, make_folder
from llmc.models import IndexPlace
from llmc.store.database.arrival import find_unused_name
from llmc.store.database.custody import find_own_folder, stat_at
from llmc.store.database.known import Known
from llmc.store.database.look import open_hardened
from llmc.store.database.trouble import explain, explain_files


def tell_fate(path: Path, file: os.stat_result) -> str | None:
    """Say what became of an open index's place; None while its file, or what can't be told, is."""
    try:
        there = stat_at(path)
    except NotADirectoryError:
        there = None
    except OSError:
        return None
    if there is None:
        return "was removed"
    return None if os.path.samestat(file, there) else "was replaced"


def save_beside(connection: sqlite3.Connection, place: IndexPlace, file: Path | None) -> Path:
    """Copy all that an open index holds to a file beside its place, and return that.

    `file` is the one of an earlier copy, which is brought up to date. The copy is known as the
    user's, so that it can be moved into place. Raises StoreError.
    """
    if file is None or not stat_at(file):
        with explain_files(place.path, f"cannot save what {place.path} held"):
            file = _new_file(_folder(place) / place.path.name)
            Known(place.environ).add(place.path, file.lstat())
    with explain(file), closing(open_hardened(file, "mode=rw")) as copy:
        connection.backup(copy)
    return file


def _new_file(beside: Path) -> Path:
    """Make an empty file whose name nothing has, not even another run that does the same."""
    while True:
        file = find_unused_name(beside, "saved")
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))
            return file


def _folder(place: IndexPlace) -> Path:
    """Return the folder of an index, made anew if need be; another one if it can't be used."""
    try:
        folder = find_own_folder(place)
        if not folder.is_dir():
            make_folder(folder)
            if place.repo is not None:
                hide_from_git(folder)
    except (OSError, StoreError):
        return Path(tempfile.mkdtemp(prefix="llmc-"))
    return folder
