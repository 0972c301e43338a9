"""SECURITY.md is held to the tests: each one it names is there, and each attack is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def names_in(path: Path) -> set[str]:
    """Return the names of a file's tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def test_each_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", PAGE)
    assert len(named) > 20
    missing = [(path, name) for path, name in named if name not in names_in(ROOT / path)]
    assert missing == []


def test_each_attack_is_on_the_page() -> None:
    attacks = names_in(ROOT / "tests/test_siege.py")
    assert {name for name in attacks if name not in PAGE} == set()


def test_each_row_of_the_table_names_a_test() -> None:
    table = PAGE.partition("## Attacks")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [row for row in rows if not re.search(r"::test_\w+` \|$", row)] == []


def test_the_files_it_speaks_of_are_there() -> None:
    for path in re.findall(r"`(tests/\w+\.py)`|\]\(([\w./-]+)\)", PAGE):
        assert (ROOT / "".join(path)).exists(), path
