"""A real SQLite index in which replies are stored, and read back as `llmc show` would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from llmc.errors import BackendError
from llmc.models import Enrichment, Span
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome


class Index:
    """A real index of some spans, and what comes of storing results for them.

    Make it with as many spans as there are results in a batch.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._store = Store.open(path, create=True)
        spans = [
            ParsedSpan(f"f{n}", "function", n, n, n, n + 1, f"sha256:{n:064}") for n in range(size)
        ]
        self._store.spans.put_file(ParsedFile("a.py", "python", "0" * 64, size, 1.0, tuple(spans)))
        self._spans: list[Span] = [found.span for found in self._store.results.find("a.py")]

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def lost(self, outcomes: Sequence[Enrichment | BackendError]) -> Iterator[int]:
        """Store a batch in one transaction; yield the positions of those not read back equal.

        A span that failed loses no earlier result, nor what is known of it; where there is none,
        it is the outcome of the failure that is compared.
        """
        with self._store.transaction():
            for span, outcome in zip(self._spans, outcomes, strict=False):
                row = told(outcome)
                if isinstance(outcome, BackendError):
                    self._store.save_failure(span, row)
                else:
                    self._store.save_enrichment(span, outcome, schema_version="v1", outcome=row)
        found = self._store.results.find("a.py")
        for position, (outcome, stored) in enumerate(zip(outcomes, found, strict=False)):
            if isinstance(outcome, BackendError):
                earlier = stored.enrichment is not None
                same = stored.outcome == told(outcome) or earlier
            else:
                same = stored.enrichment is not None and kept(stored.enrichment) == kept(
                    wanted(outcome)
                )
            if not same:
                yield position


def told(outcome: Enrichment | BackendError) -> Outcome:
    detail = str(outcome)[:1000] if isinstance(outcome, BackendError) else None
    result = "pass" if detail is None else "fail"
    return Outcome(result, "success", detail, "7b", "ollama", "tiny", 1, 0, 0, 1, 5.0)


def wanted(result: Enrichment) -> dict[str, object]:
    """Return the columns that a result must give."""
    row = result.model_dump()
    named = result.model_fields_set
    return {
        **{name: row[name] for name in ("inputs", "outputs", "side_effects", "pitfalls")},
        "summary": row["summary_120w"],
        "usage_snippet": row["usage_snippet"],
        "evidence": row["evidence"],
        "tags": row["tags"],
        "model": row["model"] if "model" in named else "tiny",
        "schema_ver": row["schema_version"] if "schema_version" in named else "v1",
        "created_at": 5,
    }


def kept(row: dict[str, object]) -> dict[str, object]:
    """Return a row with its tags as they are stored, in one text."""
    tags = row["tags"]
    return {**row, "tags": ",".join(tags) if isinstance(tags, list) else tags}
