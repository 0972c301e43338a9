"""A field of a settings class has its line beside it: what it means, its unit, its default."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "llmc/settings"
READ = (
    *("chains", "config", "documents", "flags", "gateways"),
    *("groups", "hosts", "presets", "privacy"),
)
"""The modules whose classes hold what is read; what is made of it has its own words."""

CLASSES = [
    pytest.param(node, id=f"{name}.{node.name}")
    for name in READ
    for node in ast.parse((ROOM / f"{name}.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
    and node.name != "Health"  # which is no setting
    and any(isinstance(each, ast.AnnAssign) for each in node.body)
]
MOST = 18


def fields(node: ast.ClassDef) -> list[tuple[str, ast.stmt | None]]:
    """Return (name, what stands below it) of each field."""
    below = [*node.body[1:], None]
    return [
        (each.target.id, after)
        for each, after in zip(node.body, below, strict=True)
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    ]


def is_line(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("node", CLASSES)
def test_each_field_has_its_line(node: ast.ClassDef) -> None:
    assert [name for name, after in fields(node) if not is_line(after)] == []


@pytest.mark.parametrize("node", CLASSES)
def test_no_class_has_more_fields_than_one_can_read(node: ast.ClassDef) -> None:
    assert len(fields(node)) <= MOST


def test_a_field_without_one_is_found() -> None:
    [planted] = ast.parse('class C:\n    a: int\n    """A."""\n    b: int\n').body
    assert isinstance(planted, ast.ClassDef)
    assert [name for name, after in fields(planted) if not is_line(after)] == ["b"]
