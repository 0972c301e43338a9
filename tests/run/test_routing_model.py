"""Routing against a second, naive reading of its contract: loops and dicts, nothing shared.

`expected_attempts`, `expected_start` and `expected_metrics` are written from the contract's text
alone and know nothing of `llmc.run.routing`. Hypothesis draws settings, spans and outcomes; every
attempt must agree in tier, host, wait and number, up to the end of the attempts.

`LLMC_LONG=1 pytest tests/run/test_routing_model.py` compares 100,000 outcome sequences instead of
a few thousand (some minutes).
"""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmc.models import SpanMetrics
from llmc.run.measures import count_driver_nesting, measure
from llmc.run.routing import start
from llmc.settings.presets import RouterPolicy, RouterSettings

LONG = os.environ.get("LLMC_LONG") == "1"
SEQUENCES = 100_000 if LONG else 2_500
TEXTS = 20_000 if LONG else 400
KINDS = ("runtime", "parse", "truncation", "validation")
MOST_ATTEMPTS = 9

Case = dict[str, Any]


# The model


def expected_start(case: Case) -> str:
    """Name the start tier of a span."""
    chosen = case["start_tier"]
    if case["router_on"]:
        if chosen == "auto":
            low, high = case["thresholds"]
            chosen = "7b"
            if case["nesting_depth"] > case["nesting_limit"]:
                chosen = "14b"
            if case["line_count"] > high or case["line_count"] > low:
                chosen = "14b"
            if case["node_count"] > case["node_limit"]:
                chosen = "nano"
            if case["schema_depth"] > case["depth_limit"]:
                chosen = "nano"
            if case["tokens_in"] + case["tokens_out"] > case["token_limit"]:
                chosen = "nano"
        if case["line_count"] >= case["span_line_count_gte"]:
            chosen = case["fallback_tier"]
    elif chosen == "auto":
        chosen = case["default_tier"]
    if chosen not in ("7b", "14b", "nano"):
        chosen = case["default_tier"]
    return str(chosen)


def expected_attempts(case: Case, outcomes: list[str]) -> list[dict[str, object]]:
    """List every attempt that may be made if the outcomes are these failures, in this order."""
    hosts = case["hosts"]
    if hosts == 0:
        hosts = 1

    base = case["retries"]
    if case["max_retries_per_span"] < base:
        base = case["max_retries_per_span"]
    if base < 1:
        base = 1
    allowed = base
    if case["backend"] in ("auto", "ollama"):
        wanted = hosts * 2 if case["router_on"] else hosts
        if wanted > allowed:
            allowed = wanted

    fallback = case["fallback_tier"]
    start_tier = expected_start(case)
    tier = start_tier
    host = 0
    wait = False
    validation_count = 0
    attempts: list[dict[str, object]] = []
    while len(attempts) < allowed:
        attempts.append(
            {"number": len(attempts) + 1, "tier": tier, "host_index": host, "wait": wait}
        )
        kind = outcomes[len(attempts) - 1]
        if case["backend"] == "auto":
            runs_on = "gateway" if tier == "nano" else "ollama"
        else:
            runs_on = case["backend"]
        another_host = runs_on == "ollama" and host < hosts - 1

        if kind == "runtime":
            if case["router_on"] and tier != fallback:
                step = "promote"
            elif another_host:
                step = "rotate"
            else:
                step = "repeat"
        else:
            if kind == "validation":
                validation_count += 1
            reasons = []
            if validation_count >= case["schema_failures_gte"]:
                reasons.append("count")
            if case["router_on"] and case["line_count"] >= case["span_line_count_gte"]:
                reasons.append("long")
            if case["router_on"] and kind in ("parse", "truncation"):
                reasons.append("unreadable")
            if tier != fallback and reasons:
                step = "promote"
            elif another_host and (not case["router_on"] or tier == fallback):
                step = "rotate"
            else:
                step = "repeat"

        if step == "promote":
            tier = fallback
            wait = False
        elif step == "rotate":
            host += 1
            tier = start_tier
            wait = True
        else:
            wait = True
    return attempts


