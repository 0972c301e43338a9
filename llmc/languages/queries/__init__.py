"""The queries of the languages: `<folder>/facts.scm`, and tables of names beside them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files


def read_queries(folders: Sequence[str], name: str) -> str:
    """Return the text that files of this name have in some folders of queries, joined."""
    here = files(__name__)
    found = (here.joinpath(folder, name) for folder in folders)
    return "\n".join(file.read_text(encoding="utf-8") for file in found if file.is_file())
