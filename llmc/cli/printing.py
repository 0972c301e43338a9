"""A screen on standard output: wrapped where it is one, whole lines where a program gets them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from llmc.redaction.text import join_lines

LABEL_WIDTH = 10
_WIDE = 1_000_000
"""Cells; no line is as long."""


def print_view(view: RenderableType) -> None:
    """Print a view; for a file or a program no line of it is broken or filled up with spaces."""
    console = Console(highlight=False)
    if sys.stdout.isatty():
        console.print(view)
        return
    options = console.options.update(width=_WIDE)
    lines = console.render_lines(view, options, pad=False)
    segments = [segment for line in lines for segment in (*_trim(line), Segment.line())]
    console.print(Segments(segments), end="", soft_wrap=True)


def print_lines(text: Text) -> None:
    """Print text; only on a terminal a line of it is broken, between words."""
    Console(highlight=False).print(text, soft_wrap=not sys.stdout.isatty())


def print_labelled(screen: Console, line: str) -> None:
    """Print a line that begins with a label, or with as many spaces; a terminal's are wrapped."""
    line = join_lines(line)
    if not screen.file.isatty():
        screen.print(line, markup=False, soft_wrap=True)
        return
    row = Table.grid()
    row.add_column(width=LABEL_WIDTH)
    row.add_column(overflow="fold")
    row.add_row(Text(line[:LABEL_WIDTH].rstrip()), Text(line[LABEL_WIDTH:]))
    screen.print(row)


def _trim(line: list[Segment]) -> Iterator[Segment]:
    """Yield a line without the spaces at its end."""
    left = len("".join(segment.text for segment in line).rstrip())
    for segment in line:
        yield Segment(segment.text[:left], segment.style)
        left = max(0, left - len(segment.text))
