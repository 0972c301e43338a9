"""Spans with what is known of them: the result, how it came about, how they failed, who made it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from llmc.models import Span
from llmc.store.database.handle import Database
from llmc.store.origins import Origin, Origins
from llmc.store.tables.facts import FACTS_OF, make_key, read_facts
from llmc.store.tables.failures import FAILURE_COLUMNS, RESTS, Failure, FailureRow, read_failure
from llmc.store.tables.marks import JOINED, MARK, NO_MARKS, MarkRow, What
from llmc.store.tables.outcomes import Outcome, OutcomeRow, read_outcome
from llmc.store.tables.parts import Part, list_columns
from llmc.store.tables.results import ResultRow, read_result
from llmc.store.tables.spans import SPAN, SPAN_COLUMNS, read_span, read_spans
from llmc.store.tables.values import measure_shift, move_lines, read_text
from llmc.store.verdicts import Checked, Verdicts

_KINDS = {"parse", "truncation", "validation", "runtime", "backend_error"}


class _IsStored(NamedTuple):
    stored: Any


_STORED = Part(_IsStored, SPAN.end)
_RESULT = Part(ResultRow, _STORED.end)
_MARK = Part(MarkRow, _RESULT.end)
_OUTCOME = Part(OutcomeRow, _MARK.end)
_OUTCOME_AFTER_SPAN = Part(OutcomeRow, _STORED.end)
_FAILURE = Part(FailureRow)
_FAILURE_MARK = Part(MarkRow, _FAILURE.end)

_TWINS = (
    "SELECT s.id, f.path, f.lang, t.symbol, t.kind, t.start_line, t.end_line, t.byte_start, "
    "t.byte_end, t.span_hash, t.doc_hint, s.start_line AS original_start, o.path AS original_path "
    "FROM llmc_twins t JOIN files f ON f.id = t.file_id "
    "JOIN spans s ON s.span_hash = t.span_hash JOIN files o ON o.id = s.file_id WHERE "
)
_RECORDED = (
    f"SELECT {SPAN_COLUMNS}, EXISTS (SELECT 1 FROM enrichments e WHERE "
    f"e.span_hash = s.span_hash), {list_columns(OutcomeRow, 'o')} FROM spans s "
    "CROSS JOIN llmc_outcomes o ON o.span_hash = s.span_hash "
    "CROSS JOIN files f ON f.id = s.file_id WHERE s.id > ? ORDER BY s.id LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A span as `llmc show` prints it; None for what is not there.

    `origin` is that of the enrichment, or of the failure where there is only that. `facts` are as
    `facts.codec` writes them, None unless this installation has proved them; `verdicts` are on the
    claims of the enrichment, None unless this installation has checked them.
    """

    span: Span
    summary: str | None = None
    enrichment: dict[str, Any] | None = None
    outcome: Outcome | None = None
    twin_of: str | None = None
    failure: Failure | None = None
    origin: Origin | None = None
    facts: str | None = None
    verdicts: tuple[Checked, ...] | None = None

    def for_agents(self) -> StoredResult:
        """Return it with nothing that was written elsewhere, by who knows whom."""
        if self.origin is None or self.origin.servable:
            return self
        failure = self.failure and replace(
            self.failure,
            kind=self.failure.kind if self.failure.kind in _KINDS else "unknown",
            detail=None,
            excerpt=None,
        )
        return replace(self, summary=None, enrichment=None, failure=failure)


