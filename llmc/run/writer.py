"""What a run writes, in this order: the index, the logs, its hooks. On the main thread only.

Settled spans that are there at once share one transaction and one append to each log (a group
commit). A locked index is waited for. When the disk is full, a reserve that was laid in before the
first call makes room for the replies that are paid for, and the run winds down.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from llmc.errors import (
    CorruptIndexError,
    DisplacedIndexError,
    FullDiskError,
    LockedIndexError,
    StoreError,
)
from llmc.events import (
    Event,
    EventHook,
    FileGone,
    SpanEnriched,
    SpanFailed,
    SpanUnfinished,
    Warned,
)
from llmc.models import SpanReport
from llmc.records.ledger import Ledger, Recorded
from llmc.run.stopping import Stop
from llmc.store.database.reserve import Reserve
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome

LOCK_PATIENCE_SEC = 900.0
HURRY_SEC = 0.2
RESERVE_PER_SLOT = 64 * 1024
RESERVE_BYTES = 1024 * 1024
"""Disk space kept for the replies in flight: storing one takes about 30 KB of SQLite's journal."""

_T = TypeVar("_T")


class Writer:
    """Writes what comes of a run; `error` is what keeps it from going on, None while it can.

    `spans` and `enrichments` are the totals of the index, kept rather than counted. Once
    the `stop` is urgent, a locked index is waited for no longer.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        hooks: Sequence[EventHook],
        *,
        stop: Stop,
    ) -> None:
        self._stop = stop
        self.error: StoreError | None = None
        self.spans, self.enrichments = store.counts.count_results()
        self._store = store
        self._ledger = ledger
        self._hooks = (self._count_gone, *hooks)
        self._reserve: Reserve | None = None
        self._settled: list[SpanReport] = []
        self._unrecorded: list[Recorded] = []
        self._untold: deque[Recorded] = deque()

    def lay_in(self, slots: int) -> None:
        """Set disk space aside for what so many requests may bring. Raises FullDiskError."""
        size = RESERVE_BYTES + RESERVE_PER_SLOT * slots
        self._reserve = Reserve.make(self._store.path, size)

    def close(self) -> None:
        """Try once more to write lines that a log didn't take, and give the disk space back."""
        with suppress(StoreError):
            self._ledger.record(())
        if self._reserve:
            self._reserve.remove()

    def hurry(self) -> None:
        """Wait for a locked index no longer than a moment: somebody wants the run to end now."""
        self._store.set_patience(HURRY_SEC)

    @property
    def unsaved(self) -> int:
        """How many enrichments by models are yet to be stored."""
        return sum(report.success and not report.by_rule for report in self._settled)

    @property
    def is_clear(self) -> bool:
        """Tell whether everything is written and told."""
        return not (self._settled or self._unrecorded or self._untold)

    def settle(self, report: SpanReport) -> None:
        """Take a settled span, to be written with the next commit."""
        self._settled.append(report)

    def leave(self, report: SpanReport) -> None:
        """Take a span that the run leaves unfinished, to be recorded with the next commit."""
        self._unrecorded.append(SpanUnfinished(report))

    def commit(self, signature: str) -> None:
        """Store what is settled, then record it, then tell it. Raises StoreError.

        Each time, whether there is anything or not, the index is looked for at its place.
        """
        self.outlive(lambda: self._commit(signature))

    def _commit(self, signature: str) -> None:
        batch = self._settled
        if batch:
            fresh = self.write_patiently(lambda: self._save(batch, signature))
            self._settled = []
            for report, is_new in zip(batch, fresh, strict=True):
                # What was found damaged has no spans any more, and so its results are put by.
                self.enrichments += report.success if self.is_part else is_new
                if report.success:
                    self._unrecorded.append(SpanEnriched(report, self.spans, self.enrichments))
                else:
                    self._unrecorded.append(SpanFailed(report))
        self._see_to_the_file(changed=bool(batch))
        if self._unrecorded:
            self._record()
        while self._untold:
            self.tell(self._untold.popleft())

    def _save(self, batch: Sequence[SpanReport], signature: str) -> list[bool]:
        """Store settled spans; tell of each whether the index has one enrichment more."""
        fresh = []
        with self._store.transaction():
            for report in batch:
                enrichment, outcome = report.last.enrichment, _stored_outcome(report)
                if enrichment is None:
                    excerpt = report.last.payload
                    self._store.save_failure(
                        report.span, outcome, signature=signature, excerpt=excerpt
                    )
                    fresh.append(False)
                else:
                    version = report.schema_version
                    fresh.append(
                        self._store.save_enrichment(
                            report.span,
                            enrichment,
                            schema_version=version,
                            outcome=outcome,
                            verdicts=report.last.review.verdicts,
                        )
                    )
        return fresh

    def _see_to_the_file(self, *, changed: bool) -> None:
        if what := self._store.find_fate():
            raise DisplacedIndexError(f"{self._store.path} {what}")
        if changed and self._store.displaced:
            self._say_where()

    def outlive(self, action: Callable[[], _T]) -> _T:
        """Do what uses the index; again, in what is saved of it, once others have harmed it."""
        while True:
            try:
                return action()
            except StoreError as error:
                # What is written over an index may show as anything: a table that isn't there.
                harmed = isinstance(error, DisplacedIndexError | CorruptIndexError)
                if not (harmed or self._store.find_fate()):
                    raise
                self._go_on_beside(error)

    def _go_on_beside(self, error: StoreError) -> None:
        """Save an index that others took away or damaged, and go on there; the run winds down.

        Raises StoreError, `error` itself where what was saved is damaged, and not by others.
        """
        damaged = isinstance(error, CorruptIndexError)
        if damaged and self._store.displaced and not self._store.find_fate():
            raise error
        self.write_patiently(lambda: self._store.save_beside(damaged=damaged))
        self._say_where()

    def _say_where(self) -> None:
        store, fate = self._store, self._store.displaced
        assert fate is not None, "asked for one that was saved"
        file, results = store.save_beside()
        saved, then = "all that it held", ""
        if not fate.whole:
            own = "all" if store.has_all_of_its_own else "the newest"
            saved = f"what could be read of it, with {own} that this run has stored,"
            then = ", then run: llmc index"
        self.error = StoreError(
            f"{store.path} {fate.what} while the run was at work on it; {saved} is saved as {file} "
            f"({results} results): to go on with that, move it to {store.path}{then}"
        )

    @property
    def is_part(self) -> bool:
        """Tell whether the index was damaged, and is no more than what could be read of it."""
        fate = self._store.displaced
        return fate is not None and not fate.whole

    def _record(self) -> None:
        """Write the records of stored spans, once: what a hook may raise must not repeat them."""
        try:
            self._ledger.record(self._unrecorded)
        except StoreError as error:
            self.error = self.error or error  # what is in flight can still be stored
        self._untold.extend(self._unrecorded)
        self._unrecorded = []

    def write_patiently(self, write: Callable[[], _T]) -> _T:
        """Write to the index; wait for a lock, spend the reserve on a full disk.

        Raises StoreError.
        """
        patience = time.monotonic() + LOCK_PATIENCE_SEC
        while True:
            try:
                return write()
            except LockedIndexError as error:
                if time.monotonic() > patience or self._stop.is_urgent:
                    raise
                self.tell(Warned(f"{error}; waiting on"))
            except FullDiskError as error:
                harmed = self._store.displaced or self._store.find_fate()
                if self._reserve is None or not self._reserve.spend(fold=not harmed):
                    raise
                self.error = self.error or error

    def recount(self, *, always: bool = False) -> None:
        """Bring the totals up to date, unless no other process has changed the index.

        Of one that was damaged they are as they were: it can't be counted any more.
        """
        if not self.is_part and (self._store.is_changed_elsewhere() or always):
            self.spans, self.enrichments = self._store.counts.count_results()

    def tell(self, event: Event) -> None:
        for hook in self._hooks:
            hook(event)

    def _count_gone(self, event: Event) -> None:
        if isinstance(event, FileGone):
            self.spans -= event.spans
            self.enrichments -= event.enrichments


def _stored_outcome(report: SpanReport) -> Outcome:
    last = report.last
    told = not report.success or report.by_rule
    return Outcome(
        result="pass" if report.success else "fail",
        reason="success" if report.success else last.failure_type or "runtime",
        detail=(last.detail or "")[:1000] if told else None,
        tier=report.tier,
        backend=last.backend,
        model=report.model,
        attempts=report.attempts,
        prompt_tokens=sum(outcome.prompt_tokens or 0 for outcome in report.outcomes),
        completion_tokens=sum(outcome.completion_tokens or 0 for outcome in report.outcomes),
        wall_ms=round(report.wall_sec * 1000),
        updated_at=time.time(),
    )
