"""What was found of the claims of a stored enrichment: kept with it, and believed only with it.

A row is sealed over its span's hash and the mark of the result, which is itself over every word of
that: verdicts can't be put beside another text, and those of another installation are never read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmc.models import EVIDENCE_FIELDS, Ruling, Verdict
from llmc.store.database.handle import Database
from llmc.store.origins import Origins
from llmc.store.tables.parts import Part
from llmc.store.tables.values import make_storable
from llmc.store.tables.verdicts import (
    ALL_COUNTS,
    END_VERDICTS,
    PUT_VERDICTS,
    SEALED_COUNTS,
    SUMS,
    VERDICTS_OF,
    CountRow,
    VerdictRow,
)

if TYPE_CHECKING:
    from llmc.models import Enrichment

MAX_VERDICTS = 500
"""Kept of one result; one of more claims is no result that a person would read."""

MAX_REASON_CHARS = 300
_MAX_KIND_CHARS = 40
_DROPPED = -1
_LETTERS: dict[Ruling, str] = {"proven": "p", "not provable": "n", "refuted": "r"}
_RULINGS = {letter: ruling for ruling, letter in _LETTERS.items()}
_VERDICTS = Part(VerdictRow)
_TABLES = {"llmc_verdicts", "llmc_origins"}


@dataclass(frozen=True, slots=True)
class Checked:
    """A claim of a stored enrichment, and what was found of it; `claim` is None if it was dropped.

    `place` is the number of its entry in a list, or where a sentence of the summary begins.
    """

    field: str
    place: int
    claim: str | None
    ruling: Ruling
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClaimCounts:
    """The claims of `results` enrichments that were checked; `dropped` ones by kind."""

    results: int = 0
    proven: int = 0
    not_provable: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


class Verdicts:
    """The verdicts of this installation in one open index."""

    def __init__(self, db: Database, origins: Origins) -> None:
        self._db = db
        self._origins = origins

    def keep(
        self,
        span_hash: str,
        mark: Sequence[Any] | None,
        result: Enrichment,
        verdicts: Sequence[Verdict],
    ) -> tuple[Any, ...] | None:
        """Keep the verdicts on a result, whose mark's row this is, in place of earlier ones.

        Returns their row; what has no mark keeps no verdicts. Part of the transaction that stores
        the result.
        """
        mine = self._origins.mine
        if not verdicts or mark is None:
            self._db.execute(END_VERDICTS, (span_hash, mine))
            return None
        counts, text = write_verdicts(result, verdicts)
        counted = self._origins.sign_verdicts(span_hash, mark[-1], *counts)
        mac = self._origins.sign_verdicts(span_hash, mark[-1], *counts, text)
        row = (span_hash, mine, *counts, counted, text, mac)
        self._db.execute(PUT_VERDICTS, row)
        return row

    def find(self, span_hash: str, enrichment: Mapping[str, Any]) -> tuple[Checked, ...] | None:
        """Return what was found here of a result that was made here; None if it wasn't checked.

        Raises StoreError.
        """
        mine = self._origins.mine
        if not (mine and self._db.list_own_tables() >= _TABLES):
            return None
        found = self._db.read_first(VERDICTS_OF, (span_hash, mine))
        if found is None:
            return None
        row = _VERDICTS.read(found)
        said = (*row.counts, row.verdicts)
        if not self._origins.verify_verdicts(row.mac, span_hash, found["mark"], *said):
            return None
        return tuple(_read(json.loads(row.verdicts), enrichment))

    def count(self, without: Collection[str] = ()) -> ClaimCounts:
        """Count the claims of results in use, but those of some spans. Raises StoreError."""
        mine = self._origins.mine
        if not (mine and self._db.list_own_tables() >= _TABLES):
            return ClaimCounts()
        rows: Counter[CountRow] = Counter()
        verify = self._origins.verify_verdicts
        with self._db.freeze():
            for proven, left, kinds, mac, span_hash, mark in self._db.execute(ALL_COUNTS, (mine,)):
                if span_hash in without or not verify(mac, span_hash, mark, proven, left, kinds):
                    continue
                rows[CountRow(proven, left, kinds)] += 1
        return _add_up(rows)

    def find_unsound(self, where: str, values: Sequence[object]) -> set[Any]:
        """Return the spans whose verdicts have a seal that is not over what they add up to.

        `where` is a condition on the verdicts, `r`. Raises UnicodeError as `read_plain` does.
        """
        query, verify = f"{SEALED_COUNTS} {where}", self._origins.verify_verdicts
        found = self._db.read_plain(query, (self._origins.mine, *values))
        return {name for *counts, mac, name, mark in found if not verify(mac, name, mark, *counts)}

    def count_sound(self, without: Collection[str]) -> ClaimCounts:
        """Count as `count` does, where all verdicts are sound but those of some spans."""
        values = self._origins.mine, json.dumps(sorted(without))
        found = self._db.read(SUMS, values)
        return _add_up({CountRow._make(counts): times for *counts, times in found})


def _add_up(rows: Mapping[CountRow, int]) -> ClaimCounts:
    """Return the counts of so many results that add up to each."""
    dropped: Counter[str] = Counter()
    for row, times in rows.items():
        for kind in row.dropped.split():
            dropped[kind] += times
    return ClaimCounts(
        results=sum(rows.values()),
        proven=sum(row.proven * times for row, times in rows.items()),
        not_provable=sum(row.not_provable * times for row, times in rows.items()),
        dropped=dict(sorted(dropped.items())),
    )


def write_verdicts(result: Enrichment, verdicts: Sequence[Verdict]) -> tuple[CountRow, str]:
    """Return what the row of the verdicts on a result has; one on what isn't in it isn't kept."""
    places = _Places(result)
    entries: list[list[Any]] = []
    for verdict in verdicts:
        if verdict.field not in EVIDENCE_FIELDS or len(entries) == MAX_VERDICTS:
            continue
        place, length = _DROPPED, 0
        if verdict.ruling != "refuted":
            place, length = places.find(verdict)
            if place == _DROPPED:
                continue
        kind = "-".join(make_storable(verdict.kind)[:_MAX_KIND_CHARS].split())
        reason = make_storable(verdict.reason[:MAX_REASON_CHARS])
        number, letter = EVIDENCE_FIELDS.index(verdict.field), _LETTERS[verdict.ruling]
        entries.append([number, place, length, letter, kind, reason])
    rulings = Counter(entry[3] for entry in entries)
    dropped = " ".join(entry[4] for entry in entries if entry[3] == "r")
    counts = CountRow(rulings["p"], rulings["n"], dropped)
    return counts, json.dumps(entries, separators=(",", ":"))


class _Places:
    """Where the claims of a result stand in it; each place is given out once."""

    def __init__(self, result: Enrichment) -> None:
        self._result = result
        self._taken: set[tuple[str, int]] = set()
        self._read_to = 0

    def find(self, verdict: Verdict) -> tuple[int, int]:
        """Return the place and the length of a claim, as a row has them."""
        claim, value = verdict.claim, getattr(self._result, verdict.field)
        if verdict.field == "summary_120w":
            start = value.find(claim, self._read_to)
            if start != _DROPPED:
                self._read_to = start + len(claim)
            return start, len(claim)
        entries = value if isinstance(value, list) else [value]
        for place, entry in enumerate(entries):
            if entry == claim and (verdict.field, place) not in self._taken:
                self._taken.add((verdict.field, place))
                return place, 0
        return _DROPPED, 0


def _read(entries: Sequence[Sequence[Any]], enrichment: Mapping[str, Any]) -> Iterator[Checked]:
    """Yield the verdicts of a row that was verified, on an enrichment as it is read."""
    for number, place, length, letter, kind, reason in entries:
        name = EVIDENCE_FIELDS[number]
        value = enrichment["summary" if name == "summary_120w" else name]
        claim = None
        if place != _DROPPED:
            claim = _cut(value, place, length)
        yield Checked(name, place, claim, _RULINGS[letter], kind, reason)


def _cut(value: Any, place: int, length: int) -> str:
    if isinstance(value, list):
        return str(value[place])
    return str(value)[place : place + length] if length else str(value)
