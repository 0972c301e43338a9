"""Index a repository, enrich its spans. The engine never prints; it tells its hooks.

The main thread plans, decides and writes; it is the only one that touches SQLite or a log. Worker
threads make attempts and hand back outcomes. With one slot a span is finished before the next one
begins, which is the order the batch driver has always had.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmc import prompts, routing
from llmc.backends import AttemptCascade, CallPolicy, CascadeBuilder
from llmc.config import Settings, load_settings
from llmc.database import move_aside
from llmc.errors import BackendError, CorruptIndexError, IndexingError, StoreError
from llmc.events import (
    AttemptFinished,
    Event,
    EventHook,
    RunFinished,
    RunStarted,
    SpanEnriched,
    SpanFailed,
    SpanStarted,
    Warned,
)
from llmc.indexer import parse_file, source_files
from llmc.ledger import Ledger
from llmc.models import (
    Attempt,
    AttemptOutcome,
    Enrichment,
    IndexReport,
    RunReport,
    Span,
    SpanMetrics,
    SpanReport,
)
from llmc.store import Outcome, Store

FILES_PER_WRITE = 200
PAGE = 200
"""Pending spans read at a time."""

Builder = Callable[[Attempt], AttemptCascade]


def open_store(path: Path, hooks: Sequence[EventHook] = ()) -> Store:
    """Open an index, or make one; a corrupt one is moved aside, never deleted.

    Raises StoreError.
    """
    own_folder(path.parent)
    try:
        return Store.open(path, create=True)
    except CorruptIndexError as error:
        aside = move_aside(path)
        _tell(hooks, Warned(f"{error}; it is kept as {aside}, and a new index is made"))
        return Store.open(path, create=True)


def own_folder(path: Path) -> None:
    """Make a folder of ours that git is to overlook; one that is already there stays as it is.

    Raises StoreError.
    """
    if path.exists():
        return
    try:
        path.mkdir(parents=True)
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
        gone = sorted(set(known) - set(paths))
        with store.transaction():
            for path in gone:
                store.remove_file(path)
        spans, _ = store.counts()
    return IndexReport(len(paths) - len(skipped), changed, len(gone), spans, tuple(skipped))


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


@dataclass(slots=True)
class _Job:
    """A span on its way: its prompt and state live only as long as it is being tried."""

    span: Span
    metrics: SpanMetrics
    prompt: prompts.Prompt
    state: routing.SpanState
    started: float
    outcomes: list[AttemptOutcome] = field(default_factory=list)


def enrich(
    repo: Path,
    settings: Settings | None = None,
    *,
    hooks: Sequence[EventHook] = (),
    builder: CascadeBuilder | None = None,
) -> RunReport:
    """Enrich pending spans of an index until the limit is reached or all were tried once.

    `settings` should come from `selection.select`, which settles what "auto" means. A
    KeyboardInterrupt ends the run early with what is stored; the report says so.
    Raises ConfigError, StoreError.
    """
    settings = settings or load_settings(repo)
    builder = builder or CascadeBuilder(settings, CallPolicy(retry_wait=settings.retry_wait))
    builder.check()
    own_folder(settings.logs)
    ledger = Ledger(
        settings.repo,
        settings.metrics_log,
        est_tokens_per_span=settings.est_tokens_per_span,
        log_fields=settings.router.policy.log_fields,
    )
    with open_store(settings.index_path, hooks) as store:
        return _Run(settings, store, builder, (ledger, *hooks)).run()


def plan(
    repo: Path, settings: Settings | None = None
) -> Iterator[tuple[Span, str, prompts.Prompt]]:
    """Yield each span that `enrich` would try, with its start tier and prompt; sends nothing."""
    settings = settings or load_settings(repo)
    with Store.open_readonly(settings.index_path) as store:
        run = _Run(settings, store, None, ())
        for number, job in enumerate(run.jobs()):
            if settings.limit and number >= settings.limit:
                return
            yield job.span, job.state.tier, job.prompt


class _Run:
    """One enrichment run, on the main thread."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        builder: CascadeBuilder | None,
        hooks: Sequence[EventHook],
    ) -> None:
        self._settings = settings
        self._store = store
        self._builder = builder
        self._hooks = hooks
        self._done: queue.SimpleQueue[tuple[_Job, Future[AttemptOutcome]]] = queue.SimpleQueue()
        self._waiting: list[tuple[float, int, _Job]] = []
        self._order = itertools.count()
        self._in_flight = 0
        self._enriched = 0
        self._failed: Counter[str] = Counter()
        self._spans, self._enrichments = store.counts()

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
                assert self._builder is not None
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
        fresh = self.jobs()
        exhausted = False
        while True:
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now and self._in_flight < slots:
                self._submit(pool, heapq.heappop(self._waiting)[2])
            while not exhausted and self._has_room(slots):
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

    def _submit(self, pool: ThreadPoolExecutor, job: _Job) -> None:
        attempt = job.state.offer()
        assert attempt is not None, "a settled span is never submitted"
        self._in_flight += 1

        future = pool.submit(self._attempt, job, attempt)
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
        if following is None:
            self._settle(job)
        else:
            pause = self._settings.retry_wait if following.wait else 0.0
            heapq.heappush(self._waiting, (time.monotonic() + pause, next(self._order), job))

    def _settle(self, job: _Job) -> None:
        report = self._report(job)
        outcome = _stored_outcome(report)
        if report.success:
            enrichment = report.last.enrichment
            assert enrichment is not None
            self._store.save_enrichment(
                job.span,
                enrichment,
                schema_version=self._settings.schema_version,
                outcome=outcome,
            )
            self._enriched += 1
            self._enrichments += 1
            _tell(self._hooks, SpanEnriched(report, self._spans, self._enrichments))
        else:
            self._store.save_failure(job.span, outcome)
            self._failed[report.last.failure_type or "runtime"] += 1
            _tell(self._hooks, SpanFailed(report))

    def _report(self, job: _Job) -> SpanReport:
        last = job.outcomes[-1]
        tier = last.attempt.tier
        if last.success:
            model = last.model or self._settings.model
            tier = routing.effective_tier(last.backend, model, tier)
        elif last.model is not None:
            model = last.model
        else:
            model = self._settings.fallback_model.strip() or self._settings.ollama_model or ""
        return SpanReport(
            span=job.span,
            metrics=job.metrics,
            outcomes=tuple(job.outcomes),
            tier=tier,
            model=model,
            schema_version=self._settings.schema_version,
            wall_sec=time.monotonic() - job.started,
        )

    def jobs(self) -> Iterator[_Job]:
        """Yield pending spans, each once, read page by page."""
        after = 0
        newest = time.time() - self._settings.cooldown if self._settings.cooldown else None
        while page := self._store.pending(after, PAGE, newest):
            for span in page:
                job = self._job(span)
                if job:
                    yield job
            after = page[-1].id

    def _job(self, span: Span) -> _Job | None:
        code = read_source(self._settings.repo, span)
        if code is None:
            message = f"{span.path}:{span.start_line}: changed since it was indexed; left for later"
            _tell(self._hooks, Warned(message))
            return None
        prompt = prompts.build(span, code)
        metrics = routing.measure(
            code,
            line_count=span.line_count,
            prompt_chars=len(prompt),
            nesting=routing.code_nesting,
        )
        state = routing.start(
            metrics,
            self._settings.router,
            backend=self._settings.backend,
            hosts=len(self._settings.hosts),
            retries=self._settings.retries,
        )
        return _Job(span, metrics, prompt, state, time.monotonic())

    def _attempt(self, job: _Job, attempt: Attempt) -> AttemptOutcome:
        """Make one attempt; runs on a worker thread."""
        assert self._builder is not None
        started = time.monotonic()
        built = self._builder(attempt)
        outcome = AttemptOutcome(attempt, built.selected_backend, 0.0, host=built.host_label)
        try:
            result, meta, records = built.cascade.generate_for_span(
                job.prompt, item=_item(job.span, attempt)
            )
        except BackendError as error:
            last = error.attempts[-1] if error.attempts else None
            kind = error.failure_type or "runtime"
            payload = error.failure[2] if error.failure else None
            failed = replace(
                outcome,
                model=last.model if last else None,
                host=(last.host if last else None) or built.host_label,
                options=None if built.selected_backend == "gateway" else _options(built),
                failure_type="runtime" if error.failure is None else kind,
                detail=str(error),
                payload=payload if isinstance(payload, str) else None,
                records=tuple(error.attempts),
            )
            return replace(failed, duration_sec=time.monotonic() - started)
        seconds = time.monotonic() - started
        return replace(
            outcome,
            backend=meta.get("backend", built.selected_backend),
            duration_sec=seconds,
            model=meta.get("model"),
            host=meta.get("host"),
            options=meta.get("options"),
            enrichment=Enrichment.model_validate(result),
            prompt_tokens=_count(meta, "prompt_eval_count"),
            completion_tokens=_count(meta, "eval_count", "completion_tokens"),
            tokens_per_sec=_speed(meta, seconds),
            cut_lines=meta.get("cut_lines") or 0,
            records=tuple(records),
        )


