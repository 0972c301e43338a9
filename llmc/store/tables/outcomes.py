"""Table llmc_outcomes: how the last run left each span, and what all runs have cost."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from llmc.store.tables.parts import list_columns
from llmc.store.tables.values import MAX_TOKENS, is_time, is_whole, make_storable, read_text

BY_RULE, RULE_TIER = "facts", "rule"
"""The model and the tier of what was written by rule: no model was asked."""


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


class OutcomeRow(NamedTuple):
    """A row of llmc_outcomes, as any program may have written it; its columns but two."""

    result: Any
    reason: Any
    detail: Any
    tier: Any
    backend: Any
    model: Any
    attempts: Any
    prompt_tokens: Any
    completion_tokens: Any
    wall_ms: Any
    updated_at: Any


OUTCOME_COLUMNS = list_columns(OutcomeRow)
_ADDED_UP = ("prompt_tokens", "completion_tokens", "failed_runs")
_REPLACED = [name for name in OutcomeRow._fields if name not in _ADDED_UP]
_FIELDS = attrgetter(*OutcomeRow._fields)


def _believe(name: str) -> str:
    """Return SQL for a number of llmc_outcomes that is to be added to; one past belief is 0."""
    column = f"llmc_outcomes.{name}"
    return (
        f"CASE WHEN typeof({column}) = 'integer' AND {column} BETWEEN 0 AND {MAX_TOKENS} "
        f"THEN {column} ELSE 0 END"
    )


PUT_OUTCOME = (
    f"INSERT INTO llmc_outcomes ({OUTCOME_COLUMNS}, failed_runs, span_hash) "
    f"SELECT {', '.join('?' for _ in OutcomeRow._fields)}, ?, span_hash FROM spans "
    "WHERE span_hash = ? ON CONFLICT (span_hash) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _REPLACED)
    + ", "
    + ", ".join(f"{name} = excluded.{name} + {_believe(name)}" for name in _ADDED_UP)
)
ADD_TOKENS = (
    "UPDATE llmc_outcomes SET "
    + ", ".join(f"{name} = ? + {_believe(name)}" for name in _ADDED_UP[:2])
    + " WHERE span_hash = ?"
)
SUM_TOKENS = (
    "SELECT "
    + ", ".join(f"coalesce(sum({_believe(name)}), 0) AS {name}" for name in _ADDED_UP[:2])
    + " FROM llmc_outcomes"
)


def read_outcome(row: OutcomeRow) -> Outcome | None:
    """Return the outcome that a row holds, None if it can't be one."""
    names = (row.result, row.reason, row.tier, row.backend, row.model)
    if not all(isinstance(name, str) for name in names):
        return None
    numbers = (row.attempts, row.prompt_tokens, row.completion_tokens, row.wall_ms)
    if not (all(map(is_whole, numbers)) and is_time(row.updated_at)):
        return None
    detail, at = read_text(row.detail), float(row.updated_at)
    return Outcome(**(row._asdict() | {"detail": detail, "updated_at": at}))


def write_outcome(outcome: Outcome) -> OutcomeRow:
    """Return the row of an outcome."""
    return OutcomeRow._make(map(make_storable, _FIELDS(outcome)))
