"""The ways to reach a model: a provider is one row here, and one file in `backends`.

A row says what settings have to know of a provider without loading it. The backend itself is
imported when a first call is made, so that a run pays only for what it asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

Kind = Literal["host", "program", "process"]


def load_lazily(module: str) -> Callable[..., Any]:
    """Return `make` of a module that is imported when it is first called."""

    def make(*args: Any) -> Any:
        return import_module(module).make(*args)

    return make


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to reach a model.

    `make(target, surroundings)` returns its backend: a `BackendAdapter` that sends to the target's
    place, and nowhere else. `kind` says what such a place is: the URL of a host, a program, or
    something in this process.

    `family` is its word in the records: ollama, gateway or embedded. `one_model`: its hosts hold
    one model at a time, so that asking for another costs a load. `probe` is a path below a host's
    URL that shows whether it is there; None: its root, by any answer. `most_slots` bounds what is
    asked of one place at once. `unasked`: a repository's own files may choose it without their
    user's word, which they otherwise need.
    """

    make: Callable[..., Any]
    kind: Kind = "host"
    family: Literal["ollama", "gateway", "embedded"] = "gateway"
    one_model: bool = False
    probe: str | None = None
    most_slots: int | None = None
    unasked: bool = False


PROVIDERS: dict[str, Provider] = {
    "ollama": Provider(
        load_lazily("llmc.backends.ollama"),
        family="ollama",
        one_model=True,
        probe="/api/tags",
        unasked=True,
    ),
    "openai": Provider(load_lazily("llmc.backends.openai"), unasked=True),
    "command": Provider(load_lazily("llmc.backends.command"), kind="program", unasked=True),
    "llamacpp": Provider(
        load_lazily("llmc.backends.llamacpp"),
        kind="process",
        family="embedded",
        most_slots=1,  # its calls take turns, whatever is asked for
        unasked=True,
    ),
}
"""Every provider by its name in `llmc.toml`. A program that brings its own adds a row before it
loads its settings: see docs/backends.md."""
