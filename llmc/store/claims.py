"""Which spans are being worked on, so that several processes can share an index.

A claim is a row: this span is that owner's. It counts until somebody ends it: its owner, or
another who finds that owner dead, or stalled. Wall clocks jump and differ between machines, so a
lease is not compared with one: an owner renews its claims by writing a new number, and who sees
the same number for a lease's time, by a clock of its own that only goes forward, knows that the
owner is stopped or asleep. Nothing here knows what work is done on a span.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

from llmc.errors import StoreError
from llmc.models import Span
from llmc.store.database.handle import Database
from llmc.store.database.trouble import explain
from llmc.store.owners import survey
from llmc.store.tables.failures import RESTS
from llmc.store.tables.spans import SPAN_COLUMNS, read_spans

_WINDOW = 1_000
"""Ids looked through in order before all spans are compared with all enrichments."""

_AHEAD = 1_000
"""Free spans remembered from such a comparison, so that it is rare."""

_SPREAD = 4
"""How many times as many spans are looked at as are wanted, where others are after them too."""

_PENDING = "NOT EXISTS (SELECT 1 FROM enrichments e WHERE e.span_hash = s.span_hash)"
_WANTED = (
    f"{_PENDING} "
    "AND NOT EXISTS (SELECT 1 FROM llmc_failures x WHERE x.span_hash = s.span_hash "
    f"AND {RESTS}) "
    "AND (:newest IS NULL OR EXISTS "
    "(SELECT 1 FROM files n WHERE n.id = s.file_id AND n.mtime <= :newest))"
)
_FREE = (
    f"{_WANTED} AND NOT EXISTS (SELECT 1 FROM llmc_claims c WHERE c.span_hash = s.span_hash "
    "AND c.expires > 0)"
)
_NEXT = (
    f"SELECT s.id FROM spans s WHERE s.id > :after AND s.id <= :last AND {_FREE} "
    "ORDER BY s.id LIMIT :limit"
)
# Both sides come from indexes in the order of the hashes and are merged: ten times as fast as by id
# where nearly all spans are enriched. Without the LIMIT, SQLite sorts instead.
_ALL = (
    "SELECT s.id FROM (SELECT span_hash FROM spans EXCEPT SELECT span_hash FROM enrichments "
    "ORDER BY 1 LIMIT -1) p CROSS JOIN spans s ON s.span_hash = p.span_hash "
    f"WHERE s.id > :after AND {_FREE} ORDER BY +s.id LIMIT :limit"
)
_STILL_FREE = (
    f"SELECT {SPAN_COLUMNS} FROM json_each(:ids) j CROSS JOIN spans s ON s.id = j.value "
    f"CROSS JOIN files f ON f.id = s.file_id WHERE {_FREE} ORDER BY s.id"
)
_WANTED_AMONG = (
    f"SELECT {SPAN_COLUMNS} FROM json_each(:hashes) j CROSS JOIN spans s ON s.span_hash = j.value "
    f"CROSS JOIN files f ON f.id = s.file_id WHERE {_WANTED} ORDER BY s.id"
)
_END = "DELETE FROM llmc_claims WHERE span_hash = ? AND owner = ?"
_LAST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which spans may be claimed; see `Claims.take`."""

    newest_mtime: float | None = None
    signature: str | None = None


