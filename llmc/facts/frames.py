"""What is found of one definition, before its facts are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tree_sitter import Node

from llmc.facts.values import MAX_ITEMS, MAX_TEXT, How, Parameter, ParameterKind

Called = tuple[int, str, int, tuple[str, ...], bool]
"""A call: its row, its name, arguments without a name, the names of others, whether more may be."""

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


@dataclass(slots=True)
class Declared:
    """A parameter's declaration, which may have several names, or none: a pattern, or a type."""

    end: int
    text: str
    names: list[str] = field(default_factory=list)
    bound: list[str] = field(default_factory=list)
    kind: ParameterKind | None = None
    annotation: str | None = None
    default: str | None = None
    optional: bool = False
    is_pattern: bool = False

    def parameters(self, kind: ParameterKind) -> Iterator[Parameter]:
        """Yield a parameter for each name; `kind` is that of one of which nothing is said."""
        kind = self.kind or kind
        if not self.names and not self.bound and self.default is None:  # most, in some languages
            yield Parameter(self.text, kind, self.annotation, None, self.optional)
            return
        optional = self.optional or self.default is not None
        for name in self.names or [self.text]:
            bound = () if self.names else tuple(self.bound[:MAX_ITEMS])
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


@dataclass(slots=True)
class Rows:
    """Where a definition is left: by returns with a value, by those without, by yields."""

    valued: list[int] = field(default_factory=list)
    bare: list[int] = field(default_factory=list)
    yields: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Names:
    """The names that are a definition's own, and those that it says are not.

    The former are looked for only where something depends on them.
    """

    bound: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Frame:
    """The definition of a span: `what` is function, class or module. Rows are those of the file.

    `said` are parts that are kept as text, by the capture that found them; `stands` are names that
    may be resources, with their row; `members` have their byte. `is_listed` tells that a list of
    parameters was found.
    """

    what: str
    name: str
    node: Node
    row: int
    sound: bool = True
    result: str | None = None
    visibility: str | None = None
    is_async: bool = False
    is_stub: bool = False
    is_listed: bool = False
    declared: list[Declared] = field(default_factory=list)
    left: Rows = field(default_factory=Rows)
    raised: list[Raised] = field(default_factory=list)
    called: list[Called] = field(default_factory=list)
    members: list[tuple[int, str]] = field(default_factory=list)
    stands: list[tuple[str, int]] = field(default_factory=list)
    said: dict[str, list[str]] = field(default_factory=dict)
    names: Names = field(default_factory=Names)

    def add(self, capture: str, text: str) -> None:
        self.said.setdefault(capture, []).append(text)
