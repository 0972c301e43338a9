"""From what was found of a definition to its facts: what isn't proven goes, long lists are cut."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from llmc.facts.codec import NUMBERS, VERSION, Spelled, spell_entries
from llmc.facts.dialects import Dialect
from llmc.facts.frames import Frame, Place
from llmc.facts.touches import Touches
from llmc.facts.values import (
    MAX_DOC,
    MAX_ITEMS,
    MAX_PARAMETERS,
    Parameter,
    ParameterKind,
    Raise,
    Returned,
    Returns,
    Touch,
)

_BASE = re.compile(r"[\w$]+")
_PATH = re.compile(r"\d+|(?:\w+::)*[A-Z]\w*(?:::\w+)*")
_ASSERTS = re.compile(r"asserts\s")
"""What a function that returns nothing says of its arguments, in the place of a type."""

_QUOTES = re.compile(r"[A-Za-z]{0,3}(\"\"\"|'''|\"|'|`)(.*)\1", re.DOTALL)

_PARAMETERS, _RESULT, _RETURNS, _RAISES = (
    NUMBERS[name] for name in ("parameters", "result", "returns", "raises")
)
_CALLS, _WRITES, _TOUCHES, _VISIBILITY = (
    NUMBERS[name] for name in ("calls", "writes", "touches", "visibility")
)
_IS_ASYNC, _MEMBERS, _DOC, _MORE, _SOUND = (
    NUMBERS[name] for name in ("is_async", "members", "doc", "more", "sound")
)
_SAID = tuple(
    (NUMBERS[name], name, capture)
    for name, capture in (
        ("declared", "throws"),
        ("decorators", "decorator"),
        ("bases", "base"),
    )
)
"""Lists of what is kept as it is written, by the capture that found it."""

Entry = TypeVar("Entry")


def is_outward(frame: Frame, dialect: Dialect, touches: Touches) -> bool:
    """Tell whether facts of a definition depend on which names are its own, or on its ways."""
    if frame.raised or frame.stands or frame.shared:
        return True
    if not touches.called.keys().isdisjoint([called[0] for called in frame.called]):
        return True
    written = frame.said.get("write")
    if not written:
        return False
    given = {name for entry in frame.declared for name in entry.names or (entry.text,)}
    bases = {base[0] for text in written if (base := _BASE.search(text))}
    return not bases <= given | dialect.receivers


@dataclass(frozen=True, slots=True)
class File:
    """What the facts of a file's spans have in common: where its lines end, what its words mean."""

    newlines: Sequence[int]
    dialect: Dialect
    touches: Touches


def finish_facts(place: Place, frame: Frame | None, file: File, *, is_outward: bool) -> Spelled:
    """Return the facts of a span, as JSON has them: an index has few readers for many spans.

    Of a span whose definition was not found, these are its kind and its doc.
    """
    spelled: Spelled = [VERSION, place.kind]
    if frame is not None:
        finish = _Finish(frame, file)
        spelled += finish.signature(place)
        spelled += finish.body(is_outward=is_outward)
        if finish.more:
            spelled += _MORE, finish.more
    if doc := place.doc:
        spelled += _DOC, doc if len(doc) <= MAX_DOC else f"{doc[: MAX_DOC - 1]}…"
    return spelled


