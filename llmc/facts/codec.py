"""Facts as compact JSON and back. An index may hold anything: what can't be facts is None."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

from llmc.facts.values import (
    Call,
    Facts,
    How,
    Parameter,
    ParameterKind,
    Raise,
    Returned,
    Returns,
    Touch,
)

VERSION = 1
"""Of the facts' meaning and form: facts of another version are none, and their files are read
anew where facts are wanted."""

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode

MAX_CHARS = 200_000
"""Text of one span's facts that is read at all; the bounds on their lists keep them below it."""


def _spell(annotation: Any) -> str:
    """Return an annotation as it is written, which a named tuple keeps as a reference to it."""
    return str(getattr(annotation, "__forward_arg__", annotation))


_ENTRIES: dict[str, type[Any]] = {
    "parameters": Parameter,
    "raises": Raise,
    "calls": Call,
    "touches": Touch,
}
_WORDS: dict[tuple[type[Any], str], frozenset[str]] = {
    (Returned, "what"): frozenset(get_args(Returns)),
    (Parameter, "kind"): frozenset(get_args(ParameterKind)),
    (Raise, "how"): frozenset(get_args(How)),
}
_NAMED = tuple(enumerate(Facts._field_defaults.items(), 1))
"""The fields of facts behind their kind: number, name, default."""

_NAMES = {number: name for number, (name, _) in _NAMED}
_ANNOTATIONS = {
    kind: {name: _spell(found) for name, found in kind.__annotations__.items()}
    for kind in (Facts, Parameter, Returned, Raise, Call, Touch)
}
_USUAL = {"parameters": 2, "calls": 3, "raises": 2}
"""Fields of an entry that are mostly all that is said; the others are then as by default."""
_REST = {
    name: tuple(_ENTRIES[name]._field_defaults[field] for field in _ENTRIES[name]._fields[usual:])
    for name, usual in _USUAL.items()
}


class _NoFactsError(ValueError):
    """What was read can't be facts."""


Spelled = list[Any]
"""Facts as JSON has them: version, kind, number and value of what isn't as by default."""

NUMBERS = {name: number for number, name in _NAMES.items()}


def spell_facts(facts: Facts) -> Spelled:
    """Return facts as JSON has them."""
    spelled: Spelled = [VERSION, facts.kind]
    for number, (name, default) in _NAMED:
        found: Any = facts[number]
        if found != default:
            spelled += number, spell_entries(name, found) if name in _USUAL else found
    return spelled


def spell_entries(name: str, entries: Sequence[tuple[Any, ...]] | None) -> Any:
    """Return a list's entries as JSON has them, without what is as it mostly is."""
    usual, rest = _USUAL[name], _REST[name]
    return entries and [entry[:usual] if entry[usual:] == rest else entry for entry in entries]


def encode_facts(facts: Facts | Spelled) -> str:
    """Return facts as JSON text."""
    return _encode(spell_facts(facts) if isinstance(facts, Facts) else facts)


def decode_facts(text: str | None) -> Facts | None:
    """Return the facts that a text holds, None if it holds none of this version."""
    if not text or len(text) > MAX_CHARS:
        return None
    try:
        version, kind, *spelled = json.loads(text)
        return _read_facts(kind, spelled) if version == VERSION else None
    except (ValueError, TypeError, RecursionError):
        return None


def _read_facts(kind: Any, spelled: list[Any]) -> Facts:
    numbers, values = spelled[::2], spelled[1::2]
    if len(numbers) != len(values):
        raise _NoFactsError
    found: dict[str, Any] = {"kind": _checked(str, kind)}
    for number, value in zip(numbers, values, strict=True):
        name = _NAMES.get(_checked(int, number))
        if name is None or name in found:
            raise _NoFactsError
        found[name] = _value(Facts, name, value)
    return Facts(**found)


def _read(kind: type[Any], entries: Any) -> Any:
    given = len(_list(entries))
    if not len(kind._fields) - len(kind._field_defaults) <= given <= len(kind._fields):
        raise _NoFactsError
    named = zip(kind._fields, entries, strict=False)
    return kind(*(_value(kind, name, found) for name, found in named))


def _value(kind: type[Any], name: str, found: Any) -> Any:
    """Return a field's value as its annotation has it. Raises _NoFactsError."""
    wanted = _ANNOTATIONS[kind][name]
    if found is None and "None" in wanted:
        return None
    if kind is Facts and name in _ENTRIES:
        return tuple(_read(_ENTRIES[name], entry) for entry in _list(found))
    if wanted == "Returned":
        return _read(Returned, found)
    if wanted.startswith("tuple"):
        inner = int if "int" in wanted else str
        return tuple(_checked(inner, entry) for entry in _list(found))
    words = _WORDS.get((kind, name))
    if words is not None and found not in words:
        raise _NoFactsError
    return _checked({"int": int, "bool": bool}.get(wanted, str), found)


def _list(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise _NoFactsError
    return found


def _checked(kind: type[Any], found: Any) -> Any:
    if type(found) is not kind:
        raise _NoFactsError
    return found
