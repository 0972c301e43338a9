"""Calls as they stand in a file: where a name is called, and the whole statement around it.

Where a name is called at all, a pattern finds out over the text of all files; what a call is, the
syntax tree of its file tells. All languages go by one table of node kinds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from llmc.indexer.linking import tidy_receiver
from llmc.indexer.names import read_member_name, read_own_name
from llmc.languages import CONTAINERS, Language

_CALLED = re.compile(r"\b([^\W\d]\w*+)!? ?\(")


def _kinds(words: str) -> frozenset[str]:
    return frozenset(words.split())


_CALLS = _kinds(
    "call call_expression new_expression method_invocation object_creation_expression "
    "macro_invocation"
)
_BLOCKS = _kinds(
    "module block program statement_block switch_case switch_default source_file "
    "statement_list expression_case default_case communication_case type_case "
    "constructor_body switch_block_statement_group translation_unit compound_statement "
    "case_statement"
)
"""Nodes whose children are statements."""

_BODIES = frozenset({*_BLOCKS, "class_body", "declaration_list", "field_declaration_list"})
_SPREADS = re.compile(r"splat|spread|variadic|pack_expansion")
_FAILS = re.compile(r"raises|tothrow|throws|reject|panic|warns", re.IGNORECASE)
_MEANT_TO_FAIL = re.compile(rf"{_FAILS.pattern}|fail|invalid|error|bad|wrong", re.IGNORECASE)
"""What calls that are meant to go wrong stand in, by the names of tests and their helpers."""

_BINDS = re.compile(
    r"param|pattern|declarat|assignment|^for_|enhanced_for|for_range|range_clause|let_|var_spec|"
    r"named_expression|lambda|closure|arrow_function|function_def|function_item|method_def"
)
"""Nodes that give a meaning to names in them."""

_GIVEN = ("right", "value", "default", "default_value", "type", "return_type", "body", "condition")
"""The fields of such nodes in which names are only used."""

_LISTS = _kinds("expression_list pattern_list tuple_pattern list_pattern left_hand_side")
_MOST_NODES = 20_000

_AROUND_BYTES = 4_000
_ENDS_IN_NAME = re.compile(rb"[\w$]$").search
_MOST_LINES_OF_MACRO = 3
_RECEIVER = re.compile(r"(?:[\w.:?]|->|(?<=\w)\([^()]{0,80}\)(?=\.|->))*$")


@dataclass(frozen=True, slots=True)
class Arguments:
    """How many arguments a call gives by place and by name: at least, if it spreads any."""

    placed: int = 0
    named: int = 0
    spreads: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """A call of a name. `statement` is the whole of it, `line` its first line, from 1.

    `owner` is the class that it stands in, `around` the text of its function.
    """

    receiver: str
    arguments: Arguments
    statement: str
    line: int
    owner: str
    around: str


def find_called(text: str) -> set[str]:
    """Return the names that something like a call follows, 70 MB a second."""
    return set(_CALLED.findall(text))


def find_places(
    name: str, source: bytes, most: int, *, is_macro: bool = False
) -> Iterator[tuple[int, str]]:
    """Yield up to `most` places (bytes) of something like a call, with what it is called on.

    `is_macro`: of Rust, where a macro's call is told by a mark from a function's.
    """
    wanted, mark, at = name.encode(), b"!" if is_macro else b"", -1
    while most > 0 and (at := source.find(wanted, at + 1)) >= 0:
        end = at + len(wanted)
        after = source[end : end + 2 + len(mark)]
        is_call = after.startswith(mark) and after[len(mark) :].lstrip(b" ")[:1] == b"("
        if is_call and not _ENDS_IN_NAME(source[max(0, at - 1) : at]):
            most -= 1
            yield at, _read_receiver(source, at)


def find_usage(
    root: Node, source: bytes, at: int, name: str, language: Language, most_lines: int
) -> Usage | None:
    """Return the call of a name at a byte of a file, in a statement of at most so many lines.

    None if it is no call, as in a comment or a string, if it is meant to fail, or damaged, or if
    the function around it gives the name another meaning. Of a longer statement, or one with others
    inside, it is the call alone.
    """
    end = at + len(name.encode())
    leaf = root.descendant_for_byte_range(at, end)
    found = _find_call(leaf) if leaf and (leaf.start_byte, leaf.end_byte) == (at, end) else None
    if leaf is None or found is None:
        return None
    call, given = found
    statement = _find_statement(call)
    header = _find_header(call, source)
    if _MEANT_TO_FAIL.search(header) or _FAILS.search(_decode(statement.text, _AROUND_BYTES)):
        return None
    if call is leaf:  # in a macro, which may hold as many statements as it likes
        most_lines = min(most_lines, _MOST_LINES_OF_MACRO)
    whole = _write(statement, source, most_lines)
    if not whole and call is not leaf:
        statement, whole = call, _write(call, source, most_lines)
    before = call.start_byte if call is not leaf else at
    if before == at and _is_bound_around(call, name.encode()):
        return None
    receiver = tidy_receiver(_decode(source[before:at]).removeprefix("new "))
    return (
        Usage(
            receiver=receiver if call is not leaf else _read_receiver(source, at),
            arguments=_count_arguments(given),
            statement=whole,
            line=statement.start_point.row + 1,
            owner=_find_owner(call, language),
            around=_decode(_find_function(call).text, _AROUND_BYTES),
        )
        if whole
        else None
    )


def _read_receiver(source: bytes, at: int) -> str:
    """Return what stands before a name on its line, if it is what that is called on."""
    line = source[max(source.rfind(b"\n", 0, at) + 1, at - 200) : at].decode("utf-8", "replace")
    found = _RECEIVER.search(line)
    text = found[0] if found else ""
    return tidy_receiver(text) or "?" if text.endswith((".", "::", "->")) else ""


def _find_call(leaf: Node) -> tuple[Node, Node] | None:
    """Return the call that a name is called in, and what is given."""
    node, parent = leaf, leaf.parent
    while parent is not None and parent.type not in _CALLS:
        if parent.type == "token_tree":  # of a Rust macro, in which nothing is parsed
            given = node.next_sibling
            is_call = given is not None and (given.text or b"").startswith(b"(")
            return (leaf, given) if given is not None and is_call else None
        if parent.end_byte != leaf.end_byte and "type" not in parent.type:
            return None
        node, parent = parent, parent.parent
    if parent is None or parent.type == "macro_invocation":
        given = parent.named_children[-1] if parent is not None and parent.named_children else None
    else:
        given = parent.child_by_field_name("arguments")
    if parent is None or given is None or given.start_byte < leaf.end_byte:
        return None
    return parent, given


def _find_statement(node: Node) -> Node:
    while node.parent is not None and node.parent.type not in _BLOCKS:
        node = node.parent
    return node


def _write(node: Node, source: bytes, most_lines: int) -> str:
    """Return a statement's text without its indentation; "" if it is none that stands alone."""
    first, last = node.start_point.row, node.end_point.row
    if node.has_error or last - first >= most_lines or not _stands_alone(node):
        return ""
    start = source.rfind(b"\n", 0, node.start_byte) + 1
    line = source[start : node.start_byte]
    indent = line[: len(line) - len(line.lstrip())]
    head, *rest = source[node.start_byte : node.end_byte].split(b"\n")
    if not all(row.startswith(indent) or not row.strip() for row in rest):
        return ""
    lines = [head, *(row.removeprefix(indent) for row in rest)]
    return b"\n".join(row.rstrip() for row in lines).decode("utf-8", "replace").strip()


