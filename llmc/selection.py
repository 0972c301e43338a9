"""What a run will use, settled and said before anything is sent.

`auto` means: the configured chain; else Ollama, if a host answers; else, with nothing configured,
the model in this process. Code leaves this machine only for a host that was configured, and goes
to a cloud only if the user asked for that: a key in the environment alone is not asking.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from llmc.backends.llamacpp import THREE_WAYS, packaged_model
from llmc.chains import ChainEntry
from llmc.config import Settings
from llmc.errors import ConfigError
from llmc.hosts import Host, reachable
from llmc.places import is_this_machine
from llmc.presets import RouterPolicy, TierPreset
from llmc.transport import address

_UNLIMITED = 2**62
_LOCAL_TIERS = ("7b", "14b")
_NOTHING_LEAVES = "privacy   nothing leaves this machine"


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
    if settings.backend == "auto" and settings.chains_elsewhere:
        names = ", ".join(map(repr, settings.chains_elsewhere))
        raise ConfigError(
            f"llmc.toml: no enabled entry belongs to the default chain; default_chain can be one "
            f"of {names}"
        )
    return _ollama(settings)


def _embedded(settings: Settings, why: str) -> Selection:
    path = packaged_model()
    lines = [
        f"backend   {path.stem} in this process (llama.cpp): {why}",
        "          a very small model, here so that everything can be tried at once;",
        "          for summaries worth keeping, use a bigger one (see README)",
        _NOTHING_LEAVES,
    ]
    return Selection(_local_only(replace(settings, backend="embedded")), tuple(lines))


def _gateway(settings: Settings) -> Selection:
    gateway = settings.gateway
    if gateway.program:
        lines = [f"backend   gateway program {gateway.program}, model {gateway.label}"]
        lines.append(_privacy([], [str(gateway.program)]))
    elif gateway.endpoint:
        lines = [f"backend   gateway {address(gateway.endpoint.url)}, {gateway.endpoint.model}"]
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
    tried = _named(settings.hosts) or "no host at all"
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
        f"backend   Ollama {host.label} ({address(host.url)})"
        + ("" if host in there else ": does not answer now")
        for host in settings.hosts
    ]
    presets, keyed = settings.presets, settings.gateway.configured
    models = [f"{tier}: {_model(presets[tier], settings)}" for tier in _LOCAL_TIERS]
    lines.append(f"models    {', '.join(models)}")
    settings = without_unasked_cloud(settings)
    program = settings.gateway.program if settings.backend == "auto" else None
    if program:
        lines.append(f"          nano: gateway program {program}, model {settings.gateway.label}")
    elif keyed:
        lines.append(
            "          no cloud: a key is set, but only --backend gateway or a chain entry "
            "in llmc.toml makes use of it"
        )
    settings = _noting_down(settings, settings.hosts, there)
    urls = [host.url for host in settings.hosts]
    return Selection(settings, (*lines, _privacy(urls, [str(program)] if program else [])))


def _chain(settings: Settings) -> Selection:
    settings = without_unasked_cloud(settings)
    uncovered = [tier for tier in _LOCAL_TIERS if not settings.entries(tier)]
    without_url = [e for e in settings.chain if e.provider == "ollama" and not e.url]
    hosts = [
        Host(entry.name, entry.url)
        for entry in settings.chain
        if entry.provider == "ollama" and entry.url
    ]
    shared = settings.hosts if uncovered or without_url else ()
    there = _answering(settings, (*hosts, *shared))
    if uncovered and not any(host in there for host in settings.hosts):
        settings = replace(settings, chain=_filled(settings.chain, uncovered))
        uncovered, shared = [], settings.hosts if without_url else ()
    others = [entry for entry in settings.chain if entry.provider != "ollama"]
    if not there and not others:
        tried = _named((*hosts, *shared))
        raise ConfigError(f"no host of the chain answers; tried {tried}")
    lines, urls, programs = [], [host.url for host in shared], []
    for entry in settings.chain:
        place, url = _place(entry, settings)
        down = entry.provider == "ollama" and entry.url and Host(entry.name, entry.url) not in there
        lines.append(
            f"backend   {entry.routing_tier}: {entry.name} ({entry.provider}, "
            f"{entry.model or 'default model'}{place})" + (": does not answer now" if down else "")
        )
        urls += [url] if url else []
        programs += [entry.command] if entry.command and entry.provider == "command" else []
    for host in shared:
        tiers = f"{', '.join(uncovered)}: " if uncovered else ""
        lines.append(
            f"backend   {tiers}Ollama {host.label} ({address(host.url)})"
            + ("" if host in there else ": does not answer now")
        )
    settings = _noting_down(settings, (*hosts, *shared), there)
    return Selection(settings, (*lines, _privacy(urls, programs)))


def _noting_down(settings: Settings, asked: Iterable[Host], there: list[Host]) -> Settings:
    """Return the settings with the hosts that don't answer, so that the run begins without them."""
    down = {host.url.rstrip("/") for host in asked if host not in there}
    return replace(settings, hosts_down=frozenset(down))


