"""The facts of all spans of a file, by one query over its tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tree_sitter import Language as Grammar
from tree_sitter import Node, Query, QueryCursor

from llmc.facts.codec import Spelled
from llmc.facts.dialects import DIALECTS
from llmc.facts.finishing import File, finish_facts, is_outward
from llmc.facts.frames import Place
from llmc.facts.noting import Notes
from llmc.facts.owners import Owners
from llmc.facts.touches import Touches, load_touches
from llmc.facts.ways import Ways, find_ways
from llmc.languages import Language
from llmc.languages.queries import read_queries

MAX_NODES = 1_500_000
"""Of a file's tree that is gone through: a query can't be stopped on its way. A tree of the densest
code that people wrote, of the largest size, has as many."""

_NAMES = frozenset(
    (
        *("attribute", "member_expression", "field_expression", "field_access"),
        *("selector_expression", "scoped_identifier", "qualified_identifier"),
        *("identifier", "variable_name"),
    )
)
"""Nodes that are names, as strings and comments are not."""

_QUERIES = ("facts.scm", "ways.scm")
"""Both are one query, as it is the way through the tree that takes the time."""

_queries: dict[str, Query | None] = {}


def collect_facts(
    root: Node,
    source: bytes,
    language: Language,
    grammar: Grammar,
    places: Sequence[Place],
    newlines: Sequence[int],
) -> list[Spelled]:
    """Return the facts of each span of a file, in the order of the places, as JSON has them.

    `source` is what was parsed, in UTF-8, with a newline at each of `newlines`. Takes time in
    proportion to the tree; of one with more than MAX_NODES, nothing is known but kinds and docs.
    """
    dialect, touches = DIALECTS[language.name], load_touches(language.folders)
    owners = Owners(source, newlines, root, places)
    outward: set[int] = set()
    query = _find_query(language, grammar)
    if query is not None and places and root.descendant_count <= MAX_NODES:
        captures = QueryCursor(query).captures(root)
        owners.read(captures)
        notes = Notes(source, newlines, owners, dialect, touches)
        notes.take(captures)
        notes.take_standing(_find_standing(touches, root, source))
        ways: Ways | None = None
        for number, frame in owners.frames.items():
            if is_outward(frame, dialect):
                outward.add(number)
                ways = ways or Ways(source, captures)
                find_ways(frame, ways, dialect)
    frames, file = owners.frames, File(newlines, dialect, touches)
    return [
        finish_facts(place, frames.get(number), file, is_outward=number in outward)
        for number, place in enumerate(places)
    ]


def _find_query(language: Language, grammar: Grammar) -> Query | None:
    """Return the query of a language, compiled once; None if it has none."""
    if language.name not in _queries:
        text = "".join(read_queries(language.folders, name) for name in _QUERIES)
        _queries[language.name] = Query(grammar, text) if text else None
    return _queries[language.name]


def _find_standing(touches: Touches, root: Node, source: bytes) -> Iterator[tuple[int, str]]:
    """Yield the names of resources that need no call, with their bytes."""
    for start, end in touches.find_standing(source):
        node = root.named_descendant_for_byte_range(start, end)
        if node is None or (node.start_byte, node.end_byte) != (start, end):
            continue
        if node.type in _NAMES:
            yield start, source[start:end].decode()
