"""What is asked of an index: counts, and spans with what is known of them.

Nothing here changes the index; `store.Store` adds the writing.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmc.files.owners import survey
from llmc.models import IndexPlace, Span
from llmc.store.database.custody import located, placed
from llmc.store.database.opening import connect_readonly
from llmc.store.database.shape import incomplete
from llmc.store.database.trouble import mapped
from llmc.store.origins import JOINED, MARK, NO_MARK, Origin, Origins, Result, What
from llmc.store.rows import (
    MAX_TOKENS,
    Failure,
    Outcome,
    failure_of,
    lines_apart,
    listed,
    moved,
    outcome_of,
    shown,
    span_of,
    spans_of,
)
from llmc.store.seal import Seal
from llmc.store.tables import FAILURE_COLUMNS, RESTS, RESULT_COLUMNS, SPAN_COLUMNS

_COUNT_SPANS = (
    "SELECT (SELECT count(*) FROM spans), "
    "(SELECT count(*) FROM files f CROSS JOIN spans s ON s.file_id = f.id)"
)
# Both sides come from indexes in the order of the hashes and are merged.
_COUNT_RESULTS = (
    "SELECT (SELECT count(*) FROM enrichments) - (SELECT count(*) FROM (SELECT span_hash "
    "FROM enrichments EXCEPT SELECT span_hash FROM spans ORDER BY 1 LIMIT -1))"
)
_COUNT_RESULTS_SLOWLY = (
    "SELECT count(*) FROM enrichments e JOIN spans s ON s.span_hash = e.span_hash "
    "JOIN files f ON f.id = s.file_id"
)
_COUNT_PENDING = (
    "SELECT count(*) FROM (SELECT span_hash FROM spans EXCEPT SELECT span_hash FROM enrichments "
    "EXCEPT SELECT span_hash FROM ({failures}) ORDER BY 1 LIMIT -1) p "
    "CROSS JOIN spans s ON s.span_hash = p.span_hash JOIN files f ON f.id = s.file_id"
)
_COUNT_UNMARKED = (
    "SELECT count(*) FROM (SELECT span_hash FROM enrichments EXCEPT SELECT span_hash "
    "FROM llmc_origins WHERE installation = ? AND what = 'result' ORDER BY 1 LIMIT -1)"
)
_TOKENS = (
    "SELECT "
    + ", ".join(
        f"coalesce(sum(CASE WHEN typeof({name}) = 'integer' AND {name} BETWEEN 0 AND {MAX_TOKENS} "
        f"THEN {name} END), 0)"
        for name in ("prompt_tokens", "completion_tokens")
    )
    + " FROM llmc_outcomes"
)

_KINDS = {"parse", "truncation", "validation", "runtime", "backend_error"}

__all__ = ["Failure", "Outcome", "Reader", "StoredResult", "Totals", "listed", "moved"]


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A span as `llmc show` prints it; None for what is not there.

    `origin` is that of the enrichment, or of the failure where there is only that. `facts` are as
    `facts.codec` writes them.
    """

    span: Span
    summary: str | None = None
    enrichment: dict[str, Any] | None = None
    outcome: Outcome | None = None
    twin_of: str | None = None
    failure: Failure | None = None
    origin: Origin | None = None
    facts: str | None = None

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


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of the whole index, each of its own: enriched, pending and `failed` make up `spans`.

    `claimed` spans are in work now; they are among the pending and the failed ones. `elsewhere` and
    `adopted` enrichments are among those of `by_model`.
    """

    files: int
    spans: int
    enriched: int
    pending: int
    twins: int
    by_language: dict[str, tuple[int, int, int]]
    failed: dict[str, int]
    by_model: dict[tuple[str, str], int]
    prompt_tokens: int
    completion_tokens: int
    claimed: int = 0
    elsewhere: Mapping[tuple[str, str], int] = field(default_factory=dict)
    adopted: int = 0


class Reader:
    """One open index, for questions. Use from one thread; a context manager, or close it.

    Without the `seal` of an installation, everything in it counts as made elsewhere.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, *, seal: Seal | None = None
    ) -> None:
        self.path = path
        self._db = connection
        self._origins = Origins(connection, seal)
        self._version = self._data_version()
        with mapped(path):
            self._unread = incomplete(connection)

    @classmethod
    def open_readonly(cls, index: IndexPlace | Path, *, seal: Seal | None = None) -> Self:
        """Open an index for reading; what lacks a column is left out, and told. Raises StoreError.

        Nothing is changed, not even what `Store.open` would bring up to date.
        """
        reader = cls(located(index), connect_readonly(index), seal=seal)
        if reader._unread:
            placed(index).tell(
                f"{reader.path}: what {', '.join(sorted(reader._unread))} holds is left out, since "
                "a column is missing; llmc index mends that"
            )
        return reader

    def close(self) -> None:
        """Close the index; what was committed is on disk."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _rows(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        with mapped(self.path):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """Run several questions that see the index as it is at one moment."""
        with mapped(self.path):
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK")

    def counts(self) -> tuple[int, int]:
        """Return (spans, enrichments) of the whole index, as `totals` counts them."""
        with self._one_moment():
            every, spans = self._rows(_COUNT_SPANS)[0]
            # Spans without a file are rare, and only then each enrichment is looked at.
            enrichments = self._rows(_COUNT_RESULTS if spans == every else _COUNT_RESULTS_SLOWLY)
        return spans, enrichments[0][0]

    def span_count(self) -> int:
        """Return how many spans the index has."""
        return int(self._rows(_COUNT_SPANS)[0][1])

    def changed_elsewhere(self) -> bool:
        """Tell whether another connection has changed the index since this was last asked."""
        before, self._version = self._version, self._data_version()
        return self._version != before

    def _data_version(self) -> int:
        version: int = self._rows("PRAGMA data_version")[0][0]
        return version

    def resting(self, signature: str, now: float | None = None) -> int:
        """Count the spans that failed under this signature and are left alone for now.

        A signature says what they failed with (model, prompt, schema): with another one they are
        tried again. `now` is in epoch seconds.
        """
        if "llmc_failures" not in self._ours():
            return 0
        return int(
            self._rows(
                f"SELECT count(*) FROM llmc_failures x WHERE {RESTS} AND NOT EXISTS "
                "(SELECT 1 FROM enrichments e WHERE e.span_hash = x.span_hash)",
                {"signature": signature, "now": time.time() if now is None else now},
            )[0][0]
        )

    def totals(self) -> Totals:
        """Count everything, for `llmc status`; all counts are of one moment."""
        with self._one_moment():
            return self._counted()

    def _counted(self) -> Totals:
        ours = self._ours()
        languages = self._rows(
            "SELECT f.lang, count(DISTINCT f.id), count(s.id), count(e.span_hash) FROM files f "
            "LEFT JOIN spans s ON s.file_id = f.id "
            "LEFT JOIN enrichments e ON e.span_hash = s.span_hash GROUP BY f.lang ORDER BY 3 DESC"
        )
        files, spans, enriched = (sum(row[place] for row in languages) for place in (1, 2, 3))
        outcomes = "llmc_outcomes" in ours
        read, written = self._rows(_TOKENS)[0] if outcomes else (0, 0)
        tier = "coalesce(o.tier, '-')" if outcomes else "'-'"
        join = "LEFT JOIN llmc_outcomes o ON o.span_hash = e.span_hash" if outcomes else ""
        models = self._rows(
            f"SELECT coalesce(e.model, '-'), {tier}, count(*) FROM enrichments e {join} "
            "GROUP BY 1, 2 ORDER BY 3 DESC"
        )
        elsewhere, adopted = self._not_made_here(ours)
        twins = self._rows("SELECT count(*) FROM llmc_twins") if "llmc_twins" in ours else [[0]]
        by_language: dict[str, tuple[int, int, int]] = {}
        for lang, *counts in languages:
            known = by_language.get(name := shown(lang) or "-", (0, 0, 0))
            by_language[name] = (known[0] + counts[0], known[1] + counts[1], known[2] + counts[2])
        by_model: Counter[tuple[str, str]] = Counter()
        for model, its_tier, count in models:
            by_model[shown(model) or "-", shown(its_tier) or "-"] += count
        return Totals(
            files=files,
            spans=spans,
            enriched=enriched,
            pending=self._rows(_COUNT_PENDING.format(failures=_failures(ours)))[0][0],
            twins=twins[0][0],
            by_language=by_language,
            failed=self._failed(ours),
            by_model=dict(by_model),
            prompt_tokens=read,
            completion_tokens=written,
            claimed=self._claimed() if "llmc_claims" in ours else 0,
            elsewhere=by_model if elsewhere is None else elsewhere,
            adopted=adopted,
        )

    def _not_made_here(self, ours: set[str]) -> tuple[dict[tuple[str, str], int] | None, int]:
        """Count enrichments made elsewhere by model and tier, and adopted ones; None: all are."""
        if not ("llmc_origins" in ours and self._origins.mine):
            return None, 0
        elsewhere: Counter[tuple[str, str]] = Counter()
        adopted = 0
        for result in self._origins.results("enrichments"):
            adopted += result.made == "adopted"
            if result.made == "elsewhere":
                elsewhere[self._maker(result, ours)] += 1
        return dict(elsewhere), adopted

    def _maker(self, result: Result, ours: set[str]) -> tuple[str, str]:
        """Return the model and tier of a result, as `by_model` has them."""
        query = "SELECT tier FROM llmc_outcomes WHERE span_hash = ?"
        rows = self._rows(query, (result.span_hash,)) if "llmc_outcomes" in ours else []
        model = dict(zip(RESULT_COLUMNS.split(", "), result.values, strict=True))["model"]
        return shown(model) or "-", shown(rows[0][0]) or "-" if rows else "-"

    def _failed(self, ours: set[str]) -> dict[str, int]:
        kinds: Counter[str] = Counter()
        for kind, count in self._rows(
            f"SELECT x.kind, count(*) FROM ({_failures(ours)}) x "
            "JOIN spans s ON s.span_hash = x.span_hash JOIN files f ON f.id = s.file_id "
            "WHERE NOT EXISTS (SELECT 1 FROM enrichments e WHERE e.span_hash = x.span_hash) "
            "GROUP BY x.kind ORDER BY x.kind"
        ):
            kinds[shown(kind) or "unknown"] += count
        return dict(kinds)

    def _claimed(self) -> int:
        """Count claims that count: not ended, of owners that live."""
        claims = dict(
            self._rows(
                "SELECT c.owner, count(*) FROM llmc_claims c "
                "JOIN spans s ON s.span_hash = c.span_hash WHERE c.expires > 0 AND NOT EXISTS "
                "(SELECT 1 FROM enrichments e WHERE e.span_hash = c.span_hash) GROUP BY c.owner"
            )
        )
        if not claims:
            return 0
        try:
            alive, _ = survey(self.path)
        except OSError:
            alive = frozenset()
        return sum(claims.get(owner, 0) for owner in alive)

    def spans_of(self, path: str, line: int | None = None) -> list[StoredResult]:
        """Return a file's spans and twins by line, those that contain `line` if one is given."""
        condition = "f.path = ?" + (
            " AND {0}.start_line <= ? AND {0}.end_line >= ?" if line else ""
        )
        values = (path, line, line) if line else (path,)
        found = self._results(condition.format("s") + " ORDER BY s.byte_start", values)
        if "llmc_twins" in self._ours():
            for row in self._rows(
                "SELECT s.id, f.path, f.lang, t.symbol, t.kind, t.start_line, t.end_line, "
                "t.byte_start, t.byte_end, t.span_hash, t.doc_hint, s.start_line, o.path "
                "FROM llmc_twins t JOIN files f ON f.id = t.file_id "
                "JOIN spans s ON s.span_hash = t.span_hash JOIN files o ON o.id = s.file_id "
                f"WHERE {condition.format('t')}",
                values,
            ):
                if twin := self._twin(row[:11], row[11], row[12]):
                    found.append(twin)
        found.sort(key=lambda result: (result.span.byte_start, -result.span.byte_end))
        return self._with_facts(found)

    def read_facts(self, span_hashes: Sequence[str]) -> dict[str, str]:
        """Return what is stored as proven of some spans, by their hash; `facts.codec` reads it."""
        if "llmc_facts" not in self._ours():
            return {}
        query = "SELECT span_hash, facts FROM llmc_facts WHERE span_hash = ?"
        rows = (row for each in dict.fromkeys(span_hashes) for row in self._rows(query, (each,)))
        return {row[0]: row[1] for row in rows if isinstance(row[1], str)}

    def latest(self, limit: int) -> list[StoredResult]:
        """Return the spans enriched last, the newest first."""
        return self._with_facts(
            self._results(
                "e.span_hash IS NOT NULL "
                "ORDER BY CAST(e.created_at AS REAL) DESC, s.id DESC LIMIT ?",
                (limit,),
            )
        )

    def _with_facts(self, results: Sequence[StoredResult]) -> list[StoredResult]:
        facts = self.read_facts([result.span.span_hash for result in results])
        return [replace(result, facts=facts.get(result.span.span_hash)) for result in results]

    def servable(self, page: int = 500) -> Iterator[StoredResult]:
        """Yield each span whose enrichment may be given to agents, by id; twins are left out."""
        after = -(2**63)
        query = "SELECT id FROM spans WHERE id > ? ORDER BY id LIMIT ?"
        while ids := self._rows(query, (after, page)):
            among = "s.id > ? AND s.id <= ? AND e.span_hash IS NOT NULL ORDER BY s.id"
            for result in self._results(among, (after, ids[-1][0])):
                if result.origin and result.origin.servable:
                    yield result
            after = ids[-1][0]

    def unmarked(self) -> int:
        """Count enrichments that bear no mark of this installation, without checking the marks.

        Takes half a second per million; `totals` looks at each.
        """
        if not (self._origins.mine and "llmc_origins" in self._ours()):
            return int(self._rows("SELECT count(*) FROM enrichments")[0][0])
        return int(self._rows(_COUNT_UNMARKED, (self._origins.mine,))[0][0])

    def _twin(
        self, row: Sequence[Any], original_start: object, original_path: object
    ) -> StoredResult | None:
        span = span_of(row)
        originals = self._results("s.span_hash = ?", (span.span_hash,)) if span else []
        if span is None or not originals:
            return None
        enrichment = originals[0].enrichment
        if enrichment:
            by = lines_apart(span.start_line, original_start)
            enrichment = enrichment | {"evidence": moved(enrichment["evidence"], by)}
        place = f"{shown(original_path)}:{original_start}"
        return replace(originals[0], span=span, enrichment=enrichment, twin_of=place)

    def _results(self, condition: str, values: Sequence[Any]) -> list[StoredResult]:
        results = ", ".join(f"e.{name}" for name in RESULT_COLUMNS.split(", "))
        outcomes = "o." + ", o.".join(Outcome.__slots__)
        join = "LEFT JOIN llmc_outcomes o ON o.span_hash = s.span_hash"
        if "llmc_outcomes" not in self._ours():
            outcomes, join = ", ".join(["NULL"] * len(Outcome.__slots__)), ""
        mark, marks, mine = self._marks("result")
        rows = self._rows(
            f"SELECT {SPAN_COLUMNS}, e.span_hash, {results}, {mark}, {outcomes} FROM spans s "
            "JOIN files f ON f.id = s.file_id "
            f"LEFT JOIN enrichments e ON e.span_hash = s.span_hash {join} {marks} "
            f"WHERE {condition}",
            (*mine, *values),
        )
        found = [result for row in rows if (result := self._result(row))]
        if "llmc_failures" not in self._ours():
            return found
        return [result if result.enrichment else self._failed_one(result) for result in found]

    def _marks(self, what: What, place: str = "s.span_hash") -> tuple[str, str, tuple[str, ...]]:
        """Return the columns of this installation's marks, the join that has them, its values."""
        if "llmc_origins" not in self._ours():
            return NO_MARK, "", ()
        return MARK, JOINED.format(place, what), (self._origins.mine,)

    def _result(self, row: Any) -> StoredResult | None:
        span, stored, values, rest = span_of(row[:11]), row[11], row[12:23], row[23:]
        if span is None:
            return None
        outcome = outcome_of(rest[3:])
        if stored is None:
            return StoredResult(span, outcome=outcome)
        found = _enrichment(values)
        origin = self._origins.origin("result", span.span_hash, span.start_line, values, rest[:3])
        return StoredResult(span, found["summary"], found, outcome, origin=origin)

    def _failed_one(self, result: StoredResult) -> StoredResult:
        """Return a span that is not enriched with how it failed, if it did."""
        mark, marks, mine = self._marks("failure", "x.span_hash")
        span_hash = result.span.span_hash
        rows = self._rows(
            f"SELECT {FAILURE_COLUMNS}, {mark} FROM llmc_failures x {marks} WHERE x.span_hash = ?",
            (*mine, span_hash),
        )
        if not rows:
            return result
        values, marked = rows[0][:7], rows[0][7:]
        failure, now = failure_of(values[:6]), time.time()
        rests = self._rows(
            f"SELECT 1 FROM llmc_failures x WHERE x.span_hash = :hash AND {RESTS}",
            {"hash": span_hash, "signature": values[6], "now": now},
        )
        if failure.retry_at > now and not rests:  # as a clock left it that was ahead
            failure = replace(failure, retry_at=min(failure.failed_at, now))
        origin = self._origins.origin("failure", span_hash, 0, values, marked)
        return replace(result, failure=failure, origin=origin)

    def _ours(self) -> set[str]:
        """Return which of llmc's own tables can be read: another program's index has none."""
        rows = self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {row[0].lower() for row in rows} - self._unread

    # -- what the logs are compared with -----------------------------------------------------

    def recorded(self, page: int = 1000) -> Iterator[tuple[Span, Outcome, bool]]:
        """Yield each span that a run settled, its outcome and whether it is enriched, by id."""
        if "llmc_outcomes" not in self._ours():
            return
        outcomes, after = "o." + ", o.".join(Outcome.__slots__), 0
        while rows := self._rows(
            f"SELECT {SPAN_COLUMNS}, EXISTS (SELECT 1 FROM enrichments e WHERE "
            f"e.span_hash = s.span_hash), {outcomes} FROM spans s "
            "CROSS JOIN llmc_outcomes o ON o.span_hash = s.span_hash "
            "CROSS JOIN files f ON f.id = s.file_id WHERE s.id > ? ORDER BY s.id LIMIT ?",
            (after, page),
        ):
            for row in rows:
                span, outcome = span_of(row[:11]), outcome_of(row[12:])
                if span and outcome:
                    yield span, outcome, bool(row[11])
            after = rows[-1][0]

    def enriched_elsewhere(self) -> int:
        """Count enrichments without an outcome: of another program, or back from the archive."""
        ours = (
            " WHERE NOT EXISTS (SELECT 1 FROM llmc_outcomes o WHERE o.span_hash = e.span_hash)"
            if "llmc_outcomes" in self._ours()
            else ""
        )
        return int(self._rows(f"SELECT count(*) FROM enrichments e{ours}")[0][0])

    def without_result(self, hashes: Sequence[str]) -> list[Span]:
        """Return the spans among some hashes that have no enrichment, and none put by."""
        sources = {"enrichments"} | ({"llmc_archive", "llmc_set_aside"} & self._ours())
        absent = "".join(
            f" AND NOT EXISTS (SELECT 1 FROM {name} e WHERE e.span_hash = s.span_hash)"
            for name in sorted(sources)
        )
        rows = self._rows(
            f"SELECT {SPAN_COLUMNS} FROM spans s JOIN files f ON f.id = s.file_id "
            f"WHERE s.span_hash IN ({', '.join('?' * len(hashes))}){absent} ORDER BY s.id",
            hashes,
        )
        return spans_of(rows)


def _failures(ours: set[str]) -> str:
    """Return a query for (span_hash, kind) of what failed, as far as an index knows it."""
    if "llmc_failures" in ours:
        return "SELECT span_hash, kind FROM llmc_failures"
    if "llmc_outcomes" in ours:
        return "SELECT span_hash, reason AS kind FROM llmc_outcomes WHERE result = 'fail'"
    return "SELECT NULL AS span_hash, NULL AS kind WHERE 0"


def _enrichment(values: Sequence[Any]) -> dict[str, Any]:
    """Return what a row of RESULT_COLUMNS says; what can't be used is made good."""
    enrichment = dict(zip(RESULT_COLUMNS.split(", "), values, strict=True))
    for name in ("evidence", "inputs", "outputs", "side_effects", "pitfalls"):
        enrichment[name] = listed(enrichment[name])
    for name in ("summary", "tags", "model", "schema_ver", "usage_snippet"):
        enrichment[name] = shown(enrichment[name])
    created = enrichment["created_at"]
    enrichment["created_at"] = created if type(created) is int else shown(created)
    enrichment["tags"] = enrichment["tags"].split(",") if enrichment["tags"] else []
    return enrichment
