"""The terminal's two streams: any text can be printed, and their troubles are told apart."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


def accept_any_text() -> None:
    """Let no path or summary fail to print: what the terminal can't show comes as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class OutputError(OSError):
    """Output cannot be written; any other OSError is somebody else's."""


class _Watched:
    """A stream whose own troubles are told from those of other files.

    With a `listener`, the first trouble is kept and told to that, and what comes after is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.listener: Callable[[], None] | None = None
        self.trouble: OutputError | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            trouble = OutputError(error.errno, error.strerror)
            if self.listener is None:
                raise trouble from error
            if self.trouble is None:
                trouble.__cause__ = error
                self.trouble = trouble
                self.listener()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def watch(stream: TextIO | None) -> Any:
    return _Watched(stream) if stream else stream


@contextmanager
def outlive(listener: Callable[[], None]) -> Iterator[None]:
    """Run a block to its end though nobody reads its output any more; `listener` hears of that.

    Raises OutputError after the block.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, _Watched)]
    for stream in streams:
        stream.listener = listener
    try:
        yield
    finally:
        for stream in streams:
            stream.listener = None
    for stream in streams:
        if stream.trouble:
            raise stream.trouble


def silence() -> None:
    """Send what is still to be written nowhere: a flush at exit would complain once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
            continue
        os.dup2(nowhere, stream.fileno())
