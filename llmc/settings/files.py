"""The settings files of a repository, each read once: what is hashed is what is parsed.

A repository may hold anything under their names: a link to a device, a pipe that nobody fills, a
few bytes that unfold to gigabytes. So a file is opened without following links, on the way to it
neither, must be a plain one of bounded size, and reading and parsing end in time.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from llmc.errors import ConfigError
from llmc.settings.documents import CONFIG_FILE, POLICY_FILE, PRESET_FILE, SettingsFile, quote

MAX_BYTES = 1 << 20
READING_SEC = 10.0
"""Reading and parsing of one file; a real one takes milliseconds."""

MAX_NODES = 10_000
MAX_DEPTH = 32
"""Values in a file, and how deep they may nest: far beyond what any settings need."""

MAX_DOTS = 500
"""Dots in one line of TOML: what a dotted key costs the parser grows with the square of them."""

MAX_DIGITS = 64
"""Characters of a number in YAML: what one of base 60 (`1:30`) costs the parser grows with the
square of its length."""

_SHOWN_CHARS = 500
"""Of what a parser complains about: it may repeat all that it was given."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_YAML_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

_Result = TypeVar("_Result")


def read_all(repo: Path) -> dict[str, SettingsFile]:
    """Return the settings files that a repository has, by their names. Raises ConfigError."""
    found = (read_file(repo, name) for name in _PARSERS)
    return {file.name: file for file in found if file}


def read_file(repo: Path, name: str) -> SettingsFile | None:
    """Return one of the three settings files of a repository, None if it has none.

    Raises ConfigError that names the file.
    """
    return run_within(
        READING_SEC, partial(_read, repo, name), f"{repo / name} cannot be read in time"
    )


def run_within(seconds: float, work: Callable[[], _Result], complaint: str) -> _Result:
    """Do some work, for so long at most; what it raises is raised here.

    Work that takes longer is left behind, on a thread that the process doesn't wait for.
    Raises ConfigError with the complaint.
    """
    done: list[_Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failed.append(error)

    thread = threading.Thread(target=run, name="settings", daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise ConfigError(f"{complaint}: {seconds:g} s are not enough")
    return done[0]


def _read(repo: Path, name: str) -> SettingsFile | None:
    path = repo / name
    try:
        raw = _bytes(repo, name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    kind, parse = _PARSERS[name]
    try:
        document = parse(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not {kind} that llmc reads: it nests too deep") from error
    except ValueError as error:
        complaint = f"{error!s:.{_SHOWN_CHARS}}"
        raise ConfigError(f"{path} is not {kind} that llmc reads: {complaint}") from error
    if not isinstance(document, Mapping):
        raise ConfigError(f"{path} holds {quote(document)}; it must be a mapping")
    return SettingsFile(name, path, raw, document)


def _bytes(repo: Path, name: str) -> bytes:
    """Return what a plain file holds, reached through no link. Raises OSError, ConfigError."""
    *folders, last = PurePosixPath(name).parts
    place, opened = repo, os.open(repo, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in (*folders, last):
        place /= part
        above, flags = opened, _FILE if part is last else _FOLDER
        try:
            _refuse_others(place, above, folder=part is not last)
            opened = os.open(part, flags, dir_fd=above)
        finally:
            os.close(above)
    with os.fdopen(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise ConfigError(f"{place} was replaced while it was read; run the command again")
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{place} has more than {MAX_BYTES >> 20} MiB; settings are small files")
    return raw


def _refuse_others(path: Path, above: int, *, folder: bool) -> None:
    """Refuse what is no folder, or no plain file, before it is opened. Raises ConfigError."""
    mode = os.stat(path.name, dir_fd=above, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        raise ConfigError(
            f"{path} is a link; settings are read from the repository itself: put a copy of what "
            "it points to in its place, or remove it"
        )
    if not folder and not stat.S_ISREG(mode):
        raise ConfigError(f"{path} is no regular file; remove it, or put a plain file there")


def _toml(text: str) -> Any:
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > MAX_DOTS:
            raise ValueError(f"line {number} has more than {MAX_DOTS} dots; break it up")
    return _bounded(tomllib.loads(text))


def _json(text: str) -> Any:
    return _bounded(json.loads(text))


def _yaml(text: str) -> Any:
    import yaml  # only a repository with a preset file pays for it

    class Loader(yaml.SafeLoader):
        """Refuses aliases, by which a few lines unfold to gigabytes, and bounds the rest."""

        nodes = depth = 0

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                raise ValueError("aliases (*name) are not read; write the value out")
            self.nodes += 1
            self.depth += 1
            _check_bounds(self.nodes, self.depth)
            node = super().compose_node(parent, index)
            self.depth -= 1
            if node and node.tag in _YAML_NUMBERS and len(node.value) > MAX_DIGITS:
                raise ValueError(f"a number in it has more than {MAX_DIGITS} characters")
            return node

    try:
        found = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except (AttributeError, LookupError) as error:  # as of `!!bool maybe`: the parser trips over it
        raise ValueError("a value in it is not of the type that its tag (!!) names") from error
    return _bounded({} if found is None else found)


def _bounded(document: Any) -> Any:
    """Return a document that isn't large, deep, or with numbers of many digits.

    Raises ValueError.
    """
    left, nodes = [(document, 1)], 0
    while left:
        value, depth = left.pop()
        nodes += 1
        _check_bounds(nodes, depth)
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise ValueError("a whole number in it has more than 64 bits")
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            left += [(each, depth + 1) for each in inner]
    return document


def _check_bounds(nodes: int, depth: int) -> None:
    if nodes > MAX_NODES:
        raise ValueError(f"it holds more than {MAX_NODES} values")
    if depth > MAX_DEPTH:
        raise ValueError(f"it nests more than {MAX_DEPTH} deep")


_PARSERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    CONFIG_FILE: ("TOML", _toml),
    PRESET_FILE: ("YAML", _yaml),
    POLICY_FILE: ("JSON", _json),
}