class Claims:
    """The claims of one owner in one open index."""

    def __init__(
        self,
        db: Database,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._owner = owner
        self._clock = clock
        self._search = _Search(db)
        self._seen: dict[str, tuple[float, float]] = {}
        """Of each other owner the newest renewal, and since when that has been the newest."""

    def take(
        self,
        after_id: int,
        limit: int,
        lease_sec: float,
        *,
        newest_mtime: float | None = None,
        signature: str | None = None,
    ) -> list[Span]:
        """Claim up to `limit` free spans whose id is above `after_id`; return them by id.

        Left out are spans claimed by a living owner, of files changed after `newest_mtime` (epoch
        seconds), and those that failed under this very `signature` and rest (None: none rest).
        Raises StoreError.
        """
        wanted = _Wanted(newest_mtime, signature)
        # Looking takes no lock; what was found is looked at again once the lock is there.
        with explain(self._db.path):
            spread = _SPREAD if self._end_others(lease_sec) else 1
            taken: list[Span] = []
            while len(taken) < limit:
                ids = self._search.find_free(after_id, limit * spread, wanted)
                if not ids:
                    break
                taken += self._take_of(ids, limit - len(taken), lease_sec, wanted)
                after_id = ids[-1]
        return taken

    def _take_of(
        self, ids: Sequence[int], limit: int, lease_sec: float, wanted: _Wanted
    ) -> list[Span]:
        with self._write():
            now = time.time()
            values = _values(wanted, now) | {"ids": json.dumps(ids)}
            spans = read_spans(self._db.execute(_STILL_FREE, values).fetchall())[:limit]
            self._db.execute_many(
                "INSERT OR REPLACE INTO llmc_claims (span_hash, owner, expires) VALUES (?, ?, ?)",
                [(span.span_hash, self._owner, now + lease_sec) for span in spans],
            )
        return spans

    def take_over(
        self,
        lease_sec: float,
        *,
        newest_mtime: float | None = None,
        signature: str | None = None,
    ) -> list[Span]:
        """Claim what dead owners had claimed or others let expire; return what still is pending.

        Left out, and free for everybody, are files changed lately and what rests, as in `take`.
        Raises StoreError.
        """
        wanted = _Wanted(newest_mtime, signature)
        with explain(self._db.path):
            self._end_others(lease_sec)
            ended, values = "owner <> ? AND expires <= 0", (self._owner,)
            if not self._db.execute(
                f"SELECT 1 FROM llmc_claims WHERE {ended} LIMIT 1", values
            ).fetchone():
                return []
            with self._write():
                hashes = {
                    row["span_hash"]
                    for row in self._db.execute(
                        f"UPDATE llmc_claims SET owner = ?, expires = ? WHERE {ended} "
                        "RETURNING span_hash",
                        (self._owner, time.time() + lease_sec, *values),
                    ).fetchall()
                }
                asked = json.dumps([name for name in hashes if isinstance(name, str)])
                wanting = _values(wanted, time.time()) | {"hashes": asked}
                spans = read_spans(self._db.execute(_WANTED_AMONG, wanting).fetchall())
                self.release(hashes - {span.span_hash for span in spans})
        return spans

    def owns(self, span_hash: str) -> bool:
        """Tell whether a claim on a span still is ours and counts. Raises StoreError.

        To be asked after a `renew` that came late: what had expired may be another's by then.
        """
        with explain(self._db.path):
            found = self._db.execute(
                "SELECT 1 FROM llmc_claims WHERE span_hash = ? AND owner = ? AND expires > 0",
                (span_hash, self._owner),
            )
            return found.fetchone() is not None

    def renew(self, lease_sec: float) -> int:
        """Renew every claim, those that were ended too; return how many are still ours."""
        with self._write():
            return self._db.execute(
                "UPDATE llmc_claims SET expires = ? WHERE owner = ?",
                (time.time() + lease_sec, self._owner),
            ).rowcount

    def release(self, span_hashes: Iterable[str]) -> None:
        """End the claims on some spans; one that is another's meanwhile stays."""
        with self._write():
            self._db.execute_many(_END, [(span_hash, self._owner) for span_hash in span_hashes])

    def end(self, span_hash: str) -> None:
        """End the claim on a span, as part of the transaction that settles it."""
        self._db.execute(_END, (span_hash, self._owner))

    def give_up(self) -> None:
        """End all claims if that can be done at once; otherwise they end with their owner."""
        with suppress(StoreError), explain(self._db.path):
            mine = (self._owner,)
            if self._db.execute(
                "SELECT 1 FROM llmc_claims WHERE owner = ? LIMIT 1", mine
            ).fetchone():
                with self._write(patience_sec=1.0):
                    self._db.execute("DELETE FROM llmc_claims WHERE owner = ?", mine)

    def _write(self, patience_sec: float | None = None) -> AbstractContextManager[None]:
        # After a power failure no owner lives, so no claim need be on the disk before it counts.
        return self._db.write(lasting=False, patience_sec=patience_sec)

    def _end_others(self, lease_sec: float) -> bool:
        """End the claims of owners that are dead or stalled; tell whether others have claims.

        An owner registers before it claims and never comes back: one that is named in a claim and
        doesn't live when looked for afterwards is dead for good.
        """
        rows = self._db.execute(
            "SELECT owner, max(expires) AS renewal FROM llmc_claims "
            "WHERE owner <> ? AND expires > 0 GROUP BY owner",
            (self._owner,),
        ).fetchall()
        if not rows:
            return False
        try:
            alive, _ = survey(self._db.path, self._owner)
        except OSError:
            return True  # can't be told now, as when too many files are open
        over = [
            (owner, renewal)
            for owner, renewal in rows
            if owner not in alive or self._is_stalled(owner, renewal, lease_sec)
        ]
        if over:
            with self._write():  # a renewal in between counts
                self._db.execute_many(
                    "UPDATE llmc_claims SET expires = 0 WHERE owner = ? AND expires <= ?", over
                )
        return len(over) < len(rows)

    def _is_stalled(self, owner: str, renewal: float, lease_sec: float) -> bool:
        """Tell whether an owner's claims have been seen for `lease_sec` without a renewal."""
        now = self._clock()
        newest, since = self._seen.get(owner, (renewal, now))
        if newest != renewal:
            since = now
        self._seen[owner] = (renewal, since)
        return now - since > lease_sec


class _Search:
    """Finds free spans by id, also where the next one lies behind a million enriched ones."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._wanted = _Wanted()
        self._after = 0
        self._known_to = 0
        self._known: list[int] = []

    def find_free(self, after_id: int, count: int, wanted: _Wanted) -> list[int]:
        """Return the ids of up to `count` free spans above `after_id`; each may be taken by now."""
        going_on = wanted == self._wanted and self._after < after_id < self._known_to
        self._wanted, self._after = wanted, after_id
        if not going_on:
            self._known_to, self._known = 0, []
        ahead = [span_id for span_id in self._known if span_id > after_id]
        if ahead:
            return ahead[:count]
        after_id = max(after_id, self._known_to)
        return self._look(after_id, count)

    def _look(self, after_id: int, count: int) -> list[int]:
        last = min(after_id + _WINDOW, _LAST_ID)
        found = self._ids(_NEXT, {"after": after_id, "last": last, "limit": count})
        if len(found) == count:
            return found
        newest = self._db.execute("SELECT max(id) AS newest FROM spans").fetchone()["newest"] or 0
        if last >= newest:
            return found
        ahead = max(count, _AHEAD)
        self._known = self._ids(_ALL, {"after": after_id, "limit": ahead})
        self._known_to = self._known[-1] if len(self._known) == ahead else newest
        return self._known[:count]

    def _ids(self, query: str, values: dict[str, Any]) -> list[int]:
        values |= _values(self._wanted, time.time())
        return [row["id"] for row in self._db.execute(query, values)]


def _values(wanted: _Wanted, now: float) -> dict[str, Any]:
    return {"now": now, "signature": wanted.signature, "newest": wanted.newest_mtime}
