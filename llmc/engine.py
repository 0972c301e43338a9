"""Index a repository, enrich its spans. The engine never prints; it tells its hooks.

The main thread plans, decides and writes; it is the only one that touches SQLite or a log. Worker
threads make attempts and hand back outcomes. With one slot a span is finished before the next one
begins, which is the order the batch driver has always had.
"""

from __future__ import annotations

import heapq
import itertools
import os
import queue
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llmc import prompts, routing
from llmc.attempts import Builder, make
from llmc.backends import CallPolicy, CascadeBuilder
from llmc.config import Settings, load_settings
from llmc.database import move_aside
from llmc.errors import CorruptIndexError, IndexingError, LockedIndexError, StoreError
from llmc.events import (
    AttemptFinished,
    Event,
    EventHook,
    FileGone,
    RunFinished,
    RunStarted,
    SpanEnriched,
    SpanFailed,
    SpanStarted,
    Warned,
)
from llmc.gpu import LoadWatch
from llmc.indexer import parse_file, source_files
from llmc.ledger import Ledger
from llmc.models import AttemptOutcome, IndexReport, RunReport, Span, SpanReport
from llmc.reader import Outcome
from llmc.store import Store
from llmc.work import Job, Rules, jobs

FILES_PER_WRITE = 200
LOCK_PATIENCE_SEC = 900.0


def open_store(path: Path, hooks: Sequence[EventHook] = ()) -> Store:
    """Open an index, or make one; a corrupt one is moved aside, never deleted.

    Raises StoreError.
    """
    make_folder(path.parent, ignored_by_git=True)
    try:
        return Store.open(path, create=True)
    except CorruptIndexError as error:
        _replace_corrupt(path, error, hooks)
        return Store.open(path, create=True)


def _replace_corrupt(path: Path, error: CorruptIndexError, hooks: Sequence[EventHook]) -> None:
    """Move a corrupt index aside, and save the enrichments that can still be read from it."""
    aside = move_aside(path)
    with Store.open(path, create=True) as store:
        saved = store.salvage(aside)
    message = f"{error}; it is kept as {aside}; {saved} enrichments could be read from it"
    _tell(hooks, Warned(message))


def make_folder(path: Path, *, ignored_by_git: bool = False) -> None:
    """Make a folder unless it is there; git overlooks a new one that is `ignored_by_git`.

    Raises StoreError.
    """
    if path.is_dir():
        return
    try:
        path.mkdir(parents=True)
        if ignored_by_git:
            (path / ".gitignore").write_text("*\n")
    except OSError as error:
        raise StoreError(f"cannot create {path}: {error.strerror}") from error


def index(
    repo: Path, settings: Settings | None = None, *, hooks: Sequence[EventHook] = ()
) -> IndexReport:
    """Bring a repository's index up to date; only changed files are read.

    A file that can't be read or parsed is reported, and its earlier spans stay.
    Raises ConfigError if `repo` is not a git repository, StoreError.
    """
    settings = settings or load_settings(repo)
    paths = list(source_files(settings.repo, settings.exclude))
    try:
        return _index_into(settings, paths, hooks)
    except CorruptIndexError as error:
        _replace_corrupt(settings.index_path, error, hooks)
        return _index_into(settings, paths, hooks)


def _index_into(
    settings: Settings, paths: Sequence[str], hooks: Sequence[EventHook]
) -> IndexReport:
    with open_store(settings.index_path, hooks) as store:
        known = store.files()
        skipped: list[tuple[str, str]] = []
        changed = 0
        for batch in _batches(paths, FILES_PER_WRITE):
            with store.transaction():
                for path in batch:
                    try:
                        changed += _index_file(settings.repo, path, known, store)
                    except IndexingError as error:
                        skipped.append((path, str(error)))
        removed = 0
        with store.transaction():
            for path in sorted(set(known) - set(paths)):
                if reason := _hidden(settings.repo / path):
                    skipped.append((path, f"{path!r}: {reason}"))
                else:
                    store.remove_file(path)
                    removed += 1
        spans, _ = store.counts()
    return IndexReport(len(paths) - len(skipped), changed, removed, spans, tuple(skipped))


def _hidden(path: Path) -> str | None:
    """Say why a file that git did not list may still be there, None if it is gone or unwanted."""
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if os.access(path, os.R_OK) else "cannot be read: Permission denied"


