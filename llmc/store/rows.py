"""The border between an index and the program: what a row may hold before it becomes a value.

Any program may have written the file, and SQLite keeps text in a column of numbers if it is given
some. What can't be a span, an outcome or a failure ends here, as None; so do texts that are none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from llmc.models import Span

as_text = partial(str, encoding="utf-8", errors="replace")
"""Reads a stored text whatever its bytes are: the text_factory of every connection."""

MAX_WHOLE = 2**53 - 1
MAX_TOKENS = 2**40
"""More of them were never read for one span; a million such rows can still be summed up."""

MAX_LINE = 2**31 - 1
LATEST = 253_370_764_800.0
"""The year 9999 in epoch seconds; clocks and calendars end soon after."""

MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last run left a span. `reason` is success or the kind of the last failure."""

    result: str
    reason: str
    detail: str | None
    tier: str
    backend: str
    model: str
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    wall_ms: int
    updated_at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """That a span failed, in all runs of one signature: how often, how last, the refused reply.

    Times are epoch seconds; before `retry_at` it is left alone.
    """

    count: int
    kind: str
    detail: str | None
    excerpt: str | None
    failed_at: float
    retry_at: float


def span_of(row: Sequence[Any]) -> Span | None:
    """Return the span that a row of SPAN_COLUMNS holds, None if it can't be one."""
    number, path, lang, symbol, kind, start, end, first, last, span_hash, hint = row
    if not (is_whole(number, 1, 2**63) and all(map(is_name, (path, lang, symbol, kind)))):
        return None
    if not (is_whole(start, 0, MAX_LINE) and is_whole(end, start, MAX_LINE)):
        return None
    if not (is_whole(first) and is_whole(last, first) and is_hash(span_hash)):
        return None
    hint = hint if isinstance(hint, str) else None
    return Span(number, path, lang, symbol, kind, start, end, first, last, span_hash, hint)


def spans_of(rows: Sequence[Sequence[Any]]) -> list[Span]:
    """Return the spans that rows hold, without those that can't be one."""
    return [span for row in rows if (span := span_of(row))]


_USUAL_HASH = (
    "length(span_hash) = 71 AND length(CAST(span_hash AS BLOB)) = 71 AND span_hash LIKE 'sha256:%'"
)
BAD_SPAN = " OR ".join(
    (
        *(
            f"typeof({name}) <> 'text' OR instr(CAST({name} AS BLOB), x'00')"
            for name in ("symbol", "kind", "span_hash")
        ),
        f"NOT ({_USUAL_HASH}) AND (span_hash = '' OR span_hash GLOB '*[^!-~]*')",
        "typeof(start_line) <> 'integer' OR typeof(end_line) <> 'integer'",
        f"start_line < 0 OR end_line < start_line OR end_line > {MAX_LINE}",
        "typeof(byte_start) <> 'integer' OR typeof(byte_end) <> 'integer'",
        f"byte_start < 0 OR byte_end < byte_start OR byte_end > {MAX_WHOLE}",
    )
)
"""What `span_of` refuses of a row of spans or llmc_twins, as a condition of SQL.

A hash of the usual form isn't looked through: of a million, that would take a second.
"""


def outcome_of(row: Sequence[Any]) -> Outcome | None:
    """Return the outcome that a row of its fields holds, None if it can't be one."""
    result, reason, detail, tier, backend, model, attempts, read, written, wall_ms, at = row
    if not all(isinstance(name, str) for name in (result, reason, tier, backend, model)):
        return None
    if not (all(map(is_whole, (attempts, read, written, wall_ms))) and is_time(at)):
        return None
    return Outcome(
        result=result,
        reason=reason,
        detail=shown(detail),
        tier=tier,
        backend=backend,
        model=model,
        attempts=attempts,
        prompt_tokens=read,
        completion_tokens=written,
        wall_ms=wall_ms,
        updated_at=float(at),
    )


def failure_of(row: Sequence[Any]) -> Failure:
    """Return the failure that a row of its fields holds; what can't be used is made good."""
    count, kind, detail, excerpt, failed_at, retry_at = row
    return Failure(
        runs(count, 1),
        shown(kind) or "unknown",
        shown(detail),
        shown(excerpt),
        float(failed_at) if is_time(failed_at) else 0.0,
        float(retry_at) if is_time(retry_at) else 0.0,
    )


def runs(count: Any, least: int) -> int:
    """Return in how many runs a span failed; `least` for what can't be such a number."""
    return int(count) if is_whole(count, least, MAX_LINE) else least


def lines_apart(new: Any, old: Any) -> int:
    """Return by how many lines something moved; 0 where that isn't known, as from line 0."""
    return int(new - old) if is_whole(new, 1, MAX_LINE) and is_whole(old, 1, MAX_LINE) else 0


def shown(value: Any) -> str | None:
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


def listed(text: object) -> list[Any]:
    """Read a JSON list that some program stored; anything else counts as empty."""
    try:
        found = json.loads(text) if isinstance(text, str | bytes) else []
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) and is_shallow(found) else []


def moved(entries: list[Any], by: int) -> list[Any]:
    """Return evidence with its lines moved; what can't be a citation stays as it is."""
    return [
        {**entry, "lines": [line + by for line in entry["lines"]]}
        if isinstance(entry, dict)
        and isinstance(entry.get("lines"), list)
        and all(is_whole(line, -MAX_WHOLE) for line in entry["lines"])
        else entry
        for entry in entries
    ]


def shifted(evidence: object, by: int) -> str:
    """Return stored evidence as llmc stores it, with its lines moved."""
    return json.dumps(moved(listed(evidence), by))
