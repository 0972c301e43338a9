"""Where requests can go, and in how many at once: the lanes of a run.

A lane is one host as the scheduler sees it: an Ollama server, another server, a program, the model
in this process. A choice is one way to make an attempt at a tier: the lanes that its cascade asks,
in order. The first of them is where the attempt is scheduled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from llmc.net.deadlines import MAX_TIMEOUT_SEC
from llmc.net.places import address
from llmc.run.routing import route
from llmc.settings.chains import ChainEntry, begin_at, count_peers
from llmc.settings.config import Settings
from llmc.settings.gateways import Endpoint
from llmc.settings.presets import choose_preset

CALL_TIMEOUT_SEC = 180.0
"""The bound of a call where nothing configured says otherwise."""

IN_PROCESS = "in process"
PACKAGED_MODEL = "packaged model"


@dataclass(frozen=True, slots=True)
class Lane:
    """One host. It takes `slots` requests at once.

    `one_model` says that it holds one model at a time, so that asking for another costs a load.
    `place` is its address, a program, or nothing for a model in this process; `kind` says which.
    `probe` is an address that shows whether it is there; None: only a request shows that. `down`:
    it did not answer when the run was prepared. Without a `name` it stands for no host at all.
    """

    name: str
    slots: int
    one_model: bool = False
    probe: str | None = None
    down: bool = False
    kind: Literal["host", "program", "process"] = "process"
    place: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One backend of a cascade: its lane (by number), its model, slots and seconds at most."""

    lane: int
    model: str
    slots: int
    timeout: float = CALL_TIMEOUT_SEC


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to make an attempt: through these steps, in order.

    `host_index` is the Ollama host that it stands for, None where the span's own index counts;
    `first_entry` is the chain entry its cascade begins with. A `fallback` begins with an entry that
    others stand before: it is for when all of those rest.
    """

    steps: tuple[Step, ...]
    host_index: int | None = None
    first_entry: int = 0
    fallback: bool = False

    @property
    def lane(self) -> int:
        return self.steps[0].lane

    @property
    def timeout(self) -> float:
        """Seconds that all steps may take; each may also wait that long for a free slot."""
        return sum(2 * step.timeout for step in self.steps)


@dataclass(frozen=True, slots=True)
class Lanes:
    """All lanes of a run, and the choices of each route in their configured order."""

    lanes: tuple[Lane, ...]
    choices: Mapping[str, tuple[Choice, ...]]

    @classmethod
    def one(cls, settings: Settings, timeout: float) -> Lanes:
        """Return a single lane with one slot for everything, as the batch driver has it."""
        choice = Choice((Step(0, "", 1, timeout),))
        routes = (*settings.tiers, *(route(tier, kept=True) for tier in settings.staying_tiers()))
        return cls((Lane("host", 1),), dict.fromkeys(routes, (choice,)))

    @classmethod
    def of(cls, settings: Settings) -> Lanes:
        """Return the lanes that a run with these settings has."""
        survey = _Survey(settings)
        choices = {tier: tuple(survey.choices(tier)) for tier in settings.tiers}
        if settings.privacy.local_only:
            survey.settings = settings.staying()
            for tier in sorted(settings.staying_tiers()):
                choices[route(tier, kept=True)] = tuple(survey.choices(tier))
        return cls(survey.lanes(), choices)

    def models(self) -> tuple[tuple[str, str], ...]:
        """Return every (tier, model) that may be asked, each once, sorted."""
        found = {
            (tier, step.model)
            for tier, choices in self.choices.items()
            for choice in choices
            for step in choice.steps
        }
        return tuple(sorted(found))


@dataclass(slots=True)
class _Survey:
    """Collects lanes while the tiers are looked at; a place that is named twice is one lane."""

    settings: Settings
    found: dict[str, Lane] = field(default_factory=dict)

    def lanes(self) -> tuple[Lane, ...]:
        names = [lane.name for lane in self.found.values()]
        return tuple(
            replace(lane, name=f"{lane.name} ({address(key)})")
            if names.count(lane.name) > 1
            else lane
            for key, lane in self.found.items()
        )

    def choices(self, tier: str) -> Iterator[Choice]:
        settings = self.settings
        entries = settings.entries(tier) if settings.backend == "auto" else ()
        if not entries:
            yield from self._default(tier)
            return
        shared = any(entry.provider == "ollama" and not entry.url for entry in entries)
        hosts = range(max(1, len(settings.hosts))) if shared else (None,)
        for first in range(len(entries)):
            asked = begin_at(entries, first)
            for index in hosts:
                steps = tuple(self._entry(entry, tier, index or 0) for entry in asked)
                yield Choice(steps, index, first, fallback=first >= count_peers(entries))

    def _default(self, tier: str) -> Iterator[Choice]:
        settings = self.settings
        backend = settings.backend
        if backend == "auto":
            backend = "gateway" if tier == "nano" else "ollama"
        if backend == "ollama" and settings.hosts:
            model = choose_preset(settings.presets, tier).model or settings.ollama_model or ""
            for index in range(len(settings.hosts)):
                yield Choice((self._host(index, model, settings.concurrency),), index)
        elif backend == "gateway" and settings.gateway.program:
            yield Choice((self._program(str(settings.gateway.program), settings.gateway.label),))
        elif backend == "gateway" and settings.gateway.endpoint:
            yield Choice((self._server(settings.gateway.endpoint, None),))
        else:
            embedded = backend == "embedded"
            lane = self._lane(IN_PROCESS, Lane(IN_PROCESS, 1)) if embedded else self._nowhere()
            yield Choice((Step(lane, PACKAGED_MODEL if embedded else "", 1),))

    def _entry(self, entry: ChainEntry, tier: str, index: int) -> Step:
        settings = self.settings
        slots = entry.slots or settings.concurrency
        timeout = min(entry.timeout_seconds or CALL_TIMEOUT_SEC, MAX_TIMEOUT_SEC)
        if entry.provider == "ollama":
            preset = choose_preset(settings.presets, tier).model
            model = entry.model or preset or settings.ollama_model or ""
            if not entry.url:
                return replace(self._host(index, model, slots), timeout=timeout)
            url = entry.url.rstrip("/")
            return Step(self._ollama(entry.name, url, slots), model, slots, timeout)
        if entry.provider == "llamacpp":
            # Its calls take turns, whatever is asked for.
            lane = self._lane(IN_PROCESS, Lane(entry.name, 1))
            return Step(lane, entry.model or PACKAGED_MODEL, 1, timeout)
        if entry.provider == "command":
            model = entry.model or settings.gateway.label
            return self._program(entry.command or "", model, entry)
        if entry.url:
            url = f"{entry.url.rstrip('/')}/chat/completions"
            return self._server(Endpoint(url, entry.model or "default", ""), entry)
        known = settings.gateway.for_model(entry.model).endpoint or settings.gateway.endpoint
        return self._server(known or Endpoint("", entry.model or "", ""), entry)

    def _host(self, index: int, model: str, slots: int) -> Step:
        if not self.settings.hosts:
            return Step(self._nowhere(), model, 1)
        host = self.settings.hosts[index]
        return Step(self._ollama(host.label, host.url, slots), model, slots)

    def _ollama(self, name: str, url: str, slots: int) -> int:
        down = url in self.settings.hosts_down
        return self._lane(
            url, Lane(name, slots, True, f"{url}/api/tags", down, "host", address(url))
        )

    def _server(self, endpoint: Endpoint, entry: ChainEntry | None) -> Step:
        slots = (entry and entry.slots) or self.settings.concurrency
        timeout = self._timeout(entry)
        place = address(endpoint.url)
        name = entry.name if entry else place.partition("://")[2] or place
        lane = self._lane(place, Lane(name, slots, probe=f"{place}/", kind="host", place=place))
        return Step(lane, endpoint.model, slots, timeout)

    def _program(self, program: str, model: str, entry: ChainEntry | None = None) -> Step:
        slots = (entry and entry.slots) or self.settings.concurrency
        timeout = self._timeout(entry)
        name = entry.name if entry else program.rpartition("/")[2]
        lane = self._lane(program, Lane(name, slots, kind="program", place=program))
        return Step(lane, model, slots, timeout)

    def _timeout(self, entry: ChainEntry | None) -> float:
        named = entry.timeout_seconds if entry else None
        return min(named or self.settings.gateway.timeout, MAX_TIMEOUT_SEC)

    def _nowhere(self) -> int:
        """Return the lane, without a name, of attempts that nothing is configured for."""
        return self._lane("", Lane("", 1))

    def _lane(self, key: str, lane: Lane) -> int:
        """Return the number of the lane with this key; it has the most slots that anyone names."""
        known = self.found.setdefault(key, lane)
        if known.slots < lane.slots:
            self.found[key] = replace(known, slots=lane.slots)
        return list(self.found).index(key)
