"""What a short body does, step by step, as long as each step is simple."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from tree_sitter import Node

from llmc.facts.forms import Forms
from llmc.facts.simple import NotSimpleError, Simple, find_last_row, quote, read_node
from llmc.facts.values import Facts
from llmc.languages import Language

MAX_DEPTH = 3
"""Blocks in blocks; a language's tree has one or two where its text has one."""

What = Literal["set", "initialize", "call", "give", "give a call", "fail", "leave"]

_NOT_JUST_TAKEN = frozenset({"object_pattern", "array_pattern", "accessibility_modifier"})
"""Parameters that are taken apart, or stored without a word of the body."""

_PANICS = frozenset({"todo", "unimplemented", "unreachable", "panic"})


class Step(NamedTuple):
    """A thing that a plain body does: `text` is its code, put into the `target` of a `set`.

    `first` and `last` are its lines, from 0, the span's first.
    """

    what: What
    text: str
    first: int
    last: int
    target: str = ""
    is_constant: bool = False


class Steps:
    """Reads the steps of one definition; `rows` stand before its text in what was parsed.

    `comments` counts the bytes of those in its body, once that is read.
    """

    def __init__(self, forms: Forms, language: Language, facts: Facts, rows: int) -> None:
        self._forms = forms
        self._simple = Simple(forms)
        self._language = language
        self._facts = facts
        self._rows = rows
        self.comments = 0

    def row(self, row: int) -> int:
        """Return a row of what was parsed as one of the text."""
        return max(0, row - self._rows)

    def read(self, node: Node, body: Node) -> Iterator[Step]:
        """Yield the steps of a definition. Raises NotSimpleError where there is anything else."""
        forms = self._forms
        self._look_at_parameters(node)
        for child in node.children:
            if child.type in ("async", "*"):
                raise NotSimpleError
            if child.type in self._language.comments:  # between head and body
                self.comments += child.end_byte - child.start_byte
            if child.type == "field_initializer_list":
                for entry in child.named_children:
                    yield self._initialize(entry)
        if body.type not in forms.blocks:
            yield self._give(body)
            return
        statements = list(self._statements(body))
        for statement, following in pairwise([*statements, None]):
            assert statement is not None, "the last one is only ever the following"
            is_tail = forms.tails and following is None and statement.type not in forms.holders
            if statement.type in forms.returns or (is_tail and self._is_value(statement)):
                if following is not None:
                    raise NotSimpleError
                if statement.type not in forms.returns:
                    yield self._give(statement, self._facts.returns.what == "nothing")
                elif statement.named_children:
                    yield self._give(self._only(statement))
                elif self._facts.returns.what != "nothing":
                    raise NotSimpleError  # results that have names come back
                elif len(statements) == 1:
                    yield self._step("leave", statement, quote(statement))
            else:
                yield self._do(statement)

    def _look_at_parameters(self, node: Node) -> None:
        """Raise NotSimpleError if something happens when arguments are taken."""
        parameters = node.child_by_field_name("parameters")
        for given in parameters.named_children if parameters is not None else ():
            parts = (given, *given.named_children)
            if any(part.type in _NOT_JUST_TAKEN for part in parts):
                raise NotSimpleError
            for name in ("right", "value"):
                default = given.child_by_field_name(name)
                if default is not None:
                    self._simple.require(default)

    def _statements(self, block: Node, depth: int = 0) -> Iterator[Node]:
        """Yield the statements of a block that do anything, without what holds them."""
        forms = self._forms
        if any(child.type == "&" for child in block.children):
            raise NotSimpleError  # nobody waits for it
        for child in block.named_children:
            if child.type in self._language.comments:
                self.comments += child.end_byte - child.start_byte
                continue
            if child.type in forms.noops:
                continue
            if child.type in forms.blocks:
                if depth == MAX_DEPTH:
                    raise NotSimpleError
                yield from self._statements(child, depth + 1)
                continue
            held = self._only(child) if child.type in forms.holders else child
            if held.type in forms.strings or held.type == "ellipsis":
                continue  # a comment, or a stub's body
            yield child if held.type not in (*forms.returns, *forms.holders) else held

    def _is_value(self, node: Node) -> bool:
        return node.type not in (*self._forms.sets, *self._forms.macros)

    def _only(self, node: Node) -> Node:
        """Return the one thing in a node."""
        if len(node.named_children) != 1:
            raise NotSimpleError
        return node.named_children[0]

    def _do(self, node: Node) -> Step:
        forms = self._forms
        if node.type in forms.raises:
            what = self._only(node)
            if what.type in forms.calls:
                self._simple.require_parts(what)
            else:
                self._simple.require(what)
            return self._step("fail", node, quote(node))
        while node.type in forms.holders:
            node = self._only(node)
        if node.type in forms.sets:
            return self._set(node)
        if node.type in forms.macros:
            name = node.child_by_field_name("macro")
            if name is None or read_node(name) not in _PANICS or "\n" in read_node(node):
                raise NotSimpleError
            return self._step("fail", node, quote(node))
        if node.type in forms.calls:
            if self._facts.raises:
                self._simple.require_parts(node)
                return self._step("fail", node, quote(node))
            self._simple.require_call(node)
            return self._step("call", node, quote(node))
        raise NotSimpleError

    def _give(self, node: Node, is_forgotten: bool = False) -> Step:
        """Return the step that gives a value back, or only makes it."""
        forms = self._forms
        while node.type == "parenthesized_expression":
            node = self._only(node)
        called = self._called(node)
        if called is not None and not (forms.tails and self._simple.is_capital(called)):
            self._simple.require_call(called)
            return self._step("call" if is_forgotten else "give a call", node, quote(node))
        if is_forgotten:
            raise NotSimpleError
        self._simple.require(node)
        step = self._step("give", node, quote(node))
        return step._replace(is_constant=self._simple.is_constant(node))

    def _called(self, node: Node) -> Node | None:
        """Return the call that an expression is, alone in what holds it too."""
        if node.type == "expression_list" and len(node.named_children) == 1:
            node = node.named_children[0]
        return node if node.type in self._forms.calls else None

    def _set(self, node: Node) -> Step:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = node.child_by_field_name("operator")
        if left is None or right is None or (operator is not None and read_node(operator) != "="):
            raise NotSimpleError
        if left.type in self._forms.names and not self._forms.sets_names:
            raise NotSimpleError
        if left.type in ("expression_list", "pattern_list") and len(left.named_children) != 1:
            raise NotSimpleError
        self._simple.require(left)
        self._simple.require(right)
        return self._step("set", node, quote(right), quote(left))

    def _initialize(self, node: Node) -> Step:
        parts = node.named_children
        if len(parts) != 2 or len(parts[1].named_children) > 1:
            raise NotSimpleError
        for part in parts:
            self._simple.require(part)
        value = parts[1].named_children
        text = quote(value[0]) if value else ""
        return self._step("initialize", node, text, quote(parts[0]))

    def _step(self, what: What, node: Node, text: str, target: str = "") -> Step:
        first, last = self.row(node.start_point.row), self.row(find_last_row(node))
        return Step(what, text, first, last, target)
