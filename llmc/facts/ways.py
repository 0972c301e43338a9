"""Under which conditions a place of a definition is reached, and which names are its own.

This is asked of few definitions: those from which an error leaves, or that reach outside. A stack
of open regions tells what a place is in.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter, itemgetter

from tree_sitter import Node

from llmc.facts.dialects import Dialect
from llmc.facts.frames import Frame, Raised, read_text, shorten

MAX_DEPTH = 200
"""Regions in regions that are gone through for one place; what is deeper in is not told."""

_MOST_CONDITIONS = 12
"""Of a guard, whose text has room for few of them."""

_REGIONS = frozenset(
    (
        *("function", "if", "elif", "else", "when", "switch", "case", "compiled"),
        *("with", "try", "catch", "finally"),
    )
)
_PARTS = frozenset(("test", "test.then", "head", "then", "body"))
_NO_REGIONS = frozenset(("function", "bind"))
_ASKED = (_REGIONS | _PARTS | {"return"}) - _NO_REGIONS
_START = attrgetter("start_byte")
_ALWAYS = frozenset(("for", "for (;;)"))
_WORDS = {"switch": "switch", "compiled": "#if or #else of"}
_BEFORE = itemgetter(0, 1, 2, 3)
_TRAILING = " \t\r\n:{=>"


@dataclass(slots=True)
class Region:
    """A stretch of code, and what it says of whether the code in it is reached.

    `body` is where its `head` holds: the branch after a test, a loop's or a case's body, what a try
    guards. `passed` are the tests of branches before. An error in the body may not leave if it
    `swallows`, one anywhere in it if it `silences`.
    """

    what: str
    start: int
    end: int
    head: str | None = None
    body: tuple[int, int] | None = None
    passed: list[str] = field(default_factory=list)
    swallows: bool = False
    silences: bool = False

    def has_in_body(self, at: int) -> bool:
        return self.body is not None and self.body[0] <= at < self.body[1]

    def conditions(self, at: int, inner: str) -> Iterator[str]:
        """Yield what holds at a place in it; `inner` is what the next region inwards is."""
        if self.head is None:
            return
        inside = self.has_in_body(at) and inner not in ("elif", "else")
        if self.what in ("if", "elif"):
            yield self.head if inside else _negate(self.head)
            if not inside:
                yield from map(_negate, self.passed[:_MOST_CONDITIONS])
        elif self.what in ("when", "catch") and self.head not in _ALWAYS:
            yield self.head if inside else f"after {self.head}"
        elif self.what == "case":
            yield self.head if self.head.startswith(("case", "default")) else f"case {self.head}"
        elif self.what in ("switch", "compiled"):
            yield f"{_WORDS[self.what]} {self.head}"


class Ways:
    """What of a file's captures is asked of by definition: each sort in the order of the text."""

    def __init__(self, source: bytes, captures: Mapping[str, Sequence[Node]]) -> None:
        self.source = source
        self._captures = captures
        self._found: dict[str, tuple[list[int], list[Node]]] = {}

    def find(self, name: str, frame: Frame) -> list[Node]:
        """Return the captures of a sort that are in a definition."""
        found = self._found.get(name)
        if found is None:
            nodes = sorted(self._captures.get(name, ()), key=_START)
            found = self._found[name] = [node.start_byte for node in nodes], nodes
        starts, nodes = found
        end = frame.node.end_byte
        first = bisect_left(starts, frame.node.start_byte)
        inside = nodes[first : bisect_left(starts, end, first)]
        return [node for node in inside if node.end_byte <= end]

    def find_regions(self, frame: Frame) -> Iterator[tuple[str, Node]]:
        """Yield the regions in a definition, and their parts."""
        for name in _ASKED & self._captures.keys():
            for node in self.find(name, frame):
                yield name, node


def find_ways(frame: Frame, ways: Ways, dialect: Dialect) -> None:
    """Tell each error of a definition its guard, and whether it is caught; note its own names."""
    _Walk(frame, ways.source, dialect).run(ways)


