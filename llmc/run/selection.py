"""What a run will use, settled and said before anything is sent.

`auto` means: the configured chain; else Ollama, if a host answers; else, with nothing configured,
the model in this process. Code leaves this machine only for a host that was configured, and goes
to a cloud only if the user asked for that: a key in the environment alone is not asking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from llmc.backends.llamacpp import THREE_WAYS, find_packaged_model
from llmc.errors import ConfigError
from llmc.events import Destinations
from llmc.net.places import spell_address
from llmc.run import destinations
from llmc.settings.catalogue import BETTER
from llmc.settings.chains import ChainEntry
from llmc.settings.config import Settings
from llmc.settings.documents import POLICY_FILE
from llmc.settings.hosts import Host, find_troubles
from llmc.settings.presets import NO_LIMIT, RouterPolicy
from llmc.settings.targets import Target, asks_cloud, find_namesakes, list_local_tiers, list_targets


@dataclass(frozen=True, slots=True)
class Selection:
    """The settings with every "auto" settled, the lines that say so to the user, and where to."""

    settings: Settings
    lines: tuple[str, ...]
    destinations: Destinations


def select(settings: Settings) -> Selection:
    """Settle what a run uses; asks each Ollama host once whether it is there.

    Raises UntrustedError before any is asked, ConfigError if there is nothing to use.
    """
    settings.require_trust()
    if settings.backend == "embedded":
        return _embedded(settings, "as asked")
    if settings.backend == "gateway":
        return _gateway(settings)
    if settings.backend == "auto" and settings.chain:
        return _chain(settings)
    if settings.backend == "auto" and settings.sources.chains_elsewhere:
        names = ", ".join(map(repr, settings.sources.chains_elsewhere))
        raise ConfigError(
            f"llmc.toml: no enabled entry belongs to the default chain; default_chain can be one "
            f"of {names}"
        )
    return _ollama(settings)


def _embedded(settings: Settings, why: str) -> Selection:
    path = find_packaged_model()
    lines = [
        f"backend   {path.stem} in this process (llama.cpp): {why}",
        "          a very small model, here so that everything can be tried at once;",
        f"          for better ones: llmc model get {BETTER}, then --model {BETTER}",
    ]
    return _settle(_local_only(replace(settings, backend="embedded")), lines)


def _gateway(settings: Settings) -> Selection:
    target = list_targets(settings)["7b"][0]
    if target.problem:
        raise ConfigError(target.problem)
    if target.row.kind == "program":
        line = f"backend   gateway program {target.place}, model {target.shown}"
    else:
        line = f"backend   gateway {target.address}, {target.shown}"
    return _settle(settings, [line])


def _ollama(settings: Settings) -> Selection:
    troubles = _find_troubles(settings, settings.hosts)
    if there := [host for host, trouble in troubles if trouble is None]:
        return _ollama_found(settings, there)
    tried = _named(settings.hosts) or "no host at all"
    if settings.backend == "ollama" or settings.sources.hosts_named:
        why = ", ".join(
            f"{host.label} ({spell_address(host.url)}): {what}" for host, what in troubles
        )
        raise ConfigError(f"no Ollama host can be used; tried {why or tried}; {_advise(troubles)}")
    try:
        return _embedded(settings, f"no Ollama answers at {tried}")
    except ConfigError:
        raise ConfigError(f"no Ollama answers at {tried}; {THREE_WAYS}") from None


def _ollama_found(settings: Settings, there: list[Host]) -> Selection:
    lines = [
        f"backend   Ollama {host.label} ({spell_address(host.url)})"
        + ("" if host in there else ": does not answer now")
        for host in settings.hosts
    ]
    gateway = settings.gateway
    targets = list_targets(settings)
    models = [
        f"{tier}: {targets[tier][0].shown or 'no model'}" for tier in list_local_tiers(settings)
    ]
    lines += [f"models    {', '.join(models)}", *_tell_namesakes(settings)]
    settings = drop_unasked_cloud(settings)
    if gateway.program and settings.backend == "auto":
        nano = targets["nano"][0]
        lines.append(f"          nano: gateway program {nano.place}, model {nano.shown}")
    elif gateway.configured or gateway.trouble:
        lines.append(
            "          no cloud: a key is set, but only --backend gateway or a chain entry "
            "in llmc.toml makes use of it"
        )
    return _settle(_note_down(settings, settings.hosts, there), lines)


def _chain(settings: Settings) -> Selection:
    settings = drop_unasked_cloud(settings)
    uncovered = [tier for tier in list_local_tiers(settings) if not settings.list_entries(tier)]
    without_url = [e for e in settings.chain if e.provider == "ollama" and not e.url]
    hosts = [
        Host(entry.name, entry.url)
        for entry in settings.chain
        if entry.provider == "ollama" and entry.url
    ]
    shared = settings.hosts if uncovered or without_url else ()
    asked = _find_troubles(settings, (*hosts, *shared))
    there = [host for host, trouble in asked if trouble is None]
    if uncovered and not any(host in there for host in settings.hosts):
        settings = replace(settings, chain=_fill(settings.chain, uncovered))
        uncovered, shared = [], settings.hosts if without_url else ()
    others = [entry for entry in settings.chain if entry.provider != "ollama"]
    if not there and not others:
        tried = _named((*hosts, *shared))
        raise ConfigError(f"no host of the chain answers; tried {tried}")
    settings = _note_down(settings, (*hosts, *shared), there)
    lines = list(_tell_entries(settings))
    for host in shared:
        tiers = f"{', '.join(uncovered)}: " if uncovered else ""
        lines.append(
            f"backend   {tiers}Ollama {host.label} ({spell_address(host.url)})"
            + ("" if host in there else ": does not answer now")
        )
    lines += _tell_namesakes(settings)
    lines += [f"          {sentence}" for sentence in settings.sources.passed_over]
    return _settle(settings, lines)


def _tell_entries(settings: Settings) -> Iterator[str]:
    """Yield a line for each entry of the chain. Raises ConfigError for one that asks nobody."""
    targets = list_targets(settings)
    asked = {(tier, target.entry): target for tier in targets for target in targets[tier]}
    ranks = Counter[str]()
    for entry in settings.chain:
        target = asked[entry.routing_tier, ranks[entry.routing_tier]]
        ranks[entry.routing_tier] += 1
        down = target.host is None and target.place in settings.health.down
        yield (
            f"backend   {entry.routing_tier}: {entry.name} ({entry.provider}, "
            f"{target.shown or 'no model'}{_place(target)})"
            + (": does not answer now" if down else "")
        )


def _tell_namesakes(settings: Settings) -> list[str]:
    """Say of each tier that only the policy knows what it asks: its name promises more."""
    return [
        f"          {tier} is a tier of {POLICY_FILE} alone: it asks what 7b asks"
        for tier in find_namesakes(settings)
    ]


def _settle(settings: Settings, lines: Iterable[str]) -> Selection:
    where = destinations.find_destinations(settings)
    return Selection(settings, (*lines, *destinations.describe(where)), where)


def _note_down(settings: Settings, asked: Iterable[Host], there: list[Host]) -> Settings:
    """Return the settings with the hosts that don't answer, so that the run begins without them."""
    down = {host.url.rstrip("/") for host in asked if host not in there}
    return settings.change(down=frozenset(down))


