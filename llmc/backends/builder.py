"""The builders: backends are made of targets, and the cascade of an attempt of a tier's targets.

Who is asked for a tier is settled in `settings.targets`; here it only takes shape.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from llmc.backends._base import (
    AttemptCascade,
    BackendConfig,
    CallPolicy,
    Surroundings,
    accept,
    count,
    refuse_reply,
)
from llmc.backends._border import Gate, guard, let_out, prepare, put_behind
from llmc.backends._failures import declined, unanswered
from llmc.backends.cascade import BackendAdapter, BackendCascade
from llmc.errors import ConfigError
from llmc.models import Attempt
from llmc.net.client import Client
from llmc.records.egress import Destination, Egress
from llmc.settings.config import Settings
from llmc.settings.presets import choose_preset
from llmc.settings.targets import Target, arrange, list_reached_tiers, list_targets

__all__ = [
    "AttemptCascade",
    "BackendConfig",
    "CallPolicy",
    "CascadeBuilder",
    "Gate",
    "Surroundings",
    "TargetBuilder",
    "accept",
    "count",
    "declined",
    "let_out",
    "put_behind",
    "refuse_reply",
    "unanswered",
]

CONNECT_TIMEOUT_SEC = 10.0
"""A host that takes longer to accept a connection counts as not there."""


class CascadeBuilder:
    """Builds the cascade of each attempt from the settings; shares what is costly to make.

    A backend that leads away is put behind the border, unless what it is to be sent is nobody's
    code (`guarded` off). Raises UntrustedError for settings with anything in them that the user has
    not allowed.
    """

    def __init__(self, settings: Settings, policy: CallPolicy, *, guarded: bool = True) -> None:
        settings.require_trust()
        self.settings = settings
        self.policy = policy
        self._egress = Egress(settings.repo, settings.privacy, settings.logs) if guarded else None
        self._client = Client(
            connect_timeout=CONNECT_TIMEOUT_SEC,
            secrets=settings.secrets,
            network=settings.network,
        )
        self._built: dict[tuple[str, int, int], AttemptCascade] = {}

    def __call__(self, attempt: Attempt) -> AttemptCascade:
        """Return the cascade for one attempt. Raises ConfigError."""
        if attempt.kept:
            return self._staying(replace(attempt, kept=False))
        key = (attempt.tier, attempt.host_index, attempt.first_entry)
        built = self._built.get(key)
        if built is None:
            targets = self._targets[attempt.tier]
            asked = arrange(targets, attempt.host_index, attempt.first_entry)
            built = self._built[key] = self.build(attempt.tier, asked)
        return built

    @cached_property
    def _targets(self) -> dict[str, tuple[Target, ...]]:
        return list_targets(self.settings, self.policy.timeout)

    @cached_property
    def _staying(self) -> CascadeBuilder:
        """The builder for spans that must stay."""
        builder = CascadeBuilder(self.settings.staying(), self.policy)
        builder._client = self._client
        return builder

    def build(self, tier: str, asked: tuple[Target, ...]) -> AttemptCascade:
        """Return the cascade that asks these targets. Raises ConfigError."""
        backends = [self._make(target) for target in asked]
        preset, first = choose_preset(self.settings.presets, tier), asked[0]
        family = first.row.family
        label, url = (first.label, first.place) if family == "ollama" else ("", "")
        cascade = BackendCascade(backends)
        return AttemptCascade(cascade, preset.name, preset, label or None, url or None, family)

    def check(self) -> None:
        """Load what can be wrong before the first attempt: the model in process, keys, programs.

        Raises ConfigError.
        """
        for tier in list_reached_tiers(self.settings):
            if tier == "nano" and not self._has_nano():
                continue
            for backend in self(Attempt(1, tier, 0)).cascade.backends:
                prepare(backend)

    def hurry(self) -> None:
        """End every wait for a busy server; calls under way go on."""
        self._client.cancellation.hurry()

    def cancel(self) -> None:
        """End every call under way and refuse later ones."""
        self._client.cancellation.cancel()

    def _has_nano(self) -> bool:
        return bool(self.settings.entries("nano")) or self.settings.gateway.configured

    def _make(self, target: Target) -> BackendAdapter:
        if target.problem:
            raise ConfigError(target.problem)
        settings = self.settings
        around = Surroundings(
            settings.repo,
            self._client,
            self.policy.with_timeout(target.timeout),
            settings.search,
            settings.gateway,
        )
        backend: BackendAdapter = target.row.make(target, around)
        if self._egress is None:
            return backend
        to = Destination(target.provider, target.place, target.shown)
        # A program knows better than its name where it is.
        return guard(backend, getattr(backend, "destination", to), self._egress)


class TargetBuilder(CascadeBuilder):
    """Builds the cascade of one target alone, for whatever attempt. Raises as `CascadeBuilder`."""

    def __init__(self, settings: Settings, policy: CallPolicy, target: Target) -> None:
        # What the doctor sends is an example of our own, nothing of the repository.
        super().__init__(settings, policy, guarded=False)
        self.target = target

    def __call__(self, attempt: Attempt) -> AttemptCascade:
        """Return the cascade, which has one backend. Raises ConfigError."""
        return self.build(attempt.tier, (self.target,))

    def prepare(self) -> None:
        """Do what a run does before its first attempt: load the model, find the program.

        Raises ConfigError.
        """
        prepare(self._make(self.target))