class _Walk:
    """One way through a definition, in the order of the text."""

    def __init__(self, frame: Frame, source: bytes, dialect: Dialect) -> None:
        self._frame = frame
        self._source = source
        self._dialect = dialect
        self._stack: list[Region] = []
        self._tries: list[tuple[Raised, list[tuple[Region, bool]]]] = []

    def run(self, ways: Ways) -> None:
        frame = self._frame
        inner = self._find_nested(ways.find("function", frame))
        self._bind(ways.find("bind", frame), inner)
        if not frame.raised:  # most
            return
        self._rescue()
        found: list[tuple[int, int, int, str, Node | Raised]] = [
            (node.start_byte, -node.end_byte, _rank(name), name, node)
            for name, node in ways.find_regions(frame)
        ]
        found += [(raised.start, -raised.end, 1, "raise", raised) for raised in frame.raised]
        found.sort(key=_BEFORE)
        for start, end, _, name, what in found:
            if inner and _is_in(start, -end, inner):
                continue
            while self._stack and self._stack[-1].end <= start:
                self._close()
            if isinstance(what, Raised):
                self._place(what)
            else:
                self._take(name, start, -end, what)
        for raised, tries in self._tries:
            raised.caught |= any(r.silences or (r.swallows and inside) for r, inside in tries)

    def _find_nested(self, functions: Sequence[Node]) -> list[tuple[int, int]]:
        """Return where the functions inside this one stand, the outermost, in order."""
        if len(functions) <= (self._frame.what == "function"):
            return []
        own = self._frame.node.byte_range
        nested: list[tuple[int, int]] = []
        for start, end in sorted((node.start_byte, -node.end_byte) for node in functions):
            if (start, -end) != own and (not nested or start >= nested[-1][1]):
                nested.append((start, -end))
        return nested

    def _bind(self, nodes: Sequence[Node], inner: Sequence[tuple[int, int]]) -> None:
        if not nodes:
            return
        places: Iterable[tuple[int, int]] = {(node.start_byte, node.end_byte) for node in nodes}
        if inner:
            places = [place for place in places if not _is_in(*place, inner)]
        names = {self._source[start:end] for start, end in places}
        self._frame.bound.update(read_text(name, 0, len(name)) for name in names)

    def _rescue(self) -> None:
        """Take panics for caught where the definition has the word that stops them."""
        word = self._dialect.rescue
        node = self._frame.node
        if word and word in self._source[node.start_byte : node.end_byte]:
            for raised in self._frame.raised:
                raised.caught |= raised.how == "panics"

    def _take(self, name: str, start: int, end: int, node: Node) -> None:
        if name in _REGIONS:
            self._enter(name, start, end, node)
        elif name == "return":
            self._silence()
        elif self._stack:
            self._note(name, start, end)

    def _note(self, name: str, start: int, end: int) -> None:
        region = self._stack[-1]
        if name in ("test", "test.then", "head"):
            if region.what == "case" and region.head is not None:
                region.head += f" | {read_text(self._source, start, end)}"
            if region.head is None:
                region.head = strip_brackets(read_text(self._source, start, end))
                region.body = (end, region.end) if name == "test.then" else region.body
            return
        region.body = start, end
        if region.head is None and region.what in ("when", "catch"):
            region.head = read_text(self._source, region.start, start).rstrip(_TRAILING)

    def _enter(self, what: str, start: int, end: int, node: Node) -> None:
        region = Region(what, start, end)
        if what == "catch" and self._stack and self._stack[-1].what == "try":
            self._stack[-1].swallows = True
        elif what == "with" and (body := node.child_by_field_name("body")) is not None:
            head = read_text(self._source, start, body.start_byte)
            region.swallows = any(word in head for word in self._dialect.quiet)
        self._stack.append(region)

    def _close(self) -> None:
        region = self._stack.pop()
        if region.what == "elif" and region.head and self._stack and self._stack[-1].what == "if":
            self._stack[-1].passed.append(region.head)

    def _silence(self) -> None:
        """Note that a return in a `finally` forgets every error of its `try`."""
        inside = False
        for region in self._stack[: -MAX_DEPTH - 1 : -1]:
            if inside and region.what == "try":
                region.silences = True
            inside = region.what == "finally"

    def _place(self, raised: Raised) -> None:
        stack, at = self._stack, raised.start
        if len(stack) > MAX_DEPTH:
            raised.caught, self._frame.sound = True, False
            return
        raised.guard = describe_guard(stack, at)
        tries = [(r, r.has_in_body(at)) for r in stack if r.what in ("try", "with")]
        self._tries.append((raised, tries))


def describe_guard(stack: Sequence[Region], at: int) -> str | None:
    """Return the conditions that a place stands under, the outermost first."""
    inwards = ["", *(region.what for region in reversed(stack))]
    groups = (
        list(region.conditions(at, inner))
        for region, inner in zip(reversed(stack), inwards, strict=False)
    )
    kept = list(islice((group for group in groups if group), _MOST_CONDITIONS))
    return shorten(" and ".join(part for group in reversed(kept) for part in group)) or None


def _negate(test: str) -> str:
    bare = test.removeprefix("not ").removeprefix("!").strip()
    if bare != test and re.fullmatch(r"[\w$.]+(?:\([^()]*\))?", bare):
        return bare
    return f"not ({test})"


def strip_brackets(text: str) -> str:
    """Return a condition without the brackets around it."""
    while text.startswith("(") and text.endswith(")") and _closes_at_end(text):
        text = text[1:-1].strip()
    return text


def _closes_at_end(text: str) -> bool:
    """Tell whether the bracket that opens a text is closed by the one at its end."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return at == len(text) - 1
    return False


def _is_in(start: int, end: int, stretches: Sequence[tuple[int, int]]) -> bool:
    """Tell whether a node stands in one of some stretches, which are in order and apart."""
    before = bisect_right(stretches, (start, sys.maxsize)) - 1
    return before >= 0 and end <= stretches[before][1]


def _rank(name: str) -> int:
    """Return the place of a capture among those of the same bytes: parts of regions come before
    what stands in them, and that before regions."""
    return 0 if name in _PARTS else 2 if name in _REGIONS else 1