class Results:
    """The results of one open index, for questions. Every method raises StoreError."""

    def __init__(self, db: Database, origins: Origins, verdicts: Verdicts) -> None:
        self._db = db
        self._origins = origins
        self._read_last: tuple[bytes, Mapping[str, str]] = (b"", {})  # spans are asked for by file
        self._verdicts = verdicts

    def find(self, path: str, line: int | None = None) -> list[StoredResult]:
        """Return a file's spans and twins by line, those that contain `line` if one is given."""
        condition = "f.path = ?" + (
            " AND {0}.start_line <= ? AND {0}.end_line >= ?" if line else ""
        )
        values = (path, line, line) if line else (path,)
        with self._db.freeze():
            found = self._read(condition.format("s") + " ORDER BY s.byte_start", values)
            if "llmc_twins" in self._db.list_own_tables():
                twins = map(self._read_twin, self._db.read(_TWINS + condition.format("t"), values))
                found += [twin for twin in twins if twin]
            found.sort(key=lambda result: (result.span.byte_start, -result.span.byte_end))
            return [self._with_proofs(result) for result in found]

    def list_latest(self, limit: int) -> list[StoredResult]:
        """Return the spans enriched last, the newest first."""
        order = "ORDER BY CAST({0}.created_at AS REAL) DESC, {1}.id DESC"
        # Which ones is found out first: rows are not sorted with all that they hold.
        among = (
            "SELECT n.id FROM enrichments r JOIN spans n ON n.span_hash = r.span_hash "
            f"JOIN files ON files.id = n.file_id {order.format('r', 'n')} LIMIT ?"
        )
        with self._db.freeze():
            found = self._read(f"s.id IN ({among}) {order.format('e', 's')}", (limit,))
            return [self._with_proofs(result) for result in found]

    def _with_proofs(self, result: StoredResult) -> StoredResult:
        span_hash, enrichment = result.span.span_hash, result.enrichment
        facts, verdicts = self.find_facts(span_hash), None
        if enrichment and result.origin and result.origin.made == "here":
            verdicts = self._verdicts.find(span_hash, enrichment)
        return replace(result, facts=facts, verdicts=verdicts)

    def find_facts(self, span_hash: str) -> str | None:
        """Return what this installation proved of a span, as `facts.codec` writes it, if it did."""
        mine = self._origins.mine
        if not mine or "llmc_facts" not in self._db.list_own_tables():
            return None
        row = self._db.read_first(FACTS_OF, (span_hash, mine))
        if row is None or not self._origins.verify_facts(row["mac"], row["facts"]):
            return None
        stored, facts = self._read_last
        if stored != row["facts"]:
            stored, facts = self._read_last = row["facts"], read_facts(row["facts"])
        return facts.get(make_key(span_hash))

    def find_summaries(self, hashes: Sequence[str]) -> dict[str, str]:
        """Return what is said of some spans, by their hashes, as far as it may be given to agents.

        Up to a hundred hashes.
        """
        among = f"s.span_hash IN ({', '.join('?' * len(hashes))}) AND e.span_hash IS NOT NULL"
        return {
            result.span.span_hash: result.summary
            for result in (self._read(among, hashes) if hashes else ())
            if result.origin and result.origin.servable and result.summary
        }

    def read_servable(self, page: int = 500) -> Iterator[StoredResult]:
        """Yield each span whose enrichment may be given to agents, by id; twins are left out."""
        after = -(2**63)
        query = "SELECT id FROM spans WHERE id > ? ORDER BY id LIMIT ?"
        while ids := self._db.read(query, (after, page)):
            among = "s.id > ? AND s.id <= ? AND e.span_hash IS NOT NULL ORDER BY s.id"
            for result in self._read(among, (after, ids[-1]["id"])):
                if result.origin and result.origin.servable:
                    yield result
            after = ids[-1]["id"]

    def read_recorded(self, page: int = 1000) -> Iterator[tuple[Span, Outcome, bool]]:
        """Yield each span that a run settled, its outcome and whether it is enriched, by id."""
        if "llmc_outcomes" not in self._db.list_own_tables():
            return
        after = 0
        while rows := self._db.read(_RECORDED, (after, page)):
            for row in rows:
                span = read_span(SPAN.read(row))
                outcome = read_outcome(_OUTCOME_AFTER_SPAN.read(row))
                if span and outcome:
                    yield span, outcome, bool(_STORED.read(row).stored)
            after = rows[-1]["id"]

    def find_missing(self, hashes: Sequence[str]) -> list[Span]:
        """Return the spans among some hashes that have no enrichment, and none put by."""
        put_by = {"llmc_archive", "llmc_set_aside"} & self._db.list_own_tables()
        absent = "".join(
            f" AND NOT EXISTS (SELECT 1 FROM {name} e WHERE e.span_hash = s.span_hash)"
            for name in sorted({"enrichments"} | put_by)
        )
        return read_spans(
            self._db.read(
                f"SELECT {SPAN_COLUMNS} FROM spans s JOIN files f ON f.id = s.file_id "
                f"WHERE s.span_hash IN ({', '.join('?' * len(hashes))}){absent} ORDER BY s.id",
                hashes,
            )
        )

    def _read(self, condition: str, values: Sequence[Any]) -> list[StoredResult]:
        ours = self._db.list_own_tables()
        outcomes = list_columns(OutcomeRow, "o")
        join = "LEFT JOIN llmc_outcomes o ON o.span_hash = s.span_hash"
        if "llmc_outcomes" not in ours:
            outcomes, join = ", ".join(["NULL"] * len(OutcomeRow._fields)), ""
        mark, marks, mine = self._marks("result", "s.span_hash", ours)
        rows = self._db.read(
            f"SELECT {SPAN_COLUMNS}, e.span_hash, {list_columns(ResultRow, 'e')}, {mark}, "
            f"{outcomes} FROM spans s JOIN files f ON f.id = s.file_id "
            f"LEFT JOIN enrichments e ON e.span_hash = s.span_hash {join} {marks} "
            f"WHERE {condition}",
            (*mine, *values),
        )
        found = [result for row in rows if (result := self._result(row))]
        if "llmc_failures" not in ours:
            return found
        return [result if result.enrichment else self._failed(result, ours) for result in found]

    def _marks(self, what: What, place: str, ours: set[str]) -> tuple[str, str, tuple[str, ...]]:
        """Return the columns of this installation's marks, the join that has them, its values."""
        if "llmc_origins" not in ours:
            return NO_MARKS, "", ()
        return MARK, JOINED.format(place, what), (self._origins.mine,)

    def _result(self, row: Sequence[Any]) -> StoredResult | None:
        span = read_span(SPAN.read(row))
        if span is None:
            return None
        outcome = read_outcome(_OUTCOME.read(row))
        if _STORED.read(row).stored is None:
            return StoredResult(span, outcome=outcome)
        stored = _RESULT.read(row)
        origin = self._origins.trace(span.span_hash, span.start_line, stored, _MARK.read(row))
        enrichment = read_result(stored)
        return StoredResult(span, enrichment["summary"], enrichment, outcome, origin=origin)

    def _failed(self, result: StoredResult, ours: set[str]) -> StoredResult:
        """Return a span that is not enriched with how it failed, if it did."""
        mark, marks, mine = self._marks("failure", "x.span_hash", ours)
        span_hash = result.span.span_hash
        row = self._db.read_first(
            f"SELECT {FAILURE_COLUMNS}, {mark} FROM llmc_failures x {marks} WHERE x.span_hash = ?",
            (*mine, span_hash),
        )
        if not row:
            return result
        stored = _FAILURE.read(row)
        failure, now = read_failure(stored), time.time()
        rests = self._db.read_first(
            f"SELECT 1 FROM llmc_failures x WHERE x.span_hash = :hash AND {RESTS}",
            {"hash": span_hash, "signature": stored.signature, "now": now},
        )
        if failure.retry_at > now and not rests:  # as a clock left it that was ahead
            failure = replace(failure, retry_at=min(failure.failed_at, now))
        origin = self._origins.trace(span_hash, 0, stored, _FAILURE_MARK.read(row))
        return replace(result, failure=failure, origin=origin)

    def _read_twin(self, row: Any) -> StoredResult | None:
        span = read_span(SPAN.read(row))
        originals = self._read("s.span_hash = ?", (span.span_hash,)) if span else []
        if span is None or not originals:
            return None
        enrichment, start = originals[0].enrichment, row["original_start"]
        if enrichment:
            by = measure_shift(span.start_line, start)
            enrichment = enrichment | {"evidence": move_lines(enrichment["evidence"], by)}
        place = f"{read_text(row['original_path'])}:{start}"
        return replace(originals[0], span=span, enrichment=enrichment, twin_of=place)
