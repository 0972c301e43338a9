"""From what was found of a definition to its facts: what isn't proven goes, long lists are cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import TypeVar

from llmc.facts.dialects import Dialect
from llmc.facts.frames import Frame, Place
from llmc.facts.touches import Touches
from llmc.facts.values import (
    MAX_DOC,
    MAX_ITEMS,
    Call,
    Facts,
    Parameter,
    ParameterKind,
    Raise,
    Returned,
    Returns,
    Touch,
)

_BASE = re.compile(r"[\w$]+")
_PATH = re.compile(r"\d+|(?:\w+::)*[A-Z]\w*(?:::\w+)*")
_QUOTES = re.compile(r"[A-Za-z]{0,3}(\"\"\"|'''|\"|'|`)(.*)\1", re.DOTALL)

Entry = TypeVar("Entry")


def is_outward(frame: Frame, dialect: Dialect, touches: Touches) -> bool:
    """Tell whether facts of a definition depend on which names are its own, or on its ways."""
    if frame.raised or frame.stands or frame.names.shared:
        return True
    if not touches.called.keys().isdisjoint([called[1] for called in frame.called]):
        return True
    for written in frame.said.get("write", ()):
        base = _BASE.search(written)
        if base is None or base[0] not in dialect.receivers:
            return True
    return False


def finish_facts(
    place: Place, frame: Frame | None, dialect: Dialect, touches: Touches, *, is_outward: bool
) -> Facts:
    """Return the facts of a span; of one whose definition was not found, its kind and its doc."""
    doc = place.doc
    if doc is not None and len(doc) > MAX_DOC:
        doc = f"{doc[: MAX_DOC - 1]}…"
    if frame is None:
        return Facts(place.kind, doc=doc)
    return _Finish(frame, dialect, touches).facts(place, doc, is_outward=is_outward)


class _Finish:
    """Makes the facts of one definition; `more` are the names of the lists that were cut."""

    def __init__(self, frame: Frame, dialect: Dialect, touches: Touches) -> None:
        self._frame = frame
        self._dialect = dialect
        self._touches = touches
        self._parameters = tuple(_parameters(frame, dialect)) if frame.declared else ()
        self.more: list[str] = []

    @cached_property
    def _given(self) -> set[str]:
        return {name for entry in self._parameters for name in (entry.name, *entry.names)}

    @cached_property
    def _own(self) -> set[str]:
        return (self._given | self._frame.names.bound) - self._frame.names.shared

    def facts(self, place: Place, doc: str | None, *, is_outward: bool) -> Facts:
        """Return the facts; most lists of most spans are empty, and are not even looked at."""
        frame, dialect, cut, named = self._frame, self._dialect, self._cut, self._frame.said
        raises = cut("raises", self._raises()) if frame.raised else ()
        see = dialect.see
        return Facts(
            place.kind,
            parameters=cut("parameters", self._parameters) if self._has_parameters() else None,
            result=_result(frame),
            returns=self._returned(
                "unknown" if place.kind == "macro" else _returns(frame, raises, dialect)
            ),
            raises=raises,
            declared=self._names("declared", "throws"),
            calls=self._calls() if frame.called else (),
            writes=cut("writes", dict.fromkeys(self._writes()))
            if frame.names.shared or "write" in named
            else (),
            touches=cut("touches", self._touched()) if is_outward else (),
            decorators=self._names("decorators", "decorator"),
            visibility=frame.visibility or (see(place.name) if see else None),
            is_async=frame.is_async,
            bases=self._names("bases", "base"),
            members=cut("members", self._members()) if frame.members else (),
            doc=doc,
            more=tuple(self.more),
            sound=frame.sound,
        )

    def _cut(self, name: str, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Return the entries, MAX_ITEMS at most."""
        kept = entries if isinstance(entries, tuple) else tuple(entries)
        if len(kept) <= MAX_ITEMS:
            return kept
        self.more.append(name)
        return kept[:MAX_ITEMS]

    def _returned(self, what: Returns) -> Returned:
        left, rows = self._frame.left, self._rows
        return Returned(
            what,
            rows("valued", left.valued) if left.valued else (),
            rows("bare", left.bare) if left.bare else (),
            rows("yields", left.yields) if left.yields else (),
        )

    def _rows(self, name: str, rows: list[int]) -> tuple[int, ...]:
        first = self._frame.row
        if len(rows) == 1:
            return (rows[0] - first,)
        return self._cut(name, sorted({row - first for row in rows}))

    def _names(self, name: str, capture: str) -> tuple[str, ...]:
        found = self._frame.said.get(capture)
        return self._cut(name, dict.fromkeys(found)) if found else ()

    def _members(self) -> dict[str, None]:
        return dict.fromkeys(name for _, name in sorted(self._frame.members))

    def _raises(self) -> Iterator[Raise]:
        dialect, first = self._dialect, self._frame.row
        for raised in sorted(self._frame.raised, key=lambda entry: entry.start):
            how, error = raised.how, raised.error
            if raised.caught or (raised.maker and raised.maker not in dialect.makers):
                continue
            if (
                how == "returns"
                and dialect.failures
                and not dialect.failures.fullmatch(error or "")
            ):
                continue
            if raised.maker:
                how = dialect.makers[raised.maker]
                error = path[0] if (path := _PATH.match(error or "")) else None
            if error in dialect.nameless or (
                error and dialect.capital_errors and not self._is_type(error)
            ):
                error = None
            found = _QUOTES.fullmatch(raised.message or "")
            message = found[2] if found else raised.message
            yield Raise(raised.row - first, error, raised.guard, message, how)

    def _has_parameters(self) -> bool:
        frame, dialect = self._frame, self._dialect
        return frame.what == "function" and (frame.is_listed or not dialect.listed)

    def _is_type(self, name: str) -> bool:
        """Tell whether a name is written as types are, and is not bound to something else here."""
        return name.split(".")[0] not in self._own and name.split(".")[-1][:1].isupper()

    def _calls(self) -> tuple[Call, ...]:
        """Return the calls, each that is written the same way where it is first."""
        first, called = self._frame.row, self._frame.called
        rows: dict[tuple[str, int, tuple[str, ...], bool], int] = {}
        for row, name, given, keywords, more in sorted(called) if len(called) > 1 else called:
            rows.setdefault((name, given, keywords, more), row)
        if len(rows) > MAX_ITEMS:
            self.more.append("calls")
        return tuple(
            Call(name, row - first, given, keywords, more)
            for (name, given, keywords, more), row in islice(rows.items(), MAX_ITEMS)
        )

    def _writes(self) -> Iterator[str]:
        """Yield what is written that others may see: nothing that is of the span's own making."""
        given = self._given
        for written in self._frame.said.get("write", ()):
            base = _BASE.search(written)
            if base and base[0] in self._own and (base[0] not in given or base[0] == written):
                continue
            yield written
        yield from sorted(self._frame.names.bound & self._frame.names.shared)

    def _touched(self) -> Iterator[Touch]:
        table, seen = self._touches, set[str]()
        found = [
            (row, name, table.called[name])
            for row, name, *_ in self._frame.called
            if name in table.called
        ]
        found += [(row, name, table.stand[name]) for name, row in self._frame.stands]
        if not found:
            return
        for row, name, resource in sorted(found):
            base = _BASE.match(name)
            if name not in seen and (base is None or base[0] not in self._own):
                seen.add(name)
                yield Touch(resource, name, row - self._frame.row)


