"""Where a run of the batch driver may take code, by the one adapter that each attempt has."""

from __future__ import annotations

from collections.abc import Mapping

from llmc.events import Destinations
from llmc.net.places import address
from llmc.run import destinations
from llmc.settings.config import Settings
from llmc.settings.presets import TierPreset, choose_preset


def destinations_of(settings: Settings, presets: Mapping[str, TierPreset]) -> Destinations:
    """Return where a run may take code, by the entries that its adapters go by.

    Raises ConfigError if it may need the built-in gateway, and the variables name several.
    """
    gateway = settings.gateway
    urls: list[str] = []
    servers: list[str] = []
    models: list[str | None] = []
    programs: list[str] = []
    for tier in settings.tiers:
        entry = next(iter(settings.entries(tier)), None)
        if settings.backend == "gateway" or (settings.backend == "auto" and tier == "nano"):
            if settings.backend == "auto" and not settings.router.reaches_cloud:
                continue
            if gateway.program:
                programs.append(str(gateway.program))
            elif entry and entry.url:
                servers.append(entry.url)
            elif gateway.endpoint or gateway.trouble:
                servers.append(gateway.server().url)
        else:
            urls += [entry.url] if entry and entry.url else [host.url for host in settings.hosts]
            preset = choose_preset(presets, tier).model
            models.append((entry and entry.model) or preset or settings.ollama_model)
    hosts = tuple(dict.fromkeys(map(address, urls + servers)))
    return Destinations(
        hosts,
        tuple(dict.fromkeys(programs)),
        cloud_models=destinations.cloud_models(models),
        relays=destinations.relays(settings, map(address, servers)),
        own=destinations.own(settings, hosts),
        exposed=destinations.exposed(settings, hosts),
    )
