"""Connections to servers: made, secured, and kept for the next request."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable

from llmc.errors import ConnectError
from llmc.net.places import Place, spell
from llmc.net.wire import Response

Hold = Callable[[socket.socket, float | None], None]
"""Takes hold of a socket that is being connected, within so many seconds. Raises OSError."""


class Connections:
    """Makes connections and keeps those that can be used again. Safe to share between threads.

    `timeout` bounds each connection's making, in seconds; None: the request's deadline does.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        self._idle: defaultdict[Place, list[http.client.HTTPConnection]] = defaultdict(list)
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def take(self, place: Place) -> http.client.HTTPConnection | None:
        """Return an idle connection to `place` that is still open, None if there is none."""
        while connection := self._pop(place):
            if connection.sock and not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()
        return None

    def give(self, place: Place, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose response has been read to its end."""
        with self._lock:
            self._idle[place].append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def make(self, place: Place, hold: Hold) -> http.client.HTTPConnection:
        """Return a new connection to `place`. Raises ConnectError."""
        scheme, host, port = place
        port_asked = port or (443 if scheme == "https" else 80)
        error: Exception = OSError("the name has no address")
        try:
            found = socket.getaddrinfo(host, port_asked, 0, socket.SOCK_STREAM)
        except (OSError, ValueError) as failure:
            found, error = [], failure
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                hold(sock, self.timeout)
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if scheme == "https":
                    sock = self._secure(sock, host, hold)
            except (OSError, ValueError) as failure:
                sock.close()
                error = failure
            else:
                connection = http.client.HTTPConnection(host, port)
                connection.sock = sock
                connection.response_class = Response
                return connection
        why = getattr(error, "strerror", None) or str(error)
        raise ConnectError(f"cannot connect to {spell(place)}: {why}", why) from error

    def _secure(self, sock: socket.socket, host: str, hold: Hold) -> ssl.SSLSocket:
        """Return the socket with TLS on top. Raises OSError, the socket closed."""
        self._tls = self._tls or ssl.create_default_context()
        secured = self._tls.wrap_socket(
            sock, server_hostname=host.partition("%")[0], do_handshake_on_connect=False
        )
        try:
            hold(secured, self.timeout)
            secured.do_handshake()
        except (OSError, ValueError):
            secured.close()
            raise
        return secured

    def _pop(self, place: Place) -> http.client.HTTPConnection | None:
        with self._lock:
            connections = self._idle.get(place)
            return connections.pop() if connections else None
