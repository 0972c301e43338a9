"""Planning a span costs little: prompts and metrics come out as their plain definitions say.

Each function stands here once more as it is easiest to read, and no text may tell the two apart.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmc.enrichment.prompts import SYSTEM, Prompt, build, make_chat_messages
from llmc.models import Span
from llmc.run.measures import count_code_nesting, count_driver_nesting, measure

SPAN = Span(1, "shop/cart.py", "python", "Cart.total", "method", 10, 12, 200, 260, "sha256:00")

# Plain definitions


def plain_turn(code: str, cut_lines: int) -> str:
    note = f"\n[... {cut_lines} more lines are not shown]" if cut_lines else ""
    fence = "```"
    while fence in code:
        fence += "`"
    return f"python method `Cart.total` in shop/cart.py\n\n{fence}python\n{code}{note}\n{fence}"


def plain_prompt(code: str, cut_lines: int = 0) -> str:
    _, example_turn, example_reply, _ = (m["content"] for m in make_chat_messages(build(SPAN, "")))
    turns = [SYSTEM, example_turn, example_reply, plain_turn(code, cut_lines), ""]
    return "\n\n".join(turns)


def plain_fit(code: str, tokens: float) -> tuple[str, int]:
    """Return the fitted prompt and the number of lines it tells of."""
    whole = plain_prompt(code)
    excess = len(whole) - int(tokens * 3)
    if excess <= 0:
        return whole, 0
    room = max(200, len(code) - excess - 60)
    kept = code[:room]
    if kept.rfind("\n") > room // 2:
        kept = kept[: kept.rfind("\n")]
    lost = max(1, lines_of(code) - lines_of(kept))
    shorter = plain_prompt(kept, lost)
    return (shorter, lost) if len(shorter) < len(whole) else (whole, 0)


def lines_of(code: str) -> int:
    return code.rstrip("\n").count("\n") + 1


def plain_driver_nesting(text: str) -> int:
    openers = {"}": "{", "]": "["}
    stack: list[str] = []
    deepest = 0
    for char in text:
        if char in "{[()":
            stack.append(char)
            deepest = max(deepest, len(stack))
        elif char in openers:
            while stack and stack.pop() != openers[char]:
                pass
    return deepest


def plain_code_nesting(text: str) -> int:
    widths = [0]
    deepest = 0
    for line in text.splitlines()[1:]:
        code = line.expandtabs(4).lstrip()
        if not code or code[0] in ")]}":
            continue
        width = len(line.expandtabs(4)) - len(code)
        while width < widths[-1]:
            widths.pop()
        if width > widths[-1]:
            widths.append(width)
        deepest = max(deepest, len(widths) - 1)
    return deepest or running_depth(text, "{", "}")[1]


def running_depth(text: str, opening: str, closing: str) -> tuple[int, int]:
    count = depth = deepest = 0
    for char in text:
        if char in opening:
            count += 1
            depth += 1
            deepest = max(deepest, depth)
        elif char in closing:
            depth = max(0, depth - 1)
    return count, deepest


def plain_structure(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    try:
        return nodes(json.loads(text))
    except (ValueError, RecursionError):
        return running_depth(text, "{[", "}]")


def nodes(value: Any) -> tuple[int, int]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    below = [nodes(child) for child in inner]
    return 1 + sum(n for n, _ in below), 1 + max((depth for _, depth in below), default=0)


# Any text

INDENTS = ["", "  ", "    ", "\t", "\t\t", " \t", "        ", "\u00a0", "\x1f "]
ENDS = ["\n", "\n", "\n", "\r\n", "\r", "\f", "\x1c", "\x85", "\u2028", "\n\n"]
CODE = st.sampled_from(
    [
        "x = f(1)",
        "if a[0] {",
        "}",
        ")",
        "] + [",
        "{[(",
        "y\t= 2  ",
        "",
        "```",
        "````x`",
        "é{😀}",
        "a\ud800b",
    ]
)
LINES = st.lists(
    st.tuples(st.sampled_from(INDENTS), CODE, st.sampled_from(ENDS)).map("".join), max_size=25
).map("".join)
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
).map(json.dumps)
TEXTS = LINES | JSON | st.text(alphabet="{}[]()`ab\n\t é", max_size=120) | st.text(max_size=30)


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
@example("f(\n    a,\n    b,\n)")
@example("a:\n        b\n    c:\n        d")
@example("a\n\t b\n    \tc\n  \t  d")
def test_nesting_and_structure_are_as_plainly_defined(text: str) -> None:
    assert count_driver_nesting(text) == plain_driver_nesting(text)
    assert count_code_nesting(text) == plain_code_nesting(text)
    metrics = measure(text, line_count=1, prompt_chars=0, nesting=count_code_nesting)
    assert (metrics.node_count, metrics.schema_depth) == plain_structure(text)


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_a_prompt_is_as_plainly_defined(code: str) -> None:
    prompt = build(SPAN, code)
    assert prompt == plain_prompt(code)
    assert make_chat_messages(prompt)[-1]["content"] == plain_turn(code, 0)


LONG = st.lists(TEXTS, min_size=4, max_size=60).map("\n".join)


@settings(max_examples=500, deadline=None)
@given(LONG, st.floats(600, 1500))
def test_a_fitted_prompt_is_as_plainly_defined(code: str, tokens: float) -> None:
    fitted = build(SPAN, code).fit(tokens)
    assert (fitted, fitted.cut_lines) == plain_fit(code, tokens)
    assert make_chat_messages(fitted)[-1]["content"] in fitted


def test_the_turns_of_a_prompt_are_plain_strings() -> None:
    assert {type(m["content"]) for m in make_chat_messages(build(SPAN, "x"))} == {str}


# Spans that no person wrote

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("text", "driver", "code", "structure"),
    [
        ("{" * 100_000 + "}" * 100_000, 100_000, 100_000, (100_000, 100_000)),
        ("{\n" * 100_000, 100_000, 100_000, (100_000, 100_000)),
        ("}" * MILLION, 0, 0, (0, 0)),
        ("()" * (MILLION // 2), MILLION, 0, (0, 0)),
        ("({[" * 100_000 + "]})" * 100_000, 300_000, 100_000, (200_000, 200_000)),
        ("{]" * 100_000, 1, 100_000, (100_000, 1)),
        ("x" * 5 * MILLION, 0, 0, (0, 0)),
        ("x\n" + " " * MILLION + "y", 0, 1, (0, 0)),
        ("x" + "\n\ty" * MILLION, 0, 1, (0, 0)),
        ("x\0y" * 10, 0, 0, (0, 0)),
        ("9" * 5000, 0, 0, (0, 0)),
        ("[" + "1," * MILLION + "1]", 1, 0, (MILLION + 2, 2)),
    ],
    ids=lambda value: None if not isinstance(value, str) else f"{value[:3]!r} {len(value)}",
)
def test_a_span_of_any_size_is_measured(
    text: str, driver: int, code: int, structure: tuple[int, int]
) -> None:
    metrics = measure(text, line_count=1, prompt_chars=0, nesting=count_code_nesting)
    assert count_driver_nesting(text) == driver
    assert metrics.nesting_depth == code
    assert (metrics.node_count, metrics.schema_depth) == structure


@pytest.mark.parametrize(
    "code", ["`" * MILLION, "x" * 5 * MILLION, "``` " * MILLION, "\n" * MILLION]
)
def test_a_prompt_of_any_size_is_built_and_fitted(code: str) -> None:
    prompt = build(SPAN, code)
    fitted = prompt.fit(2000)
    assert f"python\n{code}\n" in prompt
    assert isinstance(fitted, Prompt)
    assert fitted.cut_lines > 0
    assert len(fitted) < len(prompt)
