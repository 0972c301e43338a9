"""Where a run takes the code, worked out from what it may ask, and said in one line.

It is told before any code goes there, to people and to programs, and must be the whole truth: every
host of a chain counts, though the last one is asked only when all others have failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llmc.events import Destinations
from llmc.net.places import address, is_cloud_model, is_this_machine
from llmc.run.lanes import Lane, Lanes, Step
from llmc.settings.config import Settings


def of(settings: Settings) -> Destinations:
    """Return where a run with these settings may take code; `selection.select` settles them."""
    asked = list(_asked(settings))
    hosts = _places(asked, "host")
    return Destinations(
        hosts=hosts,
        programs=_places(asked, "program"),
        in_process=_once(step.model for lane, step in asked if lane.kind == "process"),
        cloud_models=cloud_models(step.model for lane, step in asked if lane.one_model),
        relays=relays(
            settings, (p.place for p, _ in asked if p.kind == "host" and not p.one_model)
        ),
        own=own(settings, hosts),
        exposed=exposed(settings, hosts),
    )


def cloud_models(names: Iterable[str | None]) -> tuple[str, ...]:
    """Return the models that Ollama hands on to their makers, each once."""
    return _once(name for name in names if name and is_cloud_model(name))


def relays(settings: Settings, servers: Iterable[str]) -> tuple[str, ...]:
    """Return the OpenAI-compatible servers on this machine that the user has not declared."""
    own = settings.privacy.is_own
    return _once(url for url in servers if is_this_machine(url) and not own(url))


def own(settings: Settings, hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses that the user has declared to be of their own network."""
    return tuple(host for host in hosts if settings.privacy.is_own(host))


def exposed(settings: Settings, hosts: Iterable[str]) -> tuple[str, ...]:
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


def lines(where: Destinations) -> tuple[str, ...]:
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


def record(where: Destinations) -> dict[str, object]:
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


def _asked(settings: Settings) -> Iterator[tuple[Lane, Step]]:
    """Yield every place that may be asked, with what it is asked for."""
    lanes = Lanes.of(settings)
    for tier, choices in lanes.choices.items():
        if tier == "nano" and settings.backend == "auto" and not settings.router.reaches_cloud:
            continue
        for choice in choices:
            for step in choice.steps:
                if lanes.lanes[step.lane].name:
                    yield lanes.lanes[step.lane], step


def _places(asked: Iterable[tuple[Lane, Step]], kind: str) -> tuple[str, ...]:
    return _once(lane.place for lane, _ in asked if lane.kind == kind)


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
