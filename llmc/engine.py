"""Index a repository, plan and enrich its spans: the way in for every caller.

The engine never prints; it tells its hooks. How a run goes is in `run`.
"""

from __future__ import annotations

import errno
import itertools
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.enrichment import prompts
from llmc.enrichment.examples import Examples
from llmc.errors import IndexingError, StoreError
from llmc.events import Event, EventHook, Warned
from llmc.facts.codec import VERSION
from llmc.files import folders
from llmc.files.advice import describe
from llmc.indexer.files import Nested, survey
from llmc.indexer.parsing import parse_file
from llmc.indexer.tree import Stamp
from llmc.models import IndexPlace, IndexReport, RunReport, Span
from llmc.records.ledger import Ledger
from llmc.run import destinations
from llmc.run.attempts import Builder
from llmc.run.job import Job
from llmc.run.loop import Run
from llmc.run.parts import Parts
from llmc.run.stopping import Stop
from llmc.run.worklist import Rules, WorkList, read_pages
from llmc.settings.config import Settings
from llmc.settings.loading import load_settings
from llmc.store import installation
from llmc.store.database.custody import make_place
from llmc.store.parsed import ParsedFile
from llmc.store.reader import Reader
from llmc.store.rescue import rescue_if_damaged
from llmc.store.seal import Seal
from llmc.store.store import Store

FILES_PER_WRITE = 200
SPANS_PER_WRITE = 2_000
"""Files and spans written in one transaction, which takes a fraction of a second."""


def open_store(
    index: IndexPlace | Path, hooks: Sequence[EventHook] = (), *, seal: Seal | None = None
) -> Store:
    """Open an index, or make one; a corrupt one is moved aside, never deleted.

    What is stored is marked by the `seal`. Raises StoreError, also for files that aren't the user's
    own: see `database.custody`.
    """
    place = _telling(make_place(index), hooks)
    return rescue_if_damaged(place, lambda: Store.open(place, create=True, seal=seal))


def _telling(index: IndexPlace, hooks: Sequence[EventHook]) -> IndexPlace:
    return replace(index, tell=lambda text: _tell(hooks, Warned(text)))


def prepare_folder(path: Path, *, ignored_by_git: bool = False) -> None:
    """Make a folder unless it is there; git overlooks a new one that is `ignored_by_git`.

    Raises StoreError.
    """
    if path.is_dir():
        return
    try:
        folders.make_folder(path)
        if ignored_by_git:
            folders.hide_from_git(path)
    except OSError as error:
        raise StoreError(f"cannot create {path}: {describe(error, 'see what it is')}") from error


def index(
    repo: Path,
    settings: Settings | None = None,
    *,
    hooks: Sequence[EventHook] = (),
    mend: bool = True,
    force: bool = False,
) -> IndexReport:
    """Bring a repository's index up to date; only changed files are read.

    A file that can't be read or parsed is reported, and its earlier spans stay. `mend` looks for
    rows that can't be used, which takes a second per million spans, and removes them. `force`
    reads every file, also those that look unchanged.
    Raises ConfigError if `repo` is not a git repository, StoreError.
    """
    settings = settings or load_settings(repo)
    # Facts are kept under a seal; without one, an index has none.
    seal = installation.load_seal(settings.environ, lambda _: None, make=True)
    files, inside = survey(settings.repo, settings.exclude, settings.environ)
    for nested in inside:
        _tell(hooks, Warned(_leave_out(settings.repo, nested)))
    return rescue_if_damaged(
        _telling(settings.index, hooks),
        lambda: _index_into(settings, files, hooks, seal, mend=mend, force=force),
    )


def _leave_out(repo: Path, nested: Nested) -> str:
    """Say that a repository inside this one was not read, and how it is."""
    files = "files" if nested.files is None else f"{nested.files} file{'s'[: nested.files != 1]}"
    kind = "submodule" if nested.is_submodule else "nested repository"
    command = f"llmc index {shlex.quote(str(repo / nested.path))}"
    return f"left out: {files} in {kind} {nested.path}; index it by itself: {command}"


def _index_into(
    settings: Settings,
    found: Mapping[str, Stamp],
    hooks: Sequence[EventHook],
    seal: Seal | None,
    *,
    mend: bool,
    force: bool,
) -> IndexReport:
    with open_store(settings.index, hooks, seal=seal) as store:
        if mend and (mended := store.spans.mend()):
            message = f"{settings.index_path}: {mended} rows could not be used and were removed"
            _tell(hooks, Warned(f"{message}; their files are read anew"))
        known = store.spans.list_stamps()
        unproven = store.spans.list_unproven(VERSION)
        skipped: list[tuple[str, str]] = []
        changed = 0
        paths = [
            path
            for path, stamp in found.items()
            if force or path in unproven or known.get(path) != stamp
        ]
        for files in _batches(_parse(settings.repo, paths, skipped, prove=seal is not None)):
            with store.transaction():
                for file in files:
                    changed += _write(file, store, force=force)
                    if file.path in unproven and not force:
                        store.spans.put_facts(file)
        gone = []
        for path in sorted(known.keys() - found.keys()):
            if reason := _hidden(settings.repo / path):
                skipped.append((path, f"{path!r}: {reason}"))
            else:
                gone.append(path)
        for start in range(0, len(gone), FILES_PER_WRITE):
            with store.transaction():
                for path in gone[start : start + FILES_PER_WRITE]:
                    store.spans.remove_file(path)
        spans, elsewhere = store.counts.count_spans(), store.counts.count_unmarked()
        if what := store.find_fate():
            raise StoreError(f"{store.path} {what} while it was written to; start again")
    read = len(found) - len(skipped)
    return IndexReport(read, changed, len(gone), spans, tuple(skipped), elsewhere)


