"""Is another program at work on a database file? SQLite's own locks tell, and nothing else does."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

_PENDING_BYTE = 0x40000000
_LOCK_BYTES = 512
"""Where SQLite has its locks in a file of any size; each connection that reads has one there."""

_FLOCK = struct.Struct("hhqqi4x")
_ASK = getattr(fcntl, "F_OFD_GETLK", fcntl.F_GETLK)
_open: dict[tuple[int, int], int] = {}
"""Files that were asked about. They are never closed: whoever closes a file ends all locks that its
process has on it, those of a connection of another part of the program too."""


def is_in_use(path: Path) -> bool:
    """Tell whether a connection, also one of this process, is open; what can't be told is one."""
    try:
        state = path.lstat()
        key = (state.st_dev, state.st_ino)
        if key not in _open:
            _open[key] = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _PENDING_BYTE, _LOCK_BYTES, 0)
        return bool(_FLOCK.unpack(fcntl.fcntl(_open[key], _ASK, question))[0] != fcntl.F_UNLCK)
    except (OSError, struct.error):
        return True
