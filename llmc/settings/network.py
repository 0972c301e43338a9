"""The ways out: a proxy only on the user's word, and certificates that the user believes.

The variables of the environment that name a proxy are often there for other programs. What goes by
a proxy is seen by whoever runs it, so they are used with `--proxy`, or with `trust_env = true`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llmc.errors import ConfigError
from llmc.net.routes import Network, Proxy
from llmc.settings.documents import MAX_TEXT, quote

TABLE = "network"
KEYS = ("trust_env", "ca_file")
FROM_ENVIRONMENT = "env"
"""What --proxy says without a URL: the environment's are meant."""

_PROXIES = {"http": ("http_proxy", "all_proxy"), "https": ("https_proxy", "all_proxy")}


@dataclass(frozen=True, slots=True)
class NetworkTable:
    """What a settings file says under [network]; `folder` is where a relative `ca_file` begins."""

    trust_env: bool = False
    ca_file: str = ""
    folder: Path = Path()

    @property
    def found(self) -> Path | None:
        """The file of certificates, if one is named."""
        return self.folder / Path(self.ca_file).expanduser() if self.ca_file else None


def read_table(document: Mapping[str, Any], source: Path) -> NetworkTable:
    """Read [network] of a settings file. Raises ConfigError."""
    table = document.get(TABLE, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{source}: {TABLE} is {quote(table)}; it must be a table: [{TABLE}]")
    for key in table:
        if key not in KEYS:
            close = get_close_matches(key.lower().replace("-", "_"), KEYS, 1)
            hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(KEYS)}"
            raise ConfigError(f"{source}: {TABLE}.{key[:64]} is not a setting of llmc; {hint}")
    trust_env, ca_file = table.get("trust_env", False), table.get("ca_file", "")
    if not isinstance(trust_env, bool):
        raise ConfigError(f"{source}: {TABLE}.trust_env is {quote(trust_env)}; true or false")
    if not isinstance(ca_file, str) or len(ca_file) > MAX_TEXT:
        raise ConfigError(f"{source}: {TABLE}.ca_file is {quote(ca_file)}; it must be a path")
    return NetworkTable(trust_env, ca_file, source.parent)


def read_network(
    flag: str | None, tables: tuple[NetworkTable, ...], env: Mapping[str, str]
) -> Network:
    """Return the ways out: what `--proxy` says, then the tables, the first of them first.

    Raises ConfigError for a proxy that is none, or a file that holds no certificates.
    """
    proxies: dict[str, str] = {}
    if flag is not None and flag != FROM_ENVIRONMENT:
        proxies = dict.fromkeys(_PROXIES, flag)
    elif flag is not None or any(table.trust_env for table in tables):
        proxies = {scheme: url for scheme in _PROXIES if (url := _find_proxy(scheme, env))}
    for url in proxies.values():
        _check_proxy(url, "--proxy" if flag not in (None, FROM_ENVIRONMENT) else "the environment")
    words = env.get("no_proxy") or env.get("NO_PROXY") or ""
    direct = tuple(filter(None, map(str.strip, words.split(","))))
    ca_file = next((found for table in tables if (found := table.found)), None)
    if ca_file:
        _check_certificates(ca_file)
    return Network(proxies, direct, ca_file)


def find_unused_proxies(network: Network, env: Mapping[str, str]) -> list[str]:
    """Return the variables that name a proxy and are not used."""
    if network.proxies:
        return []
    names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
    return [name for name in names if env.get(name) or env.get(name.lower())]


def _find_proxy(scheme: str, env: Mapping[str, str]) -> str:
    for name in _PROXIES[scheme]:
        if url := (env.get(name) or env.get(name.upper()) or "").strip():
            return url
    return ""


def _check_proxy(url: str, source: str) -> None:
    try:
        Proxy.of(url)
    except ValueError:
        raise ConfigError(
            f"{source} names a proxy that is none; write http://HOST:PORT, and see that SOCKS is "
            "not supported"
        ) from None


def _check_certificates(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"ca_file {path}: no certificates (PEM) can be read: {why}") from error
