"""The sizes and depths of a span that routing goes by."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from llmc.models import SpanMetrics

MIN_TOKENS_OUT = 1200
"""What a reply is reckoned to take at least, in tokens: the six fields, filled modestly."""

_PROMPT_OVERHEAD = 36
"""Tokens of the reply's JSON frame."""


def measure(
    text: str, *, line_count: int, prompt_chars: int, nesting: Callable[[str], int]
) -> SpanMetrics:
    """Measure a span for routing. `nesting` is `count_driver_nesting` or `count_code_nesting`."""
    nodes, depth = _structure(text)
    return SpanMetrics(
        line_count=line_count,
        nesting_depth=nesting(text),
        node_count=nodes,
        schema_depth=depth,
        tokens_in=math.ceil(prompt_chars / 4),
        tokens_out=max(MIN_TOKENS_OUT, _PROMPT_OVERHEAD + math.ceil(len(text) / 4) // 2),
    )


def count_driver_nesting(text: str) -> int:
    """Count nesting as the batch driver does, where ")" pushes as "(" does.

    Its thresholds were tuned with that count: f(x) is 2, f(x) g(y) is 4.
    """
    stack: list[str] = []
    deepest = 0
    for mark in _only(text, _BRACKETS).decode():
        if mark == "}" or mark == "]":
            opener = "{" if mark == "}" else "["
            while stack and stack.pop() != opener:
                pass
        else:
            stack.append(mark)
            if len(stack) > deepest:
                deepest = len(stack)
    return deepest


def count_code_nesting(text: str) -> int:
    """Count nesting as a reader sees it: levels of indentation, or of braces on a single line."""
    outer: list[int] = []
    width = deepest = 0
    tabs = "\t" in text
    for line in text.splitlines()[1:]:
        code = line.lstrip()
        if not code or code[0] in ")]}":
            continue
        indent = len(line) - len(code)
        if tabs:
            indent = len(line[:indent].expandtabs(4))
        if indent == width:
            continue
        while indent < width:
            width = outer.pop()
        if indent > width:
            outer.append(width)
            width = indent
            deepest = max(deepest, len(outer))
    return deepest or _running_depth(text, b"{", b"}")[1]


def _running_depth(text: str, opening: bytes, closing: bytes) -> tuple[int, int]:
    marks = _only(text, opening + closing)
    depth = deepest = 0
    for mark in marks:
        if mark in opening:
            depth += 1
            if depth > deepest:
                deepest = depth
        elif depth:
            depth -= 1
    return sum(map(marks.count, opening)), deepest


def _only(text: str, marks: bytes) -> bytes:
    """Return the ASCII characters of a text that are among `marks`; other code is most of it."""
    return text.encode("utf-8", "surrogatepass").translate(None, _BYTES.translate(None, marks))


_BYTES = bytes(range(256))
_BRACKETS = b"{}[]()"


def _structure(text: str) -> tuple[int, int]:
    """Return (nodes, levels) of a JSON text, else the count and running depth of { and [."""
    if not text:
        return 0, 0
    try:
        top = json.loads(text)
    except (ValueError, RecursionError):
        return _running_depth(text, b"{[", b"}]")
    nodes = levels = 0
    row = [top]
    while row:
        nodes += len(row)
        levels += 1
        row = [child for value in row for child in _children(value)]
    return nodes, levels


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
