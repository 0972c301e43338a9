"""The totals of an index that hasn't changed since they were counted: nobody counts them twice.

They stand in the user's own folder, by the state of the index's files: the system's time of their
last change, which no program sets. Claims are counted each time, as they end with their owners.
Beside them stands which seals were checked, so that after a change only what changed is checked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from llmc.errors import ConfigError
from llmc.files import home
from llmc.models import IndexPlace
from llmc.store.checks import Seen
from llmc.store.database.custody import make_place, stat_at
from llmc.store.reader import Reader
from llmc.store.totals import Totals

FILE, CHECKED = "totals.json", "checked.json"
_MOST_BYTES = 2**23
_MOST = 50
"""Indexes whose totals are remembered; of more, those that were counted last."""

WORTH_SEC = 0.1
"""What takes less to count is counted again."""

SETTLED_SEC = 2.0
"""How long nothing must have changed: two changes within a tick of a clock leave the same time."""

_WAY = 2
"""The way of counting; a number that another way doesn't have."""

_PAIRS = ("by_model", "elsewhere")


def recall_totals(
    index: IndexPlace | Path,
    reader: Reader,
    *,
    worth_sec: float = WORTH_SEC,
    settled_sec: float = SETTLED_SEC,
) -> Totals:
    """Return the totals of an open index, counted only if it has changed. Raises StoreError."""
    try:
        folder = home.find_folder(make_place(index).environ)
    except ConfigError:
        return reader.counts.count_all()
    file, name, state = folder / FILE, str(reader.path), _find_state(reader)
    if totals := _known(_read(file).get(name), state):
        return replace(totals, claimed=reader.counts.count_claimed())
    began = time.monotonic()
    before = _read_seen(_read(folder / CHECKED).get(name))
    totals, seen = reader.counts.count_since(before)
    worth, changed = time.monotonic() - began >= worth_sec, max(state[2:][3::4])
    settled = time.time() - changed / 1e9 >= settled_sec
    if worth and seen != before:
        _remember(folder / CHECKED, name, [seen.pages, sorted(seen.invalid), sorted(seen.unsound)])
    if worth and settled and state == _find_state(reader):
        _remember(file, name, [state, _write_totals(totals)])
    return totals


def _find_state(reader: Reader) -> list[Any]:
    """Return what changes with the index, with who looks at it, and with how it is counted."""
    state: list[Any] = [_WAY, reader.installation]
    for suffix in ("", "-wal"):
        found = stat_at(Path(f"{reader.path}{suffix}"))
        if found and (found.st_size or not suffix):  # a reader leaves an empty journal
            state += [found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns]
    return state


def _remember(file: Path, name: str, entry: list[Any]) -> None:
    try:
        with home.exclude_others(file.parent):
            known = {each: found for each, found in _read(file).items() if each != name}
            latest = dict(list(known.items())[1 - _MOST :]) | {name: entry}
            home.write(file, json.dumps(latest).encode("ascii"))
    except ConfigError:
        return  # it is counted again


def _write_totals(totals: Totals) -> dict[str, Any]:
    return asdict(totals) | {name: _list_pairs(getattr(totals, name)) for name in _PAIRS}


def _list_pairs(counts: Mapping[tuple[str, str], int]) -> list[list[Any]]:
    return [[*names, count] for names, count in counts.items()]


def _known(found: Any, state: list[Any]) -> Totals | None:
    """Return remembered totals, None if they are of another state or can't be read."""
    try:
        before, entry = found
        if before != state:
            return None
        pairs = {name: {(a, b): count for a, b, count in entry[name]} for name in _PAIRS}
        languages = {name: tuple(counts) for name, counts in entry["by_language"].items()}
        return Totals(**(entry | pairs | {"by_language": languages}))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_seen(found: Any) -> Seen:
    """Return what was remembered of checks, of nothing if it can't be read."""
    try:
        tables, *wrong = found
        pages = {
            table: {int(number): str(page) for number, page in known.items()}
            for table, known in tables.items()
        }
        invalid, unsound = (frozenset(map(str, names)) for names in wrong)
        return Seen(pages, invalid, unsound)
    except (ValueError, TypeError, AttributeError):
        return Seen()


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(home.read(file, _MOST_BYTES) or b"{}")
    except (ConfigError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
