"""A server that is asked for no model by name: which it has, before a run sends it anything."""

from __future__ import annotations

import time

from llmc.errors import ConfigError
from llmc.net.client import Client
from llmc.net.lookup import look_up
from llmc.redaction.addresses import blot_address
from llmc.redaction.text import make_one_line
from llmc.settings.gateways import UNNAMED_MODEL, Endpoint

LOOK_SEC = 5.0
"""How long a server may take to say which models it has."""

_MOST_TOLD = 10


def check_named(client: Client, endpoint: Endpoint) -> None:
    """Refuse to ask for a model without a name where the server has others. Raises ConfigError.

    A server that lists nothing may take any name, as those do that run one model.
    """
    if endpoint.model != UNNAMED_MODEL:
        return
    names = _list_models(client, endpoint)
    if names and UNNAMED_MODEL not in names:
        more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
        raise ConfigError(
            f"{blot_address(endpoint.url)} is asked, and no model is named; set OPENAI_MODEL to one"
            f" of its: {', '.join(names[:_MOST_TOLD])}{more}"
        )


def _list_models(client: Client, endpoint: Endpoint) -> list[str]:
    """Return the names of a server's models, none if it doesn't tell."""
    url = endpoint.url.replace("/chat/completions", "/models")
    headers = {}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key.get_secret_value()}"
    answer = look_up(client, url, time.monotonic() + LOOK_SEC, headers=headers)
    if not answer.ok:
        return []
    names = (entry.get("id") for entry in answer.list_entries("data"))
    return [make_one_line(name)[:100] for name in names if isinstance(name, str)]
