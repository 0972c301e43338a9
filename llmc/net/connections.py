"""Connections to servers: made, secured, and kept for the next request."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping

from llmc.errors import CertificateError, ConnectError
from llmc.net.places import Place, spell
from llmc.net.routes import DEFAULT_PORTS, STRAIGHT, Network, Proxy
from llmc.net.wire import Response, read_tunnel_answer

Hold = Callable[[socket.socket, float | None], None]
"""Takes hold of a socket that is being connected, within so many seconds. Raises OSError."""

_NEW_CA = (
    "if it is one of yours, name the file of its CA (PEM) in $SSL_CERT_FILE, or as ca_file under "
    "[network]"
)
_ADVICE = {
    "expired": "have it renewed, and check this machine's clock",
    "not yet valid": "check this machine's clock",
    "ostname mismatch": "ask the server by the name that it is made out to",
    "IP address mismatch": "ask the server by the name that it is made out to",
}
"""What to do, by what the message of a check has in it."""


class Connections:
    """Makes connections and keeps those that can be used again. Safe to share between threads.

    `timeout` bounds each connection's making, in seconds; None: the request's deadline does.
    """

    def __init__(self, timeout: float | None = None, network: Network = STRAIGHT) -> None:
        self.timeout = timeout
        self.network = network
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
        """Return a new connection to `place`, by its proxy if it has one. Raises ConnectError."""
        scheme, host, port = place
        try:
            proxy = self.network.find_proxy(place)
        except ValueError as error:
            raise ConnectError(f"cannot connect to {spell(place)}: {error}") from error
        first = proxy.place if proxy else place
        sock = self._dial(first, hold)
        try:
            if proxy and scheme == proxy.place[0] == "https":
                raise ValueError("a proxy on the way to https:// must be an http:// one itself")
            if proxy and scheme == "https":
                self._tunnel(sock, place, proxy)
                sock = self._secure(sock, host, hold)
        except (OSError, ValueError, http.client.HTTPException) as error:
            sock.close()
            raise _failed(place, error) from error
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock
        connection.response_class = Response
        return connection

    def address_request(
        self, place: Place, target: str, headers: Mapping[str, str]
    ) -> tuple[str, Mapping[str, str]]:
        """Return target and headers as they are sent: a proxy is told the whole address."""
        if place[0] != "http" or not self.network.proxies:
            return target, headers
        proxy = self.network.find_proxy(place)
        if proxy is None:
            return target, headers
        signed = {"Proxy-Authorization": proxy.sign} if proxy.sign else {}
        return f"{spell(place)}{target}", {**headers, **signed}

    def _dial(self, place: Place, hold: Hold) -> socket.socket:
        """Return a connected socket, secured where the place says so. Raises ConnectError."""
        scheme, host, port = place
        error: Exception = OSError("the name has no address")
        try:
            found = socket.getaddrinfo(host, port or DEFAULT_PORTS[scheme], 0, socket.SOCK_STREAM)
        except (OSError, ValueError) as failure:
            found, error = [], failure
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                hold(sock, self.timeout)
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._secure(sock, host, hold) if scheme == "https" else sock
            except (OSError, ValueError) as failure:
                sock.close()
                error = failure
                if isinstance(error, ssl.SSLCertVerificationError):
                    break
        raise _failed(place, error) from error

    def _tunnel(self, sock: socket.socket, place: Place, proxy: Proxy) -> None:
        """Have a proxy pass on all that follows. Raises OSError, HTTPException."""
        scheme, host, port = place
        name = f"[{host}]" if ":" in host else host
        name = f"{name}:{port or DEFAULT_PORTS[scheme]}"
        sign = f"Proxy-Authorization: {proxy.sign}\r\n" if proxy.sign else ""
        sock.sendall(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n{sign}\r\n".encode("latin-1"))
        status = read_tunnel_answer(sock)
        if status != 200:
            raise OSError(f"the proxy {spell(proxy.place)} answered HTTP status {status}")

    def _secure(self, sock: socket.socket, host: str, hold: Hold) -> ssl.SSLSocket:
        """Return the socket with TLS on top. Raises OSError, the socket closed."""
        secured = self._security().wrap_socket(
            sock, server_hostname=host.partition("%")[0], do_handshake_on_connect=False
        )
        try:
            hold(secured, self.timeout)
            secured.do_handshake()
        except (OSError, ValueError):
            secured.close()
            raise
        return secured

    def _security(self) -> ssl.SSLContext:
        """Return what certificates are checked with; $SSL_CERT_FILE is the library's to read."""
        if self._tls is None:
            context = ssl.create_default_context()
            if self.network.ca_file:
                context.load_verify_locations(self.network.ca_file)
            self._tls = context
        return self._tls

    def _pop(self, place: Place) -> http.client.HTTPConnection | None:
        with self._lock:
            connections = self._idle.get(place)
            return connections.pop() if connections else None


def _failed(place: Place, error: Exception) -> ConnectError:
    """Return what an error on the way to a place means, and what to do if that is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = error.verify_message or str(error)
        advice = next((todo for part, todo in _ADVICE.items() if part in problem), _NEW_CA)
        why = f"its certificate is not to be believed ({problem}); {advice}"
        return CertificateError(f"cannot connect to {spell(place)}: {why}", why)
    why = getattr(error, "strerror", None) or str(error)
    return ConnectError(f"cannot connect to {spell(place)}: {why}", why)
