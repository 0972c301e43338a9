"""The work list: pending spans of the index become jobs with a prompt and a place to start.

Two sets of rules, because the batch driver's are a contract: it routes by a short excerpt and its
own count of nesting, skips ignored files, drops missing ones and leaves alone all spans of a file
that is no longer the one indexed. The `llmc` command routes by the whole span, and leaves alone a
span whose text is no longer what was indexed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from llmc.enrichment import prompts
from llmc.enrichment.asking import Question, Request, build_request
from llmc.enrichment.examples import Examples
from llmc.events import Event, EventHook, FileGone, SpanKept, SpanLeft, Warned
from llmc.facts.codec import decode_facts
from llmc.indexer.files import Ignored
from llmc.indexer.unchanged import IndexedFiles
from llmc.models import Span, SpanReport
from llmc.run import measures, routing
from llmc.run.by_rule import settle_by_rule
from llmc.run.callees import Callees
from llmc.run.job import Job
from llmc.run.sources import Names, read_source
from llmc.settings.config import Settings
from llmc.settings.privacy import KeptPaths
from llmc.store.reader import Reader
from llmc.store.store import Store

CHANGED = "changed since the last llmc index, or not to be read"
EXCERPT_CHARS = 800
PAGE = 200
"""Pending spans read at a time where nothing claims them."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Where the batch driver and the `llmc` command differ.

    `excerpt_chars` bounds the text that routing measures; None: all of it. `maintain` skips
    ignored paths, drops files that are gone and leaves out those that have changed, which the
    command leaves to its index pass. `verify` leaves out spans whose text has changed. `sleep` is
    the pause between spans in seconds.
    `batch` is how many spans are taken from the index at a time; None: what the run finds best.
    `side_by_side` is off for the driver: one span at a time, down the host chain as it stands,
    whoever answers; spans that failed in earlier runs are tried like any other.
    `by_facts`: a model is asked only for what the parser can't prove, and held against what it can.
    """

    excerpt_chars: int | None = None
    nesting: Callable[[str], int] = measures.count_code_nesting
    maintain: bool = False
    verify: bool = True
    sleep: float = 0.0
    batch: int | None = None
    side_by_side: bool = True
    by_facts: bool = True


Source = Callable[[int], Sequence[Span]]
"""Gives the next pending spans whose id is above a number, by id; none at the end."""


def read_pages(settings: Settings, store: Store, rules: Rules) -> Source:
    """Return the pending spans of an index, page by page, without claiming them."""
    newest = compute_newest_mtime(settings)
    size = PAGE if rules.batch is None else rules.batch
    return lambda after: store.spans.list_pending(after, size, newest)


def give_once(spans: Sequence[Span]) -> Source:
    """Return a source of just these spans."""
    pages = iter((spans,))
    return lambda _: next(pages, ())


def compute_newest_mtime(settings: Settings) -> float | None:
    """Return the time (epoch seconds) after which a changed file is too young to be worked on."""
    return time.time() - settings.pace.cooldown if settings.pace.cooldown else None


@dataclass(frozen=True, slots=True)
class WorkList:
    """Makes jobs of pending spans; `left` is told, page by page, which come to nothing."""

    settings: Settings
    store: Store
    rules: Rules
    hooks: Sequence[EventHook] = ()
    left: Callable[[Sequence[Span]], object] = len
    examples: Examples | None = None
    callees: Callees | None = None
    _home: _Home = field(init=False, repr=False)
    _names: Names = field(init=False, repr=False)
    _files: IndexedFiles | None = field(init=False, repr=False)
    _said: set[str] = field(init=False, repr=False, default_factory=set)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_home", _Home(self.settings))
        opening = partial(Reader.open_readonly, self.settings.index)
        object.__setattr__(self, "_names", Names(self.settings.repo, opening))
        files = IndexedFiles(partial(_indexed, self.store)) if self.rules.maintain else None
        object.__setattr__(self, "_files", files)

    def make_jobs(self, source: Source) -> Iterator[Job | SpanReport]:
        """Yield a job for each span that the source gives, each once.

        Of one that is written by rule, its report comes instead.
        """
        after = 0
        ignored = _IgnoredPaths(self.settings) if self.rules.maintain else None
        dropped: set[str] = set()
        while page := source(after):
            after = page[-1].id
            left: list[Span] = []
            for span in self.callees.sort(page, self._read) if self.callees else page:
                is_work = not (ignored and ignored.covers(span, page)) and span.path not in dropped
                if is_work and self.rules.maintain and _is_gone(self.settings.repo, span.path):
                    _tell(self.hooks, _drop(self.store, span.path))
                    dropped.add(span.path)
                    is_work = False
                job = self.make_job(span) if is_work else None
                if job:
                    yield job
                else:
                    left.append(span)
            if left:
                self.left(left)

    def make_job(self, span: Span) -> Job | SpanReport | None:
        """Return a span as a job; None, and a word, if it can't be read or asked about."""
        kept = self._home.paths.covers(span.path)
        code, question = self._read(span), None
        if code is not None and self.rules.by_facts:
            question = self._make_question(span, code)
            if report := settle_by_rule(span, question, self.settings):
                return report
        if kept and not self._home.tiers:
            _tell(self.hooks, SpanKept(span))
            return None
        if code is None:
            self._say_left(span)
            return None
        prompt = self._request(span, question) if question else prompts.build(span, code)
        return _job(self.settings, self.rules, span, code, prompt, self._home if kept else None)

    def make_prompt(self, job: Job) -> prompts.Prompt | None:
        """Return a job's prompt, made anew if it was put by; None if its text has changed."""
        if job.prompt is None:
            code = self._read(job.span)
            job.prompt = None if code is None else self._ask(job.span, code)
        return job.prompt

    def put_by(self, job: Job) -> None:
        """Drop a job's prompt, which takes room; it is made anew when its turn comes."""
        job.prompt = None

    def _ask(self, span: Span, code: str) -> prompts.Prompt:
        if not self.rules.by_facts:
            return prompts.build(span, code)
        return self._request(span, self._make_question(span, code))

    def _make_question(self, span: Span, code: str) -> Question:
        facts = decode_facts(self.store.results.find_facts(span.span_hash))
        around = self._names.find_around(span)
        return Question(code, span.symbol, span.lang, span.kind, facts, *around)

    def _request(self, span: Span, question: Question) -> Request:
        if self.examples:
            seek = partial(self.examples.describe, span, question.facts)
            question = replace(question, find_usage=seek)
        return build_request(span, question)

    def _read(self, span: Span) -> str | None:
        return read_source(self.settings.repo, span, verify=self.rules.verify, files=self._files)

    def _say_left(self, span: Span) -> None:
        """Say why a span is no work now; what is true of its whole file is said once."""
        _tell(self.hooks, SpanLeft(span, CHANGED))
        place = f"{span.path}:{span.start_line}"
        message = f"{place}: cannot be read as it was indexed; left for later"
        if self._files:
            place = span.path
            message = (
                f"{place}: is no longer the file that was indexed, or cannot be read; its spans "
                "are left for later"
            )
        if place not in self._said:
            self._said.add(place)
            _tell(self.hooks, Warned(message))


