"""A settings file as it was read, and the bounds that hold for every value in one.

Whoever writes into a repository writes its settings. So no number may be large enough to fill a
memory or a disk, no text long enough to make a line of a log a megabyte, and a value that is
refused must not fill the screen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

CONFIG_FILE = "llmc.toml"
PRESET_FILE = "presets/enrich_7b_ollama.yaml"
POLICY_FILE = "router/policy.json"

MAX_SLOTS = 256
"""Requests in flight at one host: more threads than any server we know of answers at once."""

MAX_IN_FLIGHT = 2048
"""Requests in flight at all places of a chain: each is a thread, and room set aside on the disk."""

MAX_NUMBER = 10**9
"""For seconds and counts: 31 years, or more tokens than any model takes."""

MAX_WORD = 64
"""Characters of a duration, a tier, the name of a field in a log."""

MAX_NAME = 256
"""Characters of a name: of an entry, a chain, a model, a variable."""

MAX_TEXT = 2048
"""Characters of a URL or a path."""

MAX_ENTRIES = 256
MAX_FIELDS = 64
"""Entries of all chains, keys of one table of options, fields added to a log."""

OPTIONS: Mapping[str, float] = {
    "frequency_penalty": MAX_NUMBER,
    "max_completion_tokens": MAX_NUMBER,
    "max_tokens": MAX_NUMBER,
    "min_p": MAX_NUMBER,
    "mirostat": MAX_NUMBER,
    "mirostat_eta": MAX_NUMBER,
    "mirostat_tau": MAX_NUMBER,
    "num_batch": 1 << 20,
    "num_ctx": 1 << 24,
    "num_gpu": 9999,
    "num_keep": MAX_NUMBER,
    "num_predict": MAX_NUMBER,
    "num_thread": 4096,
    "presence_penalty": MAX_NUMBER,
    "repeat_last_n": MAX_NUMBER,
    "repeat_penalty": MAX_NUMBER,
    "seed": 1 << 63,
    "temperature": MAX_NUMBER,
    "tfs_z": MAX_NUMBER,
    "top_k": MAX_NUMBER,
    "top_p": MAX_NUMBER,
    "typical_p": MAX_NUMBER,
}
"""Options that only say how a model is loaded and samples: numbers all, and the most each may be.

As far below 0 as above, unless LEAST says otherwise; a preset's not below -1, which is a server's
word for "all".
"""

LEAST: Mapping[str, float] = {
    "max_completion_tokens": 1,
    "max_tokens": 1,
    "min_p": 0,
    "num_batch": 1,
    "num_ctx": 1,
    "num_gpu": -1,
    "num_keep": -1,
    "num_predict": -2,
    "num_thread": 0,
    "repeat_last_n": -1,
    "repeat_penalty": 0,
    "temperature": 0,
    "top_k": 0,
    "top_p": 0,
    "typical_p": 0,
}
"""The least that an option may be, where below it there is no sense; -1 and -2 are words."""

_SHOWN_CHARS = 200


@dataclass(frozen=True)
class SettingsFile:
    """One settings file of a repository."""

    name: str
    """Its path in the repository."""

    path: Path
    """Its whole path."""

    raw: bytes = field(repr=False)
    """Its bytes."""

    document: Mapping[str, Any] = field(repr=False)
    """What they were parsed to."""

    @cached_property
    def sha256(self) -> str:
        """The hash, in hex, of the very bytes that `document` comes from."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8-sig")


def find_meant(key: str, names: Iterable[str]) -> str | None:
    """Return the name that a key was meant to be: one like it, or a part of it or around it."""
    low, names = key.lower().replace("-", "_"), list(names)
    if close := get_close_matches(low, names, 1, 0.7):
        return close[0]
    parts = [name for name in names if low in name.split("_") or name in low.split("_")]
    return next((name for name in (*parts, *names) if name in parts or low in name), None)


def quote(value: object) -> str:
    """Return a value for an error message; of a container only its type, as it may hold a key."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    try:
        text = repr(value)
    except ValueError:  # Python prints no whole number of thousands of digits
        return f"a {type(value).__name__} of very many digits"
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
