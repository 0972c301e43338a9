"""Where a secret shows in a text, however it is written there.

Whole or a part of it, in another case, percent-encoded or with the escapes of JSON or HTML, within
base64, or as its first and last characters around a mask (`sk-ab****wxyz`, `AIza…Q8c`).
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

PART = 6
"""Characters in a row that give a secret away, if they are not words in it, such as `sk-proj`."""

LONG_PART = 10
"""Characters in a row that do so whatever they are."""

LONGEST_WORD = 12
"""Letters in a row that may be a word; more are the work of a generator."""

AT_ENDS = 3
"""Characters of a secret's ends, taken together, that give it away around a mask."""

LONGEST_END = 24
"""Nobody shows more of a secret beside a mask."""

_SEGMENT = re.compile(r"[^\s_.:/=+-]+")
_WORD = re.compile(rf"[A-Za-z]?[a-z]{{0,{LONGEST_WORD - 1}}}|[A-Z]{{2,{LONGEST_WORD}}}")
_ESCAPED = re.compile(
    r"%[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[^ux]|&#?\w{1,8};", re.ASCII
)
_MASK = re.compile(r"(?:[*•●∗#·?]{2,}|\.{2,}|…|x{3,}|[\[<({][^\])>}\s]{0,20}[\])>}])+")
_RUN = re.compile(rf"\S{{{PART},}}")

_Places = Iterator[tuple[int, int]]
"""Where something begins in a text, and where it ends."""


@dataclass(frozen=True, slots=True)
class _View:
    """A text in lower case, and where each of its characters is in the one it was made of."""

    text: str
    places: range | list[int]


@dataclass(frozen=True, slots=True)
class _Trace:
    """What gives one secret away, all in lower case.

    `random` tells of each character whether it is in no word; without any, the whole must not be a
    part of another word. `parts` are PART long, `long_parts` LONG_PART.
    """

    whole: str
    random: tuple[bool, ...]
    parts: frozenset[str]
    long_parts: frozenset[str]


def find_traces(text: str, secrets: Iterable[str]) -> _Places:
    """Yield the places of a text that give one of these secrets away, in any order."""
    known = [_trace(secret) for secret in secrets]
    parts = frozenset[str]().union(*(trace.parts for trace in known))
    long_parts = frozenset[str]().union(*(trace.long_parts for trace in known))
    for view in _views(text):
        masks = _masks(view.text)
        found = [_parts(view.text, parts, PART), _parts(view.text, long_parts, LONG_PART)]
        for trace in known:
            found += (_wholes(view.text, trace), _around(masks, view.text, trace))
        for start, end in chain(*found):
            yield view.places[start], view.places[end]


def mark_random(secret: str) -> tuple[bool, ...]:
    """Tell of each character whether it belongs to something that is no word."""
    random = [False] * len(secret)
    for segment in _SEGMENT.finditer(secret):
        if not _WORD.fullmatch(segment[0]):
            start, end = segment.span()
            random[start:end] = [True] * (end - start)
    return tuple(random)


@lru_cache(maxsize=256)
def _trace(secret: str) -> _Trace:
    whole, random = _lower(secret), mark_random(secret)
    parts = {
        part
        for at, part in enumerate(_windows(whole, PART))
        if sum(random[at : at + PART]) >= PART // 2
    }
    for form in _in_base64(secret):
        parts.update(_windows(form.lower(), PART))
    long_parts = () if all(random) else _windows(whole, LONG_PART)
    return _Trace(whole, random, frozenset(parts), frozenset(long_parts))


def _windows(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(len(text) - size + 1))


def _in_base64(secret: str) -> Iterator[str]:
    """Yield what a secret becomes in base64, wherever it begins in what is encoded."""
    raw = secret.encode()
    for before in range(3):
        encoded = b64encode(b"\0" * before + raw).decode().rstrip("=")
        # The first and last characters depend on the neighbours as well.
        core = encoded[(0, 2, 3)[before] : len(encoded) - bool((before + len(raw)) % 3)]
        yield core
        yield core.replace("+", "-").replace("/", "_")


def _views(text: str) -> Iterator[_View]:
    """Yield the text as it stands and, where it has escapes, as it reads without them."""
    yield _View(_lower(text), range(len(text) + 1))
    parts: list[str] = []
    places: list[int] = []
    at = 0
    for escape in _ESCAPED.finditer(text):
        meant = _meant(escape[0])
        parts += (text[at : escape.start()], meant)
        places += (*range(at, escape.start()), *[escape.start()] * len(meant))
        at = escape.end()
    if parts:
        places += range(at, len(text) + 1)
        yield _View(_lower("".join(parts) + text[at:]), places)


def _meant(escape: str) -> str:
    """Return the character that an escape of a URL, of JSON or of HTML stands for."""
    if escape[0] == "&":
        return html.unescape(escape)
    if escape[0] == "%" or escape[1] in "ux":
        return chr(int(escape.lstrip("%\\ux"), 16))
    return {"n": "\n", "t": "\t", "r": "\r"}.get(escape[1], escape[1])


def _lower(text: str) -> str:
    """Return a text in lower case, of the same length."""
    if text.isascii():
        return text.lower()
    return "".join(char if len(char.lower()) > 1 else char.lower() for char in text)


def _parts(text: str, parts: frozenset[str], size: int) -> _Places:
    for run in _RUN.finditer(text) if parts else ():
        word, start = run[0], run.start()
        found = [at for at in range(len(word) - size + 1) if word[at : at + size] in parts]
        yield from ((start + at, start + at + size) for at in found)


def _wholes(text: str, trace: _Trace) -> _Places:
    at = text.find(trace.whole)
    while at >= 0:
        end = at + len(trace.whole)
        alone = not (text[max(0, at - 1) : at].isalnum() or text[end : end + 1].isalnum())
        if alone or any(trace.random):
            yield at, end
        at = text.find(trace.whole, at + 1)


def _masks(text: str) -> list[tuple[int, int]]:
    """Return the places of masks, a space before and after them included."""
    places = (mask.span() for mask in _MASK.finditer(text))
    return [
        (start - text.startswith(" ", max(0, start - 1)), end + text.startswith(" ", end))
        for start, end in places
    ]


def _around(masks: list[tuple[int, int]], text: str, trace: _Trace) -> _Places:
    """Yield masks together with the secret's ends around them."""
    joined: list[tuple[int, int]] = []
    for start, end in masks:
        if joined and text[joined[-1][1] : start] in trace.whole:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    for start, end in joined:
        head, tail = _head(text, start, trace.whole), _tail(text, end, trace.whole)
        tells = any(trace.random[:head]) or any(trace.random[len(trace.random) - tail :])
        if head + tail >= AT_ENDS and (tells or (head and tail)):
            yield start - head, end + tail


def _head(text: str, end: int, secret: str) -> int:
    """Return how many of a secret's first characters end there, and begin something."""
    for size in range(min(LONGEST_END, len(secret) - 1, end), 0, -1):
        start = end - size
        if text.startswith(secret[:size], start) and not text[max(0, start - 1) : start].isalnum():
            return size
    return 0


def _tail(text: str, start: int, secret: str) -> int:
    """Return how many of a secret's last characters begin there, and end something."""
    for size in range(min(LONGEST_END, len(secret) - 1, len(text) - start), 0, -1):
        end = start + size
        if text.startswith(secret[-size:], start) and not text[end : end + 1].isalnum():
            return size
    return 0
