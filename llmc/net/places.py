"""Where a request would go: to this machine, to the user's own network, or away.

Text alone decides, no name is looked up: what a name stands for may change between the look and
the call.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

Place = tuple[str, str, int | None]
"""Scheme, host without brackets, and port of a server, as a URL has them."""

_HERE = ("::1", "::")
"""Addresses of this machine, after which a number is a port."""


def read_place(url: str) -> Place:
    """Return the place a URL leads to; scheme and host may be empty. Raises ValueError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:  # an address; its zone may be written as RFC 6874 has it
        host = host.replace("%25", "%", 1)
    return parts.scheme.lower(), host, parts.port


def address(url: str) -> str:
    """Return scheme, host and port of a URL: what else it holds may be a password or a key."""
    try:
        return spell(read_place(url))
    except ValueError:
        return "an unreadable URL"


def spell(place: Place) -> str:
    """Return a place as the beginning of a URL."""
    scheme, host, port = place
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" + (f":{port}" if port else "")


def bracket(url: str) -> str:
    """Return a URL, or what stands for one, with brackets around an IPv6 address that has none.

    What is an address as a whole has no port, unless it would be one of this machine's with it.
    """
    scheme, mark, rest = url.rpartition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if host.count(":") < 2 or "[" in host:
        return url
    address, _, port = host.rpartition(":")
    if _is_ipv6(address) and port.isdecimal() and (address in _HERE or not _is_ipv6(host)):
        host = f"[{address}]:{port}"
    elif _is_ipv6(host):
        host = f"[{host}]"
    return f"{scheme}{mark}{user}{at}{host}{slash}{path}"


def host_of(url: str) -> str | None:
    """Return the host name or address in a URL, in lower case; None if it has none."""
    try:
        return read_place(url)[1] or None
    except ValueError:
        return None


def is_this_machine(url: str) -> bool:
    """Tell whether a URL points at this machine; one that can't be read doesn't."""
    name = host_of(url)
    if name is None:
        return False
    if name == "localhost":
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def is_cloud_model(name: str | None) -> bool:
    """Tell whether Ollama would hand this model on to its maker's cloud.

    Those are tagged `cloud` or `SIZE-cloud`, as in `gpt-oss:120b-cloud`.
    """
    return (name or "").strip().lower().endswith(("-cloud", ":cloud"))


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """Hosts that the user has declared to be their own.

    Each is an address, a network as in 10.0.0.0/8, a name, or a name with * as in *.lan.
    """

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, words: Iterable[str]) -> OwnNetwork:
        """Read a list of them; what is no address and no network is a name."""
        networks, names = [], []
        for word in filter(None, (word.strip().lower() for word in words)):
            try:
                networks.append(ipaddress.ip_network(word.strip("[]"), strict=False))
            except ValueError:
                names.append(word)
        return cls(tuple(networks), tuple(names))

    def covers(self, url: str) -> bool:
        """Tell whether a URL's host is one of the user's own."""
        name = host_of(url)
        if name is None:
            return False
        address = _address(name)
        if address is None:
            return any(fnmatchcase(name, pattern) for pattern in self.names)
        return any(address in network for network in self.networks)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is; one of IPv4 that is written as IPv6 is what it means."""
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _is_ipv6(text: str) -> bool:
    if ":" in text.partition("%")[2]:
        return False
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False
