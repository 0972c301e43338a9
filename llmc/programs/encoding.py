"""Names of files in UTF-8, whatever the locale: git's are, and the index's.

In a locale with another encoding, or in C where Python isn't told otherwise, Python can't even name
a file called `café.py`. No call can be put right one by one, so the program is started anew in
Python's UTF-8 mode, in the same process. What is printed stays in the terminal's encoding.
"""

from __future__ import annotations

import io
import locale
import os
import sys

_MARK = "llmc_locale"
"""The interpreter's -X option by which the second start is known."""


def ensure_utf8() -> None:
    """Start the program anew if its file names aren't UTF-8; called first, by a program's main."""
    if _MARK in sys._xoptions:
        _print_as_before()
    elif _is_utf8(sys.getfilesystemencoding()) or not sys.executable:
        return
    else:
        options = ("-X", "utf8", "-X", _MARK)
        os.execv(sys.executable, [sys.executable, *options, *sys.orig_argv[1:]])


def _print_as_before() -> None:
    """Print in the locale's encoding; ASCII is less than any terminal can show."""
    encoding = locale.getencoding()
    if _is_utf8(encoding) or encoding.upper() in ("US-ASCII", "ASCII", "646", "ANSI_X3.4-1968"):
        return
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding)


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "").replace("_", "") == "utf8"
