"""Whether the logs of a repository and its index tell the same story.

An outcome in the index needs a line in either log, written after it, and a pass its enrichment.
Lines are written after their rows, so what a run is about to write looks like a gap: then the logs
are read once more, a moment later. What is held in memory grows with the outcomes of the index,
not with the logs.

Runs may have had --log or not, so a metrics line counts in the usual log and in the one that is
named; that one may be shared, so there the lines of other repositories don't count. A ledger line
does not say which index it is of. A pass that only the ledger knows may be another index's, or of
one that was removed: it is told, and no disagreement.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmc.errors import StoreError
from llmc.models import Span
from llmc.records import jsonl
from llmc.records.ledger import ledger_path, metrics_path
from llmc.store.reader import Reader

PATIENCE_SEC = 1.0
"""How long a run may take from a row to its lines."""

CLOCK_SLACK_SEC = 1.0
"""How much older than its row a line may be: clocks are set back now and then."""

PAGE = 500
"""Passes whose enrichment is looked up at a time."""

ROUNDING_SEC = 0.01
SHOWN_LINES = 20
MAX_HASH_CHARS = 1000

_ROTATED = re.compile(r"[.-]\d[\d.:T_-]*(\.gz)?")


@dataclass(frozen=True, slots=True)
class Gap:
    """An outcome of the index without its line: `metrics` and `ledger` say which are missing."""

    span_hash: str
    path: str
    line: int
    result: str
    updated_at: float
    metrics: bool
    ledger: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """Lines of a log that are no JSON object; of many, only the first numbers are kept."""

    log: Path
    count: int
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """How logs and index compare; `unknown`, `twice`, `damaged` are history: nothing can mend it.

    `outcomes` are those of the index, `elsewhere` its enrichments without one. `lost` spans passed
    in this index and have no result; of `unknown` ones only the ledger says that they passed.
    `twice` are the hashes of spans that passed twice at the same time: paid
    twice, or a line was copied. `rebuilt` gaps have been filled since.
    """

    outcomes: int
    elsewhere: int
    lines: int
    gaps: tuple[Gap, ...]
    lost: tuple[Span, ...]
    unknown: tuple[Span, ...] = ()
    twice: tuple[str, ...] = ()
    damaged: tuple[Damage, ...] = ()
    rebuilt: int = 0

    @property
    def agrees(self) -> bool:
        return not self.lost and self.rebuilt == len(self.gaps)


def examine(
    reader: Reader,
    repo: Path,
    metrics_log: Path,
    *,
    logs: Path | None = None,
    patience: float = PATIENCE_SEC,
) -> Audit:
    """Compare the ledger and the metrics logs, with their rotated files, with an index.

    `metrics_log` is read beside the usual one; `logs` is the folder if it isn't the repository's.
    Raises StoreError.
    """
    if metrics_log.exists() and not metrics_log.is_file():
        raise StoreError(f"{metrics_log} is no file: no line can be read from it")
    elsewhere = reader.counts.count_unrecorded()
    entries = _entries(reader)
    folder = logs or repo / "logs"
    read = (ledger_path(folder), metrics_path(folder), metrics_log)
    before = _states(read)
    look = _Look(reader, entries, repo)
    look.over(read)
    if look.damaged or any(entry.gap for entry in entries.values()):
        time.sleep(patience)
        if _states(read) != before:
            look = _Look(reader, entries, repo)
            look.over(read)
    gaps = {span_hash: entry for span_hash, entry in entries.items() if entry.gap}
    return Audit(
        outcomes=len(entries),
        elsewhere=elsewhere,
        lines=look.lines,
        gaps=tuple(_gaps(reader, gaps)) if gaps else (),
        lost=tuple(look.lost.values()),
        unknown=tuple(look.unknown.values()),
        twice=tuple(look.twice),
        damaged=tuple(look.damaged),
    )


@dataclass(slots=True)
class _Entry:
    """An outcome of the index, and what the logs say of it."""

    passed: bool
    enriched: bool
    updated_at: float
    metrics: bool = False
    ledger: bool = False

    @property
    def gap(self) -> bool:
        return not (self.metrics and self.ledger)

    def fits(self, passed: object, at: float | None) -> bool:
        """Tell if a line of that time may be this outcome's; one without a time may be any."""
        return passed is self.passed and (at is None or at >= self.updated_at - CLOCK_SLACK_SEC)


def _entries(reader: Reader) -> dict[str, _Entry]:
    return {
        span.span_hash: _Entry(outcome.result == "pass", enriched, outcome.updated_at)
        for span, outcome, enriched in reader.results.read_recorded()
    }


def _gaps(reader: Reader, entries: dict[str, _Entry]) -> Iterator[Gap]:
    for span, outcome, _ in reader.results.read_recorded():
        entry = entries.get(span.span_hash)
        if entry and entry.gap and entry.updated_at == outcome.updated_at:
            yield Gap(
                span.span_hash,
                span.path,
                span.start_line,
                outcome.result,
                outcome.updated_at,
                not entry.metrics,
                not entry.ledger,
            )


