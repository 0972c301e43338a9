"""What a person sees of a run while it goes on, and at its end.

    events -> tally, what they add up to (pace: how fast) -> panel, lines that fit -> screen

On a terminal the lines change in place; elsewhere each thing worth knowing is a line of its own.
Everything shown is text, never terminal control: names and messages come from servers and files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.text import Text

from llmc.events import (
    Event,
    HostRests,
    HostReturned,
    RunFinished,
    RunStarted,
    SpanEnriched,
    SpanFailed,
    Stopping,
    Warned,
)
from llmc.redaction.text import join_lines
from llmc.show.progress.lines import (
    sum_up,
    tell_by_rule,
    tell_pace,
    tell_rest,
    tell_return,
    tell_span,
)
from llmc.show.progress.panel import Canvas, Panel
from llmc.show.progress.rows import tell_ending
from llmc.show.progress.screen import Screen
from llmc.show.progress.tally import Tally

__all__ = ["RunDisplay", "sum_up", "tell_span"]

PACE_EVERY = 10
"""So many settled spans lie between two lines about the pace: a log has no bar."""


class RunDisplay:
    """A hook that shows a run: a live display on a terminal, a line per span elsewhere."""

    def __init__(
        self,
        console: Console,
        *,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._verbose = verbose
        self._clock = clock
        # With FORCE_COLOR a console takes any file for a terminal, but a log can't be redrawn.
        self._live = console.is_interactive and console.file.isatty()
        self._lock = threading.Lock()
        self._tally = Tally(clock())
        self._panel = Panel()
        self._screen: Screen | None = None

    def __enter__(self) -> RunDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if self._console.quiet:
            return
        with self._lock:
            news = self._tally.apply(event, self._clock())
        for line in self._lines(event, news=news):
            if self._screen:
                self._screen.say(line)
            else:
                self._console.print(line, soft_wrap=True)
        if isinstance(event, RunStarted) and self._live and self._tally.target:
            self._screen = Screen(self._console, self.draw)
            self._screen.start()
        elif isinstance(event, RunFinished):
            self._stop()

    def draw(self, canvas: Canvas) -> list[Text]:
        """Return the live display as lines; may be called from any thread."""
        with self._lock:
            view = self._tally.view(self._clock())
        return self._panel.draw(view, canvas)

    def _stop(self) -> None:
        screen, self._screen = self._screen, None
        if screen:
            screen.stop()

    def _lines(self, event: Event, *, news: bool) -> Iterator[Text]:
        match event:
            case Warned(message=message):
                yield Text(f"warning: {join_lines(message)}", style="yellow")
            case SpanEnriched(report=report) if report.by_rule:
                if self._verbose:
                    yield tell_by_rule(report)
                return
            case SpanEnriched(report=report) if self._verbose or not self._live:
                yield tell_span(report, self._tally.done, self._tally.target)
            case SpanFailed(report=report):
                yield tell_span(report, self._tally.done, self._tally.target)
        if not self._live:
            yield from self._log_lines(event, news=news)

    def _log_lines(self, event: Event, *, news: bool) -> Iterator[Text]:
        """Yield what a live display shows in its place."""
        match event:
            case SpanEnriched() | SpanFailed():
                if (self._tally.done + self._tally.failed) % PACE_EVERY == 0:
                    view = self._tally.view(self._clock())
                    if view.left:
                        yield tell_pace(view)
            case HostRests(host=host, seconds=seconds, reason=reason) if news:
                yield tell_rest(host, seconds, reason)
            case HostReturned(host=host) if news:
                yield tell_return(host)
            case Stopping(in_flight=in_flight) if news:
                yield Text(tell_ending(in_flight), style="yellow")
