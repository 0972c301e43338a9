"""The work list: pending spans of the index become jobs with a prompt and a place to start.

Two sets of rules, because the batch driver's are a contract: it routes by a short excerpt and its
own count of nesting, skips ignored files and drops missing ones. The `llmc` command routes by the
whole span, and leaves alone a span whose text is no longer what was indexed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmc import prompts, routing
from llmc.config import Settings
from llmc.events import Event, EventHook, FileGone, Warned
from llmc.indexer import Ignored
from llmc.models import AttemptOutcome, Span, SpanMetrics
from llmc.store import Store

EXCERPT_CHARS = 800
PAGE = 200
"""Pending spans read at a time."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Where the batch driver and the `llmc` command differ.

    `excerpt_chars` bounds the text that routing measures; None: all of it. `maintain` skips
    ignored paths and drops files that are gone, which the command leaves to its index pass.
    `verify` leaves out spans whose text has changed. `sleep` is the pause between spans in seconds.
    """

    excerpt_chars: int | None = None
    nesting: Callable[[str], int] = routing.code_nesting
    maintain: bool = False
    verify: bool = True
    sleep: float = 0.0
    page: int = PAGE


@dataclass(slots=True)
class Job:
    """A span on its way: its prompt and state live only as long as it is being tried."""

    span: Span
    metrics: SpanMetrics
    prompt: prompts.Prompt
    state: routing.SpanState
    started: float
    outcomes: list[AttemptOutcome] = field(default_factory=list)


def jobs(
    settings: Settings, store: Store, rules: Rules, hooks: Sequence[EventHook] = ()
) -> Iterator[Job]:
    """Yield pending spans by id, each once, read page by page."""
    after = 0
    newest = time.time() - settings.cooldown if settings.cooldown else None
    ignored = _IgnoredPaths(settings) if rules.maintain else None
    dropped: set[str] = set()
    while page := store.pending(after, rules.page, newest):
        after = page[-1].id
        if ignored:
            page = ignored.kept(page)
        for span in page:
            if span.path in dropped:
                continue
            if rules.maintain and _is_gone(settings.repo, span.path):
                _tell(hooks, _drop(store, span.path))
                dropped.add(span.path)
                continue
            code = read_source(settings.repo, span, verify=rules.verify)
            if code is None:
                place = f"{span.path}:{span.start_line}"
                message = f"{place}: cannot be read as it was indexed; left for later"
                _tell(hooks, Warned(message))
            else:
                yield _job(settings, rules, span, code)


def read_source(repo: Path, span: Span, *, verify: bool = True) -> str | None:
    """Return a span's text, None if it can't be read or, with `verify`, is no longer the same.

    The path comes from the database, so one that leads out of the repository is never opened.
    """
    root = repo.resolve()
    try:
        path = (root / span.path).resolve()
        if not path.is_relative_to(root):
            return None
        with path.open("rb") as file:
            file.seek(span.byte_start)
            code = file.read(max(0, span.byte_end - span.byte_start))
    except (OSError, ValueError):
        return None
    if verify and span.span_hash != _span_hash(span.lang, code):
        return None
    return code.decode("utf-8", "replace")


def _job(settings: Settings, rules: Rules, span: Span, code: str) -> Job:
    prompt = prompts.build(span, code)
    metrics = routing.measure(
        excerpt(code, rules.excerpt_chars),
        line_count=span.line_count,
        prompt_chars=len(prompt),
        nesting=rules.nesting,
    )
    state = routing.start(
        metrics,
        settings.router,
        backend=settings.backend,
        hosts=len(settings.hosts),
        retries=settings.retries,
    )
    return Job(span, metrics, prompt, state, time.monotonic())


def excerpt(code: str, chars: int | None) -> str:
    """Return the text cut to `chars` characters, the last one an ellipsis if anything is cut."""
    if chars is None or len(code) <= chars:
        return code
    return code[: chars - 1] + "…"


class _IgnoredPaths:
    """Remembers which paths are ignored; git is asked once for each."""

    def __init__(self, settings: Settings) -> None:
        self._ignored = Ignored(settings.repo, settings.exclude)
        self._known: dict[str, bool] = {}

    def kept(self, page: Sequence[Span]) -> list[Span]:
        unknown = {span.path for span in page} - self._known.keys()
        if unknown:
            matching = self._ignored.matching(unknown)
            self._known.update((path, path in matching) for path in unknown)
        return [span for span in page if not self._known[span.path]]


def _drop(store: Store, path: str) -> FileGone:
    spans, enrichments = store.counts()
    store.remove_file(path)
    left, kept = store.counts()
    return FileGone(path, spans - left, enrichments - kept)


def _tell(hooks: Sequence[EventHook], event: Event) -> None:
    for hook in hooks:
        hook(event)


def _is_gone(repo: Path, path: str) -> bool:
    try:
        return not (repo / path).exists()
    except (OSError, ValueError):
        return False


def _span_hash(lang: str, code: bytes) -> str:
    return f"sha256:{hashlib.sha256(lang.encode() + code).hexdigest()}"
