"""What a file's captures say of its definitions: each capture goes to the one that it stands in."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from tree_sitter import Node

from llmc.facts.dialects import Dialect
from llmc.facts.frames import Called, Declared, Frame, Raised, read_text
from llmc.facts.owners import Owners
from llmc.facts.touches import Touches
from llmc.facts.values import MAX_ITEMS, How, ParameterKind

Captures = Mapping[str, Sequence[Node]]

_KINDS: Mapping[str, ParameterKind] = {
    "parameter.rest": "rest",
    "parameter.keywords": "keywords",
    "parameter.receiver": "receiver",
}
_OWN_FORM = frozenset(("parameter.type", "parameter.default"))
_HOW: Mapping[str, How] = {"raise": "raises", "failure": "returns"}
_GIVEN = (("call", 0), ("call.one", 1))
_EMPTY = 2
"""Bytes of a list of arguments without any."""
_LISTS = ("base", "throws", "attribute", "write")
_START = attrgetter("start_byte")
_NAME_BACKWARDS = re.compile(rb"[ \t]{0,4}(!?[\w$]+(?:(?:\.|::|>-|\.\?)[\w$]+)*(?:\.|::|>-)?)")
_PLAIN = re.compile(r"[\w$./@+:-]+")
_RETURN_BYTES = 40
"""Of a return that may be one of nothing."""


class Notes:
    """Gives the captures of a file to its definitions, one sort of them after the other."""

    def __init__(
        self,
        source: bytes,
        newlines: Sequence[int],
        owners: Owners,
        dialect: Dialect,
        touches: Touches,
    ) -> None:
        self._source = source
        self._newlines = newlines
        self._owners = owners
        self._dialect = dialect
        self._touches = touches
        self._has_marks = re.compile(b"|".join(map(re.escape, dialect.marks))).search

    def take(self, captures: Captures) -> None:
        """Note all that a file's captures say."""
        self._take_parameters(captures)
        self._take_returns(captures)
        self._take_raises(captures)
        self._take_calls(captures)
        for name in _LISTS:
            for node in sorted(captures.get(name, ()), key=_START):
                if frame := self._owners.find(node.start_byte):
                    frame.add("decorator" if name == "attribute" else name, self._text(node))
        for node, frame in self._owned(captures, "member"):
            frame.members.append((node.start_byte, self._text(node)))
        for node, frame in self._owned(captures, "result"):
            frame.result = frame.result or self._text(node)
        for node, frame in self._owned(captures, "trailing"):
            frame.result = self._text(node)
        for node, frame in self._owned(captures, "pointer"):
            frame.result = f"{frame.result or ''} {self._text(node)[:1]}".strip()
        for node, frame in self._owned(captures, "visibility"):
            frame.visibility = frame.visibility or self._text(node)
        for node, frame in self._owned(captures, "shared"):
            frame.shared.add(self._text(node))
        for _, frame in self._owned(captures, "async"):
            frame.is_async = True
        for _, frame in self._owned(captures, "stub"):
            frame.is_stub = True

    def take_standing(self, found: Iterable[tuple[int, str]]) -> None:
        """Note names of resources, each with its byte."""
        for at, name in found:
            if frame := self._owners.find(at):
                frame.stands.append((name, self._row(at)))

    def _owned(self, captures: Captures, name: str) -> Iterator[tuple[Node, Frame]]:
        if nodes := captures.get(name):
            find = self._owners.find
            for node in nodes:
                if frame := find(node.start_byte):
                    yield node, frame

    def _text(self, node: Node) -> str:
        return read_text(self._source, node.start_byte, node.end_byte)

    def _row(self, at: int) -> int:
        return bisect_left(self._newlines, at)

    def _sorted(self, captures: Captures, begin: str) -> list[tuple[int, int, str]]:
        """Return the captures whose names begin so in the order of the text, with their ends
        negative: what is around others comes first, and of the same bytes the shorter name."""
        found: list[tuple[int, int, str]] = []
        for name, nodes in captures.items():
            if name.startswith(begin):
                found += [(node.start_byte, -node.end_byte, name) for node in nodes]
        found.sort()
        return found

    # -- parameters --------------------------------------------------------------------------

    def _take_parameters(self, captures: Captures) -> None:
        find, source = self._owners.find, self._source
        for start, end, name in self._sorted(captures, "parameter"):
            # A type or a default may itself have the form of a definition.
            frame = find(start - 1 if name in _OWN_FORM else start)
            if frame is None:
                continue
            declared = frame.declared
            if name == "parameters":
                frame.is_listed = True
            elif name == "parameter.number":
                _note_number(declared, read_text(source, start, -end))
            elif name == "parameter":
                declared.append(Declared(-end, read_text(source, start, -end)))
            elif name == "parameters.keyword":  # a mark, of which nothing is kept
                declared.append(Declared(-end, "", "keyword"))
            elif name == "parameters.positional":
                for earlier in declared:
                    earlier.kind = earlier.kind or "positional"
            elif declared and -end <= declared[-1].end:
                _note_detail(declared[-1], name, read_text(source, start, -end))

    # -- what leaves -------------------------------------------------------------------------

    def _take_returns(self, captures: Captures) -> None:
        words = [word.encode() for word in self._dialect.nothing]
        nothing = {b"", *words, *(b"(%s)" % word for word in words)}
        for node, frame in self._owned(captures, "return"):
            start, end = node.start_byte, node.end_byte
            value = self._source[start : min(end, start + _RETURN_BYTES)].removeprefix(b"return")
            bare = end - start < _RETURN_BYTES and value.strip(b" \t\r\n;") in nothing
            frame.leave("bare" if bare else "valued", self._row(start))
        for name, way in (("value", "valued"), ("yield", "yields")):
            for node, frame in self._owned(captures, name):
                frame.leave(way, self._row(node.start_byte))

    def _take_raises(self, captures: Captures) -> None:
        source, find = self._source, self._owners.find
        for name, how in _HOW.items():
            last: Raised | None = None
            found: list[tuple[Frame, Raised]] = []
            for start, end, detail in self._sorted(captures, name):
                if detail == name:
                    last = Raised(start, -end, self._row(start), how)
                    if frame := find(start):
                        found.append((frame, last))
                elif last and -end <= last.end:
                    _note_error(last, detail.rpartition(".")[2], read_text(source, start, -end))
            for frame, raised in found:
                if _is_failure(raised, self._dialect):
                    frame.raised.append(raised)

    def _take_calls(self, captures: Captures) -> None:
        source, find, look = self._source, self._owners.find, self._has_marks
        backwards, size, match = source[::-1], len(source), _NAME_BACKWARDS.match
        special, known = self._touches.called.keys() | self._dialect.leaving, dict[bytes, str]()
        for node in captures.get("call.arguments", ()):
            start = node.start_byte
            found = match(backwards, size - start)
            if found is None or (frame := find(start)) is None:
                continue
            turned = found[1]
            name = known.get(turned)
            if name is None:
                name = known[turned] = turned[::-1].decode("utf-8", "replace")
            end = node.end_byte
            called: Called
            if end - start > _EMPTY and look(source, start, end):
                called = name, *self._look_at(node)
            elif name[-1] == "!":
                called = name, 0, (), True
            else:
                called = name, node.named_child_count if end - start > _EMPTY else 0, (), False
            if start < (notes := frame.called).setdefault(called, start):
                notes[called] = start
            if name in special:
                self._take_special(frame, node, name)
        for capture, given in _GIVEN:
            for node, frame in self._owned(captures, capture):
                name = self._text(node)
                name = name if _PLAIN.fullmatch(name) else f".{name.rpartition('.')[2]}"
                called, start = (name, given, (), not given), node.start_byte
                frame.called[called] = min(start, frame.called.get(called, start))
                frame.reaches |= name in special

    def _take_special(self, frame: Frame, node: Node, name: str) -> None:
        """Note a call that matters by its name."""
        frame.reaches = True
        if how := self._dialect.leaving.get(name):
            self._leave(frame, node, how)

    def _leave(self, frame: Frame, node: Node, how: How) -> None:
        """Note a call that is not come back from; a text that it is given is its message."""
        start = node.start_byte
        raised = Raised(start, node.end_byte, self._row(start), how)
        for first in node.named_children[:1]:
            if "string" in first.type:
                raised.message = self._text(first)
        frame.raised.append(raised)

    def _look_at(self, node: Node) -> tuple[int, tuple[str, ...], bool]:
        """Return how many arguments of a list have no name, the names of the others, and whether
        there may be any number more."""
        keywords: list[str] = []
        given, spread = 0, False
        for child in node.named_children:
            if child.type == "keyword_argument":
                keyword = child.child_by_field_name("name")
                if keyword is not None:
                    keywords.append(self._text(keyword))
            elif child.type in self._dialect.spreads:
                spread = True
            elif "comment" not in child.type and child.type != "line_continuation":
                given += 1
        return given, tuple(keywords[:MAX_ITEMS]), spread


