"""How a span is used: a short call of it that stands in the repository, with its place.

Nothing is made up: an example is one whole statement of a file that the index has, found by name
and import, in tests first, then in examples and documents' code, then elsewhere. Where it is open
which definition a call leads to, there is none. Left out are files that must stay on this machine,
whose text would get into what is said of others, those that nobody wrote, and statements with what
looks like a secret, or tells its reader to do something.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmc.enrichment.arguments import check_usage, count_arguments
from llmc.enrichment.grounds import Ground
from llmc.enrichment.instructions import find_instructions, fold
from llmc.errors import StoreError
from llmc.events import Event, SpanStarted
from llmc.facts.values import Facts
from llmc.indexer.callers import Callers, CallingFile
from llmc.indexer.linking import Use, find_family, find_owner, link, may_lead
from llmc.indexer.usages import Usage, find_places
from llmc.models import MAX_SNIPPET_CHARS, MAX_SNIPPET_LINES, Span
from llmc.redaction import secrets
from llmc.redaction.text import make_one_line, make_plain
from llmc.settings.privacy import KeptPaths, Privacy
from llmc.store.names import read_name
from llmc.store.reader import Reader

MAX_WAIT_SEC = 30.0
"""How long an example is waited for, the look through all files included."""

MAX_FILES, MAX_PARSED, MAX_PLACES = 40, 4, 12
"""Files with a call of a name that are looked at, those of them that are parsed, and calls in each
that are tried."""

_KINDS = frozenset({"function", "method", "macro", "class", "struct", "enum"})
_COMMENTS = {"python": "#"}
_PLACE_CHARS = 12
_LOOSE = frozenset({"script"})
"""Families of languages in which an argument that is not given is no error."""


@dataclass(frozen=True, slots=True)
class Example:
    """A call of a span: the `text` of a whole statement, and where that begins."""

    text: str
    path: str
    line: int

    def show(self, lang: str) -> str:
        """Return the call below a comment with its place."""
        sign = _COMMENTS.get(lang, "//")
        return f"{sign} {make_one_line(self.path)}:{self.line}\n{self.text}"


class Examples:
    """Finds examples in one repository, for the threads of a run: one of its own does the work.

    What is called where is found out while the first request is on its way; `follow` is a hook of
    the run. To be closed.
    """

    def __init__(self, repo: Path, privacy: Privacy, open_index: Callable[[], Reader]) -> None:
        self._repo = repo
        self._kept = KeptPaths(repo, privacy)
        self._open_index = open_index
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="examples")
        self._over = threading.Event()
        self._begun = False
        self._callers: Callers | None = None

    def follow(self, event: Event) -> None:
        """Have the files looked through once a first request is on its way, beside that."""
        if isinstance(event, SpanStarted) and not self._begun:
            self._begun = True
            with suppress(RuntimeError):  # closed by now
                self._pool.submit(self._prepare)

    def describe(self, span: Span, facts: Facts | None = None) -> str | None:
        """Return what `find` finds as it is stored: below a comment with its place."""
        found = self.find(span, facts)
        return found.show(span.lang) if found else None

    def find(self, span: Span, facts: Facts | None = None) -> Example | None:
        """Return a call of a span, None if there is none that is short and surely its own.

        It doesn't contradict what the facts have of the parameters.
        """
        if span.kind not in _KINDS or not read_name(span.symbol):
            return None
        try:
            return self._pool.submit(self._find, span, facts).result(MAX_WAIT_SEC)
        except (CancelledError, LateError, RuntimeError):
            return None

    def close(self) -> None:
        """End the search; who still waits for it gets nothing."""
        self._over.set()
        self._pool.submit(self._end)
        self._pool.shutdown()

    def _end(self) -> None:
        if self._callers:
            self._callers.close()

    def _prepare(self) -> Callers | None:
        if self._callers is None and not self._over.is_set():
            try:
                index = self._open_index()
                self._callers = Callers(self._repo, index, self._kept.covers)
                self._callers.look_through(self._over.is_set)
            except StoreError:
                self._over.set()  # another program holds the index, or removed it
        return None if self._over.is_set() else self._callers

    def _find(self, span: Span, facts: Facts | None) -> Example | None:
        callers = self._prepare()
        try:
            return find_example(callers, span, facts) if callers else None
        except StoreError:
            return None


def find_example(callers: Callers, span: Span, facts: Facts | None = None) -> Example | None:
    """Return the best call of a span, None if there is none. Raises StoreError."""
    name, most = read_name(span.symbol), MAX_SNIPPET_LINES - 1
    namesakes = callers.find_namesakes(name)
    parsed = 0
    for path in callers.list_paths(name, MAX_FILES):
        file = callers.read(path)
        places = list(_find_likely(file, span, name, namesakes)) if file else []
        if file is None or not places:
            continue
        parsed += 1
        usages = [usage for at in places if (usage := callers.find_usage(file, at, name, most))]
        if found := _choose(usages, file, span, facts, namesakes):
            return found
        if parsed >= MAX_PARSED:
            break
    return None


def _find_likely(
    file: CallingFile, span: Span, name: str, namesakes: Sequence[Span]
) -> Iterator[int]:
    """Yield the places of a file where a span may be called, before that is parsed."""
    use = Use(name, "", file.path, file.lang, file.bindings)
    if not may_lead(use, span):
        return
    # What a receiver is, and whose members are meant, only the tree tells.
    is_method = span.kind == "method" or find_family(file.lang) in ("c", "java")
    owner = find_owner(span.symbol).rpartition(".")[2].encode()
    known: dict[str, bool] = {}
    is_macro = span.kind == "macro" and span.lang == "rust"
    for at, receiver in find_places(name, file.source, MAX_PLACES, is_macro=is_macro):
        if receiver not in known:
            is_open = is_method and (file.path == span.path or owner in file.source)
            is_linked = _is_same(link(use._replace(receiver=receiver), namesakes), span)
            known[receiver] = is_open or is_linked
        if known[receiver]:
            yield at


def _choose(
    usages: Sequence[Usage],
    file: CallingFile,
    span: Span,
    facts: Facts | None,
    namesakes: Sequence[Span],
) -> Example | None:
    """Return the shortest of the calls of a span in a file."""
    fit = [usage for usage in usages if _is_fit(usage, file, span, facts, namesakes)]
    best = min(fit, key=lambda usage: len(usage.statement), default=None)
    return Example(best.statement, file.path, best.line) if best else None


def _is_fit(
    usage: Usage,
    file: CallingFile,
    span: Span,
    facts: Facts | None,
    namesakes: Sequence[Span],
) -> bool:
    """Tell whether a call is the span's, from elsewhere, and may be shown."""
    text, name = usage.statement, read_name(span.symbol)
    if file.path == span.path and span.start_line <= usage.line <= span.end_line:
        return False
    use = Use(name, usage.receiver, file.path, file.lang, file.bindings, usage.owner, usage.around)
    if not _is_same(link(use, namesakes), span):
        return False
    if (
        len(text) + len(file.path) + _PLACE_CHARS > MAX_SNIPPET_CHARS
        or make_plain(text) != text
        or secrets.find(text)
        or any(find_instructions(fold(text)))
    ):
        return False
    return facts is None or _agrees(usage, span, facts)


def _is_same(found: Span | None, span: Span) -> bool:
    """Tell whether a definition is a span, which may have moved meanwhile."""
    return found is not None and (found.path, found.span_hash) == (span.path, span.span_hash)


def _agrees(usage: Usage, span: Span, facts: Facts) -> bool:
    """Tell whether a call gives what is known to be taken."""
    ground = Ground(facts, "", span.symbol, span.lang)
    if any(finding.ruling == "refuted" for finding in check_usage(usage.statement, ground)):
        return False
    given = usage.arguments
    is_unbound = usage.receiver.rpartition(".")[2] == find_owner(span.symbol).rpartition(".")[2]
    if given.spreads or ground.arguments is None or (span.kind == "method" and is_unbound):
        return True
    least, most = count_arguments(ground.arguments)
    count = given.placed + given.named
    enough = count >= least or find_family(span.lang) in _LOOSE
    return enough and (most is None or count <= most)