class _Home:
    """What counts for spans that must stay: their paths, and the tiers and hosts that stay."""

    def __init__(self, settings: Settings) -> None:
        self.paths = KeptPaths(settings.repo, settings.privacy)
        self.tiers = settings.list_home_tiers() if self.paths else frozenset()
        self.hosts = len(settings.keep_home().hosts) if self.paths else 0


def _job(
    settings: Settings,
    rules: Rules,
    span: Span,
    code: str,
    prompt: prompts.Prompt,
    home: _Home | None,
) -> Job:
    metrics = measures.measure(
        cut_excerpt(code, rules.excerpt_chars),
        line_count=span.line_count,
        prompt_chars=len(prompt),
        nesting=rules.nesting,
    )
    state = routing.start(
        metrics,
        settings.router,
        backend=settings.backend,
        hosts=home.hosts if home else len(settings.hosts),
        retries=settings.pace.retries,
        among=home.tiers if home else None,
    )
    return Job(span, metrics, prompt, state, time.monotonic())


def cut_excerpt(code: str, chars: int | None) -> str:
    """Return the text cut to `chars` characters, the last one an ellipsis if anything is cut."""
    if chars is None or len(code) <= chars:
        return code
    return code[: chars - 1] + "…"


class _IgnoredPaths:
    """Remembers which paths are ignored; git is asked once for each."""

    def __init__(self, settings: Settings) -> None:
        self._ignored = Ignored(settings.repo, settings.exclude, settings.environ)
        self._known: dict[str, bool] = {}

    def covers(self, span: Span, page: Sequence[Span]) -> bool:
        """Tell whether a span's path is ignored; asks about the whole page's paths at once."""
        if span.path not in self._known:
            unknown = {other.path for other in page} - self._known.keys()
            matching = self._ignored.find_matching(unknown)
            self._known.update((path, path in matching) for path in unknown)
        return self._known[span.path]


def _indexed(store: Store, span: Span) -> tuple[str, int] | None:
    """Return hash and size of a span's file as the index has them."""
    state = store.spans.find_file(span)
    return (state.file_hash, state.size) if state else None


def _drop(store: Store, path: str) -> FileGone:
    return FileGone(path, *store.spans.remove_file(path))


def _tell(hooks: Sequence[EventHook], event: Event) -> None:
    for hook in hooks:
        hook(event)


def _is_gone(repo: Path, path: str) -> bool:
    """Tell whether a file of the repository is no longer there; one elsewhere is not asked for."""
    try:
        place = repo / os.path.normpath(path)
        return ".." not in place.parts and place.is_relative_to(repo) and not place.exists()
    except (OSError, ValueError):
        return False
