"""A target: one model at one place, as it is asked for one tier. `targets` says which there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from llmc.net.places import address
from llmc.settings.providers import PROVIDERS, Provider

CALL_TIMEOUT_SEC = 180.0
"""The bound of a call where nothing configured says otherwise."""


@dataclass(frozen=True, slots=True)
class Key:
    """How to sign in: the variable that the key is or would be in, its value, and the header."""

    name: str = ""
    secret: SecretStr | None = None
    header: str = "authorization"


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one place, as it is asked for one tier.

    `name` is that of the records, `label` what people call the place. `place` is a URL, a program
    or a model file; empty: nowhere, or the packaged model. An empty `model` is the place's own
    choice, and `shown` says which that is. `timeout` (seconds) bounds an attempt, `slots` is how
    many requests the place takes at once. `keep_alive` None is not sent.

    `entry` is its rank in the tier's cascade, `host` that in the Ollama host chain, None where a
    target has an address of its own. A `fallback` is asked only once all before it failed or rest.
    `environ` is what a program gets. `problem` says why no call can be made, and what to do.
    """

    provider: str
    name: str
    place: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    keep_alive: str | float | None = None
    timeout: float = CALL_TIMEOUT_SEC
    slots: int = 1
    key: Key | None = None
    fallback: bool = False
    label: str = ""
    shown: str = ""
    entry: int = 0
    host: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    problem: str = ""

    @property
    def row(self) -> Provider:
        return PROVIDERS[self.provider]

    @property
    def is_somewhere(self) -> bool:
        """Whether there is anything to ask: a process always is."""
        return bool(self.place) or self.row.kind == "process"

    @property
    def address(self) -> str:
        """The place without path, password or key; a program by its name, nothing in a process."""
        if self.row.kind == "process":
            return ""
        return self.place if self.row.kind == "program" else address(self.place)


def arrange(targets: Sequence[Target], host_index: int = 0, first: int = 0) -> tuple[Target, ...]:
    """Return a tier's targets in the order of one attempt: on a host, beginning with an entry.

    Those that may stand in for the first go round; fallbacks follow in configured order. A host
    index past the chain's end is its last host.
    """
    last = max((t.host for t in targets if t.host is not None), default=0)
    asked = [t for t in targets if t.host in (None, min(host_index, last))]
    count = sum(not target.fallback for target in asked)
    if first < count:
        return (*asked[first:count], *asked[:first], *asked[count:])
    return (*asked[first:], *asked[:first])
