"""Tables spans and llmc_twins: where each text stands. A twin is a further place of the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from llmc.models import Span
from llmc.store.parsed import ParsedSpan
from llmc.store.tables.parts import Part
from llmc.store.tables.values import MAX_LINE, MAX_WHOLE, is_hash, is_name, is_whole


class SpanRow(NamedTuple):
    """A row of spans with the path and language of its file, as any program may have written it."""

    id: Any
    path: Any
    lang: Any
    symbol: Any
    kind: Any
    start_line: Any
    end_line: Any
    byte_start: Any
    byte_end: Any
    span_hash: Any
    doc_hint: Any


SPAN = Part(SpanRow)
SPAN_COLUMNS = (
    "s.id, f.path, f.lang, s.symbol, s.kind, s.start_line, s.end_line, "
    "s.byte_start, s.byte_end, s.span_hash, s.doc_hint"
)
_PLACE = ("symbol", "kind", "start_line", "end_line", "byte_start", "byte_end")
_TEXT = (*_PLACE, "span_hash", "doc_hint")
_COLUMNS, _VALUES = ", ".join(_TEXT), ", ".join(f":{name}" for name in _TEXT)

PUT_SPAN = (
    f"INSERT INTO spans (file_id, {_COLUMNS}) VALUES (:file_id, {_VALUES}) "
    "ON CONFLICT (span_hash) DO NOTHING"
)
MOVE_SPAN = (
    f"UPDATE spans SET file_id = :file_id, {', '.join(f'{name} = :{name}' for name in _PLACE)}, "
    "doc_hint = :doc_hint WHERE span_hash = :span_hash"
)
SPANS_OF_FILE = "SELECT id, span_hash, start_line FROM spans WHERE file_id = ?"
HASH_OF_SPAN = "SELECT span_hash FROM spans WHERE id = ?"
START_OF_SPAN = "SELECT start_line FROM spans WHERE span_hash = ?"
FILES_OF_SPAN = (
    "SELECT file_id FROM spans WHERE id = ? "
    f"UNION SELECT file_id FROM llmc_twins WHERE span_hash = ({HASH_OF_SPAN})"
)
PENDING = (
    f"SELECT {SPAN_COLUMNS} FROM spans s JOIN files f ON f.id = s.file_id "
    "WHERE s.id > :after AND (:newest IS NULL OR f.mtime <= :newest) AND NOT EXISTS "
    "(SELECT 1 FROM enrichments e WHERE e.span_hash = s.span_hash) ORDER BY s.id LIMIT :limit"
)

PUT_TWIN = f"INSERT OR REPLACE INTO llmc_twins (file_id, {_COLUMNS}) VALUES (:file_id, {_VALUES})"
TWIN_OF = f"SELECT rowid, file_id, {_COLUMNS} FROM llmc_twins WHERE span_hash = ? LIMIT 1"
END_TWIN = "DELETE FROM llmc_twins WHERE rowid = ?"
END_TWINS_OF_FILE = "DELETE FROM llmc_twins WHERE file_id = ?"

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
"""What `read_span` refuses of a row of spans or llmc_twins, as a condition of SQL.

A hash of the usual form isn't looked through: of a million, that would take a second.
"""


def read_span(row: SpanRow) -> Span | None:
    """Return the span that a row holds, None if it can't be one."""
    if not (is_whole(row.id, 1, 2**63) and all(map(is_name, row[1:5]))):
        return None
    start, first = row.start_line, row.byte_start
    if not (is_whole(start, 0, MAX_LINE) and is_whole(row.end_line, start, MAX_LINE)):
        return None
    if not (is_whole(first) and is_whole(row.byte_end, first) and is_hash(row.span_hash)):
        return None
    return Span(*row) if isinstance(row.doc_hint, str) else Span(*row[:-1], None)


def read_spans(rows: Sequence[Sequence[Any]]) -> list[Span]:
    """Return the spans that rows of SPAN_COLUMNS hold, without those that can't be one."""
    return [span for row in rows if (span := read_span(SPAN.read(row)))]


def write_span(span: ParsedSpan, file_id: int) -> dict[str, object]:
    """Return the columns of a span, or of a twin, that stands in a file."""
    return {"file_id": file_id} | {name: getattr(span, name) for name in _TEXT}


def read_place(row: sqlite3.Row) -> ParsedSpan:
    """Return a place as llmc_twins has it, to be a span's: it is not looked at."""
    return ParsedSpan(**{name: row[name] for name in _TEXT})
