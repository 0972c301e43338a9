"""Likely secrets in source text: private keys, tokens, passwords.

What a token is for is often told by its first letters (tokens), what a string is for by the name
that it is given (literals), and a private key says so itself (keys). All three only guess, from the
text alone. They would rather take one thing too many for a secret than one too few; bench
`secret_rules` counts what they find in code that holds none.

Whatever the text, the time taken grows with its length alone: every search moves on, or gives up
within a bound.

Modules, each built on those before it: keys, literals, tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from llmc.redaction.secrets import keys, literals, tokens

BLOT = "***"
_ROUNDS = 3


class Find(NamedTuple):
    """A likely secret: the rule that found it, and where it stands, as for a slice."""

    rule: str
    start: int
    end: int


def find(text: str) -> list[Find]:
    """Return the likely secrets of a text, in order; those that overlap are one."""
    found: list[Find] = []
    for rule, start, end in sorted(_all(text), key=lambda hit: (hit[1], -hit[2])):
        if found and start < found[-1].end:
            found[-1] = found[-1]._replace(end=max(end, found[-1].end))
        else:
            found.append(Find(rule, start, end))
    return found


def blot(text: str) -> tuple[str, int]:
    """Return a text with its likely secrets blotted out, and how many there were.

    It keeps its line breaks. What is left is looked at again, as a secret may be known only once
    another one beside it is gone.
    """
    count = 0
    for _ in range(_ROUNDS):
        found = find(text)
        if not found:
            break
        count += len(found)
        text = _without(text, found)
    return text, count


def _all(text: str) -> Iterator[tuple[str, int, int]]:
    return chain(keys.find(text), tokens.find(text), literals.find(text))


def _without(text: str, found: list[Find]) -> str:
    pieces, end = [], 0
    for hit in found:
        breaks = text.count("\n", hit.start, hit.end)
        pieces += [text[end : hit.start], BLOT, "\n" * breaks]
        end = hit.end
    return "".join((*pieces, text[end:]))
