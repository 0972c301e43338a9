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


def host_of(url: str) -> str | None:
    """Return the host name or address in a URL, in lower case; None if it has none."""
    try:
        return urlsplit(url).hostname or None
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
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
