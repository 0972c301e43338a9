"""What a run will use, settled and said before anything is sent.

`auto` means: the configured chain; else Ollama, if a host answers; else, with nothing configured,
the model in this process. Code leaves this machine only for a host that was configured, and goes
to a cloud only if the user asked for that: a key in the environment alone is not asking.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from llmc.backends.llamacpp import THREE_WAYS, packaged_model
from llmc.chains import ChainEntry
from llmc.config import Settings
from llmc.errors import ConfigError
from llmc.hosts import Host, reachable
from llmc.presets import TierPreset

_UNLIMITED = 2**62
_LOCAL_TIERS = ("7b", "14b")


@dataclass(frozen=True, slots=True)
class Selection:
    """The settings with every "auto" settled, and the lines that say so to the user."""

    settings: Settings
    lines: tuple[str, ...]


def select(settings: Settings) -> Selection:
    """Settle what a run uses; asks each Ollama host once whether it is there.

    Raises ConfigError if there is nothing to use.
    """
    if settings.backend == "embedded":
        return _embedded(settings, "as asked")
    if settings.backend == "gateway":
        return _gateway(settings)
    if settings.backend == "auto" and settings.chain:
        return _chain(settings)
    return _ollama(settings)


def is_this_machine(url: str) -> bool:
    """Tell whether a URL points at this machine; one that can't be read doesn't."""
    try:
        name = (urlsplit(url).hostname or "").lower()
    except ValueError:
        return False
    return name == "localhost" or name == "::1" or name.startswith("127.")


def _embedded(settings: Settings, why: str) -> Selection:
    path = packaged_model()
    lines = [
        f"backend   {path.stem} in this process (llama.cpp): {why}",
        "          a very small model, here so that everything can be tried at once;",
        "          for summaries worth keeping, use a bigger one (see README)",
        "privacy   nothing leaves this machine",
    ]
    return Selection(_local_only(replace(settings, backend="embedded")), tuple(lines))


def _gateway(settings: Settings) -> Selection:
    gateway = settings.gateway
    if gateway.program:
        lines = [f"backend   gateway program {gateway.program}, model {gateway.label}"]
        lines.append("privacy   your code is given to that program")
    elif gateway.endpoint:
        lines = [f"backend   gateway {_address(gateway.endpoint.url)}, {gateway.endpoint.model}"]
        lines.append(_privacy([gateway.endpoint.url]))
    else:
        raise ConfigError(
            "--backend gateway: no gateway is configured; set OPENAI_BASE_URL or OPENAI_API_KEY, "
            "GEMINI_API_KEY, or AZURE_OPENAI_ENDPOINT, _KEY and _DEPLOYMENT, or use --gateway-path"
        )
    return Selection(settings, tuple(lines))


def _ollama(settings: Settings) -> Selection:
    there = _answering(settings, settings.hosts)
    if there:
        return _ollama_found(settings, there)
    tried = ", ".join(f"{host.label} ({host.url})" for host in settings.hosts) or "no host at all"
    if settings.backend == "ollama" or settings.hosts_configured:
        raise ConfigError(
            f"no Ollama host answers; tried {tried}; start one with: ollama serve, "
            "correct ENRICH_OLLAMA_HOSTS, or use --backend embedded"
        )
    try:
        return _embedded(settings, f"no Ollama answers at {tried}")
    except ConfigError:
        raise ConfigError(f"no Ollama answers at {tried}; {THREE_WAYS}") from None


def _ollama_found(settings: Settings, there: list[Host]) -> Selection:
    lines = [
        f"backend   Ollama {host.label} ({_address(host.url)})"
        + ("" if host in there else ": does not answer now")
        for host in settings.hosts
    ]
    presets = settings.presets
    models = [f"{tier}: {_model(presets[tier], settings)}" for tier in _LOCAL_TIERS]
    lines.append(f"models    {', '.join(models)}")
    program = settings.gateway.program if settings.backend == "auto" else None
    urls = [host.url for host in settings.hosts]
    if program:
        lines.append(f"          nano: gateway program {program}, model {settings.gateway.label}")
    else:
        settings = _local_only(settings)
        if settings.gateway.configured:
            lines.append(
                "          no cloud: a key is set, but only --backend gateway or a chain entry "
                "in llmc.toml makes use of it"
            )
    lines.append(_privacy(urls) + (" and given to the gateway program" if program else ""))
    return Selection(settings, tuple(lines))


def _chain(settings: Settings) -> Selection:
    hosts = [
        Host(entry.name, entry.url)
        for entry in settings.chain
        if entry.provider == "ollama" and entry.url
    ]
    there = _answering(settings, hosts)
    settings = replace(settings, chain=_filled(settings.chain, _answering_default(settings)))
    if not settings.entries("nano"):
        settings = _local_only(settings)
    others = [entry for entry in settings.chain if entry.provider != "ollama" or not entry.url]
    if not there and not others:
        tried = ", ".join(f"{host.label} ({host.url})" for host in hosts)
        raise ConfigError(f"no host of the chain answers; tried {tried}")
    lines, urls = [], []
    for entry in settings.chain:
        place, url = _place(entry, settings)
        down = entry.provider == "ollama" and entry.url and Host(entry.name, entry.url) not in there
        lines.append(
            f"backend   {entry.routing_tier}: {entry.name} ({entry.provider}, "
            f"{entry.model or 'default model'}{place})" + (": does not answer now" if down else "")
        )
        urls.extend(url)
    return Selection(settings, (*lines, _privacy(urls)))


def _filled(chain: tuple[ChainEntry, ...], default_answers: bool) -> tuple[ChainEntry, ...]:
    """Give a local tier without entries those of the other, unless an Ollama host serves it."""
    filled = list(chain)
    for tier, other in (_LOCAL_TIERS, _LOCAL_TIERS[::-1]):
        if default_answers or any(entry.routing_tier == tier for entry in chain):
            continue
        donors = [e for e in chain if e.routing_tier == other] or list(chain)
        filled += [entry.model_copy(update={"routing_tier": tier}) for entry in donors]
    return tuple(filled)


def _answering_default(settings: Settings) -> bool:
    tiers = {entry.routing_tier for entry in settings.chain}
    if tiers >= set(_LOCAL_TIERS):
        return True
    return bool(reachable(settings.hosts, settings.health_timeout))


def _place(entry: ChainEntry, settings: Settings) -> tuple[str, list[str]]:
    if entry.provider == "llamacpp":
        return ", in this process", []
    if entry.provider == "command":
        return f", program {entry.command}", []
    if entry.url:
        return f", {_address(entry.url)}", [entry.url]
    if entry.provider == "ollama":
        return "", [host.url for host in settings.hosts]
    endpoint = settings.gateway.endpoint
    return (f", {_address(endpoint.url)}", [endpoint.url]) if endpoint else ("", [])


def _answering(settings: Settings, hosts: Iterable[Host]) -> list[Host]:
    if not settings.health_check:
        return list(hosts)
    return reachable(hosts, settings.health_timeout)


def _local_only(settings: Settings) -> Settings:
    """Route no span to the cloud tier: what is too big for a local model is cut, and says so."""
    if settings.router.start_tier == "nano":
        raise ConfigError("--start-tier nano needs a gateway; add --backend gateway")
    router = replace(
        settings.router,
        token_limit=_UNLIMITED,
        node_limit=_UNLIMITED,
        depth_limit=_UNLIMITED,
    )
    return replace(settings, router=router)


def _model(preset: TierPreset, settings: Settings) -> str:
    return preset.model or settings.ollama_model or "no model"


def _privacy(urls: Iterable[str]) -> str:
    away = sorted({_address(url) for url in urls if not is_this_machine(url)})
    if not away:
        return "privacy   nothing leaves this machine"
    return f"privacy   your code is sent to {', '.join(away)}"


def _address(url: str) -> str:
    """Return scheme, host and port: a URL may carry a password or a key further on."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return "an unreadable URL"
