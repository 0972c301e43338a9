"""What may leave this machine, and what leads away from it.

A target stays if it is on this machine or on the network that the user has declared to be their
own. A program leads away, as nobody knows where it sends what it is given; so does a model that
Ollama hands on to its maker's cloud, and a server that speaks as OpenAI's does, on this machine
too: such a server is often a proxy. Its user can say that it is not.

A repository may keep paths here, which only restricts; what is the user's own network, only the
user says.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmc.errors import ConfigError
from llmc.files.ignorefile import read_lines, refuse_slow
from llmc.net.places import OwnNetwork, host_of, is_cloud_model, is_this_machine
from llmc.settings.documents import quote

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

LOCAL_FILE = ".llmc-local"
TABLE = "privacy"
_LOOPBACK = "http://127.0.0.1"

Lines = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Privacy:
    """The user's own network, and the paths whose code stays."""

    own: OwnNetwork = field(default_factory=OwnNetwork)
    """Hosts that the user has declared to be their own."""

    local_only: tuple[Lines, ...] = ()
    """Lines of .gitignore's form for paths that stay, a list for each source."""

    def leads_away(self, provider: str, place: str, model: str | None) -> bool:
        """Tell whether what is sent there leaves; `place` is a URL, or what a program is called.

        An empty place is nowhere, and nothing leaves for it.
        """
        if provider == "llamacpp" or not place:
            return False
        if provider == "command" or is_cloud_model(model):
            return True
        return not (self.is_own(place) or (provider == "ollama" and is_this_machine(place)))

    def is_own(self, url: str) -> bool:
        """Tell whether a URL's host is one that the user has declared."""
        is_loopback_name = host_of(url) == "localhost"
        return self.own.covers(url) or (is_loopback_name and self.own.covers(_LOOPBACK))


class KeptPaths:
    """Tells which paths of a repository are to stay; false if there are none."""

    def __init__(self, repo: Path, privacy: Privacy) -> None:
        self._root = os.path.realpath(repo)
        self._specs = [_spec(lines) for lines in privacy.local_only]
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._specs)

    def covers(self, path: str) -> bool:
        """Tell whether a path stays, by its name or by where it really leads."""
        if not self._specs:
            return False
        if path not in self._known:
            names = {path, posixpath.normpath(path), self._real(path)}
            self._known[path] = any(
                # A pattern's * ends at a line break.
                spec.match_file(name.translate(_ONE_LINE))
                for spec in self._specs
                for name in names
            )
        return self._known[path]

    def _real(self, path: str) -> str:
        try:
            real = os.path.realpath(os.path.join(self._root, path))  # noqa: PTH118 - text is enough
        except (OSError, ValueError):
            return path
        return os.path.relpath(real, self._root)


_ONE_LINE = dict.fromkeys(map(ord, "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), "_")


def read_local_lines(document: Mapping[str, Any], source: Path) -> Lines:
    """Return what a repository's settings keep here. Raises ConfigError.

    A misspelt word would send code away, so anything like one of ours is refused.
    """
    _refuse_misspelt(document, source, "")
    for name, found in document.items():
        if isinstance(found, dict) and name != TABLE:
            _refuse_misspelt(found, source, f"{name}.")
    table = _table(document, source)
    if "own_network" in table:
        raise ConfigError(
            f"{source}: {TABLE}.own_network: a repository can't say which hosts are its user's "
            "own; set it in llmc's config.toml in your own settings, or $LLMC_OWN_NETWORK"
        )
    return _lines(_known(table, source, ("local_only",)), source)


def read_users_words(document: Mapping[str, Any], source: Path) -> tuple[Lines, Lines]:
    """Return (own_network, local_only) of the user's own settings. Raises ConfigError."""
    _refuse_misspelt(document, source, "")
    table = _known(_table(document, source), source, ("own_network", "local_only"))
    return _strings(table, "own_network", source), _lines(table, source)


def read_local_file(repo: Path) -> Lines:
    """Return the lines of .llmc-local in the root of a repository. Raises ConfigError."""
    file = repo / LOCAL_FILE
    if not os.path.lexists(file):
        return ()
    try:
        return _checked(read_lines(file))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{str(file)!r} cannot be used ({error}), so what it keeps here is not known; it takes "
            ".gitignore lines in UTF-8"
        ) from error


def _table(document: Mapping[str, Any], source: Path) -> dict[str, Any]:
    table = document.get(TABLE, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{source}: {TABLE} is {quote(table)}; it must be a table: [{TABLE}]")
    return table


def _known(table: dict[str, Any], source: Path, known: Sequence[str]) -> dict[str, Any]:
    for key in table:
        if key not in known:
            close = get_close_matches(key.lower(), known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(known)}"
            raise ConfigError(f"{source}: {TABLE}.{key} is not a setting of llmc; {hint}")
    return table


def _refuse_misspelt(table: Mapping[str, Any], source: Path, above: str) -> None:
    for key in table:
        if not above and key == "network" and isinstance(table[key], dict):
            continue  # a table of its own
        close = get_close_matches(key.lower(), (TABLE, "local_only", "own_network"), cutoff=0.75)
        if close and (above or key != TABLE):
            meant = f"[{TABLE}]" if close[0] == TABLE else f"{close[0]} in [{TABLE}]"
            raise ConfigError(f"{source}: {above}{key} is not a setting of llmc; write {meant}")


def _lines(table: Mapping[str, Any], source: Path) -> Lines:
    lines = _strings(table, "local_only", source)
    try:
        return _checked(lines)
    except ValueError as error:
        raise ConfigError(f"{source}: {TABLE}.local_only cannot be used: {error}") from error


def _strings(table: Mapping[str, Any], key: str, source: Path) -> Lines:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(
            f'{source}: {TABLE}.{key} is {quote(value)}; it must be a list of texts, as in ["a/"]'
        )
    return tuple(value)


def _checked(lines: Sequence[str]) -> Lines:
    """Return the lines if they can be matched. Raises ValueError."""
    refuse_slow(lines)
    _spec(lines)
    return tuple(lines)


def _spec(lines: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # where nothing is kept here, nothing is loaded for it

    return GitIgnoreSpec.from_lines(lines)
