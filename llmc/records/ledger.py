"""The account of a run: a metrics line and a ledger line per span, and refused replies.

What is written first, and what a crash leaves:

1. the index: what came of a span, or of a group of spans, in one transaction;
2. the metrics lines of that group, in one append;
3. its ledger lines, in one append;
4. the last reply of each span that failed by parse or truncation.

So there is no line about a result that isn't stored. A process that dies after 1 leaves rows
without lines, of one group at most; after 2, rows without ledger lines. A machine that loses power
may also lose lines that its system had not yet written to the disk, or tear the last one. None of
this loses a result: `llmc ledger check` finds what is missing, and `--rebuild` writes it from the
index. Spans that were not settled when a run ended have lines too, and no row.

What a full disk or a lock keeps from being written is held, and written before what comes next.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmc.errors import StoreError
from llmc.events import Event, SpanEnriched, SpanFailed, SpanUnfinished
from llmc.models import SpanReport
from llmc.records import jsonl
from llmc.records.fields import ledger_record, metrics_record, totals

Recorded = SpanEnriched | SpanFailed | SpanUnfinished

MEMORY_INTERVAL_SEC = 1.0
"""How often the memory of this process is looked up: that costs more than the rest of a line."""


def ledger_path(logs: Path) -> Path:
    """Return where the ledger is in a folder of logs."""
    return logs / "run_ledger.log"


def metrics_path(logs: Path) -> Path:
    """Return where the metrics log is in it unless a run was told otherwise."""
    return logs / "enrichment_metrics.jsonl"


def guarded(log: Path, repo: Path) -> Path | None:
    """Return the repository if a log lies in it, None if its place is a person's own choice.

    That is what `jsonl` calls `within`.
    """
    by_name = Path(os.path.normpath(log.absolute())), os.path.normpath(repo.absolute())
    in_fact = log.parent.resolve(), repo.resolve()
    inside = any(place.is_relative_to(root) for place, root in (by_name, in_fact))
    return repo if inside else None


class Ledger:
    """Writes `logs/run_ledger.log`, the metrics log and `logs/failed_enrichments/` of a repository.

    A hook for single events; `record` takes a group. `log_fields` are names that every metrics
    record has, null if there is nothing to say; `logs` is the folder if it isn't the repository's.
    """

    def __init__(
        self,
        repo: Path,
        metrics_log: Path,
        *,
        est_tokens_per_span: int,
        log_fields: tuple[str, ...] = (),
        logs: Path | None = None,
    ) -> None:
        """Make the folders, and seal what a crash left torn. Raises StoreError."""
        self._repo = repo
        self._folder = logs or repo / "logs"
        self._root = str(repo)
        self._est_tokens = est_tokens_per_span
        self._blank = dict.fromkeys(log_fields)
        self._memory: tuple[float, float | None] | None = None
        paths = metrics_log, ledger_path(self._folder)
        self._logs = [_Log(path, guarded(path, repo)) for path in paths]
        self._replies: deque[SpanReport] = deque()
        for log in reversed(self._logs):
            jsonl.make_folder(log.path.parent, within=log.within)
            jsonl.seal(log.path, within=log.within)

    def __call__(self, event: Event) -> None:
        """Record a span; other events are nothing to the ledger. Raises StoreError."""
        if isinstance(event, Recorded):
            self.record((event,))

    def record(self, events: Sequence[Recorded]) -> None:
        """Record spans that the index already has, with one append per file. Raises StoreError.

        What could not be written is kept, and written with the next group.
        """
        now, rss_mib = datetime.now(UTC).isoformat(), self._rss_mib()
        metrics, ledger = self._logs
        metrics.waiting += [self._metrics(event, now, rss_mib) for event in events]
        ledger.waiting += [
            ledger_record(event.report, now, _result(event), rss_mib=rss_mib) for event in events
        ]
        self._replies += [event.report for event in events if isinstance(event, SpanFailed)]
        failures = []
        for write in (metrics.write, ledger.write, self._save_replies):
            try:
                write()
            except StoreError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _save_replies(self) -> None:
        while self._replies:
            save_refused_reply(self._repo, self._replies[0], self._folder)
            self._replies.popleft()

    def _metrics(self, event: Recorded, now: str, rss_mib: float | None) -> dict[str, Any]:
        record = self._blank | metrics_record(
            event.report, now, repo=self._root, est_tokens=self._est_tokens, rss_mib=rss_mib
        )
        if isinstance(event, SpanEnriched):
            record |= totals(event.spans_total, event.enrichments_total, self._est_tokens)
        elif isinstance(event, SpanUnfinished):
            record["unfinished"] = True
        return record

    def _rss_mib(self) -> float | None:
        now = time.monotonic()
        if self._memory is None or now - self._memory[0] >= MEMORY_INTERVAL_SEC:
            self._memory = now, resident_mib()
        return self._memory[1]


@dataclass(slots=True)
class _Log:
    """A log, and the records that it is still to get."""

    path: Path
    within: Path | None
    waiting: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> None:
        jsonl.append(self.path, self.waiting, within=self.within)
        self.waiting = []


def save_refused_reply(repo: Path, report: SpanReport, logs: Path | None = None) -> Path | None:
    """Save the last reply of a failed span if it could not be read as JSON; return its file.

    `logs` is the folder of the logs if it isn't the repository's. Raises StoreError.
    """
    last = report.last
    if last.failure_type not in ("parse", "truncation") or last.payload is None:
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = (logs or repo / "logs") / "failed_enrichments"
    within = guarded(folder, repo)
    # The hash comes from the database: whatever it holds, it names a file in this folder.
    name = report.span.span_hash.encode("utf-8", "replace")[:200].decode("utf-8", "ignore")
    path = folder / f"{name}_{stamp}.json".replace("/", "_").replace("\0", "_")
    jsonl.make_folder(folder, within=within)
    jsonl.create(path, last.payload.encode("utf-8", "replace"), within=within)
    return path


def resident_mib() -> float | None:
    """Return this process's resident memory in MiB, None where the system doesn't tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1048576, 1)


def _result(event: Recorded) -> str:
    if isinstance(event, SpanEnriched):
        return "pass"
    return "fail" if isinstance(event, SpanFailed) else "unfinished"
