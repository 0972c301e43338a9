"""docs/architecture.md names modules that are there, and one picture that can be drawn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import llmc

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
[PICTURE] = re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)
ROOMS = "cli|settings|run|indexer|store|enrichment|backends|net|records|show"
NAMED = sorted(set(re.findall(rf"(?<![\w/])(?:{ROOMS})/\w+(?![\w./])|(?<=\[\")engine", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_each_module_is_there(name: str) -> None:
    module = ROOT / "llmc" / name
    assert module.with_suffix(".py").is_file() or (module / "__init__.py").is_file()


def test_the_modules_of_the_walk_are_in_the_picture_or_plain_threads() -> None:
    walk = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert len(walk) >= 10
    assert [name for name in walk if f"{name}:" not in PICTURE] == ["run/workers"]


def test_the_picture_is_a_flowchart_whose_nodes_all_have_names() -> None:
    lines = [line.strip() for line in PICTURE.splitlines()]
    assert lines[0] == "flowchart TD"
    ends = [re.sub(r"[\[(].*", "", end) for line in lines[1:] for end in _ends(line)]
    labelled = set(re.findall(r"\b(\w+)\[\(?\"", PICTURE))
    assert set(ends) == labelled


def test_the_page_begins_with_the_packages_own_sentence() -> None:
    words = " ".join(PAGE.split())
    [sentence] = re.findall(r"A repository becomes spans.*?\.", " ".join(str(llmc.__doc__).split()))
    assert sentence in words


def test_readme_leads_to_the_pages() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/architecture.md)" in readme
    assert "(docs/configuration.md)" in readme


def _ends(line: str) -> list[str]:
    return re.split(r" (?:--> |-- \".*?\" --> )", line)
