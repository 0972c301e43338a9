"""Tables llmc_failures and its archive: which spans failed, and when each may be tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from llmc.store.tables.parts import list_columns, make_insertion
from llmc.store.tables.values import count_runs, is_time, read_text

LIVING, ARCHIVED = "llmc_failures", "llmc_failures_archive"


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


class FailureRow(NamedTuple):
    """A row of either table, as any program may have written it."""

    count: Any
    kind: Any
    detail: Any
    excerpt: Any
    failed_at: Any
    retry_at: Any
    signature: Any


FAILURE_COLUMNS = list_columns(FailureRow)

RESTS = (
    "x.signature = :signature AND x.retry_at > :now "
    "AND x.failed_at <= :now + 86400 AND x.retry_at <= :now + 691200"
)
"""Whether the failure `x` keeps its span at rest: a clock that was ahead must not, for years.

No pause is longer than seven days; a day more is left for clocks.
"""

PUT_FAILURE = f"{make_insertion('{table}', FAILURE_COLUMNS)} RETURNING {FAILURE_COLUMNS}"
PUT_FAILURE_ARCHIVED = make_insertion(ARCHIVED, FAILURE_COLUMNS)
MOVE_FAILURE = (
    f"INSERT OR REPLACE INTO {{into}} (span_hash, {FAILURE_COLUMNS}) "
    f"SELECT span_hash, {FAILURE_COLUMNS} FROM {{table}} WHERE span_hash = ?"
)
RUNS_FAILED = "SELECT count FROM {table} WHERE span_hash = ? AND signature = ?"
END_FAILURE = "DELETE FROM {table} WHERE span_hash = ?"


def read_failure(row: FailureRow) -> Failure:
    """Return the failure that a row holds; what can't be used is made good."""
    return Failure(
        count=count_runs(row.count, 1),
        kind=read_text(row.kind) or "unknown",
        detail=read_text(row.detail),
        excerpt=read_text(row.excerpt),
        failed_at=float(row.failed_at) if is_time(row.failed_at) else 0.0,
        retry_at=float(row.retry_at) if is_time(row.retry_at) else 0.0,
    )
