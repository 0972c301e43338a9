"""Where a run of the batch driver may take code, by the one adapter that each attempt has."""

from __future__ import annotations

from collections.abc import Mapping

from llmc.events import Destinations
from llmc.net.places import spell_address
from llmc.run import destinations
from llmc.settings.config import Settings
from llmc.settings.hosts import Host
from llmc.settings.presets import TierPreset, choose_preset
from llmc.settings.targets import take_first


def find_destinations(settings: Settings, presets: Mapping[str, TierPreset]) -> Destinations:
    """Return where a run may take code, by the targets of its adapters.

    Raises ConfigError if it may need the built-in gateway, and the variables name several.
    """
    gateway = settings.gateway
    urls: list[str] = []
    servers: list[str] = []
    models: list[str | None] = []
    programs: list[str] = []
    for tier in settings.tiers:
        if tier == "nano" and settings.backend == "auto" and not settings.router.reaches_cloud:
            continue
        preset = choose_preset(presets, tier)
        for host in settings.hosts or (Host("", ""),):
            target = take_first(settings, tier, host, preset, settings.backend)
            if target.provider == "ollama":
                urls += [target.place] if target.place else []
                models.append(target.model)
            elif gateway.program:
                programs.append(str(gateway.program))
            elif target.place:
                servers.append(target.place)
            elif gateway.endpoint or gateway.trouble:
                servers.append(gateway.find_server().url)
    hosts = tuple(dict.fromkeys(map(spell_address, urls + servers)))
    return Destinations(
        hosts,
        tuple(dict.fromkeys(programs)),
        cloud_models=destinations.find_cloud_models(models),
        relays=destinations.find_relays(settings, map(spell_address, servers)),
        own=destinations.find_own(settings, hosts),
        exposed=destinations.find_exposed(settings, hosts),
    )
