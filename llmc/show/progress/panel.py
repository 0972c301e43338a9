"""A run as lines that fit a terminal: one per host, a bar, the counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from rich.cells import cell_len
from rich.text import Text

from llmc.redaction.text import make_one_line
from llmc.show.progress.rows import (
    ASCII,
    draw_bar,
    draw_counts,
    draw_host,
    draw_more,
    lay_out,
    tell_ending,
)
from llmc.show.progress.tally import HostView, RunView

MARGIN = 1
"""Cells left free at the right: some terminals begin a new line as soon as one is full."""
CHOICE_SEC = 10.0
"""How long the hosts shown stay the same where there is no room for all."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """How much can be shown: cells, lines, and whether only ASCII."""

    width: int
    height: int
    ascii: bool = False


class Panel:
    """Draws one view after the other."""

    def __init__(self) -> None:
        self._longest_model = 0
        self._choice: tuple[object, float, frozenset[int]] = (None, 0.0, frozenset())

    def draw(self, view: RunView, canvas: Canvas) -> list[Text]:
        """Return the lines, none as wide as the canvas and fewer than it has lines."""
        width, height = max(1, canvas.width - MARGIN), max(1, canvas.height - 1)
        hosts = [_shown(host, canvas) for host in view.hosts]
        self._longest_model = max(self._longest_model, *(cell_len(h.model) for h in hosts), 0)
        columns = lay_out(hosts, width, self._longest_model)
        # The last line has room for the "^C" that a terminal echoes: a line more, and what is
        # drawn next would leave one behind.
        last = "" if view.ending is None else tell_ending(view.ending, width)
        foot = [
            draw_bar(view, columns.total),
            draw_counts(view, columns),
            Text(last, style="yellow"),
        ]
        chosen = self._choose(view, height - len(foot))
        rows = [draw_host(hosts[number], columns, width) for number in sorted(chosen)]
        if hidden := [host for number, host in enumerate(hosts) if number not in chosen]:
            rows.append(draw_more(hidden, shown=len(chosen)))
        drawn = [*rows, *foot][-height:]
        for line in drawn:
            line.no_wrap = True
            line.truncate(width)
            if canvas.ascii:
                line.plain = line.plain.translate(ASCII)
        return drawn

    def _choose(self, view: RunView, room: int) -> frozenset[int]:
        """Return the hosts to show by their number: all, or those that rest and the busiest."""
        everyone = frozenset(range(len(view.hosts)))
        if len(everyone) <= room:
            return everyone
        room = max(0, room - 1)
        resting = [number for number in everyone if view.hosts[number].rest is not None]
        situation = (room, len(everyone), frozenset(resting))
        known, until, chosen = self._choice
        if situation != known or view.now >= until:
            busiest = sorted(everyone.difference(resting), key=lambda n: _rank(view.hosts[n]))
            rest = sorted(resting)[: max(room // 2, room - len(busiest))]
            chosen = frozenset([*rest, *busiest[: room - len(rest)]])
            self._choice = (situation, view.now + CHOICE_SEC, chosen)
        return chosen


def _rank(host: HostView) -> tuple[float, int]:
    return (-host.rates.finished if host.rates else 0.0, -host.busy)


def _shown(host: HostView, canvas: Canvas) -> HostView:
    name, model = _text(host.name, canvas.ascii), _text(host.model, canvas.ascii)
    return replace(host, name=name, model=model, reason=_text(host.reason, canvas.ascii))


@lru_cache(maxsize=1024)
def _text(text: str, only_ascii: bool) -> str:
    text = make_one_line(text)
    return text.encode("ascii", "replace").decode() if only_ascii else text
