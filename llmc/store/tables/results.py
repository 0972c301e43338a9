"""Tables enrichments, llmc_archive and llmc_set_aside: what was paid for, in use and put by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from llmc.store.tables.parts import list_columns, make_insertion
from llmc.store.tables.values import make_storable, read_list, read_text

if TYPE_CHECKING:
    from llmc.models import Enrichment


class ResultRow(NamedTuple):
    """A result, as any program may have written it."""

    summary: Any
    tags: Any
    evidence: Any
    model: Any
    created_at: Any
    schema_ver: Any
    inputs: Any
    outputs: Any
    side_effects: Any
    pitfalls: Any
    usage_snippet: Any


RESULT_COLUMNS = list_columns(ResultRow)
ARCHIVE_COLUMNS = f"start_line, {RESULT_COLUMNS}"
SET_ASIDE_COLUMNS = f"set_aside_at, {ARCHIVE_COLUMNS}"

IS_ENRICHED = "SELECT 1 FROM enrichments WHERE span_hash = ?"
EVIDENCE = "SELECT evidence FROM enrichments WHERE span_hash = ?"
CHANGE_EVIDENCE = "UPDATE enrichments SET evidence = ? WHERE span_hash = ?"
PUT_RESULT = f"{make_insertion('enrichments', RESULT_COLUMNS)} RETURNING {RESULT_COLUMNS}"
PUT_ARCHIVED = make_insertion("llmc_archive", ARCHIVE_COLUMNS)
PUT_SET_ASIDE = make_insertion("llmc_set_aside", SET_ASIDE_COLUMNS)
ARCHIVED_START = "SELECT start_line FROM llmc_archive WHERE span_hash = ?"
ARCHIVE = (
    f"INSERT OR REPLACE INTO llmc_archive (span_hash, {ARCHIVE_COLUMNS}) "
    f"SELECT span_hash, ?, {RESULT_COLUMNS} FROM enrichments WHERE span_hash = ?"
)
BRING_BACK = (
    f"INSERT INTO enrichments (span_hash, {RESULT_COLUMNS}) "
    f"SELECT span_hash, {RESULT_COLUMNS} FROM llmc_archive WHERE span_hash = ?"
)
END_ARCHIVED = "DELETE FROM llmc_archive WHERE span_hash = ?"
SET_ASIDE = (
    f"INSERT INTO llmc_set_aside (span_hash, {SET_ASIDE_COLUMNS}) "
    f"SELECT span_hash, ?, ?, {RESULT_COLUMNS} FROM {{table}} WHERE rowid = ?"
)
RULE_WRITTEN = (
    "SELECT e.span_hash FROM enrichments e JOIN llmc_outcomes o ON o.span_hash = e.span_hash "
    "JOIN llmc_origins m ON m.span_hash = e.span_hash AND m.what = 'result' "
    "WHERE e.model = ? AND o.tier = ? AND o.attempts = 0 AND m.installation = ?"
)
FORGET = "DELETE FROM {table} WHERE span_hash = ?"
_LISTS = ("evidence", "inputs", "outputs", "side_effects", "pitfalls")
_TEXTS = ("summary", "tags", "model", "schema_ver", "usage_snippet")


def read_result(row: ResultRow) -> dict[str, Any]:
    """Return what a result says, by column; what can't be used is made good."""
    enrichment = row._asdict()
    for name in _LISTS:
        enrichment[name] = read_list(enrichment[name])
    for name in _TEXTS:
        enrichment[name] = read_text(enrichment[name])
    created = row.created_at
    enrichment["created_at"] = created if type(created) is int else read_text(created)
    enrichment["tags"] = enrichment["tags"].split(",") if enrichment["tags"] else []
    return enrichment


def write_result(result: Enrichment, model: str, schema_version: str, now: float) -> ResultRow:
    """Return the row of a result; what the reply names itself beats what the run knows."""
    given = result.model_fields_set
    return ResultRow(
        summary=make_storable(result.summary_120w),
        tags=make_storable(",".join(result.tags)) or None,
        evidence=json.dumps([{"field": e.field, "lines": e.lines} for e in result.evidence]),
        model=make_storable(result.model if "model" in given else model),
        created_at=str(int(now)),
        schema_ver=make_storable(
            result.schema_version if "schema_version" in given else schema_version
        ),
        inputs=json.dumps(result.inputs),
        outputs=json.dumps(result.outputs),
        side_effects=json.dumps(result.side_effects),
        pitfalls=json.dumps(result.pitfalls),
        usage_snippet=make_storable(result.usage_snippet),
    )
