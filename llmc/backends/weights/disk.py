"""Room for a model on the disk, asked for before anything is fetched, and what to do without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmc.errors import ConfigError, FullDiskError
from llmc.files.advice import NO_ROOM, describe
from llmc.settings.catalogue import tell_bytes

ELSEWHERE = "or name a folder on another disk in $XDG_CACHE_HOME"


def require_room(folder: Path, needed: int) -> None:
    """Raise FullDiskError if so many bytes have no room on the disk of a folder."""
    state = os.statvfs(folder)
    free = state.f_bavail * state.f_frsize
    if free < needed:
        raise FullDiskError(
            f"{tell_bytes(needed)} are needed in {folder}, and {tell_bytes(free)} are free there; "
            f"free some disk space, {ELSEWHERE}"
        )


@contextmanager
def map_errors(path: Path) -> Iterator[None]:
    """Say of a file that can't be written what to do: FullDiskError, else ConfigError."""
    try:
        yield
    except OSError as error:
        kind = FullDiskError if error.errno in NO_ROOM else ConfigError
        why = describe(error, ELSEWHERE.removeprefix("or "))
        raise kind(f"{path} cannot be written: {why}") from error