def _filled(chain: tuple[ChainEntry, ...], uncovered: Iterable[str]) -> tuple[ChainEntry, ...]:
    """Give local tiers without entries those of the other local tier, else the whole chain's."""
    local = [entry for entry in chain if entry.routing_tier in _LOCAL_TIERS]
    donors = local or list(chain)
    return chain + tuple(
        entry.model_copy(update={"routing_tier": tier}) for tier in uncovered for entry in donors
    )


def _place(entry: ChainEntry, settings: Settings) -> tuple[str, str | None]:
    if entry.provider == "llamacpp":
        return ", in this process", None
    if entry.provider == "command":
        return f", program {entry.command}", None
    if entry.url:
        return f", {address(entry.url)}", entry.url
    endpoint = settings.gateway.endpoint
    if entry.provider == "openai" and endpoint:
        return f", {address(endpoint.url)}", endpoint.url
    return "", None


def _answering(settings: Settings, hosts: Iterable[Host]) -> list[Host]:
    if not settings.health_check:
        return list(hosts)
    return reachable(hosts, settings.health_timeout)


def without_unasked_cloud(settings: Settings) -> Settings:
    """Return the settings for which no span goes to a cloud that the user did not ask for.

    Raises ConfigError if the tier that was asked for is one.
    """
    asked = settings.entries("nano") or settings.gateway.program
    if settings.backend != "auto" or asked:
        return settings
    return _local_only(settings)


def _local_only(settings: Settings) -> Settings:
    """Route no span to the cloud tier: what is too big for a local model is cut, and says so."""
    if settings.router.start_tier == "nano":
        raise ConfigError("--start-tier nano needs a gateway; add --backend gateway")
    policy, standard = settings.router.policy, RouterPolicy()
    if policy.fallback_tier == "nano":
        policy = replace(policy, fallback_tier=standard.fallback_tier)
    if policy.default_tier == "nano":
        policy = replace(policy, default_tier=standard.default_tier)
    router = replace(
        settings.router,
        policy=policy,
        token_limit=_UNLIMITED,
        node_limit=_UNLIMITED,
        depth_limit=_UNLIMITED,
    )
    return replace(settings, router=router)


def _model(preset: TierPreset, settings: Settings) -> str:
    return preset.model or settings.ollama_model or "no model"


def _named(hosts: Iterable[Host]) -> str:
    return ", ".join(f"{host.label} ({address(host.url)})" for host in hosts)


def _privacy(urls: Iterable[str], programs: Iterable[str] = ()) -> str:
    away = sorted({address(url) for url in urls if not is_this_machine(url)})
    told = [f"sent to {', '.join(away)}"] if away else []
    told += [f"given to the program {', '.join(dict.fromkeys(programs))}"] if programs else []
    return f"privacy   your code is {' and '.join(told)}" if told else _NOTHING_LEAVES


def border_lines(settings: Settings) -> tuple[str, ...]:
    """Say what counts as the user's own network, and what is nearer than it is taken for."""
    urls = {host.url for host in settings.hosts} | {e.url for e in settings.chain if e.url}
    servers = {e.url for e in settings.chain if e.url and e.provider == "openai"}
    if settings.gateway.endpoint and (settings.backend == "gateway" or settings.chain):
        servers.add(settings.gateway.endpoint.url)
    own = sorted({address(url) for url in urls | servers if settings.privacy.is_own(url)})
    lines = (
        [f"          your own network: {', '.join(own)}; code goes there as it is"] if own else []
    )
    near = sorted({address(url) for url in servers if is_this_machine(url)} - set(own))
    if near:
        lines.append(
            f"          {', '.join(near)} may pass it on, so it counts as away; "
            "if it does not: LLMC_OWN_NETWORK=localhost"
        )
    return tuple(lines)
