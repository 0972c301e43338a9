"""The claims of a run on its spans: a lease, renewed as long as the run is alive."""

from __future__ import annotations

import time
from collections.abc import Sequence

from llmc.models import Span
from llmc.run.parts import Parts
from llmc.run.worklist import compute_newest_mtime
from llmc.run.writer import Writer

LEASE_SEC = 120.0
"""A claim lasts this long beyond the last sign of life of who made it."""

RENEWAL_SEC = 30.0


class Lease:
    """Claims spans of an index, keeps the claims alive, gives them back.

    Spans that failed under this `signature` rest, unless all are to be tried. A locked index is
    waited for as the writer does.
    """

    def __init__(self, parts: Parts, writer: Writer, signature: str) -> None:
        self._store = parts.store
        self._writer = writer
        self._side_by_side = parts.rules.side_by_side
        self._newest = compute_newest_mtime(parts.settings)
        self._signature = signature
        asks_all = parts.settings.pace.retry_failed or not parts.rules.side_by_side
        self._left_alone = None if asks_all else signature
        self._renewed_at = time.monotonic()
        self._clock = _boot_time()
        self._overslept = False

    def count_resting(self) -> int:
        """Count the spans that are left alone since they failed in earlier runs."""
        return 0 if self._left_alone is None else self._store.counts.count_resting(self._left_alone)

    def count_rest(self, failed: int) -> tuple[int, int]:
        """Count the spans that are left to a next run, and those of earlier runs that rest.

        `failed` are this run's own. For its end, as other runs may have been at work.
        """
        self._writer.recount(always=True)
        left = self._writer.spans - self._writer.enrichments
        if not self._side_by_side or self._writer.is_part:
            return max(0, left - failed), 0
        resting = self._store.counts.count_resting(self._signature)
        return max(0, left - resting), max(0, resting - failed)

    def claim(self, after: int, size: int) -> Sequence[Span]:
        """Claim the next pending spans, `size` at most, whose id is above `after`."""
        return self._writer.write_patiently(
            lambda: self._store.claims.take(
                after,
                size,
                lease_sec=LEASE_SEC,
                newest_mtime=self._newest,
                signature=self._left_alone,
            )
        )

    def take_over(self) -> Sequence[Span]:
        """Claim what dead runs have left."""
        return self._writer.write_patiently(
            lambda: self._store.claims.take_over(
                lease_sec=LEASE_SEC, newest_mtime=self._newest, signature=self._left_alone
            )
        )

    def release(self, spans: Sequence[Span]) -> None:
        """End the claims on some spans, so that other runs may have them."""
        hashes = [span.span_hash for span in spans]
        self._writer.write_patiently(lambda: self._store.claims.release(hashes))

    def holds(self, span: Span) -> bool:
        """Tell whether a span still is ours, which a run that overslept can't be sure of."""
        return not self._overslept or self._store.claims.owns(span.span_hash)

    @property
    def due(self) -> float:
        """When the claims are to be renewed."""
        return self._renewed_at + RENEWAL_SEC

    def renew_in_time(self) -> bool:
        """Renew the claims if that is due; tell whether it was."""
        now = time.monotonic()
        slept = _boot_time() - self._clock
        if now < self.due and slept < LEASE_SEC:
            return False
        self._renewed_at = now
        # Stopped or asleep beyond the lease: what was claimed may be another run's by now.
        self._overslept = self._overslept or slept > LEASE_SEC
        self._clock = _boot_time()
        self._writer.write_patiently(lambda: self._store.claims.renew(LEASE_SEC))
        return True


def _boot_time() -> float:
    """Return seconds of a clock that goes on while the machine sleeps, and never jumps if it can.

    Where the system has none (CLOCK_BOOTTIME is Linux's), the wall clock has to do: after a jump a
    run only asks whether its spans are still its own.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() if clock is None else time.clock_gettime(clock)
