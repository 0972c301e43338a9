"""The files of an index and the spans they are cut into.

A span is known by the hash of its text, so an enrichment stays with the text wherever it goes:
text that stands in two places is one span; the other place is a *twin* and shows the same result.
"""

from __future__ import annotations

from collections.abc import Iterable

from llmc.models import Span
from llmc.store.archive import bring_back, put_away
from llmc.store.database.handle import Database
from llmc.store.evidence import move_evidence
from llmc.store.origins import Origins
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.tables.facts import FILES_WITHOUT_FACTS, PUT_FACTS, write_facts
from llmc.store.tables.files import (
    ALL_FILES,
    ALL_STAMPS,
    FILE_OF_SPAN,
    PUT_FILE,
    READ_ANEW,
    TOUCH_FILE,
    FileState,
    read_state,
    write_file,
)
from llmc.store.tables.spans import (
    BAD_SPAN,
    END_TWIN,
    END_TWINS_OF_FILE,
    FILES_OF_SPAN,
    HASH_OF_SPAN,
    MOVE_SPAN,
    PENDING,
    PUT_SPAN,
    PUT_TWIN,
    SPANS_OF_FILE,
    TWIN_OF,
    read_place,
    read_spans,
    write_span,
)
from llmc.store.tables.values import is_name, is_path

_LOST = "id < 1 OR NOT EXISTS (SELECT 1 FROM files f WHERE f.id = spans.file_id)"


