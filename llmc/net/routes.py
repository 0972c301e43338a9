"""How servers are reached: straight or by a proxy, and whose certificates are believed.

The environment of a company's machines often names a proxy. It sees where every request goes, and
of one without TLS all that is said: so one is used only where the user says so.
"""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from llmc.net.places import Place, is_this_machine, read_place, spell

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Network:
    """The ways out. `proxies` are URLs by the scheme of what is asked for; nothing on this machine
    is asked by one, and none of the `direct`: names, domains, addresses, networks, or * for all.

    `ca_file` has further certificates (PEM) that are believed.
    """

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    direct: tuple[str, ...] = ()
    ca_file: Path | None = None

    def find_proxy(self, place: Place) -> Proxy | None:
        """Return the proxy by which a place is asked, None if it is asked itself.

        Raises ValueError if the proxy's URL is none.
        """
        url = self.proxies.get(place[0])
        if not url or is_this_machine(spell(place)) or self._goes_straight(place):
            return None
        return Proxy.of(url)

    def _goes_straight(self, place: Place) -> bool:
        _, host, port = place
        for word in map(str.lower, self.direct):
            name, its_port = word, ""
            if word.count(":") == 1:
                name, _, its_port = word.partition(":")
            if its_port and its_port != str(port or DEFAULT_PORTS[place[0]]):
                continue
            if name == "*" or _covers(name.strip("[]"), host):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy: where it is, and the header that signs in to it, if any."""

    place: Place
    sign: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str) -> Proxy:
        """Read a proxy's URL; without a scheme it is http. Raises ValueError."""
        url = url if "://" in url else f"http://{url}"
        scheme, host, port = read_place(url)
        if scheme not in DEFAULT_PORTS or not host:
            raise ValueError("a proxy is http://HOST:PORT or https://HOST:PORT")
        parts, sign = urlsplit(url), ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            sign = f"Basic {b64encode(pair.encode()).decode()}"
        return cls((scheme, host, port), sign)


STRAIGHT = Network()
"""No proxy, and the certificates that the system believes."""


def _covers(name: str, host: str) -> bool:
    """Tell whether a word of $NO_PROXY means a host."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        name = name.removeprefix("*").removeprefix(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