def _index_file(repo: Path, path: str, known: dict[str, Any], store: Store) -> bool:
    state = known.get(path)
    try:
        stat = (repo / path).stat()
    except OSError as error:
        raise IndexingError(f"{path}: cannot be read: {error.strerror}") from error
    if state and (state.size, state.mtime) == (stat.st_size, stat.st_mtime):
        return False
    parsed = parse_file(repo, path)
    if state and (state.file_hash, state.lang) == (parsed.file_hash, parsed.lang):
        store.touch_file(path, parsed.size, parsed.mtime)
        return False
    store.put_file(parsed)
    return True


def enrich(
    repo: Path,
    settings: Settings | None = None,
    *,
    hooks: Sequence[EventHook] = (),
    builder: Builder | None = None,
    rules: Rules | None = None,
) -> RunReport:
    """Enrich pending spans of an index until the limit is reached or all were tried once.

    `settings` should come from `selection.select`, which settles what "auto" means. A
    KeyboardInterrupt ends the run early with what is stored; the report says so.
    Raises ConfigError, StoreError.
    """
    settings = settings or load_settings(repo)
    builder = builder or CascadeBuilder(settings, CallPolicy(retry_wait=settings.retry_wait))
    builder.check()
    make_folder(settings.logs, ignored_by_git=True)
    ledger = Ledger(
        settings.repo,
        settings.metrics_log,
        est_tokens_per_span=settings.est_tokens_per_span,
        log_fields=settings.router.policy.log_fields,
    )
    with open_store(settings.index_path, hooks) as store:
        return _Run(settings, store, builder, rules or Rules(), (ledger, *hooks)).run()


def plan(
    repo: Path, settings: Settings | None = None, *, rules: Rules | None = None
) -> Iterator[tuple[Span, str, prompts.Prompt]]:
    """Yield each span that `enrich` would try, with its start tier and prompt; sends nothing."""
    settings = settings or load_settings(repo)
    rules = rules or Rules()
    opened = Store.open if rules.maintain else Store.open_readonly
    with opened(settings.index_path) as store:
        planned = jobs(settings, store, rules)
        for job in itertools.islice(planned, max(0, settings.limit) or None):
            yield job.span, job.state.tier, job.prompt


