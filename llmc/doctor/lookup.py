"""One small question to a server: what it answered, or why nothing can be made of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmc.errors import RequestError
from llmc.net.client import Client

MAX_LIST_BYTES = 4 * 1024 * 1024
"""The list of all models of a cloud is the longest answer there is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. `status` is 0 and `problem` says why if there was none; `value` is its JSON."""

    status: int
    value: Any = None
    problem: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def entries(self, key: str) -> list[dict[str, Any]]:
        """Return the objects in the list under `key`; empty for any other shape."""
        found = self.value.get(key) if isinstance(self.value, dict) else None
        listed = found if isinstance(found, list) else []
        return [entry for entry in listed if isinstance(entry, dict)]

    def has_list(self, key: str) -> bool:
        """Tell whether there is a list under `key`; null counts as an empty one."""
        if not isinstance(self.value, dict) or key not in self.value:
            return False
        return isinstance(self.value[key], list | None)


def ask(
    client: Client,
    url: str,
    deadline: float,
    *,
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Answer:
    """Ask for a JSON answer until `deadline` (monotonic); a POST if there is a body."""
    raw = None if body is None else json.dumps(body).encode()
    try:
        with client.request(
            "GET" if raw is None else "POST",
            url,
            body=raw,
            headers={"Accept": "application/json", **(headers or {})},
            timeout=max(0.001, deadline - time.monotonic()),
        ) as exchange:
            status, text = exchange.status, exchange.read(MAX_LIST_BYTES)
    except RequestError as error:
        return Answer(0, problem=str(error))
    try:
        return Answer(status, json.loads(text))
    except (ValueError, RecursionError):
        return Answer(status)