def _fill(chain: tuple[ChainEntry, ...], uncovered: Iterable[str]) -> tuple[ChainEntry, ...]:
    """Give local tiers without entries those of 7b, else of 14b, else the whole chain's."""
    found = ([e for e in chain if e.routing_tier == tier] for tier in ("7b", "14b"))
    donors = next(filter(None, found), chain)
    return chain + tuple(
        entry.model_copy(update={"routing_tier": tier}) for tier in uncovered for entry in donors
    )


def _place(target: Target) -> str:
    """Say where a target's requests go. Raises ConfigError if that is nowhere, though configured.

    Of a host of the host chain nothing is said: each has a line of its own.
    """
    if not target.is_somewhere and target.problem:
        raise ConfigError(target.problem)
    if target.row.kind == "process":
        return ", in this process"
    if target.row.kind == "program":
        return f", program {target.place}"
    return f", {target.address}" if target.host is None and target.place else ""


def _find_troubles(settings: Settings, hosts: Iterable[Host]) -> list[tuple[Host, str | None]]:
    """Return the hosts, each with what is wrong with it; None if nothing is, or nobody asked."""
    if not settings.health.enabled:
        return [(host, None) for host in hosts]
    return find_troubles(hosts, settings.health.timeout, settings.network)


def _advise(troubles: Iterable[tuple[Host, str | None]]) -> str:
    """Say what helps: a host that answers is there, and needs no starting."""
    if any(trouble and trouble.startswith("HTTP status") for _, trouble in troubles):
        return "see what answers there, and whether it wants to be signed in to"
    return "start one with: ollama serve, correct ENRICH_OLLAMA_HOSTS, or use --backend embedded"


def drop_unasked_cloud(settings: Settings) -> Settings:
    """Return the settings for which no span goes to a cloud that the user did not ask for.

    Raises ConfigError if the tier that was asked for is one.
    """
    if settings.backend != "auto" or asks_cloud(settings):
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
        token_limit=NO_LIMIT,
        node_limit=NO_LIMIT,
        depth_limit=NO_LIMIT,
    )
    return replace(settings, router=router)


def _named(hosts: Iterable[Host]) -> str:
    return ", ".join(f"{host.label} ({spell_address(host.url)})" for host in hosts)
