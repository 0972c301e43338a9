"""A server that is asked for no model by name: which it has, before a run sends it anything."""

from __future__ import annotations

import json

from llmc.errors import ConfigError, RequestError
from llmc.net.client import Client
from llmc.redaction.addresses import blot_address
from llmc.redaction.text import make_one_line
from llmc.settings.gateways import UNNAMED_MODEL, Endpoint

LOOK_SEC = 5.0
"""How long a server may take to say which models it has."""

_MOST_BYTES = 1 << 20
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
    try:
        with client.request("GET", url, headers=headers, timeout=LOOK_SEC) as exchange:
            if not 200 <= exchange.status < 300:
                return []
            body = b""
            for piece in exchange.chunks():
                body += piece
                if len(body) > _MOST_BYTES:
                    return []
        found = json.loads(body)
        named = [entry["id"] for entry in found["data"] if isinstance(entry.get("id"), str)]
    except (RequestError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
    return [make_one_line(name)[:100] for name in named]
