"""A reply as it is being written: its lines, and the guard that ends a runaway early.

A constrained model can still write white space for ever, a free one can repeat itself or go on
after the answer. Each token costs time on a GPU that other spans wait for, so the guard looks at
the text as it comes and says when to stop.
"""

from __future__ import annotations

import codecs
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from llmc.enrichment.reply import drop_thoughts, is_answer, is_thinking
from llmc.errors import RequestError

MAX_LINE_BYTES = 1024 * 1024
"""A line of a stream is one token and what belongs to it: hundreds of bytes."""

MAX_PLACES = 300
"""Braces at which an answer is looked for in a text that is not one."""

MAX_BLANKS = 120
"""White space in a row outside a string; indented JSON of our schema has at most about 20."""

MAX_PREFACE = 8000
"""Characters before the first brace: a thinking model may think aloud for a while."""

MAX_AFTER = 40
"""Characters after the end of the object, before the rest is cut off; where something stood before
it, it may have been a draft among thoughts."""

REPEATED_CHARS = 420
"""More than the longest string that the schema allows but one, so a drawn line in it may stand."""

MAX_CHARS = 100_000
"""Far more than the bound on tokens lets a model write: only a server that is no model does."""

_CHECK_EVERY = 80
_REST = r'[^"\\]*(?:\\.[^"\\]*)*("?)'
_REST_OF_STRING = re.compile(_REST, re.DOTALL)
_MARK = re.compile('[{}]|"' + _REST, re.DOTALL)
_LONG_BLANK = re.compile(rf"(?<!\s)\s{{{MAX_BLANKS + 1}}}")


class Guard:
    """Follows a reply piece by piece; `stop` says why it should end, None while it may go on."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.stop: str | None = None
        self.complete = False
        self._length = self._depth = self._blanks = self._preface = self._after = 0
        self._in_string = self._escaped = self._has_preface = False
        self._opening = (0, 0)
        self._recent = ""
        self._checked_parts = self._checked_chars = 0

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def feed(self, piece: str) -> str | None:
        """Take the next piece; return `stop`."""
        self.parts.append(piece)
        self._length += len(piece)
        if self._length > MAX_CHARS:
            self._end("it is longer than any reply")
            return self.stop
        if not self._in_string or self._escaped or '"' in piece or "\\" in piece:
            self._follow(piece)
        if self._length - self._checked_chars >= _CHECK_EVERY and not self.complete:
            unchecked = "".join(self.parts[self._checked_parts :])
            self._recent = (self._recent + unchecked)[-REPEATED_CHARS:]
            self._checked_parts, self._checked_chars = len(self.parts), self._length
            if is_repeating(self._recent):
                self._end("it repeats itself")
        return self.stop

    def _end(self, reason: str) -> None:
        self.stop = self.stop or reason

    def _follow(self, piece: str) -> None:
        at, end = self._finish_string(piece), len(piece)
        blank = self._long_blanks(piece)
        while at < end:
            if self.complete:
                room = MAX_PREFACE if self._has_preface else MAX_AFTER
                self._pass(at, end, blank, at + room - self._after, "it goes on after its end")
                self._after += end - at
                at = end
            elif self._depth:
                at = self._inside(piece, at, blank)
            else:
                at = self._find_opening(piece, at, blank)
        written = len(piece.rstrip())
        if written:
            self._blanks = 0
        if not self._in_string:
            self._blanks += end - written

    def _finish_string(self, piece: str) -> int:
        """Return where the string that the piece begins in ends, 0 if it begins in none."""
        if not self._in_string or not piece:
            return 0
        rest = _REST_OF_STRING.match(piece, int(self._escaped))
        assert rest is not None, "the pattern matches nothing too"
        return self._leave_string(rest)

    def _leave_string(self, string: re.Match[str]) -> int:
        """Return where a string ends; one without its quote goes on in the next piece."""
        self._in_string = not string[1]
        # All that a string leaves over is a backslash at the very end, which needs a partner.
        self._escaped = self._in_string and string.end() < len(string.string)
        return len(string.string) if self._in_string else string.end()

    def _find_opening(self, piece: str, at: int, blank: Sequence[int]) -> int:
        opening = piece.find("{", at)
        to = len(piece) if opening < 0 else opening
        late = at + MAX_PREFACE - self._preface
        self._pass(at, to, blank, late, "it does not come to its JSON")
        self._preface += to - at
        if opening < 0:
            return to
        self._depth = 1
        before = self.text[: opening - len(piece)].lower().strip("` \n\r\t")
        self._has_preface = before not in ("", "json")
        self._opening = (len(self.parts) - 1, opening)
        return opening + 1

    def _inside(self, piece: str, at: int, blank: Sequence[int]) -> int:
        """Pass over strings and braces up to the end of the object or of the piece."""
        for mark in _MARK.finditer(piece, at):
            if blank:
                self._pass(at, mark.start(), blank)
            at = mark.end()
            if mark.lastindex:
                at = self._leave_string(mark)
            elif piece[at - 1] == "{":
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    self.complete = is_answer(self._object(at)) and not is_thinking(self.text)
                    return at
        self._pass(at, len(piece), blank)
        return len(piece)

    def _object(self, end: int) -> str:
        """Return the text from the opening brace to a place in the newest piece."""
        number, start = self._opening
        if number == len(self.parts) - 1:
            return self.parts[number][start:end]
        whole = self.parts[number + 1 : -1]
        return "".join([self.parts[number][start:], *whole, self.parts[-1][:end]])

    def _long_blanks(self, piece: str) -> Sequence[int]:
        """Return the places of a piece at which white space has gone on for too long."""
        if self._blanks + len(piece) <= MAX_BLANKS:
            return ()
        head = piece[: max(0, MAX_BLANKS - self._blanks) + 1]
        first = [len(head) - 1] if self._blanks and head.isspace() else []
        return first + [run.end() - 1 for run in _LONG_BLANK.finditer(piece)]

    def _pass(
        self, at: int, to: int, blank: Sequence[int], late: int = MAX_CHARS, reason: str = ""
    ) -> None:
        """Note the first fault between two places outside of strings: white space, or `late`."""
        index = bisect_left(blank, at)
        if index < len(blank) and blank[index] < min(to, late + 1):
            self._end("it writes nothing but white space")
        elif late < to:
            self._end(reason)


def find_answer(text: str) -> str:
    """Return the last answer in a text that is about other things too, empty if there is none."""
    decoder, at, answer = json.JSONDecoder(), text.find("{"), ""
    for _ in range(MAX_PLACES):
        if at < 0:
            break
        end = at + 1
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = 0
        if end and is_answer(text[at:end]):
            answer = text[at:end]
        else:
            end = at + 1  # it may stand inside an object
        at = text.find("{", end)
    return answer


def pick_answer(text: str) -> str:
    """Return the answer at the end of a reply, without what a model thought aloud before it.

    A reply that is none, or that goes on with another object, is returned as it is, but for marked
    thoughts.
    """
    text = drop_thoughts(text)
    if "{" not in text or is_answer(text):
        return text
    answer = find_answer(text)
    return answer if answer and "{" not in text.rpartition(answer)[2] else text


def is_repeating(tail: str) -> bool:
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


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a body as they come in, without line ends; blank ones are left out.

    Raises RequestError for a line that is too long.
    """
    return (line for line in _all_lines(chunks) if line)


