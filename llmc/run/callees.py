"""Callees come first, and are described to their callers, where the model is large enough.

Which definition a call leads to is decided as for examples: where it is open, nothing is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from llmc.enrichment.asking import Question, Request
from llmc.enrichment.callees import (
    LARGE_BILLIONS,
    MAX_CALLEES,
    find_billions,
    list_calls,
    sort_bottom_up,
    write_lines,
)
from llmc.enrichment.prompts import Prompt
from llmc.errors import IndexingError
from llmc.facts.values import Facts
from llmc.indexer.imports import Binding, read_bindings
from llmc.indexer.linking import Use, find_owner, link
from llmc.indexer.parsing import read_text
from llmc.indexer.usages import find_called, find_places
from llmc.languages import CONTAINERS
from llmc.models import Span
from llmc.run.lanes import Choice, Lanes
from llmc.settings.config import Settings
from llmc.settings.privacy import KeptPaths
from llmc.store.names import read_name
from llmc.store.store import Store

MAX_NAMES = 60
"""Names called in one span that are looked up."""

_KEPT_NAMES, _KEPT_FILES = 1024, 64
_PART = re.compile(r"\.|::|->")


class Callees:
    """Orders spans, and tells a request what its span calls; on the main thread of a run.

    `wanted` is whether any model of the run gains from it. Nobody tells of a path that must stay
    but to a request that stays too.
    """

    def __init__(self, settings: Settings, store: Store, lanes: Lanes) -> None:
        self._settings = settings
        self._store = store
        self._lanes = lanes
        self._kept = KeptPaths(settings.repo, settings.privacy)
        self._find = lru_cache(_KEPT_NAMES)(store.definitions.find)
        self._bindings = lru_cache(_KEPT_FILES)(self._read_bindings)
        choices = [choice for found in lanes.choices.values() for choice in found]
        self.wanted = any(map(self.pays, choices))

    def pays(self, choice: Choice) -> bool:
        """Tell whether the model that is asked first of all gains from it."""
        said = self._settings.pace.callees
        if said is not None:
            return said
        step = choice.steps[0]
        billions = find_billions(step.model)
        if billions is None:
            return self._lanes.lanes[step.lane].kind != "process"
        return billions >= LARGE_BILLIONS

    def sort(self, spans: Sequence[Span], read: Callable[[Span], str | None]) -> Sequence[Span]:
        """Return spans so that what each calls stands before it, as far as names tell."""
        if not self.wanted:
            return spans
        names = [read_name(span.symbol) for span in spans]
        called = [find_called(read(span) or "") for span in spans]
        calls = [
            [other for other in found if not _holds(spans[number], spans[other])]
            for number, found in enumerate(list_calls(names, called))
        ]
        return [spans[number] for number in sort_bottom_up(calls)]

    def tell(self, span: Span, prompt: Prompt, choice: Choice) -> Prompt:
        """Return a span's request with what is known of its callees, if that pays."""
        if not (isinstance(prompt, Request) and self.pays(choice)):
            return prompt
        found = list(self._link(span, prompt.question))
        known = self._store.results.find_summaries([callee.span_hash for callee in found])
        told = ((c.symbol, known[c.span_hash]) for c in found if c.span_hash in known)
        lines = write_lines(told)
        return prompt.tell(lines) if lines else prompt

    def _link(self, span: Span, question: Question) -> Iterator[Span]:
        """Yield the definitions that a span's calls lead to, in their order, each once."""
        code = question.source
        source = code.encode()
        owner = span.symbol if span.kind in CONTAINERS else find_owner(span.symbol)
        bindings = self._bindings(span.path, span.lang)
        own, seen = read_name(span.symbol), {span.span_hash}
        for _, name, receiver in sorted(_list_places(code, source))[:MAX_NAMES]:
            if _is_another(name, receiver, question.facts):
                continue
            use = Use(name, receiver, span.path, span.lang, bindings, owner, code)
            callee = link(use, self._find(name)) if name != own else None
            if callee is None or callee.span_hash in seen or self._is_hidden(callee, span):
                continue
            seen.add(callee.span_hash)
            yield callee
            if len(seen) > 2 * MAX_CALLEES:
                return

    def _is_hidden(self, callee: Span, span: Span) -> bool:
        """Tell whether words about a callee must stay, while those about a span may leave."""
        return self._kept.covers(callee.path) and not self._kept.covers(span.path)

    def _read_bindings(self, path: str, lang: str) -> tuple[Binding, ...]:
        try:
            source = read_text(self._settings.repo, path)
        except IndexingError:
            return ()
        return read_bindings(lang, source.decode("utf-8", "replace"))


def _holds(outer: Span, inner: Span) -> bool:
    """Tell whether a span is a part of another: what it defines, it need not call."""
    is_inside = outer.byte_start <= inner.byte_start and inner.byte_end <= outer.byte_end
    return outer.path == inner.path and is_inside


def _is_another(name: str, receiver: str, facts: Facts | None) -> bool:
    """Tell whether what looks like a call is proven to be none, or one of a parameter."""
    if facts is None or not facts.sound or facts.kind in CONTAINERS or "calls" in facts.more:
        return False
    if not receiver and any(name in (each.name, *each.names) for each in facts.parameters or ()):
        return True
    return all(name != _PART.split(call.name.rstrip("!"))[-1] for call in facts.calls)


def _list_places(code: str, source: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield place (bytes), name and receiver of the first call of each name."""
    for name in find_called(code):
        for at, receiver in find_places(name, source, 1):
            yield at, name, receiver
