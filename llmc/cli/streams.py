"""The terminal's two streams: any text can be printed, and their troubles are told apart."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


def accept_any_text() -> None:
    """Let no path or summary fail to print: what the terminal can't show comes as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class OutputError(OSError):
    """Output cannot be written; any other OSError is somebody else's."""


class _Watched:
    """A stream whose own troubles are told from those of other files."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with told_apart():
            return self._stream.write(text)

    def flush(self) -> None:
        with told_apart():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def told_apart() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error.errno, error.strerror) from error


def watched(stream: TextIO | None) -> Any:
    return _Watched(stream) if stream else stream
