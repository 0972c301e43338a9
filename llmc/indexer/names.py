"""What a definition is called: the few ways in which languages hide a name, told by node kinds."""

from __future__ import annotations

import re

from tree_sitter import Node

MAX_NAME_CHARS = 200

_RECEIVER = re.compile(r"(\w+)\s*(?:\[[^)]*\])?\s*\)$")
_PATH = re.compile(r"[\w$#]+(?:\??\.[\w$#]+)*")
_WRAPPING = frozenset({"parenthesized_expression", "as_expression", "satisfies_expression"})
_FUNCTIONS = frozenset({"arrow_function", "function_expression"})
_LAYERS = frozenset({"reference_declarator", "parenthesized_declarator", "attributed_declarator"})


def read_own_name(node: Node) -> str | None:
    """Return the name that a definition gives itself; None if it has none."""
    if node.type == "impl_item":
        return _impl(node)
    declarator = node.child_by_field_name("declarator")
    if declarator is not None:
        declared = _declared(declarator)
        is_macro = declared.isupper() and node.child_by_field_name("type") is None
        return read_text(declarator) if is_macro else declared  # TEST(Suite, Case) {…}
    name = node.child_by_field_name("name") or node.child_by_field_name("left")
    if name is None:
        return None
    receiver = node.child_by_field_name("receiver")
    owner = _RECEIVER.search(read_text(receiver)) if receiver is not None else None
    return f"{owner[1]}.{_qualified(name)}" if owner else _qualified(name)


def read_member_name(node: Node, name: str) -> str:
    """Return what a definition's members are named after: itself, or the type an impl is for."""
    target = node.child_by_field_name("type") if node.type == "impl_item" else None
    return _base(target) if target is not None else name


def read_bound_name(node: Node | None) -> str | None:
    """Return the name that a value is assigned to; None for patterns and computed places."""
    if node is None or node.type in {"object_pattern", "array_pattern"}:
        return None
    if node.type != "member_expression":
        return read_text(node).strip("\"'`")
    path = read_text(node)
    if not _PATH.fullmatch(path):
        return None
    return path.replace("?.", ".").replace(".prototype.", ".").removeprefix("module.")


def unwrap(node: Node | None) -> Node | None:
    """Return the value inside parentheses and type assertions."""
    while node is not None and node.type in _WRAPPING and node.named_children:
        node = node.named_children[0]
    return node


def find_argument(node: Node) -> Node | None:
    """Return the function that a plain call wraps: `memo(() => …)`, `React.memo(() => …)`.

    Calls of methods are left alone: `list.map(x => …)` gives a value, not a function.
    """
    callee = node.child_by_field_name("function")
    given = node.child_by_field_name("arguments")
    if callee is None or given is None or not re.fullmatch(r"(React\.)?\w+", read_text(callee)):
        return None
    return next((child for child in given.named_children if child.type in _FUNCTIONS), None)


def is_qualified(node: Node) -> bool:
    """Tell whether a function names its class itself, as C++ does outside of it."""
    declarator = node.child_by_field_name("declarator")
    return declarator is not None and _innermost(declarator).type == "qualified_identifier"


def find_spelled_type(node: Node) -> Node | None:
    """Return the type that a definition names, if it is written out: `type T struct {…}`."""
    inner = node.child_by_field_name("type")
    return inner if inner is not None and (inner.text or b"").endswith(b"}") else None


def read_text(node: Node) -> str:
    """Return a node's text on one line, cut to MAX_NAME_CHARS."""
    raw = (node.text or b"").decode("utf-8", "replace")
    return " ".join(raw.split())[:MAX_NAME_CHARS]


def _qualified(name: Node) -> str:
    return read_text(name).strip("\"'`").replace("::", ".")


def _innermost(declarator: Node) -> Node:
    """Peel pointers, references, parameters and attributes off a C declarator."""
    while declarator.type not in {"qualified_identifier", "operator_cast"}:
        inner = declarator.child_by_field_name("declarator")
        if inner is None and declarator.type in _LAYERS:
            inner = next((n for n in declarator.named_children if "attr" not in n.type), None)
        if inner is None:
            break
        declarator = inner
    return declarator


def _declared(declarator: Node) -> str:
    node = _innermost(declarator)
    parts = []
    while node.type == "qualified_identifier":
        scope, name = node.child_by_field_name("scope"), node.child_by_field_name("name")
        if scope is not None:
            parts.append(_base(scope))
        if name is None:
            break
        node = _innermost(name)
    if node.type == "operator_cast":
        target = node.child_by_field_name("type")
        parts.append(f"operator {read_text(target)}" if target is not None else "operator")
    else:
        parts.append(_base(node))
    return ".".join(parts)


def _impl(node: Node) -> str | None:
    target, trait = node.child_by_field_name("type"), node.child_by_field_name("trait")
    if target is None:
        return None
    whole = (
        f"{read_text(trait)} for {read_text(target)}" if trait is not None else read_text(target)
    )
    return "impl " + whole.replace("::", ".")


def _base(node: Node) -> str:
    """Return the bare name of a type: without arguments, path, reference or pointer."""
    inner: Node | None = node
    while inner is not None:
        node = inner
        inner = node.child_by_field_name("name") or node.child_by_field_name("type")
    return read_text(node)
