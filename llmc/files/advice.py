"""What the system's refusals about a file mean to a user, and what to do about each."""

from __future__ import annotations

import errno
import os

NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What says that nothing more can be written: a full disk or quota, a file of the largest size."""

_PERMISSION = "give yourself read and write permission to the file and its folder"
_ADVICE = {
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some disk space, or have your quota raised",
    errno.EFBIG: "it is as big as a file may be here: free some disk space, or move it away",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EISDIR: "a folder stands in its place: move that away",
    errno.EEXIST: "a file stands in its place: move that away",
    errno.ENOTDIR: "a file stands where its folder should be: move that away",
    errno.ELOOP: "a link stands in its place: remove that",
    errno.ENXIO: "what stands in its place is no file: move that away",
    errno.EMFILE: "this process may not open more: allow it more, with: ulimit -n 4096",
    errno.ENFILE: "the whole system may not open more: end some programs, or raise fs.file-max",
    errno.EIO: "the disk has an error (see dmesg): check it, and have a copy of what is on it",
}
_READ_ONLY = (
    "the file system is read-only; if it became so by itself, its disk had an error (see dmesg): "
    "check it (fsck), mount it for writing and start again"
)


def describe(error: OSError, otherwise: str) -> str:
    """Return why the system refused and what to do; `otherwise` is for a reason not known here."""
    if error.errno == errno.EROFS:
        return _READ_ONLY
    return f"{error.strerror or error}; {_ADVICE.get(error.errno or 0, otherwise)}"


def describe_number(number: int) -> str | None:
    """Return the same for an errno alone; None for one that isn't known here."""
    known = number == errno.EROFS or number in _ADVICE
    return describe(OSError(number, os.strerror(number)), "") if known else None
