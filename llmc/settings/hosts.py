"""The Ollama host chain: how it is written, and which of it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from llmc.net.client import Client
from llmc.net.places import bracket
from llmc.net.probe import find_trouble
from llmc.net.routes import STRAIGHT, Network
from llmc.settings.addresses import OLLAMA_PORT, read_ollama_url

DEFAULT_URL = f"http://localhost:{OLLAMA_PORT}"
"""Where Ollama listens by default."""


@dataclass(frozen=True, slots=True)
class Host:
    """One Ollama server."""

    label: str
    """Its name for people."""

    url: str
    """Its base URL, without a slash at the end."""


def parse_hosts(environ: Mapping[str, str], *, as_meant: bool = True) -> tuple[Host, ...]:
    """Read the host chain from $ENRICH_OLLAMA_HOSTS, else $ATHENA_OLLAMA_URL and $OLLAMA_URL.

    Duplicates stay; the chain may be empty. Unless URLs are taken `as_meant`, see `normalise_url`.
    """

    def read(url: str, name: str) -> str:
        return tidy_url(url, name) if as_meant else normalise_url(url)

    hosts: list[Host] = []
    for part in environ.get("ENRICH_OLLAMA_HOSTS", "").split(","):
        label, equals, url = part.strip().partition("=")
        if not equals:
            label, url = "", label
        if normal := read(url, "ENRICH_OLLAMA_HOSTS"):
            hosts.append(Host(label.strip() or f"host{len(hosts) + 1}", normal))
    if hosts:
        return tuple(hosts)
    fallbacks = (
        ("athena", "ATHENA_OLLAMA_URL", ""),
        (environ.get("OLLAMA_HOST_LABEL") or "localhost", "OLLAMA_URL", DEFAULT_URL),
    )
    found = ((label, read(environ.get(name, other), name)) for label, name, other in fallbacks)
    return tuple(Host(label, url) for label, url in found if url)


def make_host(given: Host | Mapping[str, str | None]) -> Host:
    """Return a host as such; a mapping has url and, perhaps, label."""
    if isinstance(given, Host):
        return given
    return Host(given.get("label") or "", normalise_url(given.get("url") or ""))


def normalise_url(url: str) -> str:
    """Return a URL with scheme and brackets, without blanks around it and slashes at its end.

    This is the batch driver's way: what else a URL says, it says.
    """
    url = bracket(url.strip())
    if url and "://" not in url:
        url = f"http://{url}"
    return url.rstrip("/")


def tidy_url(url: str, name: str) -> str:
    """Return the base URL that is meant: without a call's path, with Ollama's port if none is.

    `name` is of the setting. Raises ConfigError for what can't be one.
    """
    return read_ollama_url(bracket(url.strip()), name)


def find_reachable(
    hosts: Iterable[Host], timeout: float, network: Network = STRAIGHT
) -> list[Host]:
    """Return the hosts that answer, asking all of them at once."""
    return [host for host, trouble in find_troubles(hosts, timeout, network) if trouble is None]


def find_troubles(
    hosts: Iterable[Host], timeout: float, network: Network = STRAIGHT
) -> list[tuple[Host, str | None]]:
    """Return each host with what is wrong with its answer, None if nothing is; all at once."""
    chain, client = list(hosts), Client(network=network)
    with ThreadPoolExecutor(max(1, len(chain))) as pool:
        found = pool.map(lambda host: find_trouble(client, f"{host.url}/api/tags", timeout), chain)
        return list(zip(chain, found, strict=True))
