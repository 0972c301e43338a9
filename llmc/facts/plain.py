"""Spans of whose body all is said by saying what stands there: getters, setters, constants, stubs.

A body is plain if it has nothing but a few steps, each of which gives a simple value, puts one into
a place, or passes simple values on in a single call. Whatever else there is, it isn't plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser

from llmc import languages
from llmc.facts.dialects import DIALECTS
from llmc.facts.forms import FORMS, Forms
from llmc.facts.values import Facts
from llmc.languages import CONTAINERS, LANGUAGES, Language

Rule = Literal["getter", "constant", "setter", "constructor", "delegation", "stub", "failure"]
"""What a plain span is: `stub` are those without any code, `failure` those that only fail."""

MAX_LINES = 40
MAX_STEPS = 8
MAX_QUOTED = 120
"""Characters of a step's code; a longer one is told better in other words."""

MAX_DOC = 200
"""Characters of comments; longer ones say more than the first line, which is kept anyway."""

_MOST_PARTS = 12
_DEEPEST = 6
_KINDS = frozenset({"function", "method", *CONTAINERS}) - {"impl"}
_BEFORE = frozenset(
    {"decorator", "attribute_item", "template_parameter_list", "requires_clause", "modifiers"}
)
_NOT_JUST_TAKEN = frozenset({"object_pattern", "array_pattern", "accessibility_modifier"})
"""Parameters that are taken apart, or stored without a word of the body."""

_PANICS = frozenset({"todo", "unimplemented", "unreachable", "panic"})
_DEFINED = re.compile(r"^([ \t]+)(?:def|class)\b", re.MULTILINE)
_LINE_END = re.compile(r"\s*\n\s*")
_HAS_TEXT = re.compile(r"""['"].{2,}['"]""")
"""What is passed on as a text of its own has a meaning that the call doesn't tell."""

_SUPER = re.compile(r"super\(\)")


class Step(NamedTuple):
    """A thing that a plain body does: `text` is its code, put into the `target` of a `set`.

    `first` and `last` are its lines, from 0, the span's first.
    """

    what: Literal["set", "initialize", "call", "give", "give a call", "fail"]
    text: str
    first: int
    last: int
    target: str = ""
    is_constant: bool = False


class Plain(NamedTuple):
    """A span of which its steps say all. `head` and `body` are its lines, from 0 and inclusive."""

    rule: Rule
    steps: tuple[Step, ...]
    head: tuple[int, int]
    body: tuple[int, int]


def may_be_plain(facts: Facts, lines: int) -> bool:
    """Tell by facts alone whether it is worth to look whether a span of so many lines is plain."""
    return (
        lines <= MAX_LINES
        and facts.kind in _KINDS
        and facts.sound
        and not (facts.is_async or facts.more or facts.returns.yields)
        and len(facts.calls) <= 1 + any("super" in call.name for call in facts.calls)
        and len(facts.raises) <= 1
        and len(facts.doc or "") <= MAX_DOC
    )


def find_plain(code: str, language: str, facts: Facts) -> Plain | None:
    """Return what a span's text comes to if it is plain; None if that takes a reader.

    Takes the time of parsing a few lines.
    """
    forms = FORMS.get(language)
    if forms is None or not may_be_plain(facts, code.count("\n") + 1):
        return None
    if not all(_is_harmless(decorator, forms) for decorator in facts.decorators):
        return None
    for before, after in forms.around if language != "python" else (_indent(code),):
        source = f"{before}{code}{after}".encode("utf-8", "replace")
        root = _parser(language).parse(source).root_node
        if root.has_error:
            continue
        start = len(before.encode())
        end = len(source) - len(after.encode())
        node = _find_definition(root, start, end, LANGUAGES[language])
        if node is not None:
            rows = before.count("\n")
            return _Reading(forms, LANGUAGES[language], facts, rows).read(node)
    return None


@cache
def _parser(language: str) -> Parser:
    return Parser(Grammar(languages.load_grammar(LANGUAGES[language])))


def _indent(code: str) -> tuple[str, str]:
    """Return what makes a definition that stood further in parse by itself."""
    found = _DEFINED.search(code) if code.startswith("@") else None
    return (f"if 1:\n{found[1]}", "") if found else ("", "")


def _is_harmless(decorator: str, forms: Forms) -> bool:
    name = re.match(r"[@#!\[]*([\w.:]+)", decorator)
    return name is not None and re.split(r"\.|::", name[1])[-1] in forms.harmless


