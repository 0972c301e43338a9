"""Which tier a span starts at, and what follows each outcome. Pure: no clock, network or thread.

A span is a small state machine. `start` puts it at a tier, `SpanState.offer` says what to try
next, `SpanState.after` takes an outcome and gives the next state. Every promotion rule of the
product lives in `_following`, so the question "why did this span go to 14b?" has one answer.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from llmc.models import Attempt, SpanMetrics
from llmc.settings.presets import TIERS, RouterSettings

_BEST_FIRST = ("14b", "7b", "nano")


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What the rules of one span depend on, fixed before its first attempt.

    `backend` is the mode (auto, ollama, gateway or embedded); `hosts` counts the Ollama hosts,
    at least 1. `kept`: the span must stay on this machine.
    """

    start_tier: str
    line_count: int
    limit: int
    hosts: int
    backend: str
    router: RouterSettings
    kept: bool = False

    def uses_ollama(self, tier: str) -> bool:
        """Tell whether an attempt at `tier` goes to the Ollama host chain."""
        return self.backend == "ollama" or (self.backend == "auto" and tier != "nano")


@dataclass(frozen=True, slots=True)
class SpanState:
    """Where one span stands. `validation_failures` is never reset within the span."""

    plan: RoutePlan
    tier: str
    host_index: int = 0
    attempts: int = 0
    validation_failures: int = 0
    wait: bool = False

    @property
    def route(self) -> str:
        """What the hosts that may be asked now are found under."""
        return route(self.tier, kept=self.plan.kept)

    def offer(self) -> Attempt | None:
        """Return the next attempt, or None when the span has used up its attempts."""
        if self.attempts >= self.plan.limit:
            return None
        return Attempt(
            self.attempts + 1, self.tier, self.host_index, self.wait, kept=self.plan.kept
        )

    def advance(self, failure_type: str) -> SpanState:
        """Return the state that follows a failed attempt of this kind."""
        failures = self.validation_failures + (failure_type == "validation")
        state = replace(self, attempts=self.attempts + 1, validation_failures=failures)
        return _following(state, failure_type)


def start(
    metrics: SpanMetrics,
    router: RouterSettings,
    *,
    backend: str,
    hosts: int,
    retries: int,
    among: Collection[str] | None = None,
) -> SpanState:
    """Put a span with these metrics at its start tier, with its bound on attempts.

    `among` are the only tiers that a span which must stay may get to, at least one.
    """
    if among is not None:
        fallback = _nearest(router.policy.fallback_tier, among)
        router = replace(router, policy=replace(router.policy, fallback_tier=fallback))
    tier = choose_tier(metrics, router)
    if among is not None:
        tier = _nearest(tier, among)
    plan = RoutePlan(
        start_tier=tier,
        line_count=metrics.line_count,
        limit=limit_attempts(router, backend=backend, hosts=hosts, retries=retries),
        hosts=max(1, hosts),
        backend=backend,
        router=router,
        kept=among is not None,
    )
    return SpanState(plan, tier)


def _nearest(tier: str, among: Collection[str]) -> str:
    """Return a tier if it is among these, else the best of them, those of local models first."""
    return next(found for found in (tier, *_BEST_FIRST, *sorted(among)) if found in among)


def _following(state: SpanState, failure_type: str) -> SpanState:
    plan, policy = state.plan, state.plan.router.policy
    may_promote = state.tier != policy.fallback_tier
    host_left = plan.uses_ollama(state.tier) and state.host_index + 1 < plan.hosts
    if failure_type in ("validation", "parse", "truncation"):
        promote = may_promote and (
            state.validation_failures >= policy.schema_failures_gte
            or (
                plan.router.enabled
                and (
                    plan.line_count >= policy.span_line_count_gte
                    or failure_type in ("parse", "truncation")
                )
            )
        )
        rotate = host_left and (not plan.router.enabled or not may_promote)
    else:
        promote = may_promote and plan.router.enabled
        rotate = host_left
    if promote:
        return replace(state, tier=policy.fallback_tier, wait=False)
    if rotate:
        return replace(state, tier=plan.start_tier, host_index=state.host_index + 1, wait=True)
    return replace(state, wait=True)


def route(tier: str, *, kept: bool) -> str:
    """Return what the choices of a tier are found under; spans that must stay have their own."""
    return f"{tier} kept here" if kept else tier


def choose_tier(metrics: SpanMetrics, router: RouterSettings) -> str:
    """Return the tier at which a span with these metrics starts."""
    return explain_tier(metrics, router)[0]


def explain_tier(metrics: SpanMetrics, router: RouterSettings) -> tuple[str, str]:
    """Return the tier at which a span with these metrics starts, and the rule that chose it."""
    tier, why = router.start_tier, "--start-tier says so"
    if router.enabled:
        if tier == "auto":
            tier, why = _measured_tier(metrics, router)
        most = router.policy.span_line_count_gte
        if metrics.line_count >= most:
            tier, why = router.policy.fallback_tier, f"it has {most} lines or more"
    elif tier == "auto":
        tier, why = router.policy.default_tier, "the router is off"
    if tier in TIERS:
        return tier, why
    return router.policy.default_tier, f"{tier!r} is no tier of ours"


def _measured_tier(metrics: SpanMetrics, router: RouterSettings) -> tuple[str, str]:
    if metrics.tokens_in + metrics.tokens_out > router.token_limit:
        return "nano", f"it takes more than {router.token_limit} tokens"
    if metrics.node_count > router.node_limit:
        return "nano", f"it has more than {router.node_limit} nodes"
    if metrics.schema_depth > router.depth_limit:
        return "nano", f"its brackets stand more than {router.depth_limit} deep"
    most = min(router.line_thresholds)
    if metrics.line_count > most:
        return "14b", f"it has more than {most} lines"
    if metrics.nesting_depth > router.nesting_limit:
        return "14b", f"it is nested more than {router.nesting_limit} deep"
    return "7b", "it is short and flat"


def limit_attempts(router: RouterSettings, *, backend: str, hosts: int, retries: int) -> int:
    """Return how many attempts a span may have; inner HTTP tries don't count."""
    base = max(1, min(retries, router.policy.max_retries_per_span))
    if backend not in ("auto", "ollama"):
        return base
    return max(base, max(1, hosts) * (2 if router.enabled else 1))


def name_tier(backend: str, model: str, router_tier: str) -> str:
    """Return the tier that a success is recorded under, read from the backend and model name.

    The sizes are looked for as substrings, in this order, so 18b counts as 14b and 34b as 7b.
    """
    if backend == "gateway":
        return "nano"
    if backend == "embedded":
        return router_tier
    name = model.lower()
    if "nano" in name:
        return "nano"
    if any(size in name for size in ("14b", "13b", "12b", "11b", "10b", "9b", "8b")):
        return "14b"
    if any(size in name for size in ("7b", "6.7b", "6b", "5b", "4b", "3b")):
        return "7b"
    return "ollama"
