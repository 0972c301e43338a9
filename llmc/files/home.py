"""The user's own folders: what llmc keeps about and for its user, outside of every repository.

`$XDG_CONFIG_HOME/llmc`, else `~/.config/llmc`. What stands there is believed (which repositories
are trusted, which results were made here), so it must be the user's: a file that belongs to
somebody else, or that others may write to, is refused rather than read. What can be fetched again
is in `$XDG_CACHE_HOME/llmc`, else `~/.cache/llmc`.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from llmc.errors import ConfigError
from llmc.files import tilde
from llmc.files.advice import describe
from llmc.files.folders import make_folder
from llmc.files.locks import lock, wait_for_lock

_LOOK = "see what it is"
_PRIVATE = 0o700
"""Of the folder and those above it that have to be made: as the XDG specification has it."""


def find_folder(environ: Mapping[str, str]) -> Path:
    """Return the user's folder for llmc; it need not be there.

    Raises ConfigError where the environment names no home at all.
    """
    return _find(environ, "XDG_CONFIG_HOME", ".config", "about its user")


def find_cache(environ: Mapping[str, str]) -> Path:
    """Return the user's folder for what can be fetched again. Raises as `find_folder`."""
    return _find(environ, "XDG_CACHE_HOME", ".cache", "of what it fetches")


def read(path: Path, most: int, *, secret: bool = False) -> bytes | None:
    """Return what a file of the user's holds, None if it is not there.

    Raises ConfigError if it isn't a plain file of at most `most` bytes, belongs to another user, or
    may be written to by others; a `secret` one must not be readable for them either.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {describe(error, _LOOK)}") from error
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ConfigError(f"{path} is no regular file; move it away")
        if state.st_uid != os.geteuid():
            raise ConfigError(f"{path} belongs to another user; move it away, or own it")
        if state.st_mode & 0o022:
            raise ConfigError(f"{path} may be written to by others; run: chmod 600 {path}")
        if secret and state.st_mode & 0o077:
            raise ConfigError(f"{path} may be read by others; run: chmod 600 {path}")
        if state.st_size > most:
            raise ConfigError(f"{path} has more than {most} bytes; move it away")
        return file.read(most)


def write(path: Path, data: bytes) -> None:
    """Write a file that only the user may read, whole or not at all. Raises ConfigError."""
    try:
        make_folder(path.parent, mode=_PRIVATE)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(name, path)  # noqa: PTH105 - text in, text out
        except BaseException:
            with suppress(OSError):
                os.unlink(name)  # noqa: PTH108 - likewise
            raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {describe(error, _LOOK)}") from error


@contextmanager
def exclude_others(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Run a block while no other process is in such a block for the same folder.

    `waiting` is called before a wait for another one. Raises ConfigError if the folder can't be
    made.
    """
    try:
        make_folder(folder, mode=_PRIVATE)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be used: {describe(error, _LOOK)}") from error
    try:
        try:
            held = lock(descriptor)
            if held is False:
                waiting()
            if not held:
                wait_for_lock(descriptor)
        except OSError as error:
            raise ConfigError(f"{folder} cannot be locked: {describe(error, _LOOK)}") from error
        yield
    finally:
        os.close(descriptor)


def _find(environ: Mapping[str, str], variable: str, usual: str, what: str) -> Path:
    """Return llmc's folder below the one that a variable names, else below the home's usual one.

    A relative path is passed over, as the XDG specification says.
    """
    for name, below in ((variable, "llmc"), ("HOME", f"{usual}/llmc")):
        named = tilde.expand(environ.get(name, ""), environ, f"${name}")
        if named and Path(named).is_absolute():
            return Path(named) / below
    raise ConfigError(
        f"neither ${variable} nor $HOME is an absolute path, so there is no place for what "
        f"llmc keeps {what}; set one of them"
    )
