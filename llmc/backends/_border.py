"""A backend whose prompts leave this machine: each is blotted, and noted down, before it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmc.backends.cascade import BackendAdapter
from llmc.enrichment.prompts import blot_prompt
from llmc.errors import BackendError
from llmc.records.egress import Destination, Egress

Answer = tuple[Any, dict[str, Any]]


def let_out(
    generate: Callable[..., Answer],
    to: Destination,
    egress: Egress,
    prompt: str,
    item: Mapping[str, Any],
) -> Answer:
    """Have a backend answer, without the likely secrets of the prompt if it leads away.

    Raises BackendError, StoreError if it can't be put on record that the prompt leaves.
    """
    if not egress.leads_away(to):
        return generate(prompt, item=item)
    egress.refuse_kept(to, item)
    letter, secrets = blot_prompt(prompt)
    departure = egress.note(to, letter, secrets, item)
    try:
        result, meta = generate(letter, item=item)
    except BackendError as error:
        raise error.having_sent(departure) from error
    meta["departure"] = departure
    return result, meta


class Wrapped:
    """A backend as it is; those that stand before one change `generate` alone."""

    def __init__(self, backend: BackendAdapter) -> None:
        self._backend = backend

    @property
    def config(self) -> Any:
        return self._backend.config

    @property
    def options(self) -> Any:
        return getattr(self._backend, "options", None)

    def describe_host(self) -> str | None:
        describe = getattr(self._backend, "describe_host", None)
        return describe() if describe else None

    def prepare(self) -> None:
        """Let the backend find out what is wrong, if it can. Raises ConfigError."""
        prepare = getattr(self._backend, "prepare", None)
        if prepare:
            prepare()

    def generate(self, prompt: str, *, item: Mapping[str, Any]) -> Answer:
        """Make one attempt."""
        return self._backend.generate(prompt, item=item)


class _Guarded(Wrapped):
    """A backend behind the border."""

    def __init__(self, backend: BackendAdapter, to: Destination, egress: Egress) -> None:
        super().__init__(backend)
        self._to = to
        self._egress = egress

    def generate(self, prompt: str, *, item: Mapping[str, Any]) -> Answer:
        return let_out(self._backend.generate, self._to, self._egress, prompt, item)


def guard(backend: BackendAdapter, to: Destination, egress: Egress) -> BackendAdapter:
    """Return a backend behind the border if it leads away, else as it is."""
    return _Guarded(backend, to, egress) if egress.leads_away(to) else backend
