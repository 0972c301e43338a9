"""Whether a server is there: one question, and what is wrong with the answer."""

from __future__ import annotations

from llmc.errors import ConnectError, RequestError
from llmc.net.client import Client


def find_trouble(
    client: Client, address: str, timeout: float, *, any_status: bool = False
) -> str | None:
    """Ask for an address once and say what is wrong, None if nothing is.

    `any_status` takes every HTTP status for an answer, else it must be a 2xx.
    """
    try:
        with client.request("GET", address, timeout=timeout) as exchange:
            if any_status or 200 <= exchange.status < 300:
                return None
            return f"HTTP status {exchange.status}"
    except ConnectError as error:
        return error.why
    except RequestError as error:
        return str(error)
