"""Which models a run would ask, and where: each once, however many tiers it serves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmc.backends.builder import CallPolicy, TargetBuilder
from llmc.settings.config import Settings
from llmc.settings.targets import Target, asks_cloud, list_reached_tiers, list_targets

TRIAL_SECONDS = 120.0
"""The longest that one trial reply is waited for, a model being loaded included."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A target, the tiers that it serves, and a builder that makes a call to it as a run would.

    `problem` says why a run could not even start with it.
    """

    target: Target
    tiers: tuple[str, ...]
    builder: TargetBuilder
    problem: str = ""

    @property
    def num_ctx(self) -> int | None:
        """The context length that is asked for, in tokens; None if that is left to the server."""
        context = self.target.options.get("num_ctx")
        return context if isinstance(context, int) else None

    @property
    def key_name(self) -> str:
        """The variable that the key is in, or belongs in; empty if none is named."""
        return self.target.key.name if self.target.key else ""

    @property
    def has_key(self) -> bool:
        return self.target.key is not None and self.target.key.secret is not None


def list_tiers(settings: Settings) -> tuple[str, ...]:
    """Return the tiers that spans of a run may be asked at, the cloud's only where it is wanted."""
    cloud = settings.backend == "auto" and asks_cloud(settings)
    local = tuple(tier for tier in list_reached_tiers(settings) if tier != "nano")
    return (*local, "nano") if cloud else local


def list_asked(settings: Settings) -> list[Asked]:
    """Return every model that a run with these settings may ask, in the order of the tiers."""
    found: dict[tuple[str, str, str], Asked] = {}
    targets = list_targets(settings)
    policy = CallPolicy(timeout=TRIAL_SECONDS)
    for tier in list_tiers(settings):
        for target in targets[tier]:
            if target.provider == "ollama" and not target.is_somewhere:
                continue  # no host: there is nothing to look at
            known = found.get(key := (target.provider, target.place, target.model))
            if known:
                tiers = tuple(dict.fromkeys((*known.tiers, tier)))
                found[key] = replace(known, tiers=tiers)
                continue
            hurried = replace(target, timeout=min(target.timeout, TRIAL_SECONDS))
            builder = TargetBuilder(settings, policy, hurried)
            unnamed = target.provider == "ollama" and not target.model
            problem = target.problem or ("no model is named for this tier" if unnamed else "")
            found[key] = Asked(hurried, (tier,), builder, problem)
    return list(found.values())
