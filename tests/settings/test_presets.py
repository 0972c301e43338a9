"""What the tiers send, and what the router goes by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from llmc.errors import ConfigError
from llmc.settings.documents import POLICY_FILE, PRESET_FILE
from llmc.settings.files import read_file
from llmc.settings.presets import (
    RouterPolicy,
    RouterSettings,
    TierPreset,
    choose_preset,
    count_cores,
    read_policy,
    read_presets,
)

SMALL_MODEL = "qwen2.5:7b-instruct-q4_K_M"
LARGE_MODEL = "qwen2.5:14b-instruct-q4_K_M"


def presets(repo: Path, text: str, num_gpu: str = "") -> dict[str, TierPreset]:
    path = repo / "presets/enrich_7b_ollama.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return read_presets(read_file(repo, PRESET_FILE), num_gpu)


def policy(repo: Path, text: str, retries: int = 5) -> RouterPolicy:
    path = repo / "router/policy.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return read_policy(read_file(repo, POLICY_FILE), retries)


# Presets


def test_without_a_file_the_small_preset_has_the_defaults(tmp_path: Path) -> None:
    assert read_presets(None)["7b"] == TierPreset(
        "7b",
        SMALL_MODEL,
        "15m",
        {"num_ctx": 3072, "num_batch": 48, "num_gpu": 64, "num_thread": count_cores()},
    )


def test_without_a_file_the_large_preset_is_derived_from_the_defaults(tmp_path: Path) -> None:
    assert read_presets(None)["14b"] == TierPreset(
        "14b",
        LARGE_MODEL,
        "15m",
        {"num_ctx": 3072, "num_batch": 24, "num_gpu": 64, "num_thread": count_cores()},
    )


@pytest.mark.parametrize("text", ["", "# only a comment\n", "{}\n", "---\n", "other: 1\n"])
def test_a_file_that_says_nothing_gives_the_defaults(tmp_path: Path, text: str) -> None:
    assert presets(tmp_path, text) == read_presets(None)


@pytest.mark.parametrize(
    ("text", "small", "large"),
    [
        pytest.param("model: a", "a", LARGE_MODEL, id="model alone"),
        pytest.param("fallback_model: b", SMALL_MODEL, "b", id="fallback alone"),
        pytest.param("model: a\nfallback_model: b", "a", "b", id="both"),
        pytest.param("model: null", None, LARGE_MODEL, id="null model"),
    ],
)
def test_the_models_come_from_the_file(
    tmp_path: Path, text: str, small: str | None, large: str
) -> None:
    found = presets(tmp_path, text)
    assert (found["7b"].model, found["14b"].model) == (small, large)


@pytest.mark.parametrize("key", ["model", "fallback_model"])
@pytest.mark.parametrize("value", ["[a]", "{a: 1}", "yes", "2024-01-01"])
def test_a_model_that_is_no_text_is_refused(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"enrich_7b_ollama.yaml: {key} is .*must be a text"):
        presets(tmp_path, f"{key}: {value}")


def test_a_model_that_is_called_by_a_number_needs_no_quotes(tmp_path: Path) -> None:
    assert presets(tmp_path, "model: 7")["7b"].model == "7"


@pytest.mark.parametrize("value", ["", "null", "~", '""'])
def test_an_empty_or_null_fallback_model_is_no_model_name(tmp_path: Path, value: str) -> None:
    assert not presets(tmp_path, f"fallback_model: {value}")["14b"].model


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("30m", "30m", id="text"),
        pytest.param("null", None, id="null is not sent"),
        pytest.param("0", 0, id="0 is sent"),
        pytest.param("-1", -1, id="-1 is sent"),
    ],
)
@pytest.mark.parametrize("tier", ["7b", "14b"])
def test_keep_alive_comes_from_the_file(
    tmp_path: Path, value: str, expected: str | int | None, tier: str
) -> None:
    found = presets(tmp_path, f"keep_alive: {value}")[tier].keep_alive
    assert found == expected
    assert type(found) is type(expected)


NUMBERS = {"num_ctx": 3072, "num_batch": 48, "num_gpu": 64, "num_thread": count_cores()}


@pytest.mark.parametrize("key", NUMBERS)
def test_a_whole_number_under_options_is_taken(tmp_path: Path, key: str) -> None:
    assert presets(tmp_path, f"options: {{{key}: 77}}")["7b"].options[key] == 77


@pytest.mark.parametrize("head", ["", "options: {}\n", "options: null\n", "options:\n"])
@pytest.mark.parametrize("key", NUMBERS)
def test_the_top_level_counts_when_options_is_absent_or_empty(
    tmp_path: Path, head: str, key: str
) -> None:
    assert presets(tmp_path, f"{head}{key}: 77")["7b"].options[key] == 77


@pytest.mark.parametrize("key", NUMBERS)
def test_the_top_level_does_not_count_beside_filled_options(tmp_path: Path, key: str) -> None:
    found = presets(tmp_path, f"{key}: 77\noptions: {{temperature: 0}}")
    assert found["7b"].options == NUMBERS


@pytest.mark.parametrize("value", ['"77"', "'77'", "77.0", "76.9", "none", "None", '""', "null"])
@pytest.mark.parametrize("key", NUMBERS)
def test_what_is_no_whole_number_gives_the_default(tmp_path: Path, key: str, value: str) -> None:
    assert presets(tmp_path, f"options: {{{key}: {value}}}")["7b"].options[key] == NUMBERS[key]


@pytest.mark.parametrize("head", ["", "options:\n  num_ctx: 3072\n  "])
def test_no_other_option_is_taken(tmp_path: Path, head: str) -> None:
    found = presets(tmp_path, f"{head}temperature: 0.2\n{head and '  '}seed: 7")
    assert set(found["7b"].options) == set(found["14b"].options) == set(NUMBERS)


@pytest.mark.parametrize(
    ("value", "environ", "expected"),
    [
        pytest.param("12", "20", 12, id="number"),
        pytest.param("0", "", 0, id="0"),
        pytest.param("auto", "20", 999, id="auto"),
        pytest.param("auto_full", "20", 999, id="auto_full"),
        pytest.param("auto_vram", "20", 20, id="auto_vram, digits in the environment"),
        pytest.param("auto_vram_80", "20", 20, id="auto_vram*, digits in the environment"),
        pytest.param("auto_vram", "", 999, id="auto_vram, nothing in the environment"),
        pytest.param("auto_vram", "many", 999, id="auto_vram, a word in the environment"),
        pytest.param("auto_vram", "-3", 999, id="auto_vram, a sign in the environment"),
        pytest.param("auto_vram", "2.5", 999, id="auto_vram, a float in the environment"),
        pytest.param("most", "20", 64, id="another word"),
        pytest.param('"12"', "20", 64, id="quoted number"),
    ],
)
def test_num_gpu_knows_words(tmp_path: Path, value: str, environ: str, expected: int) -> None:
    found = presets(tmp_path, f"options: {{num_gpu: {value}}}", environ)
    assert found["7b"].options["num_gpu"] == expected


@pytest.mark.parametrize(
    ("small", "large"), [(48, 24), (64, 32), (33, 16), (35, 17), (32, 16), (31, 16), (1, 16)]
)
def test_the_large_preset_halves_num_batch_down_to_16(
    tmp_path: Path, small: int, large: int
) -> None:
    found = presets(tmp_path, f"options: {{num_batch: {small}}}")
    assert found["7b"].options["num_batch"] == small
    assert found["14b"].options["num_batch"] == large


@pytest.mark.parametrize(("small", "large"), [(31, 32), (0, 32), (32, 32), (33, 33), (999, 999)])
def test_the_large_preset_has_num_gpu_at_least_32(tmp_path: Path, small: int, large: int) -> None:
    found = presets(tmp_path, f"options: {{num_gpu: {small}}}")
    assert found["7b"].options["num_gpu"] == small
    assert found["14b"].options["num_gpu"] == large


def test_the_large_preset_shares_context_and_threads(tmp_path: Path) -> None:
    large = presets(tmp_path, "options: {num_ctx: 8192, num_thread: 3}")["14b"]
    assert (large.options["num_ctx"], large.options["num_thread"]) == (8192, 3)


@pytest.mark.parametrize("tier", ["7b", "14b"])
@pytest.mark.parametrize("rest", ["", "options: {num_ctx: 8192}\n"])
def test_kv_type_at_top_level_becomes_an_option(tmp_path: Path, tier: str, rest: str) -> None:
    assert presets(tmp_path, f"kv_type: q8_0\n{rest}")[tier].options["kv_type"] == "q8_0"


@pytest.mark.parametrize(
    "text", ["", "kv_type: null", "options: {kv_type: q8_0, num_ctx: 4096}", "kv_type: ''"]
)
def test_without_a_top_level_kv_type_none_is_sent(tmp_path: Path, text: str) -> None:
    assert "kv_type" not in presets(tmp_path, text)["7b"].options


@pytest.mark.parametrize(
    ("tier", "preset"), [("7b", "7b"), ("14b", "14b"), ("nano", "7b"), ("other", "7b"), ("", "7b")]
)
def test_only_tier_14b_runs_on_the_14b_preset(tmp_path: Path, tier: str, preset: str) -> None:
    assert choose_preset(read_presets(None), tier).name == preset


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("model: [", id="broken flow"),
        pytest.param("a\n b: c: d", id="broken block"),
        pytest.param("- model\n", id="a list"),
        pytest.param("just words\n", id="a scalar"),
        pytest.param("options: 5\n", id="options is no mapping"),
        pytest.param("model: !!python/object/apply:os.getcwd []\n", id="a tag that would run code"),
        pytest.param("seen: 2024-13-45\n", id="an impossible date"),
    ],
)
def test_a_file_that_is_no_yaml_mapping_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        presets(tmp_path, text)
    assert str(tmp_path / "presets/enrich_7b_ollama.yaml") in str(caught.value)


def test_a_preset_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    presets(tmp_path, "")
    (tmp_path / "presets/enrich_7b_ollama.yaml").write_bytes(b"model: \xff\xfe")
    with pytest.raises(ConfigError):
        read_file(tmp_path, PRESET_FILE)


def test_physical_cores_are_at_most_the_logical_ones() -> None:
    assert 1 <= count_cores() <= (os.cpu_count() or 1)


# Policy


def test_without_a_file_the_policy_ignores_the_retries_flag(tmp_path: Path) -> None:
    assert read_policy(None, 7) == RouterPolicy("7b", "14b", 100, 2, 3, ())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{}", id="empty"),
        pytest.param('{"promote_if": {}}', id="empty promote_if"),
        pytest.param('{"promote_if": null}', id="null promote_if"),
        pytest.param('{"other": 1, "promote_if": {"more": 2}}', id="unknown keys"),
        pytest.param(
            '{"max_retries_per_span": 0, "promote_if":'
            ' {"span_line_count_gte": 0, "schema_failures_gte": 0}}',
            id="zeros",
        ),
        pytest.param(
            '{"max_retries_per_span": null, "promote_if":'
            ' {"span_line_count_gte": null, "schema_failures_gte": null}}',
            id="nulls",
        ),
    ],
)
def test_a_present_file_falls_back_to_the_defaults_and_the_retries_flag(
    tmp_path: Path, text: str
) -> None:
    assert policy(tmp_path, text, retries=7) == RouterPolicy("7b", "14b", 100, 2, 7, ())


@pytest.mark.parametrize("quote", ["", '"'], ids=["number", "numeric string"])
@pytest.mark.parametrize(
    ("text", "attribute"),
    [
        ('{"promote_if": {"span_line_count_gte": N}}', "span_line_count_gte"),
        ('{"promote_if": {"schema_failures_gte": N}}', "schema_failures_gte"),
        ('{"max_retries_per_span": N}', "max_retries_per_span"),
    ],
    ids=["span_line_count_gte", "schema_failures_gte", "max_retries_per_span"],
)
def test_the_numbers_of_the_policy_are_read(
    tmp_path: Path, text: str, attribute: str, quote: str
) -> None:
    found = policy(tmp_path, text.replace("N", f"{quote}42{quote}"))
    assert getattr(found, attribute) == 42


@pytest.mark.parametrize(
    "text",
    ['{"span_line_count_gte": 5, "schema_failures_gte": 6}', '{"promote_if": 0}'],
)
def test_the_thresholds_count_only_under_promote_if(tmp_path: Path, text: str) -> None:
    found = policy(tmp_path, text)
    assert (found.span_line_count_gte, found.schema_failures_gte) == (100, 2)


@pytest.mark.parametrize("key", ["default_tier", "fallback_tier"])
@pytest.mark.parametrize(
    ("value", "expected"), [("14B", "14b"), ("Nano", "nano"), ("HUGE", "huge")]
)
def test_tiers_are_lower_cased_and_not_checked(
    tmp_path: Path, key: str, value: str, expected: str
) -> None:
    assert getattr(policy(tmp_path, f'{{"{key}": "{value}"}}'), key) == expected


def test_log_fields_keep_their_order(tmp_path: Path) -> None:
    assert policy(tmp_path, '{"log_fields": ["zeta", "alpha"]}').log_fields == ("zeta", "alpha")


@pytest.mark.parametrize("text", ["", "{", "not json", '{"a": }', "[]", '"7b"', "5", "null"])
def test_a_policy_that_is_no_json_object_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(tmp_path, text)
    assert str(tmp_path / "router/policy.json") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ('{"max_retries_per_span": "few"}', "max_retries_per_span", "'few'"),
        ('{"max_retries_per_span": [3]}', "max_retries_per_span", "[3]"),
        ('{"max_retries_per_span": NaN}', "max_retries_per_span", "nan"),
        ('{"max_retries_per_span": Infinity}', "max_retries_per_span", "inf"),
        ('{"promote_if": {"schema_failures_gte": "x"}}', "schema_failures_gte", "'x'"),
        ('{"promote_if": {"span_line_count_gte": {"a": 1}}}', "span_line_count_gte", "{'a': 1}"),
        ('{"promote_if": [1]}', "promote_if", "[1]"),
    ],
)
def test_a_policy_value_that_cannot_be_read_is_named(
    tmp_path: Path, text: str, key: str, value: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(tmp_path, text)
    for part in (str(tmp_path / "router/policy.json"), key, value):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("enabled", True),
        ("start_tier", "auto"),
        ("token_limit", 28000),
        ("node_limit", 800),
        ("depth_limit", 6),
        ("nesting_limit", 3),
        ("line_thresholds", (60, 100)),
    ],
)
def test_the_router_has_its_documented_limits(attribute: str, value: Any) -> None:
    assert getattr(RouterSettings(), attribute) == value