class _Run:
    """One enrichment run, on the main thread."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        builder: Builder,
        rules: Rules,
        hooks: Sequence[EventHook],
    ) -> None:
        self._settings = settings
        self._store = store
        self._builder = builder
        self._rules = rules
        self._hooks = (self._count_gone, *hooks)
        self._gpu = LoadWatch()
        self._done: queue.SimpleQueue[tuple[Job, Future[AttemptOutcome]]] = queue.SimpleQueue()
        self._waiting: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._in_flight = 0
        self._enriched = 0
        self._failed: Counter[str] = Counter()
        self._spans, self._enrichments = store.counts()

    def _count_gone(self, event: Event) -> None:
        if isinstance(event, FileGone):
            self._spans -= event.spans
            self._enrichments -= event.enrichments

    def run(self) -> RunReport:
        started = time.monotonic()
        interrupted = False
        _tell(self._hooks, RunStarted(self._spans - self._enrichments, self._settings.limit))
        slots = self._settings.concurrency
        pool = ThreadPoolExecutor(slots, thread_name_prefix="llmc-attempt")
        try:
            self._work(pool, slots)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            if interrupted or self._in_flight:
                self._builder.cancel()
            pool.shutdown(wait=True, cancel_futures=True)
        report = RunReport(
            enriched=self._enriched,
            failed=dict(self._failed),
            left=self._spans - self._enrichments - sum(self._failed.values()),
            wall_sec=time.monotonic() - started,
            interrupted=interrupted,
        )
        _tell(self._hooks, RunFinished(report))
        return report

    def _work(self, pool: ThreadPoolExecutor, slots: int) -> None:
        fresh = jobs(self._settings, self._store, self._rules, self._hooks)
        exhausted = False
        while True:
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now and self._in_flight < slots:
                self._submit(pool, heapq.heappop(self._waiting)[2])
            while not exhausted and self._has_room(slots):
                if self._enriched or self._failed:
                    time.sleep(self._rules.sleep)
                job = next(fresh, None)
                if job is None:
                    exhausted = True
                else:
                    _tell(self._hooks, SpanStarted(job.span, job.state.tier))
                    self._submit(pool, job)
            if not self._in_flight and not self._waiting:
                return
            self._take(self._waiting[0][0] - time.monotonic() if self._waiting else None)

    def _has_room(self, slots: int) -> bool:
        """Tell whether one more span may begin: a free slot, and the limit not yet in reach."""
        under_way = self._in_flight + len(self._waiting)
        limit = self._settings.limit
        return under_way < slots and not (limit and self._enriched + under_way >= limit)

    def _submit(self, pool: ThreadPoolExecutor, job: Job) -> None:
        attempt = job.state.offer()
        assert attempt is not None, "a settled span is never submitted"
        self._in_flight += 1
        future = pool.submit(make, self._builder, job.span, job.prompt, attempt)
        future.add_done_callback(lambda finished: self._done.put((job, finished)))

    def _take(self, timeout: float | None) -> None:
        """Wait for one outcome, at most until a waiting span is due, and apply it."""
        try:
            job, future = self._done.get(timeout=None if timeout is None else max(0.0, timeout))
        except queue.Empty:
            return
        self._in_flight -= 1
        outcome = future.result()
        job.outcomes.append(outcome)
        following = None
        if not outcome.success:
            job.state = job.state.after(outcome.failure_type or "runtime")
            following = job.state.offer()
        _tell(self._hooks, AttemptFinished(job.span, outcome, following))
        for warning in self._gpu.warnings(outcome.gpu, outcome.duration_sec):
            _tell(self._hooks, Warned(warning))
        if following is None:
            self._settle(job)
        else:
            pause = self._settings.retry_wait if following.wait else 0.0
            heapq.heappush(self._waiting, (time.monotonic() + pause, next(self._order), job))

    def _settle(self, job: Job) -> None:
        report = self._report(job)
        self._save(report)
        if report.success:
            self._enriched += 1
            self._enrichments += 1
            _tell(self._hooks, SpanEnriched(report, self._spans, self._enrichments))
        else:
            self._failed[report.last.failure_type or "runtime"] += 1
            _tell(self._hooks, SpanFailed(report))

    def _save(self, report: SpanReport) -> None:
        """Store what came of a span; a paid reply is worth waiting for a locked index."""
        outcome, enrichment = _stored_outcome(report), report.last.enrichment
        patience = time.monotonic() + LOCK_PATIENCE_SEC
        while True:
            try:
                if enrichment is None:
                    self._store.save_failure(report.span, outcome)
                else:
                    self._store.save_enrichment(
                        report.span,
                        enrichment,
                        schema_version=report.schema_version,
                        outcome=outcome,
                    )
                return
            except LockedIndexError as error:
                if time.monotonic() > patience:
                    raise
                _tell(self._hooks, Warned(f"{error}; waiting on"))

    def _report(self, job: Job) -> SpanReport:
        last = job.outcomes[-1]
        tier = last.attempt.tier
        if last.success:
            model = last.model or self._settings.model
            tier = routing.effective_tier(last.backend, model, tier)
        elif last.model is not None:
            model = last.model
        else:
            fallback = self._settings.fallback_model
            model = (fallback if fallback.strip() else self._settings.ollama_model) or ""
        return SpanReport(
            span=job.span,
            metrics=job.metrics,
            outcomes=tuple(job.outcomes),
            tier=tier,
            model=model,
            schema_version=self._settings.schema_version,
            wall_sec=time.monotonic() - job.started,
        )


def _stored_outcome(report: SpanReport) -> Outcome:
    last = report.last
    return Outcome(
        result="pass" if report.success else "fail",
        reason="success" if report.success else last.failure_type or "runtime",
        detail=None if report.success else (last.detail or "")[:1000],
        tier=report.tier,
        backend=last.backend,
        model=report.model,
        attempts=len(report.outcomes),
        prompt_tokens=sum(outcome.prompt_tokens or 0 for outcome in report.outcomes),
        completion_tokens=sum(outcome.completion_tokens or 0 for outcome in report.outcomes),
        wall_ms=round(report.wall_sec * 1000),
        updated_at=time.time(),
    )


def _tell(hooks: Sequence[EventHook], event: Event) -> None:
    for hook in hooks:
        hook(event)


def _batches(paths: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]