def expected_metrics(text: str, prompt: str) -> dict[str, int]:
    """Measure an excerpt and its prompt."""
    stack: list[str] = []
    nesting = 0
    for char in text:
        if char in ("{", "[", "(", ")"):
            stack = [*stack, char]
        if char == "}":
            stack = _popped_through(stack, "{")
        if char == "]":
            stack = _popped_through(stack, "[")
        nesting = max(nesting, len(stack))

    if text == "":
        nodes, depth = 0, 0
    else:
        try:
            value = json.loads(text)
        except ValueError:
            nodes = len([char for char in text if char in "{["])
            depth = running = 0
            for char in text:
                if char in "{[":
                    running += 1
                if char in "}]" and running > 0:
                    running -= 1
                if running > depth:
                    depth = running
        else:
            nodes, depth = _nodes(value), _levels(value)

    quarter = -(-len(text) // 4)
    return {
        "nesting_depth": nesting,
        "node_count": nodes,
        "schema_depth": depth,
        "tokens_in": -(-len(prompt) // 4),
        "tokens_out": max(1200, 36 + quarter // 2),
    }


def _popped_through(stack: list[str], opener: str) -> list[str]:
    if opener not in stack:
        return []
    last = max(place for place, char in enumerate(stack) if char == opener)
    return stack[:last]


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list):
        return value
    return []


def _nodes(value: object) -> int:
    return 1 + sum(_nodes(child) for child in _inside(value))


def _levels(value: object) -> int:
    return 1 + max((_levels(child) for child in _inside(value)), default=0)


# What is drawn


def one_of(*values: object) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


CASES = st.fixed_dictionaries(
    {
        "router_on": one_of(True, False),
        "backend": one_of("auto", "ollama", "gateway", "embedded"),
        "hosts": one_of(1, 2, 3, 4, 0),
        "retries": one_of(3, 1, 2, 5, MOST_ATTEMPTS, 0, -1),
        "max_retries_per_span": one_of(3, 1, 2, 6, MOST_ATTEMPTS, 0, -1),
        "start_tier": one_of("auto", "auto", "7b", "14b", "nano", "32b", "AUTO", ""),
        "default_tier": one_of("7b", "14b", "nano", "32b"),
        "fallback_tier": one_of("14b", "14b", "7b", "nano", "32b"),
        "span_line_count_gte": one_of(100, 40, 1, -1),
        "schema_failures_gte": one_of(2, 1, 3, 4, 0),
        "thresholds": one_of((60, 100), (100, 60), (20, 50)),
        "token_limit": one_of(28_000, 2_000, 1),
        "node_limit": one_of(800, 10),
        "depth_limit": one_of(6, 0),
        "nesting_limit": one_of(3, 0),
        "line_count": one_of(1, 20, 21, 39, 40, 41, 60, 61, 99, 100, 101, 500),
        "nesting_depth": one_of(0, 3, 4),
        "node_count": one_of(0, 10, 11, 800, 801),
        "schema_depth": one_of(0, 1, 6, 7),
        "tokens_in": one_of(10, 26_800, 26_801),
        "tokens_out": one_of(1200, 1201),
    }
)
OUTCOMES = st.integers(0, len(KINDS) ** MOST_ATTEMPTS - 1)
"""A whole sequence as one number in base 4: quick to draw, and it shrinks towards runtime."""

FRAGMENTS = st.lists(st.sampled_from([*"{}[]()", '"', "x", " ", "\n", "1,", "f(x)", '{"a":']))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)
EXCERPTS = FRAGMENTS.map("".join) | JSON_VALUES.map(json.dumps) | st.text(max_size=30)


def sequence(number: int) -> list[str]:
    """Return the outcomes that a number stands for."""
    return [KINDS[number // len(KINDS) ** place % len(KINDS)] for place in range(MOST_ATTEMPTS)]


def routed_attempts(case: Case, outcomes: list[str]) -> list[dict[str, object]]:
    """List every attempt that the router offers if the outcomes are these failures."""
    policy = RouterPolicy(
        default_tier=case["default_tier"],
        fallback_tier=case["fallback_tier"],
        span_line_count_gte=case["span_line_count_gte"],
        schema_failures_gte=case["schema_failures_gte"],
        max_retries_per_span=case["max_retries_per_span"],
    )
    router = RouterSettings(
        policy=policy,
        enabled=case["router_on"],
        start_tier=case["start_tier"],
        token_limit=case["token_limit"],
        node_limit=case["node_limit"],
        depth_limit=case["depth_limit"],
        nesting_limit=case["nesting_limit"],
        line_thresholds=case["thresholds"],
    )
    names = ("line_count", "nesting_depth", "node_count", "schema_depth", "tokens_in", "tokens_out")
    metrics = SpanMetrics(**{name: case[name] for name in names})
    state = start(
        metrics, router, backend=case["backend"], hosts=case["hosts"], retries=case["retries"]
    )
    attempts: list[dict[str, object]] = []
    while (attempt := state.offer()) is not None:
        assert len(attempts) < MOST_ATTEMPTS, "the router goes on for ever"
        attempts.append(
            {
                "number": attempt.number,
                "tier": attempt.tier,
                "host_index": attempt.host_index,
                "wait": attempt.wait,
            }
        )
        state = state.after(outcomes[len(attempts) - 1])
    return attempts


thorough = settings(
    max_examples=SEQUENCES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@thorough
@given(case=CASES, number=OUTCOMES)
def test_every_attempt_is_the_one_the_contract_names(case: Case, number: int) -> None:
    outcomes = sequence(number)
    assert routed_attempts(case, outcomes) == expected_attempts(case, outcomes)


@settings(thorough, max_examples=TEXTS)
@given(text=EXCERPTS, prompt_chars=st.integers(0, 50))
@example(text="f(x) g(y)", prompt_chars=4)
@example(text="x" * 9_321, prompt_chars=5)
@example(text="{[(((]" * 9, prompt_chars=0)
def test_every_metric_is_the_one_the_contract_names(text: str, prompt_chars: int) -> None:
    metrics = measure(text, line_count=7, prompt_chars=prompt_chars, nesting=count_driver_nesting)
    expected = expected_metrics(text, "p" * prompt_chars)
    assert metrics == SpanMetrics(line_count=7, **expected)


# The model itself: a model that agrees with everything proves nothing.


def modelled(kinds: list[str], **changes: object) -> list[tuple[object, object]]:
    case: Case = {
        "router_on": True,
        "backend": "auto",
        "hosts": 2,
        "retries": 4,
        "max_retries_per_span": 4,
        "start_tier": "7b",
        "default_tier": "7b",
        "fallback_tier": "14b",
        "span_line_count_gte": 100,
        "schema_failures_gte": 2,
        "line_count": 10,
        **changes,
    }
    attempts = expected_attempts(case, kinds)
    return [(attempt["tier"], attempt["host_index"]) for attempt in attempts]


def test_the_model_tells_the_contracts_own_story_of_a_start_at_nano() -> None:
    story = [("nano", 0), ("14b", 0), ("nano", 1), ("14b", 1)]
    assert modelled(["runtime"] * 4, start_tier="nano") == story


def test_the_model_repeats_after_the_first_validation_failure() -> None:
    assert modelled(["validation"] * 4)[:3] == [("7b", 0), ("7b", 0), ("14b", 0)]
