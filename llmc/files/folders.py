"""Folders that nobody else may write to, whatever the umask."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def make_folder(path: Path, *, mode: int = 0o755, above: bool = True) -> None:
    """Make a folder, with `mode` at most, and those `above` it; one that is there stays as it is.

    Raises OSError.
    """
    for folder in (*(reversed(path.parents) if above else ()), path):
        try:
            if not folder.is_dir():
                folder.mkdir(mode=mode)
        except FileExistsError:
            if not folder.is_dir():
                raise


def hide_from_git(folder: Path) -> None:
    """Make git overlook a folder; a .gitignore that is there stays as it is. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileExistsError):
        descriptor = os.open(folder / ".gitignore", flags, 0o644)
        try:
            os.write(descriptor, b"*\n")
        finally:
            os.close(descriptor)
