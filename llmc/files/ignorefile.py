"""Files of patterns in the manner of .gitignore, in the root of a repository.

They come with the repository, so they are anybody's: what is read is a plain file of a bounded
size, inside the repository, and no pattern that takes longer the longer a name is.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 1024 * 1024
_SLOW = re.compile(r"(?:\*[^/*]+){3}\*|(?:\*\*.*){3}")
"""Four * in a name, or three ** in a line: each takes a long name's length times as long."""


def read_lines(file: Path) -> list[str]:
    """Return the lines of such a file; a link to another file of its folder is as good as a file.

    Raises OSError, ValueError with what is wrong.
    """
    root, real = os.path.realpath(file.parent), os.path.realpath(file)
    if os.path.commonpath([root, real]) != root:
        raise ValueError(f"a link to {real}, outside the repository")
    with open_file(Path(real)) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise ValueError("no regular file")
        text = opened.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    lines = text.decode("utf-8-sig").splitlines()
    refuse_slow(lines)
    return lines


def refuse_slow(lines: Iterable[str]) -> None:
    """Raise ValueError for the first pattern that could take very long to match."""
    for line in lines:
        if not line.startswith("#") and _SLOW.search(line):
            raise ValueError(f"{line[:100]!r} has more * than can be matched in time")


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading, but no link, and without waiting for the other end of a pipe.

    Raises OSError.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags), "rb")
