"""What is known of a text that leaves the index, kept for its return, as when branches change.

Nothing that was paid for is deleted. All of it is part of a transaction that others open.
"""

from __future__ import annotations

from llmc.store.database.handle import Database
from llmc.store.evidence import move_evidence
from llmc.store.tables.failures import ARCHIVED, END_FAILURE, LIVING, MOVE_FAILURE
from llmc.store.tables.results import ARCHIVE, ARCHIVED_START, BRING_BACK, END_ARCHIVED
from llmc.store.tables.values import is_whole


def put_away(db: Database, span_hash: str, start_line: object) -> int:
    """Archive what is known of a span that is about to go; return how many results that were."""
    start = start_line if is_whole(start_line) else 0
    results = db.execute(ARCHIVE, (start, span_hash)).rowcount
    db.execute(MOVE_FAILURE.format(into=ARCHIVED, table=LIVING), (span_hash,))
    return results


def bring_back(db: Database, span_hash: str, start_line: int) -> None:
    """Give a span that has just come what the archive has of it."""
    row = db.execute(ARCHIVED_START, (span_hash,)).fetchone()
    if row:
        db.execute(BRING_BACK, (span_hash,))
        db.execute(END_ARCHIVED, (span_hash,))
        move_evidence(db, span_hash, start_line, row["start_line"])
    else:
        db.execute(MOVE_FAILURE.format(into=LIVING, table=ARCHIVED), (span_hash,))
    db.execute(END_FAILURE.format(table=ARCHIVED), (span_hash,))
