"""Where requests can go, and in how many at once: the lanes of a run.

A lane is one host as the scheduler sees it: an Ollama server, another server, a program, the model
in this process. A choice is one way to make an attempt at a tier: the lanes that its cascade asks,
in order. The first of them is where the attempt is scheduled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmc.net.places import address
from llmc.run.routing import route
from llmc.settings.config import Settings
from llmc.settings.providers import Kind
from llmc.settings.targets import CALL_TIMEOUT_SEC, Target, arrange, list_targets

IN_PROCESS = "in process"
"""What stands for this process where places are told apart."""


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
    kind: Kind = "process"
    place: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One backend of a cascade: its lane (by number), its model, slots and a call's seconds.

    `queues`: calls may wait at its host for those before them.
    """

    lane: int
    model: str
    slots: int
    timeout: float = CALL_TIMEOUT_SEC
    queues: bool = False

    @property
    def longest(self) -> float:
        """Seconds that it may take at most, of which one call's time is the wait for a slot.

        At a host one more is for waits while it is busy; its queue, and the call itself, may come
        twice, as a prompt that is too long is sent again.
        """
        return self.timeout * (2 * (self.slots + 2) if self.queues else 2)


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
        """Seconds that all steps may take, waits included."""
        return sum(step.longest for step in self.steps)


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
        survey = _Survey(settings.health.down)
        choices = {
            tier: tuple(survey.choices(targets)) for tier, targets in list_targets(settings).items()
        }
        if settings.privacy.local_only:
            staying = list_targets(settings.staying())
            for tier in sorted(settings.staying_tiers()):
                choices[route(tier, kept=True)] = tuple(survey.choices(staying[tier]))
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

    down: frozenset[str]
    found: dict[str, Lane] = field(default_factory=dict)

    def lanes(self) -> tuple[Lane, ...]:
        names = [lane.name for lane in self.found.values()]
        return tuple(
            replace(lane, name=f"{lane.name} ({address(key)})")
            if names.count(lane.name) > 1
            else lane
            for key, lane in self.found.items()
        )

    def choices(self, targets: Sequence[Target]) -> Iterator[Choice]:
        """Yield the ways to make an attempt at a tier with these targets."""
        hosts: Iterable[int | None] = sorted({t.host for t in targets if t.host is not None})
        for rank in sorted({target.entry for target in targets}):
            for index in hosts or (None,):
                asked = arrange(targets, index or 0, rank)
                steps = tuple(map(self._step, asked))
                yield Choice(steps, index, rank, fallback=asked[0].fallback)

    def _step(self, target: Target) -> Step:
        row = target.row
        if not target.is_somewhere:
            return Step(self._lane("", Lane("", 1)), target.shown, 1, target.timeout)
        if row.kind == "process":
            lane = self._lane(IN_PROCESS, Lane(target.label, target.slots))
        elif row.kind == "program":
            lane = self._lane(
                target.place,
                Lane(target.label, target.slots, False, None, False, "program", target.place),
            )
        else:
            lane = self._host(target)
        return Step(lane, target.shown, target.slots, target.timeout, row.kind == "host")

    def _host(self, target: Target) -> int:
        row, place = target.row, target.address
        key = target.place if row.one_model else place
        probe = f"{target.place}{row.probe}" if row.probe else f"{place}/"
        down = target.place in self.down
        lane = Lane(target.label, target.slots, row.one_model, probe, down, "host", place)
        return self._lane(key, lane)

    def _lane(self, key: str, lane: Lane) -> int:
        """Return the number of the lane with this key; it has the most slots that anyone names."""
        known = self.found.setdefault(key, lane)
        if known.slots < lane.slots:
            self.found[key] = replace(known, slots=lane.slots)
        return list(self.found).index(key)
