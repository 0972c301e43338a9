"""From what was found of a definition to its facts: what isn't proven goes, long lists are cut."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from llmc.facts.codec import NUMBERS, VERSION, Spelled, spell_entries
from llmc.facts.dialects import Dialect
from llmc.facts.frames import Declared, Frame, Place
from llmc.facts.touches import Touches
from llmc.facts.values import (
    MAX_DOC,
    MAX_ITEMS,
    MAX_PARAMETERS,
    Parameter,
    ParameterKind,
    Raise,
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

_NAMES = Parameter._fields.index("names")

Entry = tuple[Any, ...]
Entries = TypeVar("Entries", list[Any], tuple[Any, ...])


def is_outward(frame: Frame, dialect: Dialect) -> bool:
    """Tell whether facts of a definition depend on which names are its own, or on its ways."""
    if frame.reaches or frame.raised or frame.stands or frame.shared:
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

    Of a span whose definition was not found, these are its kind and its doc. Most lists of most
    spans are empty, and are not even looked at.
    """
    spelled: Spelled = [VERSION, place.kind]
    if frame is not None:
        finish = _Finish(frame, file)
        finish.signature(spelled, place)
        finish.body(spelled, is_outward=is_outward)
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
        self._parameters = _parameters(frame, file.dialect) if frame.declared else []
        self.more: list[str] = []
        self._raised = self._cut("raises", tuple(self._raises())) if frame.raised else ()

    @cached_property
    def _given(self) -> set[str]:
        return {name for entry in self._parameters for name in (entry[0], *_bound(entry))}

    @cached_property
    def _own(self) -> set[str]:
        return (self._given | self._frame.bound) - self._frame.shared

    def signature(self, spelled: Spelled, place: Place) -> None:
        """Add what stands before a definition's body, and what comes back."""
        frame, dialect = self._frame, self._file.dialect
        if frame.what == "function" and (frame.is_listed or not dialect.listed):
            cut = self._cut("parameters", self._parameters, MAX_PARAMETERS)
            spelled += _PARAMETERS, cut
        if frame.result and (result := _result(frame)):
            spelled += _RESULT, result
        what: Returns = "unknown"
        if place.kind != "macro":
            what = _returns(frame, self._raised, dialect)
        if frame.left:
            spelled += _RETURNS, self._returned(what)
        elif what != "unknown":
            spelled += _RETURNS, (what,)
        if said := frame.said:
            for number, name, capture in _SAID:
                if found := said.get(capture):
                    spelled += number, self._cut(name, list(dict.fromkeys(found)))
        see = dialect.see
        if visibility := frame.visibility or (see(place.name) if see else None):
            spelled += _VISIBILITY, visibility
        if frame.is_async:
            spelled += _IS_ASYNC, True
        if not frame.sound:
            spelled += _SOUND, False

    def body(self, spelled: Spelled, *, is_outward: bool) -> None:
        """Add what a definition does, and what is in it."""
        frame = self._frame
        if self._raised:
            spelled += _RAISES, spell_entries("raises", self._raised)
        if frame.called:
            spelled += _CALLS, self._calls()
        if "write" in frame.said or frame.shared:
            spelled += _WRITES, self._cut("writes", list(dict.fromkeys(self._writes())))
        if is_outward and (touched := self._cut("touches", list(self._touched()))):
            spelled += _TOUCHES, touched
        if frame.members:
            members = list(dict.fromkeys(name for _, name in sorted(frame.members)))
            spelled += _MEMBERS, self._cut("members", members)

    def _cut(self, name: str, entries: Entries, most: int = MAX_ITEMS) -> Entries:
        """Return the entries, so many at most."""
        if len(entries) <= most:
            return entries
        self.more.append(name)
        return entries[:most]

    def _returned(self, what: Returns) -> Spelled:
        """Return what comes back with its rows, as far as there are any."""
        left = self._frame.left
        if len(left) == 1 and "valued" in left:  # mostly
            return [what, self._rows("valued", left["valued"])]
        return [what, *(self._rows(way, left.get(way)) for way in ("valued", "bare", "yields"))]

    def _rows(self, name: str, rows: list[int] | None) -> list[int]:
        if not rows:
            return []
        first = self._frame.row
        if len(rows) == 1:
            return [rows[0] - first]
        return self._cut(name, sorted({row - first for row in rows}))

    def _raises(self) -> Iterator[Raise]:
        dialect, first = self._file.dialect, self._frame.row
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

    def _calls(self) -> Spelled:
        """Return the calls in the order of their rows, each that is written alike where it is
        first."""
        first, newlines = self._frame.row, self._file.newlines
        called = [
            (bisect_left(newlines, at, first) - first, *call)
            for call, at in self._frame.called.items()
        ]
        if len(called) > 1:
            called.sort()
            called = self._cut("calls", called)
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


def _parameters(frame: Frame, dialect: Dialect) -> list[Any]:
    """Return the parameters as JSON has them: name and kind alone, where that is all."""
    entries: list[Any] = []
    kind: ParameterKind = dialect.parameter
    by_type = dialect.told_by == "signature"
    for declared in frame.declared:
        if declared.kind == "keyword" and not declared.text:
            kind = "keyword"
            continue
        if by_type:
            if declared.text == "void" and not declared.names and not declared.is_pattern:
                continue
            _part_type(declared, dialect)
        if declared.is_plain:
            entries.append((declared.text, declared.kind or kind))
        else:
            entries += spell_entries("parameters", list(declared.parameters(kind)))
        if declared.kind == "rest":
            kind = "keyword"
    if entries:
        entries[0] = _receiver(entries[0], dialect)
    return entries


def _part_type(declared: Declared, dialect: Dialect) -> None:
    """Tell type and name apart; a declaration may be a type alone, or stand around the name."""
    if not declared.names and not declared.is_pattern:
        declared.annotation = declared.annotation or declared.text
        declared.text = "..." if declared.kind == "rest" else "_"
        declared.is_plain = False
    elif dialect.whole_types and declared.names:
        before, _, after = declared.text.rpartition(declared.names[0])
        around = f"{before.strip()} {after.partition('=')[0].strip()}".strip()
        declared.annotation = around or None


def _receiver(first: Entry, dialect: Dialect) -> Entry:
    """Return the first parameter, which may be what a method is called on."""
    name, _, annotation, _, optional, *_ = Parameter(*first)
    if name not in dialect.receivers or optional:
        return first
    return (name, "receiver", annotation) if annotation else (name, "receiver")


def _bound(entry: Entry) -> Sequence[str]:
    """Return what a parameter binds that is a pattern."""
    return entry[_NAMES] if len(entry) > _NAMES else ()


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