class _Look:
    """One look over the logs, line by line."""

    def __init__(self, reader: Reader, entries: dict[str, _Entry], repo: Path) -> None:
        self._reader = reader
        self._entries = entries
        self._repo = repo
        self._passes: dict[str, tuple[float, float]] = {}
        self._suspects = {
            span_hash for span_hash, entry in entries.items() if entry.passed > entry.enriched
        }
        self.lines = 0
        self.lost: dict[str, Span] = {}
        self.unknown: dict[str, Span] = {}
        self.twice: dict[str, None] = {}
        self.damaged: list[Damage] = []

    def over(self, logs: Sequence[Path]) -> None:
        """Read the logs and their rotated files, the last one as shared. Raises StoreError."""
        own = _files(logs[:-1])
        for log in own | _files(logs[-1:]):
            damaged: list[int] = []
            for number, record in jsonl.read(log):
                if record is None:
                    damaged.append(number)
                elif log not in own and self._is_of_another(record):
                    continue
                else:
                    self._take(record)
                self.lines += 1
            if damaged:
                self.damaged.append(Damage(log, len(damaged), tuple(damaged[:SHOWN_LINES])))
        self._look_up()

    def _is_of_another(self, record: dict[str, Any]) -> bool:
        """Tell if a line of a shared log is another repository's; a ledger is never shared."""
        return "task_id" in record or _is_another(str(record.get("repo_root")), self._repo)

    def _take(self, record: dict[str, Any]) -> None:
        at = _seconds(record.get("timestamp"))
        if isinstance(task := record.get("task_id"), str):
            passed = {"pass": True, "fail": False}.get(str(record.get("result")))
            entry = self._entries.get(task)
            if entry and entry.fits(passed, at):
                entry.ledger = True
            if passed:
                self._passed(task, entry, at, record.get("wall_ms"))
        elif isinstance(span_hash := record.get("span_hash"), str):
            entry = self._entries.get(span_hash)
            if entry and "unfinished" not in record and entry.fits(record.get("schema_ok"), at):
                entry.metrics = True

    def _passed(self, task: str, entry: _Entry | None, at: float | None, wall_ms: object) -> None:
        if not (entry and entry.enriched) and len(task) <= MAX_HASH_CHARS:
            self._suspects.add(task)
            if len(self._suspects) >= PAGE:
                self._look_up()
        if entry and at is not None and isinstance(wall_ms, int | float):
            begun = at - min(max(wall_ms, 0), 1e12) / 1000
            last = self._passes.get(task, (0.0, 0.0))
            if at == last[1] or min(at, last[1]) - max(begun, last[0]) > ROUNDING_SEC:
                self.twice[task] = None
            self._passes[task] = begun, at

    def _look_up(self) -> None:
        """Find out which passes have no result; those whose text has left the index need none."""
        found = list(filter(_storable, self._suspects))
        self._suspects.clear()
        for start in range(0, len(found), PAGE):
            for span in self._reader.results.find_missing(found[start : start + PAGE]):
                entry = self._entries.get(span.span_hash)
                here = self.lost if entry and entry.passed else self.unknown
                here[span.span_hash] = span


@lru_cache(maxsize=1024)
def _is_another(root: str, repo: Path) -> bool:
    """Tell if a path is another repository's; one that isn't there any more is ours, moved."""
    try:
        return root != str(repo) and not repo.samefile(root)
    except (OSError, ValueError):
        return False


def _storable(text: str) -> bool:
    """Tell what a database can hold: half a surrogate pair is nothing to it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _seconds(timestamp: object) -> float | None:
    """Read an ISO 8601 time, UTC if it names no zone; None if it is none."""
    try:
        at = datetime.fromisoformat(str(timestamp))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _files(logs: Sequence[Path]) -> dict[Path, os.stat_result]:
    """Return each log after its rotated files, the oldest first, none of them twice.

    Raises StoreError.
    """
    found: dict[Path, os.stat_result] = {}
    for log in logs:
        states = {}
        try:
            for path in log.parent.iterdir():
                if path.name == log.name or (
                    path.name.startswith(log.name) and _ROTATED.fullmatch(path.name, len(log.name))
                ):
                    with suppress(FileNotFoundError):
                        states[path.resolve()] = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"cannot read {log.parent}: {error.strerror}") from error
        regular = [item for item in states.items() if stat.S_ISREG(item[1].st_mode)]
        found.update(sorted(regular, key=lambda item: item[1].st_mtime_ns))
    return found


def _states(logs: Sequence[Path]) -> set[tuple[int, int, int]]:
    """Return what changes whenever a log is written to."""
    return {(state.st_ino, state.st_size, state.st_mtime_ns) for state in _files(logs).values()}
