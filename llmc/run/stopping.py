"""How a run is asked to end: once, and it finishes what is in flight; twice, and it ends now."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """The wish that a run end, from a signal or another thread; `signal` is the first's number."""

    def __init__(self) -> None:
        self.requests = 0
        self.signal: int | None = None
        self._listener: Callable[[], None] | None = None

    @property
    def is_urgent(self) -> bool:
        """Tell whether it is to end now: somebody has asked twice."""
        return self.requests > 1

    def request(self) -> None:
        """Ask once more."""
        self.requests += 1
        if self._listener:
            self._listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a run hear of each request, those made so far included."""
        self._listener = listener
        for _ in range(self.requests):
            listener()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take Ctrl-C, SIGTERM and a terminal that closes for requests; an ignored one stays so.

        The second one is a KeyboardInterrupt, too: it ends whatever wait the main thread is in.
        Main thread only.
        """

        def ask(number: int, _: object) -> None:
            self.signal = self.signal or number
            self.request()
            if self.requests == 2:
                raise KeyboardInterrupt

        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if handler not in (signal.SIG_IGN, None):  # None: a handler from outside of Python
                signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)
