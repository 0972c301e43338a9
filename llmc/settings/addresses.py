"""Base URLs as people write them: taken as they are meant, or refused with what to write.

A provider's page shows the address of a call, and people copy it whole; a server says that it
listens on 0.0.0.0, which is no place to send anything to; and who names a machine means the port
that the program has there.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from llmc.errors import ConfigError
from llmc.net.places import find_host, read_place
from llmc.redaction.addresses import blot_address

OLLAMA_PORT = 11434
"""Where Ollama listens by default."""

AZURE_DOMAINS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")

_HERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""All addresses of a machine, as a server says it, and the one that a client on it asks."""

_OLLAMA_CALL = re.compile(
    r"/(?:v1(?:/(?:chat/)?completions|/models|/embeddings)?|api(?:/[a-z]+)?)$"
)
_OPENAI_CALL = re.compile(r"/(?:(?:chat/)?completions|responses|models|embeddings)$")
"""What a client puts behind a base URL by itself."""

_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)(?:/.*)?$")
_SCHEMES = ("http", "https")
_BARE = re.compile(r"[A-Za-z0-9_.-]+(:\d+)?(/\S*)?|\[[0-9A-Fa-f:.]+\](:\d+)?(/\S*)?")
_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+(%[\w.-]+)?")
_NEAR_NAMES = (".local", ".localdomain", ".lan", ".home", ".internal", ".home.arpa")


def tidy_ollama_url(url: str) -> str:
    """Return the base URL of an Ollama server; one that can't be read stays as it is.

    Without a scheme it gets http, and then without a port Ollama's, as Ollama's own programs take
    it. The path of a call is cut off.
    """
    url = url.strip()
    if not url:
        return ""
    named = "://" in url
    url = (url if named else f"http://{url}").rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    if not named and port is None and parts.hostname:
        parts = parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{OLLAMA_PORT}")
    if not parts.query and not parts.fragment:
        parts = parts._replace(path=_OLLAMA_CALL.sub("", parts.path.rstrip("/")).rstrip("/"))
    return _asked_here(parts).geturl()


def read_ollama_url(url: str, name: str) -> str:
    """Return the base URL of an Ollama server; empty for nothing.

    `name` is of the setting. Raises ConfigError for what can't be one.
    """
    tidy = tidy_ollama_url(url)
    if not tidy:
        return ""
    try:
        parts = urlsplit(tidy)
        port = parts.port
        host = read_place(tidy)[1]
    except ValueError:
        host, port = "", None
    wrong = not _HOST.fullmatch(host) or host in _SCHEMES or parts.scheme not in _SCHEMES
    if wrong or port == 0:
        raise ConfigError(
            f"{name} is {blot_address(url)!r}; it must be the address of an Ollama server, such as "
            f"http://localhost:{OLLAMA_PORT}"
        )
    return tidy


def read_base_url(text: str, name: str) -> str:
    """Return the base URL of a server that speaks as OpenAI's does: `/chat/completions` follows it.

    `name` is of the setting. Raises ConfigError that says what to write.
    """
    url = text.strip()
    _refuse_without_scheme(url, name)
    parts = _split(url, name)
    if _is_azure(parts) and _DEPLOYMENT.search(parts.path):
        endpoint, deployment, _ = read_azure_uri(url, name)
        raise ConfigError(
            f"{name} is {blot_address(url)}, which is a deployment of Azure's; for Azure set "
            f"AZURE_OPENAI_ENDPOINT={endpoint}, AZURE_OPENAI_DEPLOYMENT={deployment} and "
            f"AZURE_OPENAI_KEY instead of {name}"
        )
    if parts.fragment:
        raise ConfigError(
            f"{name} is {blot_address(url)}; it must end before the #, as in "
            f"{blot_address(_spell_base(parts))}"
        )
    return _spell_base(parts)


def name_call(base: str, call: str = "chat/completions") -> str:
    """Return the URL of a call at a base URL; what a proxy wants in the query stays at the end."""
    path, mark, query = base.partition("?")
    return f"{path.rstrip('/')}/{call}{mark}{query}"


def read_azure_uri(text: str, name: str) -> tuple[str, str, str]:
    """Return (endpoint, deployment, API version) of what Azure's pages call endpoint or target URI.

    The deployment and the version are empty where it doesn't name them. Raises ConfigError.
    """
    url = text.strip().rstrip("/")
    parts = _split(url if "://" in url else f"https://{url}", name)
    found = _DEPLOYMENT.search(parts.path)
    path = _DEPLOYMENT.sub("", parts.path) if found else re.sub(r"/openai(/v1)?$", "", parts.path)
    version = parse_qs(parts.query).get("api-version", [""])[0]
    endpoint = _asked_here(parts)._replace(path=path.rstrip("/"), query="", fragment="").geturl()
    return endpoint, unquote(found[1]) if found else "", version


def find_missing_port(url: str) -> bool:
    """Tell whether a URL of Ollama's names http and no port: 80 is asked, where it rarely is."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and parts.port is None and parts.path in ("", "/")
    except ValueError:
        return False


def _refuse_without_scheme(url: str, name: str) -> None:
    """Refuse a URL without a scheme: a key must not cross the world in the clear by a guess."""
    if "://" in url:
        return
    host = find_host(f"http://{url}") or ""
    if not _BARE.fullmatch(url) or host in _SCHEMES:
        raise ConfigError(f"{name} is {blot_address(url)!r}; {_MEANT}")
    near = "." not in host or host.endswith(_NEAR_NAMES) or _is_address(host)
    first, second = ("http", "https") if near else ("https", "http")
    raise ConfigError(
        f"{name} is {url!r}, without http:// or https://; write {first}://{url}, or "
        f"{second}://{url} if the server speaks that"
    )


_MEANT = "it must be a URL such as http://localhost:8080/v1 or https://api.openai.com/v1"


def _split(url: str, name: str) -> SplitResult:
    shown = blot_address(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{name} is {shown!r}: {error}; {_MEANT}") from None
    wrong = parts.scheme not in _SCHEMES or not parts.hostname or parts.hostname in _SCHEMES
    if wrong or port == 0:
        raise ConfigError(f"{name} is {shown!r}; {_MEANT}")
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ConfigError(f"{name} is {shown!r}, with a blank in it; {_MEANT}")
    return parts


def _spell_base(parts: SplitResult) -> str:
    path = _OPENAI_CALL.sub("", parts.path.rstrip("/")).rstrip("/")
    if parts.hostname == "api.openai.com" and not path:
        path = "/v1"
    return _asked_here(parts)._replace(path=path, fragment="").geturl()


def _asked_here(parts: SplitResult) -> SplitResult:
    """Return a URL with the loopback address in place of "all addresses of this machine"."""
    meant = _HERE.get(parts.hostname or "")
    if meant is None:
        return parts
    user, at, place = parts.netloc.rpartition("@")
    port = place.rpartition("]")[2].rpartition(":")[2] if parts.port is not None else ""
    return parts._replace(netloc=f"{user}{at}{meant}{':' if port else ''}{port}")


def _is_azure(parts: SplitResult) -> bool:
    return (parts.hostname or "").endswith(AZURE_DOMAINS)


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False