class _Finish:
    """Makes the facts of one definition; `more` are the names of the lists that were cut."""

    def __init__(self, frame: Frame, file: File) -> None:
        self._frame = frame
        self._file = file
        self._dialect = file.dialect
        self._parameters = tuple(_parameters(frame, file.dialect)) if frame.declared else ()
        self.more: list[str] = []
        self.raises = self._cut("raises", self._raises()) if frame.raised else ()

    @cached_property
    def _given(self) -> set[str]:
        return {name for entry in self._parameters for name in (entry.name, *entry.names)}

    @cached_property
    def _own(self) -> set[str]:
        return (self._given | self._frame.bound) - self._frame.shared

    def signature(self, place: Place) -> Iterator[Any]:
        """Yield numbers and values of what stands before a definition's body, and what comes back.

        Most lists of most spans are empty, and are not even looked at.
        """
        frame, dialect, said = self._frame, self._dialect, self._frame.said
        if frame.what == "function" and (frame.is_listed or not dialect.listed):
            yield _PARAMETERS
            yield spell_entries(
                "parameters", self._cut("parameters", self._parameters, MAX_PARAMETERS)
            )
        if result := _result(frame):
            yield from (_RESULT, result)
        what: Returns = "unknown"
        if place.kind != "macro":
            what = _returns(frame, self.raises, dialect)
        if frame.left:
            yield from (_RETURNS, self._returned(what))
        elif what != "unknown":
            yield from (_RETURNS, (what,))
        if said:
            for number, name, capture in _SAID:
                if found := said.get(capture):
                    yield from (number, self._cut(name, dict.fromkeys(found)))
        see = dialect.see
        if visibility := frame.visibility or (see(place.name) if see else None):
            yield from (_VISIBILITY, visibility)
        if frame.is_async:
            yield from (_IS_ASYNC, True)
        if not frame.sound:
            yield from (_SOUND, False)

    def body(self, *, is_outward: bool) -> Iterator[Any]:
        """Yield numbers and values of what a definition does, and of what is in it."""
        frame = self._frame
        if self.raises:
            yield from (_RAISES, spell_entries("raises", self.raises))
        if frame.called:
            yield from (_CALLS, self._calls())
        if "write" in frame.said or frame.shared:
            yield from (_WRITES, self._cut("writes", dict.fromkeys(self._writes())))
        if is_outward and (touched := self._cut("touches", self._touched())):
            yield from (_TOUCHES, touched)
        if frame.members:
            members = dict.fromkeys(name for _, name in sorted(frame.members))
            yield from (_MEMBERS, self._cut("members", members))

    def _cut(self, name: str, entries: Iterable[Entry], most: int = MAX_ITEMS) -> tuple[Entry, ...]:
        """Return the entries, so many at most."""
        kept = entries if isinstance(entries, tuple) else tuple(entries)
        if len(kept) <= most:
            return kept
        self.more.append(name)
        return kept[:most]

    def _returned(self, what: Returns) -> Returned:
        left, rows = self._frame.left, self._rows
        return Returned(what, *(rows(way, left.get(way)) for way in ("valued", "bare", "yields")))

    def _rows(self, name: str, rows: list[int] | None) -> tuple[int, ...]:
        if not rows:
            return ()
        first = self._frame.row
        if len(rows) == 1:
            return (rows[0] - first,)
        return self._cut(name, sorted({row - first for row in rows}))

    def _raises(self) -> Iterator[Raise]:
        dialect, first = self._dialect, self._frame.row
        for raised in sorted(self._frame.raised, key=lambda entry: entry.start):
            how, error = raised.how, raised.error
            if raised.caught:
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

    def _is_type(self, name: str) -> bool:
        """Tell whether a name is written as types are, and is not bound to something else here."""
        return name.split(".")[0] not in self._own and name.split(".")[-1][:1].isupper()

    def _calls(self) -> list[Any]:
        """Return the calls in the order of their rows, each that is written alike where it is
        first."""
        first, newlines = self._frame.row, self._file.newlines
        called = [
            (bisect_left(newlines, at) - first, *call) for call, at in self._frame.called.items()
        ]
        if len(called) > 1:
            called.sort()
            if len(called) > MAX_ITEMS:
                self.more.append("calls")
                del called[MAX_ITEMS:]
        return [
            (name, row, given, keywords, more) if keywords or more else (name, row, given)
            for row, name, given, keywords, more in called
        ]

    def _writes(self) -> Iterator[str]:
        """Yield what is written that others may see: nothing that is of the span's own making."""
        given = self._given
        for written in self._frame.said.get("write", ()):
            base = _BASE.search(written)
            if base and base[0] in self._own and (base[0] not in given or base[0] == written):
                continue
            yield written
        yield from sorted(self._frame.bound & self._frame.shared)

    def _touched(self) -> Iterator[Touch]:
        frame, table, newlines = self._frame, self._file.touches, self._file.newlines
        seen = set[str]()
        found = [
            (bisect_left(newlines, at), name, table.called[name])
            for (name, *_), at in frame.called.items()
            if name in table.called
        ]
        found += [(row, name, table.stand[name]) for name, row in frame.stands]
        for row, name, resource in sorted(found):
            base = _BASE.match(name)
            if name not in seen and (base is None or base[0] not in self._own):
                seen.add(name)
                yield Touch(resource, name, row - frame.row)


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
            declared.annotation = (
                f"{before.strip()} {after.partition('=')[0].strip()}".strip() or None
            )
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
    if "yields" in frame.left:
        return "yields"
    result = _result(frame)
    if dialect.told_by == "signature" or (dialect.told_by == "both" and result):
        gives = result is not None and result not in dialect.nothing and not _ASSERTS.match(result)
        return "value" if gives else "nothing"
    if frame.is_stub or any(
        entry.error == "NotImplementedError" and entry.guard is None for entry in raises
    ):
        return "unknown"
    if "valued" in frame.left:
        return "both" if "bare" in frame.left else "value"
    return "nothing"
