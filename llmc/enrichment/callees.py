"""Callees first: what a span calls, as a model has described it, goes into the span's request.

Such words are a model's, about text that anybody may have written: they are quoted, each on a line
of its own, and bounded; what tells its reader to do something is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llmc.enrichment.instructions import find_instructions, fold
from llmc.enrichment.prompts import CHARS_PER_TOKEN
from llmc.redaction.text import make_one_line, make_quotable

MAX_TOKENS = 300
MAX_CALLEES = 10
MAX_LINE_CHARS = 200
"""How much is told of what a span calls: in all, of how many, and of each."""

LARGE_BILLIONS = 7.0
"""Parameters of a model that gains from it; the errors of smaller ones would spread."""

_HEAD = "It calls these, of which another model said (it may be wrong):"
_SIZE = re.compile(
    r"(?<![a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z])", re.IGNORECASE
)
_SENTENCE = re.compile(r".*?[.!?](?=\s|$)")


def find_billions(model: str) -> float | None:
    """Return how many billions of parameters a model's name says that it has, None if it doesn't.

    `mixtral:8x7b` says 56, `smollm2:135m` 0.135.
    """
    found = _SIZE.search(model.rpartition("/")[2])
    if found is None:
        return None
    return float(found[1] or 1) * float(found[2]) / (1 if found[3] in "bB" else 1000)


def write_lines(summaries: Iterable[tuple[str, str]]) -> str:
    """Return what is told of callees, by (name, summary); "" if there is nothing to tell."""
    lines, room = [_HEAD], MAX_TOKENS * CHARS_PER_TOKEN - len(_HEAD)
    for name, summary in summaries:
        line = f'- `{_quote(name)}`: "{_quote(summary)}"'
        room -= len(line) + 1
        if len(lines) > MAX_CALLEES or room < 0:
            break
        if not any(find_instructions(fold(summary))):
            lines.append(line)
    return "\n".join(lines) if len(lines) > 1 else ""


def _quote(said: str) -> str:
    """Return a name, or the first sentence of a summary, fit to stand between quotes."""
    text = make_quotable(make_one_line(said)).replace('"', "'")
    first = _SENTENCE.match(text)
    text = first[0] if first else text
    if len(text) <= MAX_LINE_CHARS:
        return text
    return f"{text[:MAX_LINE_CHARS].rpartition(' ')[0]}…"


def sort_bottom_up(calls: Sequence[Iterable[int]]) -> list[int]:
    """Return the numbers of all callers so that what each calls stands before it, as far as can be.

    `calls` has for each number the numbers that it calls. In a cycle, the one that is met first
    stands last; otherwise the order is kept.
    """
    order: list[int] = []
    met: set[int] = set()
    for start in range(len(calls)):
        stack = [] if start in met else [(start, iter(calls[start]))]
        met.add(start)
        while stack:
            number, rest = stack[-1]
            following = next((each for each in rest if each not in met), None)
            if following is None:
                order.append(number)
                stack.pop()
            else:
                met.add(following)
                stack.append((following, iter(calls[following])))
    return order


def list_calls(names: Sequence[str], called: Sequence[Iterable[str]]) -> list[list[int]]:
    """Return for each number the numbers of the others whose names it calls, in their order."""
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        numbers.setdefault(name, []).append(number)
    return [
        sorted(
            other
            for name in {*found} & numbers.keys()
            for other in numbers[name]
            if other != number
        )
        for number, found in enumerate(called)
    ]
