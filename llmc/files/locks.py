"""Locks on open files: the kernel drops them with their process, however that ends.

Each open file counts by itself, so two openings in one process keep each other out, too. Some
network file systems know no such locks: what can't be locked is told, and callers decide.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

_EXCLUSIVE, _SHARED = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_SH | fcntl.LOCK_NB


def lock(descriptor: int, *, shared: bool = False) -> bool | None:
    """Lock an open file without waiting; False if another has it, None if it can't be locked."""
    try:
        fcntl.flock(descriptor, _SHARED if shared else _EXCLUSIVE)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def lock_in_time(descriptor: int, deadline: float, nap_sec: float) -> bool | None:
    """Try to lock an open file until `deadline`, by the monotonic clock; answer as `lock` does."""
    while (held := lock(descriptor)) is False and time.monotonic() <= deadline:
        time.sleep(nap_sec)
    return held


def wait_for_lock(descriptor: int) -> None:
    """Wait until an open file is locked; one that knows no locks counts as such. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise


def is_at(descriptor: int, path: Path, *, follow: bool = False) -> bool:
    """Tell whether an open file is the one that stands at `path`, or that a link there leads to."""
    try:
        there = path.stat(follow_symlinks=follow)
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
