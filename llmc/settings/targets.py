"""Who is asked for a tier: with which model, options, timeout, slots and key. Answered once, here.

The builder makes backends of targets, the lanes of a run group them by place, the lines at its
start tell them, the doctor examines them, and the batch driver takes the first.

A tier's chain entries are its targets; a tier without any has what the mode names: the hosts of the
Ollama host chain, the gateway, or the model in this process. A policy may name tiers of its own;
they run on what 7b runs on, as every tier but 14b takes 7b's preset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmc.errors import ConfigError
from llmc.net.deadlines import MAX_TIMEOUT_SEC
from llmc.net.places import spell_address
from llmc.settings import catalogue
from llmc.settings.addresses import name_call
from llmc.settings.chains import ChainEntry
from llmc.settings.config import Settings
from llmc.settings.documents import MAX_SLOTS
from llmc.settings.gateways import Endpoint
from llmc.settings.hosts import Host
from llmc.settings.load_options import agree_on_loading
from llmc.settings.presets import TIERS, TierPreset, choose_preset
from llmc.settings.providers import PROVIDERS
from llmc.settings.target import CALL_TIMEOUT_SEC, Key, Target, arrange

__all__ = [
    "CALL_TIMEOUT_SEC",
    "Key",
    "Target",
    "arrange",
    "asks_cloud",
    "find_namesakes",
    "list_local_tiers",
    "list_reached_tiers",
    "list_targets",
    "take_first",
]

PACKAGED_MODEL = "packaged model"
"""What the model is called that is looked for where none is named."""


def list_targets(
    settings: Settings, timeout: float = CALL_TIMEOUT_SEC
) -> dict[str, tuple[Target, ...]]:
    """Return what may be asked, by tier, in configured order; `timeout` is for calls without one.

    What is wrong with a target is told by its `problem`.
    """
    found = {tier: tuple(_Tier(settings, tier, timeout).targets()) for tier in settings.tiers}
    return agree_on_loading(settings, found)


def asks_cloud(settings: Settings) -> bool:
    """Tell whether the user asked for the cloud tier: a key in the environment alone doesn't."""
    return bool(settings.list_entries("nano")) or settings.gateway.program is not None


def list_local_tiers(settings: Settings) -> tuple[str, ...]:
    """Return the tiers beside the cloud's, those that only the policy knows last.

    One that the policy names as default counts only where spans get to it: with the router off, or
    where a start tier is none that the router knows.
    """
    router = settings.router
    named = {router.policy.fallback_tier, router.start_tier}
    takes_default = not router.enabled or not named.issubset((*TIERS, "auto"))
    return tuple(
        tier
        for tier in settings.tiers
        if tier != "nano" and (tier in (*TIERS, router.policy.fallback_tier) or takes_default)
    )


def list_reached_tiers(settings: Settings) -> tuple[str, ...]:
    """Return the tiers whose targets a run may ask; the cloud's only where spans get to it.

    Under a mode other than auto every tier has the same places, and the cloud's none of its own.
    """
    local = list_local_tiers(settings)
    return (
        (*local, "nano") if settings.backend == "auto" and settings.router.reaches_cloud else local
    )


def find_namesakes(settings: Settings) -> tuple[str, ...]:
    """Return the tiers of the policy's own naming that ask just what 7b asks, whatever they are
    called: a promotion to one asks the same model again."""
    targets = list_targets(settings)
    small = [(target.place, target.model) for target in targets["7b"]]
    return tuple(
        tier
        for tier in list_local_tiers(settings)
        if tier not in TIERS and [(t.place, t.model) for t in targets[tier]] == small
    )