def _stands_alone(node: Node) -> bool:
    """Tell whether nothing is in a statement but itself: no other statements, no comment.

    Nor a text of several lines, which would lose its indentation.
    """
    if any(child.type in _BODIES for child in (*node.children, *_only_child(node))):
        return False
    todo = [node]
    while todo:
        here = todo.pop()
        is_text = "string" in here.type or "template" in here.type
        if "comment" in here.type or (is_text and here.start_point.row != here.end_point.row):
            return False
        todo += here.children
    return True


def _only_child(node: Node) -> list[Node]:
    """Return what is in a node whose one child is all of it, as a statement's expression."""
    return node.named_children[0].children if node.named_child_count == 1 else []


def _find_header(node: Node, source: bytes) -> str:
    """Return the first lines of the statements and of the function that a call stands in."""
    lines = []
    inner: Node | None = _find_statement(node).parent
    while inner is not None and inner.parent is not None:
        if inner.type not in _BLOCKS:
            end = source.find(b"\n", inner.start_byte)
            lines.append(source[inner.start_byte : min(end, inner.start_byte + 200)])
            if _is_function(inner):
                break
        inner = inner.parent
    return _decode(b"\n".join(lines))


def _find_function(node: Node) -> Node:
    while node.parent is not None and not _is_function(node):
        node = node.parent
    return node


def _is_bound_around(call: Node, name: bytes) -> bool:
    """Tell whether a function around a call has the name for something of its own (shadows it)."""
    outermost, node = None, call.parent
    while node is not None:
        outermost = node if _is_function(node) or _BINDS.search(node.type) else outermost
        node = node.parent
    todo = [outermost] if outermost is not None else []
    for _ in range(_MOST_NODES):
        if not todo:
            return False
        here = todo.pop()
        if not here.child_count and here.text == name and _is_bound(here):
            return True
        todo += here.children
    return True


def _is_bound(leaf: Node) -> bool:
    """Tell whether a name is given a meaning where it stands."""
    node, parent = leaf, leaf.parent
    while parent is not None and parent.type in _LISTS:
        node, parent = parent, parent.parent
    if parent is None or not _BINDS.search(parent.type):
        return False
    return all(parent.child_by_field_name(field) != node for field in _GIVEN)


def _is_function(node: Node) -> bool:
    return ("function" in node.type or "method" in node.type) and node.type not in _CALLS


def _find_owner(node: Node, language: Language) -> str:
    names: list[str] = []
    inner = node.parent
    while inner is not None:
        if language.spans.get(inner.type) in CONTAINERS:
            name = read_member_name(inner, read_own_name(inner) or "")
            names.insert(0, name)
        inner = inner.parent
    return ".".join(filter(None, names))


def _count_arguments(given: Node) -> Arguments:
    if given.type == "generator_expression":
        return Arguments(1)
    if given.type == "token_tree":
        return Arguments(spreads=True)
    entries = given.named_children
    named = sum(entry.type == "keyword_argument" for entry in entries)
    spreads = any(_SPREADS.search(entry.type) for entry in given.children)
    return Arguments(len(entries) - named, named, spreads or b"..." in (given.text or b""))


def _decode(text: bytes | None, most: int | None = None) -> str:
    return (text or b"")[:most].decode("utf-8", "replace")