def _note_detail(parameter: Declared, capture: str, text: str) -> None:
    parameter.is_plain = False
    if capture in _KINDS:
        parameter.kind = _KINDS[capture]
    elif capture == "parameter.name":
        parameter.names += (text,)
    elif capture == "parameter.pattern":
        parameter.text, parameter.is_pattern = text, True
    elif capture == "parameter.bound":
        parameter.bound += (text,)
    elif capture == "parameter.type":
        parameter.annotation = parameter.annotation or text
    elif capture == "parameter.default":
        parameter.default = parameter.default or text
    elif capture == "parameter.optional":
        parameter.optional = True


def _note_number(declared: list[Declared], name: str) -> None:
    """Note a parameter that has a number for a name, or stands for all of them."""
    rest = name in ("@", "*")
    if rest or (name.isdigit() and name != "0"):
        text = f"${name}"
        if all(entry.text != text for entry in declared):
            declared.append(Declared(0, text, "rest" if rest else None))


def _is_failure(raised: Raised, dialect: Dialect) -> bool:
    """Tell whether an error leaves, as far as the text around it doesn't matter."""
    if raised.maker and raised.maker not in dialect.makers:
        return False
    if raised.how != "returns" or dialect.failures is None:
        return True
    return dialect.failures.fullmatch(raised.error or "") is not None


def _note_error(raised: Raised, detail: str, text: str) -> None:
    if detail == "error":
        raised.error = raised.error or text
    elif detail == "message":
        raised.message = raised.message or text
    elif detail == "maker":
        raised.maker = raised.maker or text