def take_first(
    settings: Settings, tier: str, host: Host, preset: TierPreset, backend: str
) -> Target:
    """Return what the batch driver asks for a tier: its contract knows one adapter per attempt.

    A chain entry, of whatever provider, says model, options and address of that adapter, under
    every `backend`; `host` and `preset` hold where it says nothing. By the contract the adapter
    puts the preset's options and keep_alive under those here, which are the entry's own words.
    Provider "gateway" with an empty place is the gateway that the environment names.
    """
    entry = next(iter(settings.list_entries(tier)), None)
    is_gateway = backend == "gateway" or (backend == "auto" and tier == "nano")
    asked = Target("gateway", "gateway", "", "", timeout=settings.gateway.timeout)
    if not is_gateway:
        asked = Target("ollama", f"ollama-{host.label}", host.url, "", label=host.label)
    if entry:
        asked = replace(
            asked,
            name=entry.name,
            place=entry.url.rstrip("/") if entry.url else asked.place,
            model=entry.model or "",
            options=entry.options,
            keep_alive=entry.keep_alive,
            key=Key(entry.api_key_env) if entry.api_key_env else None,
        )
    if is_gateway:
        return asked
    return replace(asked, model=asked.model or preset.model or settings.ollama_model or "")


def _count_peers(entries: Sequence[ChainEntry]) -> int:
    """Count the entries at the head of a cascade that may stand in for the first one.

    Those are further Ollama hosts, or places of the same provider and model. Work is spread over
    them; what stands behind is asked only when they fail, however busy they are: it may cost money,
    or be a worse model.
    """
    first = entries[0]
    for count, entry in enumerate(entries):
        if entry.provider != first.provider:
            return count
        if entry.provider != "ollama" and entry.model != first.model:
            return count
    return len(entries)