def _hidden(path: Path) -> str | None:
    """Say why a file that git did not list may still be there, None if it is gone or unwanted."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        return f"cannot be read: {error.strerror}"
    return None if os.access(path, os.R_OK) else "cannot be read: Permission denied"


def _parse(
    repo: Path, paths: Iterable[str], skipped: list[tuple[str, str]], *, prove: bool
) -> Iterator[ParsedFile]:
    """Yield each file with its spans; `skipped` gets what can't be read."""
    for path in paths:
        try:
            yield parse_file(repo, path, prove=prove)
        except IndexingError as error:
            skipped.append((path, str(error)))


def _write(parsed: ParsedFile, store: Store, *, force: bool) -> bool:
    """Store a file; tell whether more than its time stamp has changed.

    What counts is what the index has of it by now: another pass may have been faster.
    """
    if not force and store.spans.touch_file(parsed):
        return False
    store.spans.put_file(parsed)
    return True


def _batches(files: Iterable[ParsedFile]) -> Iterator[list[ParsedFile]]:
    """Yield files some at a time, so that each write is short and little is held in memory.

    They are parsed before: while one process writes, no other can store a result.
    """
    batch: list[ParsedFile] = []
    spans = 0
    for file in files:
        batch.append(file)
        spans += len(file.spans)
        if len(batch) >= FILES_PER_WRITE or spans >= SPANS_PER_WRITE:
            yield batch
            batch, spans = [], 0
    if batch:
        yield batch


def enrich(
    repo: Path,
    settings: Settings | None = None,
    *,
    hooks: Sequence[EventHook] = (),
    builder: Builder | None = None,
    rules: Rules | None = None,
    stop: Stop | None = None,
) -> RunReport:
    """Enrich pending spans of an index until the limit is reached or all were tried once.

    `settings` should come from `selection.select`, which settles what "auto" means. A first request
    to `stop` lets what is in flight finish; a second one, or a KeyboardInterrupt, ends the run at
    once with what is stored; the report says so. Hooks are told first where the code may go, unless
    the caller brings a `builder`, and knows.
    Raises ConfigError, StoreError.
    """
    settings = settings or load_settings(repo)
    settings.require_trust()
    if builder is None:
        _tell(hooks, destinations.find_destinations(settings))
    builder = builder or CascadeBuilder(
        settings, CallPolicy(retry_wait=settings.pace.retry_wait, queues=True)
    )
    builder.check()
    prepare_folder(settings.logs, ignored_by_git=True)
    ledger = Ledger(
        settings.repo,
        settings.metrics_log,
        est_tokens_per_span=settings.labels.est_tokens_per_span,
        log_fields=settings.router.policy.log_fields,
        logs=settings.logs,
    )
    seal = installation.load_seal(
        settings.environ, lambda message: _tell(hooks, Warned(message)), make=True
    )
    with open_store(settings.index, hooks, seal=seal) as store:
        if settings.pace.ask_all:
            store.forget_by_rule()
        rules, stop = rules or Rules(), stop or Stop()
        if not rules.by_facts:
            return Run(Parts(settings, store, ledger, builder, rules, hooks, stop)).run()
        with closing(_seek_examples(settings, seal)) as examples:
            hooks = (*hooks, examples.follow)
            return Run(Parts(settings, store, ledger, builder, rules, hooks, stop, examples)).run()


def _seek_examples(settings: Settings, seal: Seal | None) -> Examples:
    """Return what finds calls in a repository, by an index that it opens for itself."""
    return Examples(
        settings.repo,
        settings.privacy,
        lambda: Reader.open_readonly(settings.index, seal=seal),
    )


def plan(
    repo: Path,
    settings: Settings | None = None,
    *,
    hooks: Sequence[EventHook] = (),
    rules: Rules | None = None,
) -> Iterator[tuple[Span, str, prompts.Prompt]]:
    """Yield each pending span with its start tier and prompt; sends nothing.

    Those that rest after a failure are among them, though `enrich` would leave them alone; those
    that it would write by rule are not.
    """
    settings = settings or load_settings(repo)
    rules = rules or Rules()
    opened = Store.open if rules.maintain else Store.open_readonly
    seal = None
    if rules.by_facts:
        seal = installation.load_seal(settings.environ, lambda said: _tell(hooks, Warned(said)))
    with opened(_telling(settings.index, hooks), seal=seal) as store:
        planned = WorkList(settings, store, rules).make_jobs(read_pages(settings, store, rules))
        asked = (job for job in planned if isinstance(job, Job))
        for job in itertools.islice(asked, max(0, settings.pace.limit) or None):
            assert job.prompt is not None, "a job is made with its prompt"
            yield job.span, job.state.tier, job.prompt


def _tell(hooks: Sequence[EventHook], event: Event) -> None:
    for hook in hooks:
        hook(event)
