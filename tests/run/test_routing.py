"""The router's contract, one sentence of it a table: metrics, start tier, attempts, what follows.

A whole span is written as a line of attempts, "7b@0 14b@0 +14b@1": tier, host, and a plus sign
where the retry pause comes first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmc.errors import ConfigError
from llmc.models import SpanMetrics
from llmc.run.measures import count_code_nesting, count_driver_nesting, measure
from llmc.run.routing import SpanState, choose_tier, limit_attempts, name_tier, start
from llmc.settings.documents import POLICY_FILE
from llmc.settings.files import read_file
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.presets import RouterPolicy, RouterSettings, read_policy

R, P, T, V = "runtime", "parse", "truncation", "validation"
BROKEN = (P, T)
OFF: Mapping[str, Any] = {"enabled": False}


def measured(text: str, prompt_chars: int = 0) -> SpanMetrics:
    return measure(text, line_count=1, prompt_chars=prompt_chars, nesting=count_driver_nesting)


def of(**changes: int) -> SpanMetrics:
    """Return the metrics of a small flat span, which starts at 7b, with these changes."""
    plain = {
        "line_count": 10,
        "nesting_depth": 0,
        "node_count": 0,
        "schema_depth": 0,
        "tokens_in": 500,
        "tokens_out": 1200,
    }
    return SpanMetrics(**{**plain, **changes})


def router(**changes: Any) -> RouterSettings:
    """Return settings; a key that belongs to the policy goes there."""
    in_policy = {key: changes.pop(key) for key in list(changes) if hasattr(RouterPolicy(), key)}
    return RouterSettings(policy=RouterPolicy(**in_policy), **changes)


def story(
    failures: list[str],
    *,
    backend: str = "auto",
    hosts: int = 2,
    retries: int = 9,
    metrics: SpanMetrics | None = None,
    **settings: Any,
) -> str:
    """Return the attempts of a span that meets these failures, and the one offered next."""
    settings = {"max_retries_per_span": 9, **settings}
    state = start(
        metrics or of(), router(**settings), backend=backend, hosts=hosts, retries=retries
    )
    told = [_word(state)]
    for failure in failures:
        state = state.after(failure)
        told.append(_word(state))
    return " ".join(told)


def _word(state: SpanState) -> str:
    attempt = state.offer()
    if attempt is None:
        return "end"
    return f"{'+' if attempt.wait else ''}{attempt.tier}@{attempt.host_index}"


# Metrics


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("", 0),
        ("x = 1", 0),
        ("{", 1),
        ("[(", 2),
        ("f(x)", 2),
        ("f(x) g(y)", 4),
        ("{}", 1),
        ("{}{}{}", 1),
        ("{[{[", 4),
        ("[{}][{}]", 2),
        ("{f(x)}{f(x)}", 3),
        ("([(]", 3),
        ("([(][(", 3),
        ("(((})", 3),
        ("((({}(", 4),
        ("}]}]{", 1),
        ("{[}{", 2),
    ],
)
def test_driver_nesting_is_the_largest_stack(text: str, depth: int) -> None:
    assert count_driver_nesting(text) == depth


def test_driver_nesting_pops_until_the_opener_of_a_closer_is_popped() -> None:
    assert count_driver_nesting("{[" + "(((" + "]" + "[[[") == 5
    assert count_driver_nesting("{[" + "(((" + "]" + "[[[[[") == 6


def test_driver_nesting_empties_the_stack_for_a_closer_without_opener() -> None:
    assert count_driver_nesting("((((" + "}" + "(((((") == 5


def test_driver_nesting_lets_a_round_bracket_pop_nothing() -> None:
    assert count_driver_nesting("()" * 50) == 100


@pytest.mark.parametrize(
    ("text", "nodes", "levels"),
    [
        ("", 0, 0),
        ("5", 1, 1),
        ("null", 1, 1),
        ('"{[{["', 1, 1),
        ("{}", 1, 1),
        ("[]", 1, 1),
        ('{"a": 1}', 2, 2),
        ('{"a": 1, "b": 2}', 3, 2),
        ("[[], [1]]", 4, 3),
        ('{"a": [1, {"b": null}], "c": "x"}', 6, 4),
        (' [true, "{"] \n', 3, 2),
    ],
)
def test_json_counts_its_nodes_and_levels(text: str, nodes: int, levels: int) -> None:
    metrics = measured(text)
    assert (metrics.node_count, metrics.schema_depth) == (nodes, levels)


@pytest.mark.parametrize(
    ("text", "nodes", "depth"),
    [
        ("def f(x): return x", 0, 0),
        ("   ", 0, 0),
        ("{", 1, 1),
        ("a[0] = b[1]", 2, 1),
        ("a[b[0]]", 2, 2),
        ("void f() { if (x) { g(); } }", 2, 2),
        ("}}}{ {", 2, 2),
        ("{[}]{ x", 3, 2),
        ("{]{]{", 3, 1),
        ("[1, 2,]", 1, 1),
    ],
)
def test_other_text_counts_opening_brackets_and_their_running_depth(
    text: str, nodes: int, depth: int
) -> None:
    metrics = measured(text)
    assert (metrics.node_count, metrics.schema_depth) == (nodes, depth)


def test_json_too_deep_to_read_counts_as_other_text() -> None:
    metrics = measured("[" * 200_000)
    assert (metrics.node_count, metrics.schema_depth) == (200_000, 200_000)


@pytest.mark.parametrize(("chars", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_tokens_in_is_a_quarter_of_the_prompt_rounded_up(chars: int, tokens: int) -> None:
    assert measured("x", prompt_chars=chars).tokens_in == tokens


@pytest.mark.parametrize(
    ("chars", "tokens"),
    [(0, 1200), (800, 1200), (9_312, 1200), (9_313, 1200), (9_317, 1201), (9_320, 1201)],
)
def test_tokens_out_is_an_eighth_of_the_excerpt_with_its_frame_and_at_least_1200(
    chars: int, tokens: int
) -> None:
    assert measured("x" * chars).tokens_out == tokens


def test_measure_takes_line_count_and_nesting_as_they_are_given() -> None:
    metrics = measure("x", line_count=77, prompt_chars=4, nesting=lambda text: 41 + len(text))
    assert (metrics.line_count, metrics.nesting_depth) == (77, 42)


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("", 0),
        ("x = 1", 0),
        ("x = 1\ny = f(g(h(1)))", 0),
        ("def f():\n    return 1", 1),
        ("def f():\n    a = 1\n    b = 2\n    return a + b", 1),
        ("def f():\n  if x:\n    while y:\n      z()", 3),
        ("def f():\n\tif x:\n\t\treturn 1", 2),
        ("def f():\n\tif x:\n        return 1", 2),
        ("def f():\n    if x:\n        y()\n    if z:\n        y()", 2),
        ("def f():\n    if x:\n\n        y()\n\n    return 1", 2),
        ("def method(self):\n        if x:\n            return 1", 2),
        ("f(\n    a,\n    b,\n)", 1),
        ("void f()\n{\n    if (x)\n    {\n        y();\n    }\n}", 2),
        ("{\n        }\n    x\n}", 1),
        ("    def method(self):\n        return 1", 1),
        ("x = f(1,\n    2\n        )", 1),
        ("a:\n\tb\n    c", 1),
        ("a:\n        b\n    c:\n        d", 2),
        ("function f() { if (x) { y() } }", 2),
        ("if (x) {\ny();\n}", 1),
        ("f(x) g(y)", 0),
    ],
)
def test_code_nesting_counts_levels_of_indentation_or_braces_on_a_single_line(
    text: str, depth: int
) -> None:
    assert count_code_nesting(text) == depth


# Policy and limits


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path


def policy_of(repo: Path, written: object, retries: int = 5) -> RouterPolicy:
    (repo / "router").mkdir()
    (repo / "router/policy.json").write_text(json.dumps(written), encoding="utf-8")
    return read_policy(read_file(repo, POLICY_FILE), retries)


def test_without_a_policy_file_the_standard_policy_holds(repo: Path) -> None:
    assert read_policy(read_file(repo, POLICY_FILE), 9) == RouterPolicy("7b", "14b", 100, 2, 3)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, ("7b", "14b", 100, 2, 5)),
        ({"default_tier": "NANO", "fallback_tier": "32B"}, ("nano", "32b", 100, 2, 5)),
        ({"promote_if": {"span_line_count_gte": 40}}, ("7b", "14b", 40, 2, 5)),
        ({"promote_if": {"schema_failures_gte": 1}}, ("7b", "14b", 100, 1, 5)),
        (
            {"promote_if": {"span_line_count_gte": 0, "schema_failures_gte": None}},
            ("7b", "14b", 100, 2, 5),
        ),
        (
            {"promote_if": {"span_line_count_gte": "40", "schema_failures_gte": "1"}},
            ("7b", "14b", 40, 1, 5),
        ),
        ({"max_retries_per_span": 2}, ("7b", "14b", 100, 2, 2)),
        ({"max_retries_per_span": "4"}, ("7b", "14b", 100, 2, 4)),
        ({"max_retries_per_span": 0}, ("7b", "14b", 100, 2, 5)),
        ({"max_retries_per_span": None}, ("7b", "14b", 100, 2, 5)),
    ],
)
def test_a_policy_file_fills_what_it_leaves_out(
    repo: Path, written: object, expected: tuple[str, str, int, int, int]
) -> None:
    assert policy_of(repo, written) == RouterPolicy(*expected)


def test_a_policy_file_that_is_not_json_is_a_config_error(repo: Path) -> None:
    (repo / "router").mkdir()
    (repo / "router/policy.json").write_text("{default_tier: 7b", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"policy\.json"):
        read_policy(read_file(repo, POLICY_FILE), 3)


@pytest.mark.parametrize(
    ("environ", "headroom", "limit"),
    [
        ({}, None, 28000),
        ({}, 10_000, 22_000),
        ({}, 0, 28_000),
        ({}, 40_000, 1),
        ({"ROUTER_PRE_FLIGHT_LIMIT": "5000"}, None, 5000),
        ({"ROUTER_CONTEXT_LIMIT": "8000"}, None, 4000),
        ({"ROUTER_MAX_TOKENS_HEADROOM": "31000"}, 10_000, 1000),
        ({"ROUTER_MAX_TOKENS_HEADROOM": "many"}, 10_000, 22_000),
        ({"ROUTER_PRE_FLIGHT_LIMIT": "x", "ROUTER_CONTEXT_LIMIT": "1e4"}, None, 28_000),
    ],
)
def test_the_token_limit_is_the_smaller_of_pre_flight_and_context_less_headroom(
    repo: Path, environ: Mapping[str, str], headroom: int | None, limit: int
) -> None:
    settings = load_settings(repo, Flags(headroom=headroom), environ)
    assert settings.router.token_limit == limit


@pytest.mark.parametrize("name", ["node", "depth", "nesting"])
@pytest.mark.parametrize(("text", "taken"), [("7", True), ("seven", False), ("", False)])
def test_a_limit_from_the_environment_counts_if_it_is_an_integer(
    repo: Path, name: str, text: str, taken: bool
) -> None:
    settings = load_settings(repo, None, {f"ROUTER_{name.upper()}_LIMIT": text})
    default = {"node": 800, "depth": 6, "nesting": 3}[name]
    assert getattr(settings.router, f"{name}_limit") == (7 if taken else default)


@pytest.mark.parametrize(
    ("text", "low"),
    [
        ("20,50", 20),
        ("50,20", 20),
        (" 20 , 50 ", 20),
        ("20", 60),
        ("20,50,70", 60),
        ("20,x", 60),
        ("0,50", 60),
        ("20,-1", 60),
        ("", 60),
    ],
)
def test_line_thresholds_are_two_positive_integers_or_the_default(
    repo: Path, text: str, low: int
) -> None:
    settings = load_settings(repo, None, {"ROUTER_LINE_THRESHOLDS": text}).router
    assert choose_tier(of(line_count=low), settings) == "7b"
    assert choose_tier(of(line_count=low + 1), settings) == "14b"


@pytest.mark.parametrize(
    ("text", "enabled"),
    [("off", False), ("OFF", False), ("on", True), ("0", True), ("false", True), ("no", True)],
)
def test_the_router_is_off_only_for_off(repo: Path, text: str, enabled: bool) -> None:
    assert load_settings(repo, None, {"ROUTER_ENABLED": text}).router.enabled is enabled
    assert load_settings(repo, Flags(router=text), {}).router.enabled is enabled


def test_an_empty_router_switch_leaves_it_on(repo: Path) -> None:
    assert load_settings(repo, None, {"ROUTER_ENABLED": ""}).router.enabled


# Start tier


@pytest.mark.parametrize(
    ("metrics", "tier"),
    [
        ({}, "7b"),
        ({"tokens_in": 26_800}, "7b"),
        ({"tokens_in": 26_801}, "nano"),
        ({"tokens_in": 1200, "tokens_out": 26_801}, "nano"),
        ({"node_count": 800}, "7b"),
        ({"node_count": 801}, "nano"),
        ({"schema_depth": 6}, "7b"),
        ({"schema_depth": 7}, "nano"),
        ({"line_count": 60}, "7b"),
        ({"line_count": 61}, "14b"),
        ({"nesting_depth": 3}, "7b"),
        ({"nesting_depth": 4}, "14b"),
        ({"tokens_in": 26_801, "nesting_depth": 4}, "nano"),
        ({"node_count": 801, "line_count": 61}, "nano"),
        ({"node_count": 801, "line_count": 99}, "nano"),
        ({"node_count": 801, "line_count": 100}, "14b"),
        ({"line_count": 100}, "14b"),
    ],
)
def test_the_router_starts_a_span_by_its_size_and_shape(metrics: dict[str, int], tier: str) -> None:
    assert choose_tier(of(**metrics), router()) == tier


@pytest.mark.parametrize("forced", ["7b", "14b", "nano"])
def test_a_forced_tier_beats_the_metrics(forced: str) -> None:
    huge = of(tokens_in=99_999, node_count=9999, nesting_depth=99, line_count=99)
    assert choose_tier(huge, router(start_tier=forced)) == forced


@pytest.mark.parametrize("forced", ["auto", "7b", "14b", "nano", "32b"])
def test_a_long_span_starts_at_the_fallback_tier_even_if_another_is_forced(forced: str) -> None:
    settings = router(start_tier=forced, fallback_tier="nano")
    assert choose_tier(of(line_count=100), settings) == "nano"


def test_a_long_span_is_one_of_at_least_span_line_count_gte_lines() -> None:
    settings = router(span_line_count_gte=30, fallback_tier="nano")
    assert choose_tier(of(line_count=29), settings) == "7b"
    assert choose_tier(of(line_count=30), settings) == "nano"


def test_with_the_router_on_the_default_tier_plays_no_part() -> None:
    assert choose_tier(of(), router(default_tier="nano")) == "7b"


@pytest.mark.parametrize("default", ["7b", "14b", "nano", "32b"])
def test_with_the_router_off_a_span_starts_at_the_default_tier(default: str) -> None:
    huge = of(tokens_in=99_999, line_count=500, nesting_depth=99)
    assert choose_tier(huge, router(enabled=False, default_tier=default)) == default


@pytest.mark.parametrize("forced", ["7b", "14b", "nano"])
def test_with_the_router_off_a_forced_tier_holds_for_long_spans_too(forced: str) -> None:
    settings = router(enabled=False, start_tier=forced, default_tier="32b")
    assert choose_tier(of(line_count=500), settings) == forced


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("forced", ["32b", "", "AUTO", "7B"])
def test_a_start_tier_that_is_none_becomes_the_default_tier_unchecked(
    forced: str, enabled: bool
) -> None:
    settings = router(enabled=enabled, start_tier=forced, default_tier="70b")
    assert choose_tier(of(), settings) == "70b"


def test_an_odd_fallback_tier_for_a_long_span_becomes_the_default_tier() -> None:
    settings = router(fallback_tier="32b", default_tier="nano")
    assert choose_tier(of(line_count=100), settings) == "nano"


# Number of attempts


@pytest.mark.parametrize(
    ("retries", "per_span", "limit"),
    [(3, 3, 3), (2, 3, 2), (3, 2, 2), (1, 1, 1), (0, 3, 1), (3, -4, 1), (-1, -1, 1)],
)
def test_the_base_is_the_smaller_of_both_bounds_and_at_least_one(
    retries: int, per_span: int, limit: int
) -> None:
    settings = router(max_retries_per_span=per_span)
    assert limit_attempts(settings, backend="gateway", hosts=4, retries=retries) == limit


@pytest.mark.parametrize(
    ("backend", "enabled", "hosts", "limit"),
    [
        ("auto", True, 1, 3),
        ("auto", True, 2, 4),
        ("auto", True, 4, 8),
        ("auto", True, 0, 3),
        ("auto", False, 2, 3),
        ("auto", False, 4, 4),
        ("ollama", True, 4, 8),
        ("ollama", False, 4, 4),
        ("gateway", True, 4, 3),
        ("gateway", False, 4, 3),
        ("embedded", True, 4, 3),
    ],
)
def test_hosts_raise_the_number_of_attempts(
    backend: str, enabled: bool, hosts: int, limit: int
) -> None:
    settings = router(enabled=enabled)
    assert limit_attempts(settings, backend=backend, hosts=hosts, retries=3) == limit


@pytest.mark.parametrize(("enabled", "limit"), [(True, 2), (False, 1)])
def test_with_no_host_at_all_the_host_count_is_one(enabled: bool, limit: int) -> None:
    assert limit_attempts(router(enabled=enabled), backend="auto", hosts=0, retries=1) == limit


def test_a_span_is_offered_exactly_that_many_attempts_numbered_from_one() -> None:
    state = start(of(), router(), backend="gateway", hosts=1, retries=3)
    numbers = []
    while (attempt := state.offer()) is not None:
        numbers.append(attempt.number)
        state = state.after(R)
    assert numbers == [1, 2, 3]


def test_offering_an_attempt_does_not_use_it_up() -> None:
    state = start(of(), router(), backend="auto", hosts=1, retries=3)
    assert state.offer() == state.offer()


# What follows a failed attempt


@pytest.mark.parametrize("enabled", [True, False])
def test_the_first_attempt_is_at_the_first_host_without_a_wait(enabled: bool) -> None:
    assert story([], enabled=enabled) == "7b@0"


def test_runtime_promotes_then_rotates_back_to_the_start_tier() -> None:
    assert story([R] * 4, hosts=3) == "7b@0 14b@0 +7b@1 14b@1 +7b@2"


def test_runtime_on_the_last_host_stays_there_until_attempts_run_out() -> None:
    told = story([R] * 6, hosts=2, retries=6)
    assert told == "7b@0 14b@0 +7b@1 14b@1 +14b@1 +14b@1 end"


def test_runtime_at_the_fallback_tier_rotates_at_once() -> None:
    assert story([R, R], start_tier="14b") == "14b@0 +14b@1 +14b@1"


def test_runtime_with_the_router_off_rotates_and_never_promotes() -> None:
    assert story([R] * 3, hosts=3, **OFF) == "7b@0 +7b@1 +7b@2 +7b@2"


def test_runtime_on_the_gateway_promotes_and_never_moves_the_host() -> None:
    assert story([R] * 3, backend="gateway", hosts=3) == "7b@0 14b@0 +14b@0 +14b@0"


def test_runtime_on_the_embedded_backend_never_moves_the_host() -> None:
    assert story([R] * 2, backend="embedded", hosts=3) == "7b@0 14b@0 +14b@0"


@pytest.mark.parametrize("kind", BROKEN)
def test_an_unreadable_reply_promotes_with_the_router_on(kind: str) -> None:
    assert story([kind] * 3) == "7b@0 14b@0 +7b@1 14b@1"


@pytest.mark.parametrize("kind", [*BROKEN, V])
def test_a_refused_reply_with_the_router_off_rotates(kind: str) -> None:
    assert story([kind], hosts=3, **OFF) == "7b@0 +7b@1"


@pytest.mark.parametrize("kind", BROKEN)
def test_an_unreadable_reply_with_the_router_off_never_promotes(kind: str) -> None:
    assert story([kind] * 3, hosts=2, **OFF) == "7b@0 +7b@1 +7b@1 +7b@1"


def test_the_first_validation_failure_repeats_tier_and_host_with_the_router_on() -> None:
    assert story([V]) == "7b@0 +7b@0"


def test_validation_failures_promote_once_there_are_enough() -> None:
    assert story([V, V]) == "7b@0 +7b@0 14b@0"
    assert story([V] * 3, schema_failures_gte=3) == "7b@0 +7b@0 +7b@0 14b@0"


def test_the_count_of_validation_failures_is_never_reset() -> None:
    told = story([V, V, V, V, V], hosts=3, retries=9)
    assert told == "7b@0 +7b@0 14b@0 +7b@1 14b@1 +7b@2"


def test_runtime_failures_between_do_not_reset_the_count() -> None:
    assert story([V, R, R, V], hosts=2) == "7b@0 +7b@0 14b@0 +7b@1 14b@1"


@pytest.mark.parametrize("kind", BROKEN)
def test_only_validation_failures_are_counted(kind: str) -> None:
    told = story([kind] * 3, backend="gateway", **OFF)
    assert told == "7b@0 +7b@0 +7b@0 +7b@0"


def test_enough_validation_failures_promote_with_the_router_off_too() -> None:
    assert story([V, V], hosts=1, **OFF) == "7b@0 +7b@0 14b@0"
    assert story([V, V], hosts=3, **OFF) == "7b@0 +7b@1 14b@1"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_count_already_reached_promotes_on_any_refused_reply(kind: str) -> None:
    told = story([V, V, V, kind], hosts=3, **OFF)
    assert told == "7b@0 +7b@1 14b@1 +7b@2 14b@2"


def test_a_count_already_reached_does_not_promote_on_runtime_with_the_router_off() -> None:
    assert story([V, V, V, R], hosts=3, **OFF) == "7b@0 +7b@1 14b@1 +7b@2 +7b@2"


@pytest.mark.parametrize(("enabled", "told"), [(True, "7b@0 32b@0"), (False, "7b@0 +7b@0")])
def test_a_long_span_promotes_on_its_first_validation_failure_if_the_router_is_on(
    enabled: bool, told: str
) -> None:
    # It starts below the fallback tier only if that is an odd one.
    odd: dict[str, Any] = {"fallback_tier": "32b", "default_tier": "7b", "enabled": enabled}
    assert story([V], hosts=1, metrics=of(line_count=100), **odd) == told


def test_a_refused_reply_at_the_fallback_tier_rotates_to_the_start_tier() -> None:
    assert story([P, V], hosts=2) == "7b@0 14b@0 +7b@1"


def test_a_validation_failure_below_the_fallback_tier_does_not_rotate_with_the_router_on() -> None:
    assert story([V], hosts=4) == "7b@0 +7b@0"


@pytest.mark.parametrize("kind", [*BROKEN, V])
def test_the_gateway_never_moves_the_host(kind: str) -> None:
    assert story([kind] * 6, backend="gateway", hosts=3).endswith("+14b@0 +14b@0 +14b@0")


def test_a_start_at_nano_under_auto_reaches_each_host_only_at_14b() -> None:
    told = story([R] * 3, metrics=of(node_count=801))
    assert told == "nano@0 14b@0 +nano@1 14b@1"


def test_nano_under_auto_never_rotates_with_the_router_off() -> None:
    told = story([R, P, T], start_tier="nano", schema_failures_gte=9, **OFF)
    assert told == "nano@0 +nano@0 +nano@0 +nano@0"


def test_nano_on_ollama_is_a_tier_of_the_host_chain_like_any_other() -> None:
    told = story([R, P], backend="ollama", start_tier="nano", **OFF)
    assert told == "nano@0 +nano@1 +nano@1"


def test_a_fallback_tier_of_nano_under_auto_does_not_rotate() -> None:
    assert story([R] * 3, fallback_tier="nano") == "7b@0 nano@0 +nano@0 +nano@0"
    assert story([P] * 3, fallback_tier="nano") == "7b@0 nano@0 +nano@0 +nano@0"


def test_a_fallback_tier_of_nano_on_ollama_rotates() -> None:
    assert story([R] * 2, backend="ollama", fallback_tier="nano") == "7b@0 nano@0 +7b@1"


def test_an_odd_fallback_tier_is_promoted_to_as_it_stands() -> None:
    assert story([R] * 2, fallback_tier="32b") == "7b@0 32b@0 +7b@1"


def test_a_promotion_after_a_rotation_keeps_the_host() -> None:
    assert story([R, R, P, V], hosts=3) == "7b@0 14b@0 +7b@1 14b@1 +7b@2"


# Effective tier


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("qwen2.5:7b-instruct-q4_K_M", "7b"),
        ("qwen2.5:14b-instruct-q4_K_M", "14b"),
        ("QWEN2.5:14B", "14b"),
        ("llama2:13b", "14b"),
        ("gemma3:12b", "14b"),
        ("solar:11b", "14b"),
        ("falcon3:10b", "14b"),
        ("gemma2:9b", "14b"),
        ("llama3.1:8b", "14b"),
        ("deepseek-coder:6.7b", "7b"),
        ("yi:6b", "7b"),
        ("x:5b", "7b"),
        ("qwen3:4b", "7b"),
        ("phi:3b", "7b"),
        ("mistral-nano-14b", "nano"),
        ("GPT-Nano", "nano"),
        ("x:18b", "14b"),
        ("x:34b", "7b"),
        ("qwen2.5-coder:1.5b", "7b"),
        ("moe-7b-14b", "14b"),
        ("llama3:70b", "ollama"),
        ("qwen2.5:32b", "ollama"),
        ("smollm2:2b", "ollama"),
        ("mystery", "ollama"),
        ("", "ollama"),
    ],
)
def test_a_local_success_counts_under_the_size_in_the_model_name(model: str, tier: str) -> None:
    assert name_tier("ollama", model, "nano") == tier


@pytest.mark.parametrize("model", ["gemini", "qwen2.5:7b", "gpt-4.1-14b"])
def test_a_gateway_success_counts_as_nano(model: str) -> None:
    assert name_tier("gateway", model, "7b") == "nano"


@pytest.mark.parametrize("tier", ["7b", "14b", "nano"])
def test_an_embedded_success_counts_under_the_tier_the_router_chose(tier: str) -> None:
    assert name_tier("embedded", "smollm2-nano-14b", tier) == tier