def _parameters(frame: Frame, dialect: Dialect) -> Iterator[Parameter]:
    kind: ParameterKind = dialect.parameter
    first = True
    for declared in frame.declared:
        if declared.kind == "keyword" and not declared.text:
            kind = "keyword"
            continue
        if not declared.names and not declared.is_pattern and dialect.told_by == "signature":
            if declared.text == "void":
                continue
            declared.annotation = declared.annotation or declared.text
            declared.text = "..." if declared.kind == "rest" else "_"
        elif dialect.whole_types and declared.names:
            before, _, after = declared.text.rpartition(declared.names[0])
            declared.annotation = f"{before.strip()} {after.partition('=')[0].strip()}".strip()
        for parameter in declared.parameters(kind):
            if first and parameter.name in dialect.receivers and not parameter.optional:
                parameter = Parameter(parameter.name, "receiver", parameter.annotation)
            yield parameter
            first = False
        if declared.kind == "rest":
            kind = "keyword"


def _result(frame: Frame) -> str | None:
    if frame.result is None:
        return None
    return frame.result.removeprefix(":").removeprefix("->").strip() or None


def _returns(frame: Frame, raises: tuple[Raise, ...], dialect: Dialect) -> Returns:
    """Tell what comes back, by the signature where the language has it, else by the returns."""
    if frame.what != "function" or not dialect.told_by:
        return "unknown"
    if frame.left.yields:
        return "yields"
    result = _result(frame)
    if dialect.told_by == "signature" or (dialect.told_by == "both" and result):
        return "nothing" if result is None or result in dialect.nothing else "value"
    if frame.is_stub or any(
        entry.error == "NotImplementedError" and entry.guard is None for entry in raises
    ):
        return "unknown"
    if frame.left.valued:
        return "both" if frame.left.bare else "value"
    return "nothing"