@dataclass(frozen=True, slots=True)
class _Tier:
    """The targets of one tier."""

    settings: Settings
    tier: str
    timeout: float

    def targets(self) -> Iterator[Target]:
        settings = self.settings
        entries = settings.list_entries(self.tier) if settings.backend == "auto" else ()
        if not entries:
            yield from self._by_mode()
            return
        peers = _count_peers(entries)
        for rank, entry in enumerate(entries):
            for target in self._of_entry(entry):
                yield replace(target, entry=rank, fallback=rank >= peers)

    def _by_mode(self) -> Iterator[Target]:
        settings = self.settings
        backend = settings.backend
        if backend == "auto":
            backend = "gateway" if self.tier == "nano" else "ollama"
        if backend == "embedded":
            yield Target(
                "llamacpp",
                "embedded",
                "",
                "",
                timeout=self.timeout,
                label="in process",
                shown=PACKAGED_MODEL,
            )
        elif backend == "gateway":
            yield self._gateway()
        else:
            yield from self._ollama(None)

    def _gateway(self) -> Target:
        gateway = self.settings.gateway
        if gateway.program:
            program = str(gateway.program)
            return Target(
                "command",
                "gateway",
                program,
                "",
                timeout=self._bound(gateway.timeout),
                slots=self.settings.pace.concurrency,
                label=program.rpartition("/")[2],
                shown=gateway.label,
                environ=gateway.environ,
            )
        target = Target(
            "openai",
            "gateway",
            "",
            "",
            timeout=self._bound(gateway.timeout),
            slots=self.settings.pace.concurrency,
        )
        try:
            server = gateway.find_server()
        except ConfigError as error:
            return replace(target, problem=str(error))
        place = spell_address(server.url)
        return _at(replace(target, label=place.partition("://")[2] or place), server)

    def _of_entry(self, entry: ChainEntry) -> Iterator[Target]:
        if entry.provider == "ollama":
            yield from self._ollama(entry)
            return
        settings, row = self.settings, PROVIDERS[entry.provider]
        gateway = settings.gateway.timeout if entry.provider in ("openai", "command") else None
        target = Target(
            entry.provider,
            entry.name,
            entry.url.rstrip("/") if entry.url else "",
            entry.model or "",
            entry.options,
            entry.keep_alive,
            self._bound(entry.timeout_seconds or gateway or self.timeout),
            min(entry.slots or settings.pace.concurrency, row.most_slots or MAX_SLOTS),
            label=entry.name,
            shown=entry.model or "",
        )
        if entry.provider == "openai":
            yield self._server(entry, target)
        elif entry.provider == "command":
            environ = settings.find_gateway(entry).environ
            shown = entry.model or settings.gateway.label
            yield replace(target, place=entry.command or "", shown=shown, environ=environ)
        elif entry.provider == "llamacpp":
            yield self._in_process(entry.model, target)
        else:
            yield self._by_row(entry, target)

    def _ollama(self, entry: ChainEntry | None) -> Iterator[Target]:
        """Yield a target for the entry's own host, else for each of the host chain."""
        settings = self.settings
        preset = choose_preset(settings.presets, self.tier)
        model = (entry and entry.model) or preset.model or settings.ollama_model or ""
        keep_alive = entry.keep_alive if entry else None
        target = Target(
            "ollama",
            entry.name if entry else "ollama",
            entry.url.rstrip("/") if entry and entry.url else "",
            model,
            {**preset.options, **(entry.options if entry else {})},
            preset.keep_alive if keep_alive is None else keep_alive,
            self._bound((entry and entry.timeout_seconds) or self.timeout),
            (entry and entry.slots) or settings.pace.concurrency,
            label=entry.name if entry else "",
            shown=model,
        )
        if target.place:
            yield target
        elif not settings.hosts:
            yield replace(target, label="", slots=1)
        else:
            for index, host in enumerate(settings.hosts):
                name = entry.name if entry else f"ollama-{host.label}"
                yield replace(target, name=name, label=host.label, place=host.url, host=index)

    def _server(self, entry: ChainEntry, target: Target) -> Target:
        """Return the target of an entry with provider openai: its own server, or the gateway's."""
        gateway = self.settings.gateway.for_model(entry.model)
        try:
            key = self.settings.find_key(entry)
        except ConfigError as error:
            problem, key = str(error), None
        else:
            problem = ""
        if entry.url:
            model = entry.model or "default"
            url = name_call(entry.url)
            found = Endpoint(url, model, model, key, key_name=entry.api_key_env or "")
            return replace(_at(target, found), problem=problem)
        try:
            return replace(_at(target, gateway.sign(entry.api_key_env, key)), problem=problem)
        except ConfigError as error:
            problem = (
                problem or f"chain entry {entry.name!r} has no url, so it asks the gateway: {error}"
            )
        known = gateway.endpoint
        return replace(_at(target, known) if known else target, problem=problem)

    def _in_process(self, model: str | None, target: Target) -> Target:
        """Return the target of a model's file: the catalogue's of that name, else one by its path,
        else the packaged one."""
        if known := catalogue.find_model(model):
            try:
                path = catalogue.require(known, self.settings.environ)
            except ConfigError as error:
                return replace(target, problem=str(error))
            return replace(target, place=str(path))
        path = self.settings.repo / Path(model).expanduser() if model else Path()
        return replace(target, place=str(path) if model else "", shown=model or PACKAGED_MODEL)

    def _by_row(self, entry: ChainEntry, target: Target) -> Target:
        """Return the target of a provider that is not one of llmc's own."""
        target = replace(target, place=target.place or entry.command or "")
        try:
            key = self.settings.find_key(entry)
        except ConfigError as error:
            return replace(target, problem=str(error))
        if not target.is_somewhere:
            lacks = "command" if target.row.kind == "program" else "url"
            problem = f"chain entry {entry.name!r}: provider {entry.provider} needs {lacks}"
            return replace(target, problem=problem)
        return replace(target, key=Key(entry.api_key_env or "", key)) if key else target

    @staticmethod
    def _bound(seconds: float) -> float:
        return min(seconds, MAX_TIMEOUT_SEC)


def _at(target: Target, server: Endpoint) -> Target:
    """Return a target at a server. The model that is asked is the one told, not the label that the
    batch driver's contract has for the records."""
    key = Key(server.key_name, server.key, server.key_header)
    return replace(target, place=server.url, model=server.model, shown=server.model, key=key)
