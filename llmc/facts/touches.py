"""The names by which each language's programs reach what is outside of them.

The tables stand beside the queries, in `touches.txt`: `resource: names that are called`, or
`resource= names` for those that need no call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from llmc.languages.queries import read_queries


@dataclass(frozen=True, slots=True)
class Touches:
    """Resources by the names that are `called`, and by those that only `stand` in the text."""

    called: Mapping[str, str]
    stand: Mapping[str, str]

    def find_standing(self, source: bytes) -> Iterator[tuple[int, int]]:
        """Yield where in a text a name stands that needs no call: in code, or maybe not."""
        for name in self.stand:
            word = name.encode()
            at = source.find(word)
            while at >= 0:
                end = at + len(word)
                if not (_GOES_ON.match(source, end) or _GOES_ON.match(source, at - 1, at)):
                    yield at, end
                at = source.find(word, end)


_GOES_ON = re.compile(rb"[\w$]")


@cache
def load_touches(folders: Sequence[str]) -> Touches:
    """Return the table of a language, which is joined of those of its folders of queries."""
    called: dict[str, str] = {}
    stand: dict[str, str] = {}
    for line in read_queries(folders, "touches.txt").splitlines():
        resource, mark, names = re.split(r"([:=])", line, maxsplit=1)
        table = called if mark == ":" else stand
        table.update(dict.fromkeys(names.split(), resource))
    return Touches(called, stand)
