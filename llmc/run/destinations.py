"""Where a run takes the code, worked out from what it may ask, and said in one line.

It is told before any code goes there, to people and to programs, and must be the whole truth: every
host of a chain counts, though the last one is asked only when all others have failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llmc.events import Destinations
from llmc.net.places import address, is_cloud_model, is_this_machine
from llmc.settings.config import Settings
from llmc.settings.providers import Kind
from llmc.settings.targets import Target, list_reached_tiers, list_targets


def find_destinations(settings: Settings) -> Destinations:
    """Return where a run with these settings may take code; `selection.select` settles them."""
    asked = list(_asked(settings))
    hosts = _places(asked, "host")
    return Destinations(
        hosts=hosts,
        programs=_places(asked, "program"),
        in_process=_once(target.shown for target in asked if target.row.kind == "process"),
        cloud_models=find_cloud_models(target.shown for target in asked if target.row.one_model),
        relays=find_relays(
            settings,
            (t.address for t in asked if t.row.kind == "host" and not t.row.one_model),
        ),
        own=find_own(settings, hosts),
        exposed=find_exposed(settings, hosts),
    )


def find_cloud_models(names: Iterable[str | None]) -> tuple[str, ...]:
    """Return the models that Ollama hands on to their makers, each once."""
    return _once(name for name in names if name and is_cloud_model(name))


def find_relays(settings: Settings, servers: Iterable[str]) -> tuple[str, ...]:
    """Return the OpenAI-compatible servers on this machine that the user has not declared."""
    own = settings.privacy.is_own
    return _once(url for url in servers if is_this_machine(url) and not own(url))


def find_own(settings: Settings, hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses that the user has declared to be of their own network."""
    return tuple(host for host in hosts if settings.privacy.is_own(host))


def find_exposed(settings: Settings, hosts: Iterable[str]) -> tuple[str, ...]:
    """Return those of the addresses to which a key goes that can be read on the way."""
    urls = [entry.url for entry in settings.chain if entry.url and entry.api_key_env]
    gateway = settings.gateway.endpoint
    urls += [gateway.url] if gateway and gateway.key else []
    open_to_all = {
        address(url)
        for url in urls
        if url.lower().startswith("http://") and not is_this_machine(url)
    }
    return tuple(host for host in hosts if host in open_to_all)


def describe(where: Destinations) -> tuple[str, ...]:
    """Say it: one line, and one more for each thing to know beside it."""
    foreign = sorted(set(where.away) - set(where.own))
    told = [f"sent to {', '.join(foreign)}"] if foreign else []
    if near := sorted(set(where.away) & set(where.own)):
        told.append(f"sent as it is to {', '.join(near)} in your own network")
    if where.relays:
        told.append(f"given to {', '.join(where.relays)} on this machine, which may pass it on")
    told += [f"given to the program {', '.join(where.programs)}"] if where.programs else []
    if where.cloud_models:
        told.append(f"handed on by Ollama to the makers of {', '.join(where.cloud_models)}")
    code = f"your code is {' and '.join(told)}" if told else "nothing leaves this machine"
    warnings = [
        f"warning   your key goes to {host} without encryption; use https" for host in where.exposed
    ]
    hint = "          if it never does, say so: LLMC_OWN_NETWORK=localhost"
    return (*warnings, f"privacy   {code}", *([hint] if where.relays else []))


def make_record(where: Destinations) -> dict[str, object]:
    """Return it for programs."""
    return {
        "event": "destinations",
        "hosts": list(where.hosts),
        "programs": list(where.programs),
        "in_process": list(where.in_process),
        "cloud_models": list(where.cloud_models),
        "relays": list(where.relays),
        "own": list(where.own),
        "exposed": list(where.exposed),
        "leaves_this_machine": where.leaves_this_machine,
    }


def _asked(settings: Settings) -> Iterator[Target]:
    """Yield everything that may be asked."""
    targets = list_targets(settings)
    for tier in list_reached_tiers(settings):
        yield from (target for target in targets[tier] if target.is_somewhere)


def _places(asked: Iterable[Target], kind: Kind) -> tuple[str, ...]:
    return _once(target.address for target in asked if target.row.kind == kind)


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
