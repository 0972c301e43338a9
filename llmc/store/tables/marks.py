"""Table llmc_origins: the seals of installations over results and failures."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from llmc.store.tables.parts import list_columns, make_insertion

What = Literal["result", "failure"]


class MarkRow(NamedTuple):
    """A mark, as any program may have written it; all None where there is none."""

    line: Any
    adopted_at: Any
    mac: Any


MARK = list_columns(MarkRow, "m")
NO_MARKS = "NULL, NULL, NULL"
JOINED = "LEFT JOIN llmc_origins m ON m.span_hash = {} AND m.what = '{}' AND m.installation = ?"
"""Brings in the columns of MARK, for a column of hashes and one of What; takes a name."""

MARK_COLUMNS = "installation, what, line, adopted_at, mac"
PUT_MARK = make_insertion("llmc_origins", MARK_COLUMNS)
OTHER_MARKS = (
    "SELECT installation FROM llmc_origins WHERE span_hash = ? AND what = ? AND installation <> ? "
    "ORDER BY rowid DESC LIMIT 9"
)
