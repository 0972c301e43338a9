"""What a person names to `llmc show`: a file, a line of it, or some lines."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmc.errors import ConfigError
from llmc.store.reader import Reader
from llmc.store.results import StoredResult

_LINES = re.compile(r"(.+?):([0-9]+)(?:-([0-9]+))?(?::[0-9]*)?", re.DOTALL)
"""As compilers and editors write it, a column behind the line."""

_DIGITS = 9
"""More make no line of a file."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path relative to the repository, if it lies there, and lines of it, None for all."""

    path: str
    lines: tuple[int, int] | None = None


def parse_place(text: str, repo: Path) -> Place:
    """Read PATH[:LINE[-LINE]]; the path may be relative to here or to the repository.

    Raises ConfigError for lines that can't be.
    """
    found = _LINES.fullmatch(text)
    if found is None or os.path.lexists(text) or os.path.lexists(repo / text):
        return Place(_within(text, repo))
    first, last = (int(part[:_DIGITS]) for part in (found[2], found[3] or found[2]))
    if first < 1:
        raise ConfigError(f"{text!r}: lines are counted from 1")
    if last < first:
        raise ConfigError(f"{text!r}: the lines end before they begin; turn them round")
    return Place(_within(found[1], repo), (first, last))


def _within(path: str, repo: Path) -> str:
    with suppress(OSError, RuntimeError, ValueError):  # no file can be there: a loop, too long
        here = Path(path).parent.resolve() / Path(path).name
        if here.is_relative_to(repo.resolve()) and os.path.lexists(here):
            return here.relative_to(repo.resolve()).as_posix()
    return Path(os.path.normpath(path)).as_posix()


def find_spans(reader: Reader, place: Place) -> list[StoredResult]:
    """Return the spans of a place by line, those that lie in its lines at least in part."""
    if place.lines is None:
        return reader.results.find(place.path)
    first, last = place.lines
    if first == last:
        return reader.results.find(place.path, first)
    return [
        result
        for result in reader.results.find(place.path)
        if result.span.start_line <= last and result.span.end_line >= first
    ]
