"""The settings that every fake server takes as keyword arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class SettingsArgs(TypedDict, total=False):
    """The keyword arguments that every fake server takes; see `Settings`."""

    host: str
    port: int
    slots: int | None
    max_queue: int
    latency: float
    tokens_per_second: float | None
    swap_seconds: float
    max_loaded: int
    context_length: int
    keep_bodies: bool


@dataclass(frozen=True)
class Settings:
    """How a fake server behaves when the script says nothing else.

    `slots` calls of each model are worked on at once (None: all of them), further ones wait.
    `max_queue` is how many calls may wait while a model loads or makes room; the rest get a 503.
    `latency` is in seconds per reply, after loading. `tokens_per_second` None: at once.
    `swap_seconds` is the time to load a model. `context_length` is in tokens. `port` 0: any free
    one. `keep_bodies` False saves memory in long benchmarks.
    """

    host: str = "127.0.0.1"
    port: int = 0
    slots: int | None = None
    max_queue: int = 512
    latency: float = 0.0
    tokens_per_second: float | None = None
    swap_seconds: float = 0.0
    max_loaded: int = 1
    context_length: int = 4096
    keep_bodies: bool = True
