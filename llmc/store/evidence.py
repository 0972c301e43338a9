"""Evidence cites lines of a file, so it moves along with its span."""

from __future__ import annotations

from llmc.store.database.handle import Database
from llmc.store.tables.results import CHANGE_EVIDENCE, EVIDENCE
from llmc.store.tables.spans import START_OF_SPAN
from llmc.store.tables.values import measure_shift, shift_evidence


def move_evidence(db: Database, span_hash: str, new_start: object, old_start: object) -> None:
    """Move the lines that a stored result cites, if it has any; part of a transaction."""
    by = measure_shift(new_start, old_start)
    if not by:
        return
    row = db.execute(EVIDENCE, (span_hash,)).fetchone()
    if row and row["evidence"]:
        db.execute(CHANGE_EVIDENCE, (shift_evidence(row["evidence"], by), span_hash))


def follow_span(db: Database, span_hash: str, planned_start: int) -> None:
    """Move the evidence along with a span that has moved since it was planned."""
    now = db.execute(START_OF_SPAN, (span_hash,)).fetchone()["start_line"]
    move_evidence(db, span_hash, now, planned_start)
