"""Text for people: what comes from models, servers and source files, made safe to show."""

from __future__ import annotations

import unicodedata

from llmc.models import Span

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what moves or hides other text: control, format, lone surrogates, the
separators of lines and paragraphs."""


def make_plain(text: str) -> str:
    """Return text with U+FFFD for each control or format character; newline and tab stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in _UNSEEN else "\ufffd"
        for char in text
    )


def join_lines(text: str) -> str:
    """Return plain text with a space for each newline: what is said on a line stays on it."""
    return make_plain(text).replace("\n", " ")


def make_quotable(name: str) -> str:
    """Return a name that stays between the backticks of a line of Markdown.

    Each character that could end the line or the quotation gives way to one other, so that the
    name's length, by which records count, is what it was.
    """
    return join_lines(name).replace("\t", " ").replace("`", "'")


def make_one_line(text: str) -> str:
    """Return plain text as one line, its white space as single spaces."""
    return " ".join(make_plain(text).split())


def describe_place(span: Span) -> str:
    """Return where a span is and what it is called, as one line."""
    return join_lines(f"{span.path}:{span.start_line}-{span.end_line} {span.symbol}")


def format_duration(seconds: float, *, short: bool = False) -> str:
    """Return a duration as people write it: 40 s, 12 min, 3 h 05 min; short: 40s, 12m, 3h05m."""
    minutes = round(seconds / 60)
    if seconds < 90:
        text = f"{seconds:.0f} s"
    elif minutes < 90:
        text = f"{minutes} min"
    elif minutes < 48 * 60:
        text = f"{minutes // 60} h {minutes % 60:02d} min"
    else:
        text = f"{minutes // 1440} d {minutes % 1440 // 60:02d} h"
    return text.replace("min", "m").replace(" ", "") if short else text
