"""Cut code into spans: one walk over the nodes that the language's table names.

A span's bytes are the definition with its decorators or attributes, its `export` or `template`;
the comment above stays outside, as the piece's `doc`. Functions inside functions belong
to the outer span; those inside an anonymous function (a module pattern, a callback) have no outer
span and are found.

A broken definition is left out but looked into, so that its sound members are kept. What holds
members may hold broken ones: a class is broken only if its own frame is. In C and C++ a little
damage is taken for an unexpanded macro (`Language.tolerance`), unless it may have moved a border.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tree_sitter import Node

from llmc.indexer import comments, names
from llmc.languages import BODILESS, CONTAINERS, Language

MAX_SYMBOL_CHARS = 500

MAX_DEPTH = 100
"""Types inside types that are spans of their own; each of them holds the text of all inner ones."""


class Piece(NamedTuple):
    """A span before its place is known in lines: what it is, its bytes, what is said of it."""

    symbol: str
    kind: str
    start: int
    end: int
    doc: str | None = None


class Scope(NamedTuple):
    """What the definitions inside are named after; in a type, functions are methods.

    `depth` counts the types around that are spans.
    """

    name: str = ""
    is_type: bool = False
    depth: int = 0

    def qualify(self, name: str) -> str:
        return f"{self.name}.{name}"[:MAX_SYMBOL_CHARS] if self.name and name else name or self.name


@dataclass(frozen=True, slots=True)
class Spot:
    """A node with its surroundings as the walk came by: tree-sitter's own way back is a search.

    It is `wrapped` if its parent is a statement that holds one definition and nothing else.
    """

    node: Node
    siblings: Sequence[Node]
    index: int
    scope: Scope
    parent: Spot | None
    wrapped: bool

    def before(self) -> Iterator[Node]:
        """Yield the nodes before this one, nearest first, also before the blocks it opens."""
        spot: Spot | None = self
        while spot is not None:
            for index in range(spot.index - 1, -1, -1):
                yield spot.siblings[index]
            spot = spot.parent


def cut(root: Node, language: Language) -> list[Piece]:
    """Return the definitions under a node, in no particular order, each once."""
    found = {(piece.start, piece.end): piece for piece in _Walk(language).pieces(root)}
    return list(found.values())


def cut_whole(root: Node, language: Language, stem: str) -> Piece | None:
    """Return a file with code but no definitions as one piece; None if it only has comments."""
    nodes = root.named_children
    if all(node.type in language.comments for node in nodes):
        return None
    doc = comments.read_docstring(root) if language.docstrings else None
    if doc is None and nodes[0].type in language.comments:
        doc = comments.read_block(nodes[:1])
    return Piece(stem, "module", nodes[0].start_byte, nodes[-1].end_byte, doc)


def is_sound(node: Node, language: Language, known: dict[int, float] | None = None) -> bool:
    """Tell whether a node parsed, but for as much damage as the language is known to suffer.

    `known` remembers the damage of nodes by their id from one question to the next.
    """
    if not node.has_error:
        return True
    allowed = language.tolerance * (node.end_byte - node.start_byte)
    return allowed > 0 and _damage(node, {} if known is None else known) < allowed


def _damage(top: Node, known: dict[int, float]) -> float:
    """Return how many bytes under a node did not parse.

    A missing or a stray brace is infinitely much: the node may end where it should not.
    """
    around: list[Node] = []
    stack = [top]
    while stack:
        node = stack.pop()
        if node.id in known:
            continue
        if node.is_error or node.is_missing:
            text = node.text or b""
            moved = b"{" in text or b"}" in text or node.type == "}"
            known[node.id] = math.inf if moved else len(text)
        elif node.has_error:
            around.append(node)
            stack += node.children
    for node in reversed(around):
        known[node.id] = sum(known.get(child.id, 0) for child in node.children)
    return known.get(top.id, 0)


class _Walk:
    """One walk; its stack is explicit, since code nests deeper than Python's recursion goes."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._walked = language.through | language.wrappers | {"ERROR"}
        self._definable = {*language.spans, *language.bindings, *language.wrappers}
        self._stack: list[Spot] = []
        self._damage: dict[int, float] = {}

    def pieces(self, root: Node) -> Iterator[Piece]:
        self._enter(root, Scope(), None)
        while self._stack:
            spot = self._stack.pop()
            kind = spot.node.type
            if kind in self._language.bindings:
                yield from self._binding(spot)
            elif kind in self._language.spans:
                yield from self._definition(spot, spot.node, names.read_own_name(spot.node))
            elif kind in self._language.scopes:
                name = spot.scope.qualify(names.read_own_name(spot.node) or "")
                self._enter(spot.node, Scope(name, depth=spot.scope.depth), spot)
            elif kind in self._walked:
                self._enter(spot.node, spot.scope, spot)

    def _enter(self, node: Node, scope: Scope, parent: Spot | None) -> None:
        siblings = node.children
        wrappers = self._language.wrappers
        wraps = parent is not None and parent.node.type in wrappers and self._holds_one(siblings)
        self._stack += [Spot(n, siblings, i, scope, parent, wraps) for i, n in enumerate(siblings)]

    def _holds_one(self, nodes: Sequence[Node]) -> bool:
        kinds = [node.type for node in nodes]
        return "(" not in kinds and sum(kind in self._definable for kind in kinds) <= 1

    def _binding(self, spot: Spot) -> Iterator[Piece]:
        """Take `name = value` for the definition of its value, if that is a function or class."""
        name_field, value_field = self._language.bindings[spot.node.type]
        value = names.unwrap(spot.node.child_by_field_name(value_field))
        if value is None:
            self._enter(spot.node, spot.scope, spot)
            return
        name = (
            names.read_bound_name(spot.node.child_by_field_name(name_field))
            if name_field
            else "default"
        )
        definition = value if value.type in self._language.values else names.find_argument(value)
        if name and definition is not None:
            yield from self._definition(spot, definition, name)
        elif name and value.type == "object":
            scope = Scope(spot.scope.qualify(name), is_type=True, depth=spot.scope.depth)
            self._enter(value, scope, spot)
        else:
            self._enter(spot.node, spot.scope, spot)

    def _definition(self, spot: Spot, node: Node, name: str | None) -> Iterator[Piece]:
        """Yield the span of a definition and leave its members on the stack."""
        kind = self._kind(spot, node)
        body = node.child_by_field_name("body")
        inner = names.find_spelled_type(node)
        if not name or not (body or inner or _fills_lines(node, kind)):
            return
        sound = is_sound(node, self._language, self._damage) or (
            kind in CONTAINERS and _has_frame(node, body)
        )
        if sound:
            yield self._piece(spot, node, name, kind)
        if kind in CONTAINERS:
            if spot.scope.depth < MAX_DEPTH:
                scope = spot.scope.qualify(names.read_member_name(node, name))
                self._enter(inner or node, Scope(scope, True, spot.scope.depth + 1), spot)
        elif not sound and body is not None:
            self._enter(body, spot.scope, spot)

    def _kind(self, spot: Spot, node: Node) -> str:
        language = self._language
        kind = language.spans.get(node.type) or language.values[node.type]
        inner = names.find_spelled_type(node) if kind == "type" else None
        if inner is not None:
            return language.typed.get(inner.type, kind)
        if kind == "function" and (spot.scope.is_type or names.is_qualified(node)):
            return "method"
        return kind

    def _piece(self, spot: Spot, node: Node, name: str, kind: str) -> Piece:
        outer = self._outermost(spot)
        start, above = self._prefixed(outer)
        doc = comments.read_docstring(node) if self._language.docstrings else None
        if doc is None:
            row = start.start_point.row
            doc = comments.read_block(comments.find_block_above(row, above, self._language))
        end = max(outer.node.end_byte, node.end_byte)
        return Piece(spot.scope.qualify(name), kind, start.start_byte, end, doc)

    def _outermost(self, spot: Spot) -> Spot:
        """Climb to the statement around a definition, as long as it holds nothing else."""
        while spot.wrapped and spot.parent is not None:
            spot = spot.parent
        return spot

    def _prefixed(self, spot: Spot) -> tuple[Node, list[Node]]:
        """Return the first node of a definition with its attributes, and the comments above it.

        Comments between the attributes count as above: that is where some put them.
        """
        start, above = spot.node, []
        for node in spot.before():
            if node.type in self._language.prefixes:
                start = node
            elif node.type in self._language.comments:
                above.append(node)
            else:
                above.append(node)
                break
        return start, above


def _fills_lines(node: Node, kind: str) -> bool:
    """Tell whether a kind without a body has more to say than one line shows."""
    return kind in BODILESS and comments.find_last_row(node) > node.start_point.row


def _has_frame(node: Node, body: Node | None) -> bool:
    """Tell whether a definition's own tokens are all there, whatever its members are like."""
    tokens = [*node.children, *(body.children if body is not None else ())]
    return not any(token.is_error or token.is_missing for token in tokens)
