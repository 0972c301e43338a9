"""The single lines of the live display, each laid out in cells.

Nothing is told by colour alone, and a number keeps its place while it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from llmc.redaction.text import format_duration
from llmc.show.progress.tally import HostView, RunView

FULL, HALF, REST, CUT = "━", "╸", "─", "…"
ASCII = str.maketrans({FULL: "#", HALF: "#", REST: "-", CUT: "~"})
"""What stands for the above where only ASCII can be shown."""

_GAP = 2
_LEAST_TOTAL = 70
_LEAST_MODEL = 8
_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths in cells; what has no room is 0 wide. `long` has room for units in words."""

    name: int
    slots: int
    model: int
    tokens: int
    pace: int
    total: int
    long: bool


def lay_out(hosts: Sequence[HostView], width: int, longest_model: int) -> Columns:
    """Lay out the hosts' lines: the model gives way first, then the tokens."""
    long = width >= 70
    tokens, pace = (14, 15) if long else (11, 9)
    name = max((cell_len(host.name) for host in hosts), default=0)
    name = min(name, max(8, width // 5), _LONGEST_NAME)
    slots = 1 + 2 * max((len(str(host.slots)) for host in hosts), default=0)
    fixed = name + slots + pace + 3 * _GAP
    if width - fixed - tokens - _GAP < _LEAST_MODEL:
        tokens = 0
    fixed += tokens + _GAP if tokens else 0
    model = max(0, min(width - fixed, max(longest_model, _LEAST_TOTAL - fixed)))
    return Columns(name, slots, model, tokens, pace, min(width, fixed + model), long)


def draw_host(host: HostView, columns: Columns, width: int) -> Text:
    """Return a host's line: what it does and how fast, or why it rests."""
    slots = f"{host.busy}/{host.slots}"
    row = Text(f"{_cell(host.name, columns.name)}  {slots:>{columns.slots}}  ")
    if host.rest is not None:
        room = width - cell_len(row.plain)
        return row.append(fit_cells(_resting(host.rest, host.reason), room, 0), style="yellow")
    row.append(_cell(host.model, columns.model), style="" if host.busy else "dim")
    if columns.tokens:
        unit = "tokens/s" if columns.long else "tok/s"
        row.append(f"  {_number(host.rates.tokens if host.rates else None)} {unit}")
    rate = host.rates.good if host.rates else None
    return row.append(f"  {_per_minute(rate, long=columns.long)}")


def _resting(seconds: float, reason: str) -> str:
    pause = (
        f"resting {format_duration(seconds)}" if round(seconds) else "resting, to be tried again"
    )
    return f"{pause}: {reason}" if reason else pause


def draw_more(hidden: Sequence[HostView], *, shown: int) -> Text:
    """Return the line that stands for the hosts without a line."""
    text = f"{len(hidden)}{' more' if shown else ''} host{'s' if len(hidden) > 1 else ''}"
    resting = sum(host.rest is not None for host in hidden)
    text += f", {resting} of them resting" if resting else ""
    return Text(f"... and {text}" if shown else text, style="dim")


def draw_bar(view: RunView, width: int) -> Text:
    """Return a bar of the spans that are settled, and their share."""
    settled = view.done + view.failed
    share = settled / (settled + view.left) if settled else 0.0
    cells = max(0, width - 5)
    halves = int(2 * cells * share)
    done = FULL * (halves // 2) + HALF * (halves % 2)
    bar = Text(done, style="green")
    bar.append(REST * (cells - len(done)), style="dim")
    return bar.append(f" {int(100 * share):>3}%", style="default")


def draw_counts(view: RunView, columns: Columns) -> Text:
    """Return how far the run is, how long it will take, and below the hosts' paces its own."""
    pace = _per_minute(view.rate, long=columns.long)
    text = tell_counts(view)
    if view.seconds_left is not None:
        text += f", {format_duration(view.seconds_left, short=not columns.long)} to go"
    room = columns.total - len(text) - _GAP
    row = Text(f"{text}  {pace:>{room}}" if len(pace) <= room else text)
    if view.failed:
        row.highlight_words([f"{view.failed} failed"], "red")
    return row


def tell_counts(view: RunView) -> str:
    """Return how far a run is."""
    return f"{view.done} done, {view.failed} failed, {view.left} left"


def tell_ending(requests: int, width: int | None = None) -> str:
    """Return what is said once a stop was asked for; in fewer words where there is no room."""
    if not requests:
        return "stopping"
    what = "1 request is" if requests == 1 else f"{requests} requests are"
    text = f"stopping: {what} being finished; Ctrl-C again to stop now"
    if width is not None and len(text) > width:
        return f"stopping: {requests} being finished; Ctrl-C again to stop now"
    return text


def _per_minute(per_second: float | None, *, long: bool) -> str:
    number = _number(None if per_second is None else 60 * per_second)
    return f"{number} spans/min" if long else f"{number}/min"


def _number(value: float | None) -> str:
    if value is None:
        return f"{'--':>5}"
    return f"{value:>5.1f}" if value < 100 else f"{value:>5.0f}"


def _cell(text: str, width: int) -> str:
    return set_cell_size(fit_cells(text, width, (width - 1) // 2), width)


@lru_cache(maxsize=1024)
def fit_cells(text: str, width: int, tail: int) -> str:
    """Return text in at most `width` cells; of one that is cut the last `tail` cells stay."""
    if cell_len(text) <= width:
        return text
    if width < 1:
        return ""
    start = len(text) - tail
    while cell_len(text[start:]) > tail:
        start += 1
    return set_cell_size(text, width - 1 - tail).rstrip() + CUT + text[start:]
