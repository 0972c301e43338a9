"""What is found of one definition, before its facts are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tree_sitter import Node

from llmc.facts.values import MAX_ITEMS, MAX_TEXT, How, Parameter, ParameterKind

Called = tuple[str, int, tuple[str, ...], bool]
"""A call: its name, arguments without a name, the names of others, whether more may be."""

_READ_BYTES = 800
"""Of a node whose text is wanted: more than is kept of any, white space included."""


class Place(NamedTuple):
    """A span, as far as its facts depend on it: bytes of the text, name, kind, comment."""

    start: int
    end: int
    name: str
    kind: str
    doc: str | None = None


def shorten(text: str) -> str:
    """Return text on one line, cut to MAX_TEXT characters."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


def read_text(source: bytes, start: int, end: int) -> str:
    """Return a part of the source on one line, cut to MAX_TEXT characters."""
    if end - start <= MAX_TEXT:  # most
        return " ".join(source[start:end].decode("utf-8", "replace").split())
    return shorten(source[start : min(end, start + _READ_BYTES)].decode("utf-8", "replace"))


class Declared:
    """A parameter's declaration, which may have several names, or none: a pattern, or a type.

    It `is_plain` as long as its text is all that was found of it.

    This and `Frame` have what few of them differ in from their class: so they are made in a third
    of the time, and there is one for each parameter and each span.
    """

    names: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    annotation: str | None = None
    default: str | None = None
    optional = False
    is_pattern = False
    is_plain = True

    def __init__(self, end: int, text: str, kind: ParameterKind | None = None) -> None:
        self.end = end
        self.text = text
        self.kind = kind

    def parameters(self, kind: ParameterKind) -> Iterator[Parameter]:
        """Yield a parameter for each name; `kind` is that of one of which nothing is said."""
        kind = self.kind or kind
        optional = self.optional or self.default is not None
        for name in self.names or (self.text,):
            bound = () if self.names else self.bound[:MAX_ITEMS]
            yield Parameter(name, kind, self.annotation, self.default, optional, bound)


@dataclass(slots=True)
class Raised:
    """A place that an error leaves from, unless it is `caught` around it.

    `maker` is the name by which an error is made, where only some names make one.
    """

    start: int
    end: int
    row: int
    how: How
    error: str | None = None
    message: str | None = None
    maker: str | None = None
    guard: str | None = None
    caught: bool = False


class Frame:
    """The definition of a span: `what` is function, class or module. Rows are those of the file.

    `said` are parts that are kept as text, by the capture that found them; `left` are the rows
    where it is left, by what is returned: "valued", "bare", or "yields". `called` has the first
    byte of each kind of call. `stands` are names that may be resources, with their row; `members`
    have their byte. `is_listed` tells that a list of parameters was found; it `reaches` outside if
    a name is called that may be a resource, or that isn't come back from.

    `bound` are the names that are its own, as far as something depends on them; `shared` are those
    that it says are not.
    """

    result: str | None = None
    visibility: str | None = None
    is_async = False
    is_stub = False
    is_listed = False
    reaches = False

    def __init__(self, what: str, node: Node, row: int) -> None:
        self.what = what
        self.node = node
        self.row = row
        self.sound = not node.has_error
        self.declared: list[Declared] = []
        self.left: dict[str, list[int]] = {}
        self.raised: list[Raised] = []
        self.called: dict[Called, int] = {}
        self.members: list[tuple[int, str]] = []
        self.stands: list[tuple[str, int]] = []
        self.said: dict[str, list[str]] = {}
        self.bound: set[str] = set()
        self.shared: set[str] = set()

    def add(self, capture: str, text: str) -> None:
        self.said.setdefault(capture, []).append(text)

    def leave(self, way: str, row: int) -> None:
        self.left.setdefault(way, []).append(row)