def _find_definition(root: Node, start: int, end: int, language: Language) -> Node | None:
    """Return the definition that a text is, with what stands before it, if it is just one."""
    node = root.named_descendant_for_byte_range(start, end)
    beside = _BEFORE | language.comments
    while node is not None:
        inside = start <= node.start_byte and node.end_byte <= end
        if inside and (node.type in language.spans or node.type in language.values):
            return node
        if inside and node.type in language.bindings:
            node = node.child_by_field_name(language.bindings[node.type][1])
            continue
        children = [
            child
            for child in node.named_children
            if start <= child.start_byte and child.end_byte <= end and child.type not in beside
        ]
        node = children[0] if len(children) == 1 else None
    return None


class _NotPlainError(Exception):
    """There is more than simple steps."""


class _Reading:
    """One look at a definition; `rows` stand before its text in what was parsed."""

    def __init__(self, forms: Forms, language: Language, facts: Facts, rows: int) -> None:
        self._forms = forms
        self._language = language
        self._facts = facts
        self._rows = rows
        self._comments = len(facts.doc or "")

    def read(self, node: Node) -> Plain | None:
        body = node.child_by_field_name("body")
        if body is None or "generator" in node.type:
            return None
        try:
            steps = tuple(self._steps(node, body))
        except _NotPlainError:
            return None
        rule = self._find_rule(node, steps)
        if rule is None or self._comments > MAX_DOC or self._is_doubtful(steps):
            return None
        first = self._row(body.start_point.row)
        last = self._row(_last_row(body))
        if steps:
            first, last = steps[0].first, steps[-1].last
        parameters = node.child_by_field_name("parameters") or node
        head = parameters.end_point.row if parameters != node else body.start_point.row
        return Plain(rule, steps, (0, min(first, self._row(head))), (first, last))

    def _row(self, row: int) -> int:
        return max(0, row - self._rows)

    def _find_rule(self, node: Node, steps: tuple[Step, ...]) -> Rule | None:
        """Return what steps come to: several only put values into places, or make an object."""
        if not steps:
            return "stub"
        kinds = [step.what for step in steps]
        if len(steps) > MAX_STEPS or self._facts.kind not in ("function", "method"):
            return None
        if len(steps) == 1 and kinds[0] not in ("set", "initialize"):
            if kinds[0] == "give":
                return "constant" if steps[0].is_constant else "getter"
            if kinds[0] == "fail":
                return "failure"
            return None if _HAS_TEXT.search(steps[0].text) else "delegation"
        if self._makes(node) and kinds[0] == "call" and "super" in steps[0].text:
            kinds = kinds[1:]
        if kinds[-1] == "give" and steps[-1].text in ("self", "this", "*this"):
            kinds = kinds[:-1]
        if set(kinds) <= {"set", "initialize"}:
            return "constructor" if self._makes(node) or "initialize" in kinds else "setter"
        return None

    def _is_doubtful(self, steps: tuple[Step, ...]) -> bool:
        """Tell whether a value is given where nothing is returned, as a conversion in C++ seems."""
        if self._facts.returns.what != "nothing":
            return False
        nothing = DIALECTS[self._language.name].nothing
        return any(
            step.what == "give a call" or (step.what == "give" and step.text not in nothing)
            for step in steps
        )

    def _makes(self, node: Node) -> bool:
        name = node.child_by_field_name("name")
        is_maker = name is not None and _text(name) in self._forms.makers
        return is_maker or node.type == "constructor_declaration"

    # -- steps -------------------------------------------------------------------------------

    def _steps(self, node: Node, body: Node) -> Iterator[Step]:
        forms = self._forms
        self._look_at_parameters(node)
        for child in node.children:
            if child.type in ("async", "*"):
                raise _NotPlainError
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
                    raise _NotPlainError
                if statement.type not in forms.returns:
                    yield self._give(statement, self._facts.returns.what == "nothing")
                elif statement.named_children:
                    yield self._give(self._only(statement))
            else:
                yield self._do(statement)

    def _look_at_parameters(self, node: Node) -> None:
        """Raise _NotPlainError if something happens when arguments are taken."""
        parameters = node.child_by_field_name("parameters")
        for given in parameters.named_children if parameters is not None else ():
            parts = (given, *given.named_children)
            if any(part.type in _NOT_JUST_TAKEN for part in parts):
                raise _NotPlainError
            for name in ("right", "value"):
                default = given.child_by_field_name(name)
                if default is not None:
                    self._require(default)

    def _statements(self, block: Node) -> Iterator[Node]:
        """Yield the statements of a block that do anything, without what holds them."""
        forms = self._forms
        for child in block.named_children:
            if child.type in self._language.comments:
                self._comments += child.end_byte - child.start_byte
                continue
            if child.type in forms.noops:
                continue
            if child.type in forms.blocks:
                yield from self._statements(child)
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
            raise _NotPlainError
        return node.named_children[0]

    def _do(self, node: Node) -> Step:
        forms = self._forms
        if node.type in forms.raises:
            what = self._only(node)
            if what.type in forms.calls:
                self._require_parts(what)
            else:
                self._require(what)
            return self._step("fail", node)
        while node.type in forms.holders:
            node = self._only(node)
        if node.type in forms.sets:
            return self._set(node)
        if node.type in forms.macros:
            name = node.child_by_field_name("macro")
            if name is None or _text(name) not in _PANICS or "\n" in _text(node):
                raise _NotPlainError
            return self._step("fail", node)
        if node.type in forms.calls:
            self._require_parts(node)
            return self._step("fail" if self._facts.raises else "call", node)
        raise _NotPlainError

    def _give(self, node: Node, is_forgotten: bool = False) -> Step:
        """Return the step that gives a value back, or only makes it."""
        forms = self._forms
        while node.type == "parenthesized_expression":
            node = self._only(node)
        called = self._called(node)
        if called is not None and not (forms.capitals and self._is_capital(called)):
            self._require_parts(called)
            return self._step("call" if is_forgotten else "give a call", node)
        if is_forgotten:
            raise _NotPlainError
        self._require(node)
        return self._step("give", node, is_constant=self._is_constant(node))

    def _called(self, node: Node) -> Node | None:
        """Return the call that an expression is, alone in what holds it too."""
        if node.type == "expression_list" and len(node.named_children) == 1:
            node = node.named_children[0]
        return node if node.type in self._forms.calls else None

    def _is_constant(self, node: Node) -> bool:
        if node.type in ("unary_expression", "unary_operator", "expression_list"):
            children = node.named_children
            return len(children) == 1 and self._is_constant(children[0])
        return node.type in self._forms.literals | self._forms.strings

    def _set(self, node: Node) -> Step:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = node.child_by_field_name("operator")
        if left is None or right is None or (operator is not None and _text(operator) != "="):
            raise _NotPlainError
        if left.type in self._forms.names and not self._forms.sets_names:
            raise _NotPlainError
        if left.type in ("expression_list", "pattern_list") and len(left.named_children) != 1:
            raise _NotPlainError
        self._require(left)
        self._require(right)
        return self._step("set", right, target=left, around=node)

    def _initialize(self, node: Node) -> Step:
        parts = node.named_children
        if len(parts) != 2 or len(parts[1].named_children) > 1:
            raise _NotPlainError
        for part in parts:
            self._require(part)
        value = parts[1].named_children
        if not value:
            return self._step("initialize", parts[1], target=parts[0], around=node, text="")
        return self._step("initialize", value[0], target=parts[0], around=node)

    def _step(
        self,
        what: str,
        node: Node,
        *,
        target: Node | None = None,
        around: Node | None = None,
        text: str | None = None,
        is_constant: bool = False,
    ) -> Step:
        outer = around or node
        return Step(
            what,  # type: ignore[arg-type]
            _quote(node) if text is None else text,
            self._row(outer.start_point.row),
            self._row(_last_row(outer)),
            "" if target is None else _quote(target),
            is_constant,
        )

    # -- what is simple ----------------------------------------------------------------------

    def _require(self, node: Node, depth: int = 0) -> None:
        """Raise _NotPlainError unless a node is simple."""
        forms, kind = self._forms, node.type
        if kind in forms.strings:
            if b"\n" in (node.text or b""):
                raise _NotPlainError
            inner = [part for part in node.named_children if part.named_children]
            if inner or any("interpol" in part.type for part in node.named_children):
                raise _NotPlainError
        elif kind in forms.names or kind in forms.literals:
            return
        elif kind in forms.through or (kind in forms.calls and self._is_free(node)):
            self._require_parts(node, depth)
        else:
            raise _NotPlainError

    def _require_parts(self, node: Node, depth: int = 0) -> None:
        parts = node.named_children
        if depth > _DEEPEST or len(parts) > _MOST_PARTS:
            raise _NotPlainError
        for part in parts:
            self._require(part, depth + 1)

    def _is_free(self, node: Node) -> bool:
        """Tell whether a call only names an object, or puts a value together."""
        if self._forms.capitals and self._is_capital(node):
            return True
        return _SUPER.fullmatch(_text(node)) is not None

    def _is_capital(self, node: Node) -> bool:
        name = node.child_by_field_name("function")
        return name is not None and re.split(r"::|\.", _text(name))[-1][:1].isupper()


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _quote(node: Node) -> str:
    """Return a node's code on one line. Raises _NotPlainError if it can't be quoted whole."""
    text = _LINE_END.sub(" ", _text(node).strip().rstrip(";")).strip()
    if not text or len(text) > MAX_QUOTED or "`" in text or not text.isprintable():
        raise _NotPlainError
    return text


def _last_row(node: Node) -> int:
    """Return the last row that a node has any text in."""
    row: int = node.end_point.row
    return row - 1 if node.end_point.column == 0 and row > node.start_point.row else row