class Spans:
    """The files and spans of one open index. Every method raises StoreError.

    Facts bear the mark of an installation; without one, none are kept.
    """

    def __init__(self, db: Database, origins: Origins) -> None:
        self._db = db
        self._origins = origins

    def list_files(self) -> dict[str, FileState]:
        """Return every file of the index by its path.

        One of which something can't be used looks changed.
        """
        rows = self._db.read(ALL_FILES)
        return {row["path"]: read_state(row) for row in rows if is_name(row["path"])}

    def list_stamps(self) -> dict[str, tuple[int, float] | None]:
        """Return size and mtime of every file of the index by its path.

        None stands for one of which something can't be used: it looks changed, as in `list_files`.
        """
        rows = self._db.read_plain(ALL_STAMPS)
        return {
            path.decode("utf-8", "replace"): (size, mtime) if is_usable else None
            for path, size, mtime, is_usable in rows
        }

    def find_file(self, span: Span) -> FileState | None:
        """Return the file that a span is in, None if the span is no longer at its place there."""
        place = (span.id, span.span_hash, span.path, span.byte_start, span.byte_end)
        row = self._db.read_first(FILE_OF_SPAN, place)
        return read_state(row) if row else None

    def list_pending(
        self, after_id: int, limit: int, newest_mtime: float | None = None
    ) -> list[Span]:
        """Return up to `limit` spans without an enrichment whose id is above `after_id`, by id.

        Files changed after `newest_mtime` (epoch seconds) are left out.
        """
        spans: list[Span] = []
        while not spans:
            values = {"after": after_id, "limit": limit, "newest": newest_mtime}
            rows = self._db.read(PENDING, values)
            if not rows:
                break
            spans, after_id = read_spans(rows), rows[-1]["id"]
        return spans

    def put_file(self, file: ParsedFile) -> None:
        """Store a file's spans in place of its earlier ones.

        Spans whose text is still there keep their row and enrichment, with lines moved along.
        """
        with self._db.write():
            file_id = self._db.execute(PUT_FILE, write_file(file)).fetchone()["id"]
            self._db.execute(END_TWINS_OF_FILE, (file_id,))
            rows = self._db.execute(SPANS_OF_FILE, (file_id,)).fetchall()
            before = {row["span_hash"]: row["start_line"] for row in rows}
            now = {span.span_hash for span in file.spans}
            self._drop([row["id"] for row in rows if row["span_hash"] not in now])
            placed: set[str] = set()
            for span in file.spans:
                if span.span_hash in placed:
                    self._db.execute(PUT_TWIN, write_span(span, file_id))
                elif span.span_hash in before:
                    self._move(span, file_id, before[span.span_hash])
                else:
                    self._add(span, file_id)
                placed.add(span.span_hash)
            self.put_facts(file)

    def put_facts(self, file: ParsedFile) -> None:
        """Store what was proven of a file's spans."""
        mine = self._origins.mine
        if not mine:
            return
        facts = write_facts(file.spans)
        row = mine, file.facts_version, file.file_hash, facts, self._origins.sign_facts(facts)
        with self._db.write():
            self._db.execute(PUT_FACTS, (*row, file.path))

    def list_unproven(self, version: int) -> set[str]:
        """Return the paths of files that this installation did not read, as they are now, for facts
        of a version."""
        mine = self._origins.mine
        if not mine:
            return set()
        return {row["path"] for row in self._db.read(FILES_WITHOUT_FACTS, (mine, version))}

    def touch_file(self, file: ParsedFile) -> bool:
        """Note a new time stamp of a file; False if the index has other bytes of it, or none."""
        with self._db.write():
            return self._db.execute(TOUCH_FILE, write_file(file)).rowcount > 0

    def read_anew(self, paths: Iterable[str]) -> None:
        """Have the next index pass read these files, whatever their size and time."""
        with self._db.write():
            for path in paths:
                self._db.execute(f"{READ_ANEW} path = ?", (path,))

    def remove_file(self, path: str) -> tuple[int, int]:
        """Take a file out of the index; spans that also stand elsewhere move there.

        Returns how many spans and enrichments left the index.
        """
        with self._db.write():
            found = self._db.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
            return self._remove_file(found["id"]) if found else (0, 0)

    def mend(self) -> int:
        """Remove files and spans that can't be any; return how many.

        Files that had such spans look changed afterwards, so that an index pass reads them anew.
        """
        lost = self._find_ids(_LOST)
        bad_spans = lost | self._find_ids(BAD_SPAN)
        bad_twins = self._db.read(f"SELECT rowid, file_id FROM llmc_twins WHERE {BAD_SPAN}")
        paths = self._db.read(
            "SELECT id, typeof(path) AS kind, CAST(path AS BLOB) AS path FROM files"
        )
        bad_files = [
            row["id"] for row in paths if row["kind"] != "text" or not is_path(row["path"])
        ]
        if not (bad_spans or bad_twins or bad_files):
            return 0
        with self._db.write():
            for twin in bad_twins:
                self._db.execute(END_TWIN, (twin["rowid"],))
                self._db.execute(f"{READ_ANEW} id = ?", (twin["file_id"],))
            if lost:  # of any file
                self._db.execute(f"{READ_ANEW} 1")
            for span_id in bad_spans:
                self._remove_span(span_id)
            for file_id in bad_files:
                self._remove_file(file_id)
        return len(bad_spans) + len(bad_twins) + len(bad_files)

    def _find_ids(self, condition: str) -> set[int]:
        return {row["id"] for row in self._db.read(f"SELECT id FROM spans WHERE {condition}")}

    def _remove_span(self, span_id: int) -> None:
        self._db.execute(f"{READ_ANEW} id IN ({FILES_OF_SPAN})", (span_id, span_id))
        self._db.execute(f"DELETE FROM llmc_twins WHERE span_hash = ({HASH_OF_SPAN})", (span_id,))
        self._drop([span_id])

    def _remove_file(self, file_id: int) -> tuple[int, int]:
        rows = self._db.execute(SPANS_OF_FILE, (file_id,)).fetchall()
        self._db.execute(END_TWINS_OF_FILE, (file_id,))
        gone = self._drop([row["id"] for row in rows])
        self._db.execute("DELETE FROM files WHERE id = ?", (file_id,))
        return gone

    def _add(self, span: ParsedSpan, file_id: int) -> None:
        row = write_span(span, file_id)
        if self._db.execute(PUT_SPAN, row).rowcount:
            bring_back(self._db, span.span_hash, span.start_line)
        else:
            self._db.execute(PUT_TWIN, row)

    def _move(self, span: ParsedSpan, file_id: int, old_start: object) -> None:
        self._db.execute(MOVE_SPAN, write_span(span, file_id))
        move_evidence(self._db, span.span_hash, span.start_line, old_start)

    def _drop(self, ids: Iterable[int]) -> tuple[int, int]:
        """Remove spans: each goes to one of its twins, else what is known of it to the archive.

        Returns how many spans and enrichments are no longer there.
        """
        spans = enrichments = 0
        for span_id in ids:
            query = "SELECT span_hash, start_line FROM spans WHERE id = ?"
            span = self._db.execute(query, (span_id,)).fetchone()
            twin = self._db.execute(TWIN_OF, (span["span_hash"],)).fetchone()
            if twin:
                self._db.execute(END_TWIN, (twin["rowid"],))
                self._move(read_place(twin), twin["file_id"], span["start_line"])
                continue
            enrichments += put_away(self._db, span["span_hash"], span["start_line"])
            self._db.execute("DELETE FROM spans WHERE id = ?", (span_id,))
            spans += 1
        return spans, enrichments
