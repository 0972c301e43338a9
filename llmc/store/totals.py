"""Counts: of everything, for `llmc status`, and of a few things, for a run."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llmc.store.checks import Checks, Seen
from llmc.store.database.handle import Database
from llmc.store.origins import Origins, Result
from llmc.store.owners import survey
from llmc.store.retries import REFUSED_PAUSES_SEC
from llmc.store.tables.failures import RESTS
from llmc.store.tables.outcomes import SUM_TOKENS
from llmc.store.tables.values import read_text
from llmc.store.verdicts import ClaimCounts, Verdicts

_COUNT_SPANS = "SELECT count(*) FROM files f CROSS JOIN spans s ON s.file_id = f.id"
_COUNT_ROWS = "SELECT count(*) FROM spans"
# Both sides come from indexes in the order of the hashes and are merged.
_COUNT_RESULTS = (
    "SELECT (SELECT count(span_hash) FROM enrichments) - (SELECT count(span_hash) FROM "
    "(SELECT span_hash FROM enrichments EXCEPT SELECT span_hash FROM spans ORDER BY 1 LIMIT -1))"
)
_COUNT_RESULTS_SLOWLY = (
    "SELECT count(*) FROM enrichments e JOIN spans s ON s.span_hash = e.span_hash "
    "JOIN files f ON f.id = s.file_id"
)
_COUNT_UNMARKED = (
    "SELECT count(*) FROM (SELECT span_hash FROM enrichments EXCEPT SELECT span_hash "
    "FROM llmc_origins WHERE installation = ? AND what = 'result' ORDER BY 1 LIMIT -1)"
)
_ANY_MARK = "SELECT 1 FROM llmc_origins WHERE installation = ? AND what = 'result' LIMIT 1"
_COUNT_RESTING = (
    f"SELECT count(*) FROM llmc_failures x WHERE {RESTS} AND NOT EXISTS "
    "(SELECT 1 FROM enrichments e WHERE e.span_hash = x.span_hash)"
)
# Each table is read once, in its own order: spans by their file, enrichments by their hash.
_BY_LANGUAGE = (
    "SELECT f.lang, min(f.id) AS file_id, count(*) AS files, coalesce(sum(n.spans), 0) AS spans "
    "FROM files f LEFT JOIN (SELECT file_id, count(*) AS spans FROM spans GROUP BY file_id) n "
    "ON n.file_id = f.id GROUP BY f.lang ORDER BY 3 DESC"
)
# Of the first language, which has most of the spans, it is known by the sum.
_ENRICHED_BY_LANGUAGE = (
    "SELECT f.lang, count(*) AS enriched FROM files f CROSS JOIN spans s ON s.file_id = f.id "
    "CROSS JOIN enrichments e ON e.span_hash = s.span_hash "
    "WHERE f.lang IS NOT (SELECT lang FROM files WHERE id = ?) GROUP BY f.lang"
)
_BY_MODEL = (
    "SELECT coalesce(e.model, '-') AS model, {tier} AS tier, count(*) AS count "
    "FROM enrichments e {join} {which} GROUP BY 1, 2 ORDER BY 3 DESC"
)
_UNMARKED = (
    "WHERE NOT EXISTS (SELECT 1 FROM llmc_origins m WHERE m.span_hash = e.span_hash "
    "AND m.installation = ? AND m.what = 'result')"
)
_AMONG = "WHERE e.span_hash IN (SELECT value FROM json_each(?))"
_COUNT_ADOPTED = (
    "SELECT count(*) FROM llmc_origins m WHERE m.installation = ? AND m.what = 'result' "
    "AND m.adopted_at IS NOT NULL AND m.span_hash NOT IN (SELECT value FROM json_each(?)) "
    "AND EXISTS (SELECT 1 FROM enrichments e WHERE e.span_hash = m.span_hash)"
)
_FAILED = (
    "SELECT x.kind, count(*) AS count FROM ({failures}) x "
    "JOIN spans s ON s.span_hash = x.span_hash JOIN files f ON f.id = s.file_id "
    "WHERE NOT EXISTS (SELECT 1 FROM enrichments e WHERE e.span_hash = x.span_hash) "
    "GROUP BY x.kind ORDER BY x.kind"
)
_CLAIMED = (
    "SELECT c.owner, count(*) AS count FROM llmc_claims c "
    "JOIN spans s ON s.span_hash = c.span_hash WHERE c.expires > 0 AND NOT EXISTS "
    "(SELECT 1 FROM enrichments e WHERE e.span_hash = c.span_hash) GROUP BY c.owner"
)
_NEXT_RETRY = (
    "SELECT min(x.retry_at) AS first FROM llmc_failures x "
    "JOIN spans s ON s.span_hash = x.span_hash WHERE x.retry_at > ? AND x.retry_at < ? "
    "AND NOT EXISTS (SELECT 1 FROM enrichments e WHERE e.span_hash = x.span_hash)"
)


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of the whole index, each of its own: enriched, pending and `failed` make up `spans`.

    `claimed` spans are in work now; they are among the pending and the failed ones. `elsewhere` and
    `adopted` enrichments are among those of `by_model`. Of the claims of `checked` enrichments, all
    made here, so many were `proven` or `not_provable`; refuted ones were `dropped`, by kind.
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
    checked: int = 0
    proven: int = 0
    not_provable: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Made:
    """Enrichments made elsewhere by model and tier, None for all; how many are adopted; the claims
    of those made here.
    """

    elsewhere: dict[tuple[str, str], int] | None
    adopted: int = 0
    claims: ClaimCounts = field(default_factory=ClaimCounts)
    seen: Seen = field(default_factory=Seen)


class Counts:
    """The counts of one open index. Every method raises StoreError."""

    def __init__(self, db: Database, origins: Origins, verdicts: Verdicts) -> None:
        self._db = db
        self._origins = origins
        self._checks = Checks(db, origins, verdicts)
        self._verdicts = verdicts

    def count_results(self) -> tuple[int, int]:
        """Return (spans, enrichments) of the whole index, as `count_all` counts them."""
        with self._db.freeze():
            spans = self.count_spans()
            return spans, self._count_enriched(spans)

    def _count_enriched(self, spans: int) -> int:
        # Spans without a file are rare, and only then each enrichment is looked at.
        usual = spans == self._db.count(_COUNT_ROWS)
        return self._db.count(_COUNT_RESULTS if usual else _COUNT_RESULTS_SLOWLY)

    def count_spans(self) -> int:
        """Return how many spans the index has."""
        return self._db.count(_COUNT_SPANS)

    def count_resting(self, signature: str, now: float | None = None) -> int:
        """Count the spans that failed under this signature and are left alone for now.

        A signature says what they failed with (model, prompt, schema): with another one they are
        tried again. `now` is in epoch seconds.
        """
        if "llmc_failures" not in self._db.list_own_tables():
            return 0
        values = {"signature": signature, "now": time.time() if now is None else now}
        return self._db.count(_COUNT_RESTING, values)

    def find_next_retry(self, now: float | None = None) -> float | None:
        """Return when the first of the spans that rest is tried again, in epoch seconds."""
        if "llmc_failures" not in self._db.list_own_tables():
            return None
        now = time.time() if now is None else now
        # A clock that was ahead left times beyond the longest pause: those don't count.
        row = self._db.read_first(_NEXT_RETRY, (now, now + REFUSED_PAUSES_SEC[1] + 86400))
        return float(row["first"]) if row and row["first"] is not None else None

    def count_unmarked(self) -> int:
        """Count enrichments that bear no mark of this installation, without checking the marks.

        Takes half a second per million; `count_all` looks at each.
        """
        if not (self._origins.mine and "llmc_origins" in self._db.list_own_tables()):
            return self._db.count("SELECT count(*) FROM enrichments")
        return self._db.count(_COUNT_UNMARKED, (self._origins.mine,))

    def count_unrecorded(self) -> int:
        """Count enrichments without an outcome: of another program, or back from the archive."""
        query = "SELECT count(*) FROM enrichments e"
        if "llmc_outcomes" in self._db.list_own_tables():
            query += " WHERE NOT EXISTS (SELECT 1 FROM llmc_outcomes o WHERE "
            query += "o.span_hash = e.span_hash)"
        return self._db.count(query)

    def count_all(self) -> Totals:
        """Count everything, for `llmc status`; all counts are of one moment."""
        return self.count_since(Seen())[0]

    def count_since(self, before: Seen) -> tuple[Totals, Seen]:
        """Count everything, but check only the marks of what isn't as it was then."""
        with self._db.freeze():
            return self._count_since(before, self._db.list_own_tables())

    def _count_since(self, before: Seen, ours: set[str]) -> tuple[Totals, Seen]:
        languages = self._db.read(_BY_LANGUAGE)
        spans = sum(row["spans"] for row in languages)
        enriched = self._count_by_language(languages, spans)
        outcomes = "llmc_outcomes" in ours
        tokens = self._db.read_first(SUM_TOKENS) if outcomes else None
        by_model = self._by_model(outcomes=outcomes)
        made = self._find_made(ours, before)
        claims = made.claims
        failed = self._failed(ours)
        totals = Totals(
            files=sum(row["files"] for row in languages),
            spans=spans,
            enriched=sum(enriched.values()),
            pending=spans - sum(enriched.values()) - sum(failed.values()),
            twins=self._db.count("SELECT count(*) FROM llmc_twins") if "llmc_twins" in ours else 0,
            by_language=_by_language(languages, enriched),
            failed=failed,
            by_model=by_model,
            prompt_tokens=tokens["prompt_tokens"] if tokens else 0,
            completion_tokens=tokens["completion_tokens"] if tokens else 0,
            claimed=self.count_claimed(),
            elsewhere=by_model if made.elsewhere is None else made.elsewhere,
            adopted=made.adopted,
            checked=claims.results,
            proven=claims.proven,
            not_provable=claims.not_provable,
            dropped=claims.dropped,
        )
        return totals, made.seen

    def _count_by_language(self, languages: list[sqlite3.Row], spans: int) -> dict[object, int]:
        """Return how many spans of each language are enriched; the first one has most spans."""
        if not languages:
            return {}
        found = self._db.read(_ENRICHED_BY_LANGUAGE, (languages[0]["file_id"],))
        enriched = {row["lang"]: row["enriched"] for row in found}
        rest = self._count_enriched(spans) - sum(enriched.values())
        return enriched | {languages[0]["lang"]: rest}

    def _by_model(
        self, which: str = "", values: tuple[str, ...] = (), *, outcomes: bool
    ) -> dict[tuple[str, str], int]:
        tier = "coalesce(o.tier, '-')" if outcomes else "'-'"
        join = "LEFT JOIN llmc_outcomes o ON o.span_hash = e.span_hash" if outcomes else ""
        by_model: Counter[tuple[str, str]] = Counter()
        for row in self._db.read(_BY_MODEL.format(tier=tier, join=join, which=which), values):
            by_model[_named(row["model"]), _named(row["tier"])] += row["count"]
        return dict(by_model)

    def _find_made(self, ours: set[str], before: Seen) -> _Made:
        mine, outcomes = (self._origins.mine,), "llmc_outcomes" in ours
        if not ("llmc_origins" in ours and all(mine) and self._db.read_first(_ANY_MARK, mine)):
            return _Made(None)
        seen = self._checks.check(before)
        if seen is None:
            return self._look_at_each(ours)
        invalid = json.dumps(sorted(seen.invalid))
        by_maker = Counter(self._by_model(_AMONG, (invalid,), outcomes=outcomes))
        if self.count_unmarked():
            by_maker.update(self._by_model(_UNMARKED, mine, outcomes=outcomes))
        adopted = self._db.count(_COUNT_ADOPTED, (*mine, invalid))
        there = "llmc_verdicts" in ours
        wrong = seen.invalid | seen.unsound
        claims = self._verdicts.count_sound(without=wrong) if there else ClaimCounts()
        return _Made(dict(by_maker), adopted, claims, seen)

    def _look_at_each(self, ours: set[str]) -> _Made:
        by_maker: Counter[tuple[str, str]] = Counter()
        adopted, found = 0, set()
        for result in self._origins.read_results("enrichments"):
            adopted += result.made == "adopted"
            if result.made == "elsewhere":
                by_maker[self._find_maker(result, ours)] += 1
                found.add(result.span_hash)
        return _Made(dict(by_maker), adopted, self._verdicts.count(without=found))

    def _find_maker(self, result: Result, ours: set[str]) -> tuple[str, str]:
        """Return the model and tier of a result, as `by_model` has them."""
        query = "SELECT tier FROM llmc_outcomes WHERE span_hash = ?"
        known = "llmc_outcomes" in ours
        row = self._db.read_first(query, (result.span_hash,)) if known else None
        return _named(result.row.model), _named(row["tier"]) if row else "-"

    def _failed(self, ours: set[str]) -> dict[str, int]:
        kinds: Counter[str] = Counter()
        for row in self._db.read(_FAILED.format(failures=_list_failures(ours))):
            kinds[read_text(row["kind"]) or "unknown"] += row["count"]
        return dict(kinds)

    def count_claimed(self) -> int:
        """Count claims that count: not ended, of owners that live."""
        if "llmc_claims" not in self._db.list_own_tables():
            return 0
        claims = {row["owner"]: row["count"] for row in self._db.read(_CLAIMED)}
        if not claims:
            return 0
        try:
            alive, _ = survey(self._db.path)
        except OSError:
            alive = frozenset()
        return sum(claims.get(owner, 0) for owner in alive)


def _by_language(
    rows: Iterable[sqlite3.Row], enriched_of: Mapping[object, int]
) -> dict[str, tuple[int, int, int]]:
    """Return (files, spans, enriched) of each language; two may be shown by one name."""
    by_language: dict[str, tuple[int, int, int]] = {}
    for row in rows:
        files, spans, enriched = by_language.get(name := _named(row["lang"]), (0, 0, 0))
        by_language[name] = (
            files + row["files"],
            spans + row["spans"],
            enriched + enriched_of.get(row["lang"], 0),
        )
    return by_language


def _named(value: object) -> str:
    return read_text(value) or "-"


def _list_failures(ours: set[str]) -> str:
    """Return a query for (span_hash, kind) of what failed, as far as an index knows it."""
    if "llmc_failures" in ours:
        return "SELECT span_hash, kind FROM llmc_failures"
    if "llmc_outcomes" in ours:
        return "SELECT span_hash, reason AS kind FROM llmc_outcomes WHERE result = 'fail'"
    return "SELECT NULL AS span_hash, NULL AS kind WHERE 0"
