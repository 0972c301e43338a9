"""What is simple in a short body: names, literals, the marks between them, as they stand."""

from __future__ import annotations

import re

from tree_sitter import Node

from llmc.facts.forms import Forms

MAX_QUOTED = 120
"""Characters of a step's code; a longer one is told better in other words."""

_MOST_PARTS = 12
_DEEPEST = 6
_LINE_END = re.compile(r"\s*\n\s*")
_SUPER = re.compile(r"super\(\)")


class NotSimpleError(Exception):
    """There is more than names, literals and the marks between them."""


class Simple:
    """Tells what is simple in one language."""

    def __init__(self, forms: Forms) -> None:
        self._forms = forms

    def is_constant(self, node: Node) -> bool:
        if node.type in ("unary_expression", "unary_operator", "expression_list"):
            children = node.named_children
            return len(children) == 1 and self.is_constant(children[0])
        return node.type in self._forms.literals | self._forms.strings

    def require(self, node: Node, depth: int = 0) -> None:
        """Raise NotSimpleError unless a node is simple."""
        forms, kind = self._forms, node.type
        if kind in forms.strings:
            if b"\n" in (node.text or b""):
                raise NotSimpleError
            inner = [part for part in node.named_children if part.named_children]
            if inner or any("interpol" in part.type for part in node.named_children):
                raise NotSimpleError
        elif kind in forms.names or kind in forms.literals:
            return
        elif kind in forms.through or (kind in forms.calls and self._is_free(node)):
            self.require_parts(node, depth)
        else:
            raise NotSimpleError

    def require_parts(self, node: Node, depth: int = 0) -> None:
        parts = node.named_children
        if depth > _DEEPEST or len(parts) > _MOST_PARTS:
            raise NotSimpleError
        for part in parts:
            self.require(part, depth + 1)

    def require_call(self, node: Node) -> None:
        """Raise NotSimpleError unless a call passes simple values to what is surely called."""
        name = node.child_by_field_name("function") or node.child_by_field_name("name")
        special = self._forms.special
        if special is not None and name is not None and special.fullmatch(read_node(name)):
            raise NotSimpleError
        self.require_parts(node)

    def _is_free(self, node: Node) -> bool:
        """Tell whether a call only names an object, or puts a value together."""
        if self._forms.tails and self.is_capital(node):
            return True
        return _SUPER.fullmatch(read_node(node)) is not None

    def is_capital(self, node: Node) -> bool:
        name = node.child_by_field_name("function")
        return name is not None and re.split(r"::|\.", read_node(name))[-1][:1].isupper()


def read_node(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def quote(node: Node) -> str:
    """Return a node's code on one line. Raises NotSimpleError if it can't be quoted whole."""
    text = _LINE_END.sub(" ", read_node(node).strip().rstrip(";")).strip()
    if not text or len(text) > MAX_QUOTED or "`" in text or not text.isprintable():
        raise NotSimpleError
    return text


def find_last_row(node: Node) -> int:
    """Return the last row that a node has any text in."""
    row: int = node.end_point.row
    return row - 1 if node.end_point.column == 0 and row > node.start_point.row else row
