"""Who watches a model being fetched hears of it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _nothing(_: object) -> None:
    """Hear it, and do nothing."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """`say` gets a sentence for the user, `grow` the bytes of the file that are here by now."""

    say: Callable[[str], None] = _nothing
    grow: Callable[[int], None] = _nothing
