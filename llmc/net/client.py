"""HTTP with one deadline per request, on connections that are kept for reuse.

A kept connection that the server has closed meanwhile is noticed before it is used, so no request
is ever sent twice.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from llmc.errors import ConnectError
from llmc.net.connections import Connections
from llmc.net.deadlines import MAX_TIMEOUT_SEC, Cancellation, Deadline
from llmc.net.exchange import Exchange
from llmc.net.places import Place, read_place
from llmc.net.routes import STRAIGHT, Network
from llmc.net.turns import Line, Turn
from llmc.redaction.keys import Redaction, find_url_secrets

_NOT_A_URL = "the configured URL is not http:// or https:// with a host and, perhaps, a port"
"""It says no more: what a URL holds may be a password."""

_SIGNING = ("authorization", "api-key", "x-api-key")
"""Headers that hold a key, by their lower-case names."""


class Client:
    """Keeps connections to the servers it has spoken to. Safe to share between threads.

    `cancellation` ends all its requests; a request may bring one of its own instead.
    `connect_timeout` bounds each connection's making, in seconds; None: the request's deadline.
    `network` says how servers are reached: straight, unless it names a proxy.
    `redaction` knows these secrets and what requests were signed with: what servers say goes
    through it before anyone sees it, other than as the body of an answer.
    """

    def __init__(
        self,
        *,
        connect_timeout: float | None = None,
        secrets: Iterable[str] = (),
        network: Network = STRAIGHT,
    ) -> None:
        self.cancellation = Cancellation()
        self.redaction = Redaction(secrets)
        self._connections = Connections(connect_timeout, network)
        self._lines: dict[Place, Line] = {}
        for proxy in network.proxies.values():
            self.redaction.learn(*find_url_secrets(proxy))

    def request(  # noqa: PLR0913 - what a request is made of
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float,
        cancellation: Cancellation | None = None,
        resend: bool = False,
        queues: bool = False,
    ) -> Exchange:
        """Send one request; return the exchange once the response's headers are in.

        `timeout` is the total in seconds, from now to the last byte of the body; of a request that
        `queues` it bounds the wait for its turn, and then the reply: see `turns`. `resend` sends
        the request once more if a kept connection turns out to have been closed by the server:
        it then had not answered, and in all likelihood not read it.
        Raises RequestError.
        """
        try:
            parts, place = urlsplit(url), read_place(url)
        except ValueError as error:
            raise ConnectError(_NOT_A_URL) from error
        if place[0] not in ("http", "https") or not place[1]:
            raise ConnectError(_NOT_A_URL)
        timeout = min(timeout, MAX_TIMEOUT_SEC)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        exchange = Exchange(
            place,
            Turn(self._lines.setdefault(place, Line()), timeout) if queues else Deadline(timeout),
            cancellation or self.cancellation,
            self._connections,
            self.redaction,
        )
        headers = {**_signed(parts), **(headers or {})}
        if parts.username is not None or parts.query:
            self.redaction.learn(*find_url_secrets(url))
        for name, value in headers.items():
            if name.lower() in _SIGNING:
                self.redaction.learn(value.rpartition(" ")[2])
        exchange.begin(method, target, body, headers, resend=resend)
        return exchange

    def close(self) -> None:
        """Close the idle connections."""
        self._connections.close()


def _signed(parts: SplitResult) -> dict[str, str]:
    """Return the header for a user and password in a URL."""
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
