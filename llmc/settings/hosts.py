"""The Ollama host chain: how it is written, which of it answers, and which of it rests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from llmc.net.client import Client
from llmc.net.places import bracket
from llmc.net.probe import find_trouble

DEFAULT_URL = "http://localhost:11434"
"""Where Ollama listens by default."""

FIRST_REST_SEC = 1.0
LONGEST_REST_SEC = 60.0
"""A host that comes back is noticed within this time."""

FAILURES_BEFORE_REST = 5
"""Errors in a row after which a host that does answer rests too, while others can work."""


@dataclass(frozen=True, slots=True)
class Host:
    """One Ollama server: a label for people, a URL without trailing slash."""

    label: str
    url: str


def parse_hosts(environ: Mapping[str, str]) -> tuple[Host, ...]:
    """Read the host chain from $ENRICH_OLLAMA_HOSTS, else $ATHENA_OLLAMA_URL and $OLLAMA_URL.

    Duplicates stay; the chain may be empty.
    """
    hosts: list[Host] = []
    for part in environ.get("ENRICH_OLLAMA_HOSTS", "").split(","):
        label, equals, url = part.strip().partition("=")
        if not equals:
            label, url = "", label
        if normal := normalise_url(url):
            hosts.append(Host(label.strip() or f"host{len(hosts) + 1}", normal))
    if hosts:
        return tuple(hosts)
    fallbacks = (
        ("athena", environ.get("ATHENA_OLLAMA_URL", "")),
        (environ.get("OLLAMA_HOST_LABEL") or "localhost", environ.get("OLLAMA_URL", DEFAULT_URL)),
    )
    return tuple(Host(label, url) for label, raw in fallbacks if (url := normalise_url(raw)))


def make_host(given: Host | Mapping[str, str | None]) -> Host:
    """Return a host as such; a mapping has url and, perhaps, label."""
    if isinstance(given, Host):
        return given
    return Host(given.get("label") or "", normalise_url(given.get("url") or ""))


def normalise_url(url: str) -> str:
    """Return a URL with scheme and brackets, without blanks around it and slashes at its end."""
    url = bracket(url.strip())
    if url and "://" not in url:
        url = f"http://{url}"
    return url.rstrip("/")


def find_reachable(hosts: Iterable[Host], timeout: float) -> list[Host]:
    """Return the hosts that answer, asking all of them at once."""
    chain, client = list(hosts), Client()
    with ThreadPoolExecutor(max(1, len(chain))) as pool:
        found = pool.map(lambda host: find_trouble(client, f"{host.url}/api/tags", timeout), chain)
        return [host for host, trouble in zip(chain, found, strict=True) if trouble is None]


class Verdict(Enum):
    """What a call showed about its host."""

    ANSWERED = "a reply came back"
    FAILED = "an error came back"
    UNREACHABLE = "nobody answered"
    UNKNOWN = "nobody can tell"


@dataclass(slots=True)
class Health:
    """Whether a host takes requests; times are of one clock, in seconds.

    A host that doesn't answer rests, twice as long each time, at most LONGEST_REST_SEC. After a
    rest it is on trial, one request at a time, until a request brings a reply.
    """

    until: float = 0.0
    reason: str = ""
    on_trial: bool = False
    failures: int = 0
    rests: int = 0

    @property
    def rests_now(self) -> bool:
        return bool(self.reason)

    def rest(self, now: float, reason: str) -> float:
        """Rest from now on; return for how many seconds."""
        seconds = min(LONGEST_REST_SEC, FIRST_REST_SEC * 2.0 ** min(self.rests, 16))
        self.rests += 1
        self.until, self.reason, self.on_trial = now + seconds, reason or "no answer", False
        return seconds

    def wake(self) -> None:
        """End the rest; what comes next is a trial."""
        self.reason, self.on_trial, self.failures = "", True, 0

    def answered(self) -> None:
        """Take note of a reply, good or bad."""
        self.on_trial, self.failures, self.rests = False, 0, 0

    def failed(self) -> bool:
        """Take note of an error; tell whether it is one too many."""
        self.failures += 1
        return self.on_trial or self.failures >= FAILURES_BEFORE_REST
