"""Whose words are in what `--json` prints: programs and agents must not take them for llmc's own.

docs/json.md tells users of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Source = Literal["repository", "model", "host"]
"""The repository's files and index; a model's reply; what a server or program said of a failure."""


def mark_sources(record: Mapping[str, Any], sources: Mapping[str, Source]) -> dict[str, Any]:
    """Return a JSON object with `origins`, which names whose words its fields hold.

    A key is a path in the object: `failure.detail`, or `skipped[].path` in each entry of a list;
    it holds for everything below it. What isn't named is llmc's own.
    """
    return {**record, "origins": dict(sources)}
