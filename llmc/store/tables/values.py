"""The border between an index and the program: what a column may hold, and what is believed of it.

Any program may have written the file, and SQLite keeps text in a column of numbers if it is given
some.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import PurePosixPath
from typing import Any

as_text = partial(str, encoding="utf-8", errors="replace")
"""Reads a stored text whatever its bytes are: the text_factory of every connection."""

MAX_WHOLE = 2**53 - 1
MAX_TOKENS = 2**40
"""More of them were never read for one span; a million such rows can still be summed up."""

MAX_LINE = 2**31 - 1
LATEST = 253_370_764_800.0
"""The year 9999 in epoch seconds; clocks and calendars end soon after."""

MAX_DEPTH = 20


def count_runs(count: Any, least: int) -> int:
    """Return in how many runs a span failed; `least` for what can't be such a number."""
    return int(count) if is_whole(count, least, MAX_LINE) else least


def measure_shift(new: Any, old: Any) -> int:
    """Return by how many lines something moved; 0 where that isn't known, as from line 0."""
    return int(new - old) if is_whole(new, 1, MAX_LINE) and is_whole(old, 1, MAX_LINE) else 0


def read_text(value: Any) -> str | None:
    """Return a stored value as text, None for NULL."""
    if value is None or isinstance(value, str):
        return value
    return as_text(value) if isinstance(value, bytes) else str(value)


def is_whole(value: Any, least: int = 0, most: int = MAX_WHOLE) -> bool:
    return type(value) is int and least <= value <= most


def is_time(value: Any) -> bool:
    """Tell whether a value is a time that a calendar has, in epoch seconds."""
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= LATEST


def is_name(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def is_hash(value: Any) -> bool:
    if not (isinstance(value, str) and value):
        return False
    return value.isascii() and value.isprintable() and " " not in value


def is_path(stored: Any) -> bool:
    """Tell whether the bytes of a stored path can be one below a repository."""
    try:
        path = stored.decode()
    except (AttributeError, UnicodeDecodeError):
        return False
    return bool(path) and "\0" not in path and not _leads_out(PurePosixPath(path))


def _leads_out(path: PurePosixPath) -> bool:
    return path.is_absolute() or ".." in path.parts


def is_shallow(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Tell whether a value read from JSON can be handled without running out of stack."""
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(is_shallow(item, depth - 1) for item in items)


def read_list(text: object) -> list[Any]:
    """Read a JSON list that some program stored; anything else counts as empty."""
    try:
        found = json.loads(text) if isinstance(text, str | bytes) else []
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) and is_shallow(found) else []


def move_lines(entries: list[Any], by: int) -> list[Any]:
    """Return evidence with its lines moved; what can't be a citation stays as it is."""
    return [
        {**entry, "lines": [line + by for line in entry["lines"]]}
        if isinstance(entry, dict)
        and isinstance(entry.get("lines"), list)
        and all(is_whole(line, -MAX_WHOLE) for line in entry["lines"])
        else entry
        for entry in entries
    ]


def shift_evidence(evidence: object, by: int) -> str:
    """Return stored evidence as llmc stores it, with its lines moved."""
    return json.dumps(move_lines(read_list(evidence), by))


def make_storable(value: Any) -> Any:
    """Replace what a database can't hold: half a surrogate pair, or a number beyond 64 bits."""
    if isinstance(value, int):
        return max(-MAX_WHOLE, min(value, MAX_WHOLE))
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()
