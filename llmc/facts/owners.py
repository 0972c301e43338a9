"""Which definition a place of a file belongs to: the innermost, if it is a span's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from tree_sitter import Node

from llmc.facts.frames import Frame, Place, read_text

FUNCTIONS = frozenset({"function", "method", "macro"})
"""Kinds of span that a captured function is the definition of; of others, a class is."""

_BEFORE = itemgetter(0, 1)
_Captured = tuple[int, int, str, Node]


class Owners:
    """The definitions of a file's spans. `frames` has them by the number of their place.

    Made by one way through all definitions in the order of the text, which leaves a list of
    borders: from one to the next, everything belongs to the same one. A `signature` is none: it has
    only the form of a definition, or runs apart from what is around it.
    """

    def __init__(
        self, source: bytes, newlines: Sequence[int], root: Node, places: Sequence[Place]
    ) -> None:
        self.frames: dict[int, Frame] = {}
        self._source = source
        self._newlines = newlines
        self._places = places
        self._root = root
        self._borders = [0]
        self._owners: list[Frame | None] = [self._find_outermost()]
        self._coming = sorted(range(len(places)), key=lambda n: (-places[n].start, places[n].end))
        self._near: list[int] = []
        self._decorators: list[tuple[int, str]] = []

    def read(self, captures: Mapping[str, Iterable[Node]]) -> None:
        """Take the definitions from a file's captures: functions, classes, decorators."""
        found: list[_Captured] = [
            (node.start_byte, -node.end_byte, name, node)
            for name in ("class", "decorator", "function", "signature")
            for node in captures.get(name, ())
        ]
        found.sort(key=_BEFORE)
        stack: list[tuple[int, str, Frame | None]] = [(len(self._source) + 1, "", self._owners[0])]
        for start, end, name, node in found:
            while stack[-1][0] <= start:
                ended = stack.pop()[0]
                self._add_border(ended, stack[-1][2])
            if name == "decorator":
                text = read_text(self._source, start, -end)
                owner = stack[-1][2]
                if owner and _is_of(node, owner):
                    owner.add(name, text)
                    owner = stack[-2][2]
                    self._add_border(start, owner)
                else:
                    self._decorators.append((start, text))
                stack.append((-end, name, owner))
                continue
            around = stack[-1]
            owner = None
            if name != "signature" and around[1] != "decorator":
                number = self._claim(name, start, -end)
                if number is not None:
                    owner = self._make(name, node, number, self._decorators)
                    if around[2] and around[2].what == "class":
                        around[2].members.append((start, self._places[number].name))
                self._decorators.clear()
            stack.append((-end, "decorator" if around[1] == "decorator" else name, owner))
            self._add_border(start, owner)
        while len(stack) > 1:
            ended = stack.pop()[0]
            self._add_border(ended, stack[-1][2])

    def find(self, at: int) -> Frame | None:
        """Return the span's definition that a byte belongs to, None if it is no span's."""
        return self._owners[bisect_right(self._borders, at) - 1]

    def _add_border(self, at: int, owner: Frame | None) -> None:
        if self._borders[-1] == at:
            self._owners[-1] = owner
        else:
            self._borders.append(at)
            self._owners.append(owner)

    def _find_outermost(self) -> Frame | None:
        """Return the frame of the file itself, if it is a span, as it is if nothing in it is."""
        for number, place in enumerate(self._places):
            if place.kind == "module":
                return self._make("module", self._root, number, ())
        return None

    def _claim(self, what: str, start: int, end: int) -> int | None:
        """Return the number of the span that has a definition as its first of its kind."""
        places, coming, near = self._places, self._coming, self._near
        while coming and places[coming[-1]].start <= start:
            near.append(coming.pop())
        while near and places[near[-1]].end <= start:
            near.pop()
        for index in range(len(near) - 1, -1, -1):
            place = places[near[index]]
            if self._ends_in(place, end) and (place.kind in FUNCTIONS) == (what == "function"):
                return near.pop(index)
        return None

    def _ends_in(self, place: Place, end: int) -> bool:
        """Tell whether a node ends within a span, from which white space at its end was cut."""
        return end <= place.end or not self._source[place.end : end].strip()

    def _make(
        self, what: str, node: Node, number: int, decorators: Iterable[tuple[int, str]]
    ) -> Frame:
        place = self._places[number]
        frame = Frame(what, node, bisect_right(self._newlines, place.start - 1))
        for at, text in decorators:
            if place.start <= at:
                frame.add("decorator", text)
        self.frames[number] = frame
        return frame


def _is_of(decorator: Node, frame: Frame) -> bool:
    """Tell whether a decorator is within the definition it is of, as in some grammars."""
    return decorator.parent is not None and decorator.parent.parent == frame.node
