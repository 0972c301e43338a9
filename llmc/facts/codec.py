"""Facts as compact JSON and back. An index may hold anything: what can't be facts is None."""

from __future__ import annotations

import json
from dataclasses import Field, fields
from operator import attrgetter
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

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

MAX_CHARS = 200_000
"""Text of one span's facts that is read at all; the bounds on their lists keep them below it."""

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
_FIELDS: dict[type[Any], tuple[Field[Any], ...]] = {
    kind: fields(kind) for kind in (Facts, Parameter, Returned, Raise, Call, Touch)
}
_DEFAULTS = tuple((field.name, field.default) for field in _FIELDS[Facts])
_RETURNED = attrgetter(*(field.name for field in _FIELDS[Returned]))
_VALUES = {
    name: attrgetter(*(field.name for field in _FIELDS[kind])) for name, kind in _ENTRIES.items()
}


class _NoFactsError(ValueError):
    """What was read can't be facts."""


def encode_facts(facts: Facts) -> str:
    """Return facts as JSON text: an object without what is as by default, of lists for entries."""
    spelled: dict[str, Any] = {}
    for name, default in _DEFAULTS:
        found = getattr(facts, name)
        if found != default:
            values = _VALUES.get(name)
            if name == "returns":
                found = _RETURNED(found)
            spelled[name] = found if values is None or found is None else list(map(values, found))
    return _ENCODER.encode((VERSION, spelled))


def decode_facts(text: str | None) -> Facts | None:
    """Return the facts that a text holds, None if it holds none of this version."""
    if not text or len(text) > MAX_CHARS:
        return None
    try:
        version, entries = json.loads(text)
        return None if version != VERSION else _read(Facts, entries)
    except (ValueError, TypeError, RecursionError):
        return None


def _read(kind: type[Any], entries: Any) -> Any:
    known = _FIELDS[kind]
    if kind is not Facts:
        if len(_list(entries)) != len(known):
            raise _NoFactsError
        return kind(*(_value(kind, *pair) for pair in zip(known, entries, strict=True)))
    if not isinstance(entries, dict) or not entries.keys() <= {field.name for field in known}:
        raise _NoFactsError
    named = {field.name: field for field in known}
    return kind(**{name: _value(kind, named[name], found) for name, found in entries.items()})


def _value(kind: type[Any], field: Field[Any], found: Any) -> Any:
    """Return a field's value as its annotation has it. Raises _NoFactsError."""
    wanted = str(field.type)
    if found is None and "None" in wanted:
        return None
    if kind is Facts and field.name in _ENTRIES:
        return tuple(_read(_ENTRIES[field.name], entry) for entry in _list(found))
    if wanted == "Returned":
        return _read(Returned, found)
    if wanted.startswith("tuple"):
        inner = int if "int" in wanted else str
        return tuple(_checked(inner, entry) for entry in _list(found))
    words = _WORDS.get((kind, field.name))
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
