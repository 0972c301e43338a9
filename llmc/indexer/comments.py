"""What a programmer wrote about a definition: its docstring, or the comment right above it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tree_sitter import Node

from llmc.languages import Language

MAX_HINT_CHARS = 200

_ALNUM = re.compile(r"[^\W_]")
_OPENING = re.compile(r"^\s*(?:/\*+!?|//+!?|#+!?|\*+(?!/))?\s*")
_NO_PROSE = re.compile(
    r"^\s*(?:#!|(?:#|//|/\*+)\s*(?:-\*-|vim:|noqa|type:|pylint|ruff:|mypy:|shellcheck|eslint|@ts-"
    r"|go:|\+build|NOLINT|SPDX-))"
)


def read_docstring(node: Node) -> str | None:
    """Return a definition's, or a module's, docstring as it is written, if there is prose in it."""
    body = node.child_by_field_name("body") or node
    first = next((child for child in body.named_children if child.type != "comment"), None)
    if first is None or first.type != "expression_statement" or not first.named_children:
        return None
    text = first.named_children[0]
    content = next((part for part in text.children if part.type == "string_content"), None)
    found = _text(content) if text.type == "string" and content is not None else ""
    return found if _ALNUM.search(found) else None


def read_block(block: Sequence[Node]) -> str | None:
    """Return a block of comments without comment marks and directives, if there is prose in it."""
    lines = (line for comment in block for line in _text(comment).splitlines())
    found = "\n".join(_bare(line) for line in lines if not _NO_PROSE.match(line))
    return found if _ALNUM.search(found) else None


def find_first_line(text: str | None) -> str | None:
    """Return the first line with a letter or digit in it, cut to MAX_HINT_CHARS."""
    found = _ALNUM.search(text) if text else None
    if text is None or found is None:
        return None
    lines = text[: found.start() + 1 + MAX_HINT_CHARS].splitlines()
    line = next(line.strip() for line in lines if _ALNUM.search(line))
    return line[:MAX_HINT_CHARS].rstrip()


def find_block_above(row: int, before: Sequence[Node], language: Language) -> list[Node]:
    """Return the unbroken block of comments that ends on the line above `row`, in reading order.

    `before` holds the nodes before that line, nearest first. A comment that trails other code on
    its line belongs to that code.
    """
    block: list[Node] = []
    for index, comment in enumerate(before):
        if comment.type not in language.comments or find_last_row(comment) < row - 1:
            break
        if index + 1 < len(before) and find_last_row(before[index + 1]) >= comment.start_point.row:
            break
        block.append(comment)
        row = comment.start_point.row
    return block[::-1]


def find_last_row(node: Node) -> int:
    """Return the row of a node's last character; some grammars end a comment on the next line."""
    end = node.end_point
    return end.row - 1 if end.column == 0 and end.row > node.start_point.row else end.row


def _bare(line: str) -> str:
    """Return a line of a comment without the marks before and after it."""
    line = _OPENING.sub("", line).rstrip()
    return line[:-1].rstrip("*") if line.endswith("*/") else line


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")
