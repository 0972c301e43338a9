"""A reply as it is being written: its lines, and the guard that ends a runaway early.

A constrained model can still write white space for ever, a free one can repeat itself or go on
after the answer. Each token costs time on a GPU that other spans wait for, so the guard looks at
the text as it comes and says when to stop.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from llmc.reply import PROMPTED_FIELDS

PROMPTED = frozenset(PROMPTED_FIELDS)

MAX_BLANKS = 120
"""White space in a row outside a string; indented JSON of our schema has at most about 20."""

MAX_PREFACE = 8000
"""Characters before the first brace: a thinking model may think aloud for a while."""

MAX_AFTER = 40
"""Characters after the end of the object, before the rest is cut off."""

REPEATED_CHARS = 420
"""More than the longest string that the schema allows but one, so a drawn line in it may stand."""

_CHECK_EVERY = 80


class Guard:
    """Follows a reply piece by piece; `stop` says why it should end, None while it may go on."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.stop: str | None = None
        self.complete = False
        self._depth = self._blanks = self._preface = self._after = 0
        self._in_string = self._escaped = False
        self._object: list[str] = []
        self._tail = ""
        self._unchecked = 0

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def feed(self, piece: str) -> str | None:
        """Take the next piece; return `stop`."""
        self.parts.append(piece)
        for char in piece:
            self._object.append(char)
            self._step(char)
        self._tail = (self._tail + piece)[-2 * REPEATED_CHARS :]
        self._unchecked += len(piece)
        if self._unchecked >= _CHECK_EVERY and not self.complete:
            self._unchecked = 0
            if repeats(self._tail):
                self.stop = self.stop or "it repeats itself"
        return self.stop

    def _step(self, char: str) -> None:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._in_string = False
            return
        if char.isspace():
            self._blanks += 1
            if self._blanks > MAX_BLANKS:
                self.stop = self.stop or "it writes nothing but white space"
        else:
            self._blanks = 0
        if self.complete:
            self._after += 1
            if self._after > MAX_AFTER:
                self.stop = self.stop or "it goes on after its end"
        elif char == "{":
            if not self._depth:
                self._object = [char]
            self._depth += 1
        elif not self._depth:
            self._count_preface()
        elif char == '"':
            self._in_string = True
        elif char == "}":
            self._depth -= 1
            self.complete = not self._depth and is_answer("".join(self._object))

    def _count_preface(self) -> None:
        self._preface += 1
        if self._preface > MAX_PREFACE:
            self.stop = self.stop or "it does not come to its JSON"


def is_answer(text: str) -> bool:
    """Tell whether a text in braces is the reply, not braces in prose or in a model's thoughts."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and not PROMPTED.isdisjoint(found)


def without_thoughts(text: str) -> str:
    """Return a reply without what a model thought aloud before it."""
    head, mark, answer = text.partition("</think>")
    thought = head.lstrip().startswith("<think>") or "{" not in head
    return answer if mark and thought else text


def repeats(tail: str) -> bool:
    """Tell whether a text ends in REPEATED_CHARS characters of one phrase, said over and over.

    The phrase is at most a third of that long.
    """
    if len(tail) < REPEATED_CHARS:
        return False
    end = tail[-REPEATED_CHARS:]
    probe = end[-20:]
    before = end.rfind(probe, 0, REPEATED_CHARS - 1)
    period = REPEATED_CHARS - len(probe) - before
    return before >= 0 and period <= REPEATED_CHARS // 3 and end[period:] == end[:-period]


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a body as they come in, without line ends; blank ones are left out."""
    return (line for line in _all_lines(chunks) if line)


def events(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the data of server-sent events as they come in; comments and other fields are left out.

    The lines of an event's data are joined; one that the end of the body cuts off counts too.
    """
    data: list[bytes] = []
    for line in _all_lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].strip())
        elif not line and data:
            yield b"\n".join(data)
            data = []
    if data:
        yield b"\n".join(data)


def _all_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            yield line.strip()
    if rest.strip():
        yield rest.strip()
