"""Cut a document into sections: a heading with its own text, up to the next heading of any level.

A section's symbol is the path of headings that leads to it. Text before the first heading belongs
to a section named after the file. A heading without text of its own gives no section.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tree_sitter import Node

from llmc.indexer.definitions import MAX_SYMBOL_CHARS, Piece
from llmc.indexer.names import MAX_NAME_CHARS

SEPARATOR = " > "
_METADATA = frozenset({"minus_metadata", "plus_metadata"})
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_UNTITLED = "untitled"


class _Heading(NamedTuple):
    level: int
    title: str
    start: int
    end: int


def cut(root: Node, source: bytes, stem: str) -> list[Piece]:
    """Return the sections of a document in reading order."""
    headings = sorted(_headings(root), key=lambda heading: heading.start)
    begin = max((n.end_byte for n in root.children if n.type in _METADATA), default=root.start_byte)
    ends = [*(heading.start for heading in headings), len(source)]
    pieces = [Piece(stem, "section", begin, ends[0])] if source[begin : ends[0]].strip() else []
    path: list[_Heading] = []
    for heading, end in zip(headings, ends[1:], strict=True):
        path = [*(outer for outer in path if outer.level < heading.level), heading]
        if source[heading.end : end].strip():
            symbol = SEPARATOR.join(outer.title for outer in path)[:MAX_SYMBOL_CHARS]
            pieces.append(Piece(symbol, "section", heading.start, end))
    return pieces


def _headings(root: Node) -> Iterator[_Heading]:
    """Yield the headings of the document itself, not those inside its quotes and lists."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.type in {"document", "section"}:
            stack += node.children
        elif node.type in {"atx_heading", "setext_heading"}:
            marker = next(child.type for child in node.children if re.search(r"_h\d_", child.type))
            yield _Heading(
                int(marker.split("_h")[1][0]), _title(node), node.start_byte, node.end_byte
            )


def _title(heading: Node) -> str:
    content = heading.child_by_field_name("heading_content")
    raw = (content.text or b"").decode("utf-8", "replace") if content is not None else ""
    # Links take long to find in a heading that is all brackets, so only its beginning is read.
    words = _LINK.sub(r"\1", raw[: 2 * MAX_NAME_CHARS]).split()
    if words and not words[-1].strip("#"):
        words.pop()
    return " ".join(words)[:MAX_NAME_CHARS] or _UNTITLED
