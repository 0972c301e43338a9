"""Numbers of things, in the words that people use."""

from __future__ import annotations


def tell_count(number: int, thing: str) -> str:
    """Return a number with what is counted: 1 file, 2 files."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