def read_source(repo: Path, span: Span) -> str | None:
    """Return a span's text, None if the file no longer holds it at that place.

    The path comes from the database, so one that leads out of the repository is never opened.
    """
    path = (repo / span.path).resolve()
    if not path.is_relative_to(repo.resolve()):
        return None
    try:
        with path.open("rb") as file:
            file.seek(span.byte_start)
            code = file.read(span.byte_end - span.byte_start)
    except (OSError, ValueError):
        return None
    if span.span_hash != f"sha256:{hashlib.sha256(span.lang.encode() + code).hexdigest()}":
        return None
    return code.decode("utf-8", "replace")


def _item(span: Span, attempt: Attempt) -> dict[str, Any]:
    return {
        "span_hash": span.span_hash,
        "path": span.path,
        "lang": span.lang,
        "symbol": span.symbol,
        "kind": span.kind,
        "lines": [span.start_line, span.end_line],
        "attempt": attempt.number,
    }


def _options(built: AttemptCascade) -> Any:
    return getattr(built.cascade.backends[-1], "options", built.tier_preset.options)


def _count(meta: dict[str, Any], *names: str) -> int | None:
    return next((meta[name] for name in names if isinstance(meta.get(name), int)), None)


def _speed(meta: dict[str, Any], seconds: float) -> float | None:
    tokens = _count(meta, "eval_count", "completion_tokens")
    nanoseconds = _count(meta, "eval_duration")
    if tokens is None:
        return None
    taken = nanoseconds / 1e9 if nanoseconds and nanoseconds > 0 else seconds
    return round(tokens / taken, 2) if taken > 0 else None


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
