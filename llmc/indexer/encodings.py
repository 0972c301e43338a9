"""Text in other encodings than UTF-8, and with other line ends, as the parser can read it.

A grammar reads UTF-8, while a span is known by its place in the bytes of the file. So a file in
another encoding is read as a translation that knows the way back. Which encoding it is, the file
has to say: by a byte order mark, or in a comment on one of its first two lines, as Python, Emacs
and Vim have it (`coding: latin-1`). Nothing is guessed, and what can be read as UTF-8 is.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

HEAD_BYTES = 512
"""What is looked at for a mark or a comment that names the encoding."""

_MARKS = (
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COOKIE = re.compile(rb"coding[:=][ \t]*([-\w.]{1,40})")


@dataclass(frozen=True, slots=True)
class Source:
    """A file's `raw` bytes, and its `text` in UTF-8 with a newline at the end of each line.

    `encoding` is the one of `raw`; `mark` is how many bytes of `raw` its byte order mark takes.
    """

    raw: bytes
    text: bytes
    encoding: str = "utf-8"
    mark: int = 0

    @property
    def is_translated(self) -> bool:
        """Tell whether a place in `text` may be another one in `raw`."""
        return self.encoding != "utf-8"

    def find_places(self, offsets: Iterable[int]) -> dict[int, int]:
        """Return for each place in `text` the same place in `raw`."""
        if not self.is_translated:
            return {offset: offset for offset in offsets}
        found, before, place = {}, 0, self.mark
        for offset in sorted(set(offsets)):
            place += len(self.text[before:offset].decode().encode(self.encoding))
            found[offset] = place
            before = offset
        return found


def make_source(raw: bytes) -> Source:
    """Return a file's bytes as a source. Raises UnicodeError if they are in no encoding we know."""
    encoding, mark = _encoding_of(raw, raw[:HEAD_BYTES])
    text = raw[mark:].decode(encoding)
    if encoding != "utf-8" and text.encode(encoding) != raw[mark:]:
        raise UnicodeError(f"cannot be translated from {encoding} and back")
    return Source(raw, _with_newlines(text).encode(), encoding, mark)


def decode(code: bytes, head: bytes) -> str:
    """Return a part of a file as text, by the encoding that the file's head names."""
    return _with_newlines(code.decode(_encoding_of(code, head)[0], "replace"))


def _with_newlines(text: str) -> str:
    """Return newlines for the line ends of old Macs, a carriage return alone."""
    return text.replace("\r", "\n") if "\r" in text and "\n" not in text else text


def _encoding_of(text: bytes, head: bytes) -> tuple[str, int]:
    """Return the encoding of a text and how many bytes its mark takes; what is UTF-8 is that."""
    encoding, mark = find_declared(head)
    if mark == 0 and encoding != "utf-8":
        with suppress(UnicodeDecodeError):
            text.decode()
            return "utf-8", 0
    return encoding, mark


def find_declared(head: bytes) -> tuple[str, int]:
    """Return the encoding that the head of a file names, and how many bytes its mark takes.

    UTF-8 if it names none, or one that isn't text.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    for line in head.splitlines()[:2]:
        if found := _COOKIE.search(line):
            return _codec(found[1].decode("ascii", "replace")), 0
    return "utf-8", 0


def _codec(name: str) -> str:
    """Return Python's name of an encoding, "utf-8" for what is none."""
    try:
        found = codecs.lookup(name)
        "".encode(found.name)  # fails for codecs that don't make text
    except (LookupError, ValueError):
        return "utf-8"
    return "utf-8" if found.name in ("utf-8-sig", "ascii") else found.name
