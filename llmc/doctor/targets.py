"""Which models a run would ask, and where: one target each, however many tiers it serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.backends.ollama import OllamaBackend
from llmc.errors import ConfigError
from llmc.models import Attempt
from llmc.settings.chains import ChainEntry
from llmc.settings.config import Settings
from llmc.settings.gateways import Endpoint

TRIAL_SECONDS = 120.0
"""The longest that one trial reply is waited for, a model being loaded included."""


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one place; `builder` and `attempt` make a call to it as a run would.

    `provider` is that of a chain entry, `place` a URL, a program or a model file (empty: the
    packaged one). `problem` says why a run could not even start with it.
    """

    provider: str
    name: str
    place: str
    model: str
    builder: CascadeBuilder
    attempt: Attempt
    tiers: tuple[str, ...]
    num_ctx: int | None = None
    endpoint: Endpoint | None = None
    problem: str = ""

    @property
    def key_name(self) -> str:
        """The variable that the key is in, or belongs in; empty if none is named."""
        return self.endpoint.key_name if self.endpoint else ""

    def prepare(self) -> None:
        """Do what a run does before its first attempt: load the model, find the program.

        Raises ConfigError.
        """
        for backend in self.builder(self.attempt).cascade.backends:
            prepare = getattr(backend, "prepare", None)
            if prepare:
                prepare()


def tiers_of(settings: Settings) -> tuple[str, ...]:
    """Return the tiers that spans of a run may be asked at."""
    if settings.backend != "auto":
        return ("7b", "14b")
    asked_for = settings.entries("nano") or settings.gateway.program
    return ("7b", "14b", "nano") if asked_for else ("7b", "14b")


def targets_of(settings: Settings) -> list[Target]:
    """Return every model that a run with these settings may ask, in the order of the tiers."""
    settings = _hurried(settings)
    found: dict[tuple[str, str, str], Target] = {}
    for tier in tiers_of(settings):
        for target in _of_tier(settings, tier):
            key = (target.provider, target.place, target.model)
            known = found.get(key, target)
            tiers = dict.fromkeys((*known.tiers, *target.tiers))
            found[key] = replace(known, tiers=tuple(tiers))
    return list(found.values())


def _hurried(settings: Settings) -> Settings:
    """Return the settings with no call allowed to take longer than a trial may."""
    chain = tuple(
        entry.model_copy(
            update={"timeout_seconds": min(entry.timeout_seconds or TRIAL_SECONDS, TRIAL_SECONDS)}
        )
        for entry in settings.chain
    )
    gateway = replace(settings.gateway, timeout=min(settings.gateway.timeout, TRIAL_SECONDS))
    return replace(settings, chain=chain, gateway=gateway)


def _of_tier(settings: Settings, tier: str) -> Iterator[Target]:
    entries = settings.entries(tier) if settings.backend == "auto" else ()
    for entry in entries:
        alone = replace(settings, chain=(entry,))
        if entry.provider == "ollama":
            yield from _ollama(alone, tier, entry)
        else:
            yield _from_entry(alone, tier, entry)
    if entries:
        return
    if settings.backend == "embedded":
        yield _target(settings, tier, "llamacpp", "embedded")
    elif settings.backend == "gateway" or tier == "nano":
        yield _gateway(settings, tier)
    else:
        yield from _ollama(settings, tier, None)


def _ollama(settings: Settings, tier: str, entry: ChainEntry | None) -> Iterator[Target]:
    hosts = [(host.label, host.url) for host in settings.hosts]
    if entry and entry.url:
        hosts = [(entry.name, entry.url)]
    for index, (label, url) in enumerate(hosts):
        target = _target(settings, tier, "ollama", label, index)
        [backend] = target.builder(target.attempt).cascade.backends
        assert isinstance(backend, OllamaBackend)
        context = backend.options.get("num_ctx")
        yield replace(
            target,
            place=url,
            model=backend.model,
            num_ctx=context if isinstance(context, int) else None,
            problem="" if backend.model else "no model is named for this tier",
        )


def _from_entry(settings: Settings, tier: str, entry: ChainEntry) -> Target:
    target = _target(settings, tier, entry.provider, entry.name)
    if entry.provider == "llamacpp":
        path = settings.repo / Path(entry.model).expanduser() if entry.model else ""
        return replace(target, place=str(path), model=entry.model or "")
    if entry.provider == "command":
        return replace(target, place=entry.command or "", model=entry.model or "")
    try:
        endpoint = target.builder.endpoint(entry)
    except ConfigError as error:
        return replace(target, place=entry.url or "", problem=str(error))
    return _at(target, endpoint)


def _gateway(settings: Settings, tier: str) -> Target:
    gateway = settings.gateway
    if gateway.program:
        target = _target(settings, tier, "command", "gateway")
        return replace(target, place=str(gateway.program), model=gateway.label)
    target = _target(settings, tier, "openai", "gateway")
    try:
        return _at(target, gateway.server())
    except ConfigError as error:
        return replace(target, problem=str(error))


def _at(target: Target, endpoint: Endpoint) -> Target:
    return replace(target, place=endpoint.url, model=endpoint.model, endpoint=endpoint)


def _target(settings: Settings, tier: str, provider: str, name: str, host_index: int = 0) -> Target:
    # A trial sends an example of our own, nothing of the repository.
    builder = CascadeBuilder(settings, CallPolicy(timeout=TRIAL_SECONDS), guarded=False)
    return Target(
        provider=provider,
        name=name,
        place="",
        model="",
        builder=builder,
        attempt=Attempt(1, tier, host_index),
        tiers=(tier,),
    )
