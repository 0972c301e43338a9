"""The keys that `llmc.toml` may have; any other is an error that says what was meant.

A mistyped table would otherwise be no setting at all, and a run would quietly go by the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from llmc.errors import ConfigError
from llmc.settings import network
from llmc.settings.chains import TABLE_KEYS, ChainEntry
from llmc.settings.documents import MAX_WORD, SettingsFile, find_meant

ENTRY = "enrichment.chain"

TABLES: Mapping[str, tuple[str, ...]] = {
    "enrichment": TABLE_KEYS,
    ENTRY: tuple(ChainEntry.model_fields),
    "privacy": ("local_only",),
    "network": network.KEYS,
}
"""The keys of each table; those of an entry stand in [[enrichment.chain]]."""

_MOST_TOLD = 5

_LEAVING_OUT = ("exclude", "ignore", "include", "paths", "files", "skip", "globs", "patterns")
"""Words for files that are left out, which is said elsewhere."""


def refuse_unknown(file: SettingsFile | None) -> None:
    """Raise ConfigError if `llmc.toml` has a table or a key that nothing reads."""
    found = list(_find_unknown(file.document)) if file else []
    if file and found:
        more = f"; and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
        raise ConfigError(f"{file.path}: {'; '.join(found[:_MOST_TOLD])}{more}")


def _find_unknown(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each table and key at the top, and each key of a table, not of ours."""
    for name, value in document.items():
        if name not in _TOP:
            yield f"{_write(name, value)} is not a setting of llmc; {_suggest_top(name, value)}"
        elif isinstance(value, dict) and name != "privacy":  # that refuses its own
            for key in value:
                if key not in TABLES[name]:
                    place = f"{name}.{_shorten(key)}"
                    yield f"{place} is not a setting of llmc; {_suggest(name, key)}"


def _write(name: str, value: object) -> str:
    """Return how a table or a key at the top is written, with its first list of tables."""
    name = _shorten(name)
    if isinstance(value, dict):
        inner = next((key for key, each in value.items() if _is_list_of_tables(each)), None)
        return f"[[{name}.{_shorten(inner)}]]" if inner else f"[{name}]"
    return f"[[{name}]]" if _is_list_of_tables(value) else name


def _suggest_top(name: str, value: object) -> str:
    keys = list(value) if isinstance(value, dict) else []
    if name.lower() in _LEAVING_OUT or any(key.lower() in _LEAVING_OUT for key in keys):
        return f"allowed: {_ALLOWED}; which files are left out, .ragignore says"
    if _is_list_of_tables(value) or any(map(_is_list_of_tables, getattr(value, "values", list)())):
        return f"did you mean [[{ENTRY}]]?"
    if isinstance(value, dict) and (close := get_close_matches(name.lower(), _TOP, 1, 0.5)):
        return f"did you mean [{close[0]}]?"
    return _suggest("", name) if not isinstance(value, dict) else f"allowed: {_ALLOWED}"


def _suggest(table: str, key: str) -> str:
    """Say what a key was meant to be: one of its table's, or of another's."""
    own = TABLES.get(table, ())
    if name := find_meant(key, own):
        meant = f"[[{ENTRY}]]" if name == "chain" else f"{table}.{name}"
        return f"did you mean {meant}?"
    if key.lower() in _LEAVING_OUT:
        return f"allowed: {_list_keys(table)}; which files are left out, .ragignore says"
    for other, names in TABLES.items():
        if name := find_meant(key, names):
            place = f"[[{other}]]" if other == ENTRY else f"[{other}]"
            return f"did you mean {name} in {place}?"
    return f"allowed: {_list_keys(table)}"


def _list_keys(table: str) -> str:
    return ", ".join(TABLES[table]) if table else _ALLOWED


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _shorten(name: str) -> str:
    """Return a key for an error message: somebody else may have chosen it."""
    return name if name.isidentifier() and len(name) <= MAX_WORD else repr(name[:MAX_WORD])


_TOP = ("enrichment", "privacy", "network")
_ALLOWED = f"[enrichment], [[{ENTRY}]], [privacy], [network]"
