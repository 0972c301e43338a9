"""A few lines at the bottom of a terminal that change in place, drawn by a thread of their own.

Whoever has something to say leaves it here and goes on: a slow terminal, or one that was told to
pause, never holds up the work.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from llmc.show.progress.panel import Canvas

PERIOD_SEC = 0.25


class Screen:
    """Shows what `draw` returns, a few times a second, and lines that scroll away above it."""

    def __init__(
        self,
        console: Console,
        draw: Callable[[Canvas], Sequence[Text]],
        period: float = PERIOD_SEC,
    ) -> None:
        self._console = console
        self._draw = draw
        self._period = period
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._lines: deque[Text] = deque()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmc-screen", daemon=True)
        self._last: tuple[Canvas, Sequence[Text]] | None = None

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()
        self._thread.start()

    def say(self, line: Text) -> None:
        """Have a line shown above what changes; returns at once."""
        self._lines.append(line)

    def stop(self) -> None:
        """Show the lines still waiting, and leave nothing of what changes."""
        self._over.set()
        try:
            self._thread.join()
        finally:  # also after one more Ctrl-C: the terminal gets its cursor back
            with contextlib.suppress(OSError):  # unless it is gone
                self._refresh()
                self._live.stop()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while not self._over.is_set():
                self._refresh()
                self._over.wait(self._period)

    def _refresh(self) -> None:
        size = self._console.size
        canvas = Canvas(size.width, size.height, self._console.options.ascii_only)
        self._take_back_wrapped(size.width)
        drawn = (canvas, self._draw(canvas))
        self._live.update(Group(*drawn[1]))
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines:
            self._console.print(Group(*lines), soft_wrap=True)
        elif drawn != self._last:
            self._live.refresh()
        self._last = drawn

    def _take_back_wrapped(self, width: int) -> None:
        """Wipe what became more lines than were written, as the terminal was made narrower."""
        if self._last is None or width >= self._last[0].width:
            return
        written = self._last[1]
        lines = sum(max(1, -(-line.cell_len // max(1, width))) for line in written)
        if lines > len(written):
            wipe = (ControlType.ERASE_IN_LINE, 2)
            up = ((ControlType.CURSOR_UP, 1), wipe) * (lines - 1)
            # Back to where the display expects to be; terminals take "down 0" for "down 1".
            down = ((ControlType.CURSOR_DOWN, len(written) - 1),) if len(written) > 1 else ()
            self._console.control(Control(wipe, *up, *down))