def split_events(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the data of server-sent events as they come in; comments and other fields are left out.

    The lines of an event's data are joined; one that the end of the body cuts off counts too. One
    named "error" is an object with that as its key.
    Raises RequestError for an event that is too long.
    """
    data: list[bytes] = []
    size, name = 0, b""
    for line in _all_lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].strip())
            size += len(line)
            if size > MAX_LINE_BYTES:
                raise _too_long()
        elif line.startswith(b"event:"):
            name = line[6:].strip()
        elif not line:
            if any(data) and name not in _NO_NEWS:
                yield _as_error(data) if name == b"error" else b"\n".join(data)
            data, size, name = [], 0, b""
    if any(data) and name not in _NO_NEWS:
        yield _as_error(data) if name == b"error" else b"\n".join(data)


def split_joined(event: bytes) -> Iterator[bytes]:
    """Yield the parts of an event: servers that put no blank line between events send many."""
    if b"\n" in event:
        try:
            json.loads(event)
        except (ValueError, RecursionError):
            yield from filter(None, event.splitlines())
            return
    yield event


_NO_NEWS = (b"ping", b"heartbeat", b"keepalive", b"keep-alive")
"""Names of events that only keep a connection open."""


def _as_error(data: Sequence[bytes]) -> bytes:
    """Return the data of an event that is named an error, with that as its key."""
    said = b"\n".join(data).decode("utf-8", "replace")
    found: object = said
    with suppress(ValueError, RecursionError):
        found = json.loads(said)
    named = isinstance(found, dict) and "error" in found
    return json.dumps(found if named else {"error": found or said}).encode()


def _all_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    begun: list[bytes] = []  # joined once, as a long line may come in very many chunks
    size, mark = 0, codecs.BOM_UTF8
    for chunk in chunks:
        parts = chunk.split(b"\n")
        rest = parts.pop()
        if parts:
            if begun:
                parts[0] = b"".join((*begun, parts[0]))
                begun, size = [], 0
            if mark:
                parts[0], mark = parts[0].removeprefix(mark), b""
            for part in parts:
                line = part.strip()
                if b"\r" in line:  # those of old Macs come all in one
                    yield from map(bytes.strip, line.split(b"\r"))
                else:
                    yield line
        if rest:
            begun.append(rest)
            size += len(rest)
            if size > MAX_LINE_BYTES:
                raise _too_long()
    if last := b"".join(begun).removeprefix(mark).strip():
        yield from map(bytes.strip, last.split(b"\r"))


def _too_long() -> RequestError:
    return RequestError(f"a line of the answer exceeds {MAX_LINE_BYTES} bytes")
