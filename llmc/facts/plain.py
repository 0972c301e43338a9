"""Spans of whose body all is said by saying what stands there: getters, setters, constants, stubs.

A body is plain if it has nothing but a few steps, each of which gives a simple value, puts one into
a place, or passes simple values on in a single call. Whatever else there is, it isn't plain.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, NamedTuple

from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser

from llmc import languages
from llmc.facts.dialects import DIALECTS
from llmc.facts.forms import FORMS, Forms
from llmc.facts.simple import NotSimpleError, find_last_row, read_node
from llmc.facts.steps import Step, Steps
from llmc.facts.values import Facts
from llmc.languages import CONTAINERS, LANGUAGES, Language

Rule = Literal["getter", "constant", "setter", "constructor", "delegation", "stub", "failure"]
"""What a plain span is: `stub` are those without any code, `failure` those that only fail."""

MAX_LINES = 40
MAX_CHARS = 8_000
MAX_STEPS = 8
MAX_DOC = 200
"""Characters of comments; longer ones say more than the first line, which is kept anyway."""

_KINDS = frozenset({"function", "method", *CONTAINERS}) - {"impl"}
_BEFORE = frozenset(
    {"decorator", "attribute_item", "template_parameter_list", "requires_clause", "modifiers"}
)
_DEFINED = re.compile(r"^([ \t]+)(?:def|class)\b", re.MULTILINE)
_HAS_TEXT = re.compile(r"""['"][^'"$]{2,}['"]""")
"""What is passed on as a text of its own has a meaning that the call doesn't tell."""


class Plain(NamedTuple):
    """A span of which its steps say all. `body` are the lines of these, from 0 and inclusive."""

    rule: Rule
    steps: tuple[Step, ...]
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
    if forms is None or len(code) > MAX_CHARS or not may_be_plain(facts, code.count("\n") + 1):
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
            return _read(node, Steps(forms, LANGUAGES[language], facts, rows), language, facts)
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


def _read(node: Node, reading: Steps, language: str, facts: Facts) -> Plain | None:
    body = node.child_by_field_name("body")
    if body is None or "generator" in node.type:
        return None
    try:
        steps = tuple(reading.read(node, body))
    except NotSimpleError:
        return None
    nothing = DIALECTS[language].nothing
    rule = _find_rule(steps, facts.kind, is_maker=_makes(node, FORMS[language]))
    if rule is None or len(facts.doc or "") + reading.comments > MAX_DOC:
        return None
    if facts.kind == "function" and rule in ("constant", "getter"):
        given = steps[0].text
        if (steps[0].is_constant or given.isidentifier()) and given not in nothing:
            return None  # only its name says why it is there, and that takes a reader
    if facts.returns.what == "nothing" and _gives(steps, nothing):
        return None  # where nothing is promised, a value is no result
    first, last = reading.row(body.start_point.row), reading.row(find_last_row(body))
    if steps:
        first, last = steps[0].first, steps[-1].last
    return Plain(rule, steps, (first, last))


def _find_rule(steps: tuple[Step, ...], kind: str, *, is_maker: bool) -> Rule | None:
    """Return what steps come to: several only put values into places, or make an object."""
    if not steps:
        return "stub"
    kinds = [step.what for step in steps]
    if len(steps) > MAX_STEPS or kind not in ("function", "method"):
        return None
    if len(steps) == 1 and kinds[0] not in ("set", "initialize"):
        if kinds[0] == "give":
            return "constant" if steps[0].is_constant else "getter"
        if kinds[0] == "fail":
            return "failure"
        if kinds[0] == "leave":
            return "stub"
        return None if _HAS_TEXT.search(steps[0].text) else "delegation"
    if is_maker and kinds[0] == "call" and "super" in steps[0].text:
        kinds = kinds[1:]
    if kinds[-1] == "give" and steps[-1].text in ("self", "this", "*this"):
        kinds = kinds[:-1]
    if set(kinds) <= {"set", "initialize"}:
        return "constructor" if is_maker or "initialize" in kinds else "setter"
    return None


def _gives(steps: tuple[Step, ...], nothing: frozenset[str]) -> bool:
    """Tell whether a value is given back that isn't one of those for nothing."""
    return any(
        step.what == "give a call" or (step.what == "give" and step.text not in nothing)
        for step in steps
    )


def _makes(node: Node, forms: Forms) -> bool:
    name = node.child_by_field_name("name")
    is_maker = name is not None and read_node(name) in forms.makers
    return is_maker or node.type == "constructor_declaration"
