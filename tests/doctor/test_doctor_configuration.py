"""The doctor tells each setting with its value and where that came from."""

import json
import re
from pathlib import Path

import pytest

from llmc.doctor.configuration import KNOWN, examine_configuration
from llmc.doctor.targets import list_asked, list_tiers
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.testing.gateway import write_gateway

PACKAGE = Path(__file__).resolve().parents[2] / "llmc"


def told(repo, environ, **flags):
    """Return what is told of each setting, by its name."""
    settings = load_settings(repo, Flags(**flags), environ)
    found = examine_configuration(settings, Flags(**flags), list_asked(settings))
    return {finding.name: finding.detail for finding in found if finding.state == "info"}


def warnings(repo, environ):
    settings = load_settings(repo, Flags(), environ)
    found = examine_configuration(settings, Flags(), list_asked(settings))
    return [(f.detail, f.advice) for f in found if f.state == "warn"]


def test_without_any_setting_all_are_defaults(repo, clean_environ):
    del clean_environ["OLLAMA_URL"]
    details = told(repo, clean_environ)
    assert set(details) >= {"backend", "Ollama hosts", "model 7b", "num_ctx", "router", "index"}
    assert [detail for detail in details.values() if not detail.endswith("(default)")] == []


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("ENRICH_OLLAMA_HOSTS", "a=h:1,h2:2", "Ollama hosts", "a http://h:1, host2 http://h2:2"),
        ("ATHENA_OLLAMA_URL", "h:1", "Ollama hosts", "athena http://h:1, localhost"),
        ("OLLAMA_URL", "h:1", "Ollama hosts", "localhost http://h:1"),
        ("ENRICH_HEALTHCHECK_ENABLED", "no", "health check", "off"),
        ("ENRICH_HEALTHCHECK_TIMEOUT_SECONDS", "2.5", "health check", "on, 2.5 s"),
        ("ROUTER_ENABLED", "off", "router", "off"),
        ("ROUTER_DEFAULT_TIER", "14b", "start tier", "14b"),
        ("ROUTER_PRE_FLIGHT_LIMIT", "900", "token limit", "900"),
        ("ROUTER_CONTEXT_LIMIT", "9000", "token limit", "5000"),
        ("ROUTER_MAX_TOKENS_HEADROOM", "30000", "token limit", "2000"),
        ("ROUTER_NODE_LIMIT", "7", "node limit", "7"),
        ("ROUTER_DEPTH_LIMIT", "7", "depth limit", "7"),
        ("ROUTER_NESTING_LIMIT", "7", "nesting limit", "7"),
        ("ROUTER_LINE_THRESHOLDS", "9,5", "line limits", "5, 9"),
        ("ENRICH_CONCURRENCY", "4", "concurrency", "4"),
        ("ENRICH_COOLDOWN_SECONDS", "60", "cooldown", "60 s"),
        ("LLMC_RAG_EXCLUDE", "old/", "excluded", "old/"),
        ("LLMC_RAG_INDEX_PATH", "x/y.db", "index", "/x/y.db"),
        ("EMBEDDING_INDEX_PATH", "x/z.db", "index", "/x/z.db"),
        ("EMBEDDING_INDEX_NAME", "n.db", "index", "/.rag/n.db"),
    ],
)
def test_a_variable_is_told_with_its_name(repo, clean_environ, variable, value, name, expected):
    clean_environ[variable] = value
    detail = told(repo, clean_environ)[name]
    assert expected in detail
    assert f"${variable}" in detail.rpartition("(")[2]


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("model: mine:7b", "model 7b", "mine:7b (presets/enrich_7b_ollama.yaml model)"),
        ("fallback_model: big", "model 14b", "big (presets/enrich_7b_ollama.yaml fallback_model)"),
        ("options: {num_ctx: 999}", "num_ctx", "999 (presets/enrich_7b_ollama.yaml num_ctx)"),
        ("num_gpu: auto", "num_gpu", "all layers (presets/enrich_7b_ollama.yaml num_gpu)"),
        ("num_thread: 2", "num_ctx", "3072 (default)"),
        ("{num_ctx: 9, options: {num_thread: 2}}", "num_ctx", "3072 (default)"),
    ],
)
def test_a_word_of_the_preset_file_is_told(repo, clean_environ, line, name, expected):
    (repo / "presets").mkdir()
    (repo / "presets/enrich_7b_ollama.yaml").write_text(line)
    assert told(repo, clean_environ)[name] == expected


def test_the_model_that_a_null_preset_leaves_to_the_environment(repo, clean_environ):
    (repo / "presets").mkdir()
    (repo / "presets/enrich_7b_ollama.yaml").write_text("model: null")
    clean_environ["OLLAMA_MODEL"] = "m"
    assert told(repo, clean_environ)["model 7b"] == "m ($OLLAMA_MODEL)"


def test_the_layers_that_the_environment_names(repo, clean_environ):
    (repo / "presets").mkdir()
    (repo / "presets/enrich_7b_ollama.yaml").write_text("num_gpu: auto_vram")
    clean_environ["ENRICH_NUM_GPU"] = "12"
    expected = "12 (presets/enrich_7b_ollama.yaml num_gpu, $ENRICH_NUM_GPU)"
    assert told(repo, clean_environ)["num_gpu"] == expected


def test_the_router_policy_file_is_told(repo, clean_environ):
    (repo / "router").mkdir()
    (repo / "router/policy.json").write_text('{"max_retries_per_span": 9}')
    detail = told(repo, clean_environ)["policy"]
    assert detail.startswith("9 attempts")
    assert detail.endswith("(router/policy.json)")


TOML = """
[enrichment]
concurrency = 3
cooldown_seconds = 0
default_chain = "home"
[[enrichment.chain]]
name = "here"
chain = "home"
model = "m"
[[enrichment.chain]]
name = "there"
chain = "work"
model = "n"
"""


def test_the_keys_of_llmc_toml_are_told(repo, clean_environ):
    (repo / "llmc.toml").write_text(TOML)
    details = told(repo, clean_environ)
    assert details["concurrency"] == "3 (llmc.toml enrichment.concurrency)"
    assert details["cooldown"] == "0 s (llmc.toml enrichment.cooldown_seconds)"
    expected = "home: here (llmc.toml enrichment.chain, llmc.toml enrichment.default_chain)"
    assert details["chain"] == expected


def test_flags_are_told(repo, clean_environ):
    (repo / "llmc.toml").write_text(TOML)
    details = told(repo, clean_environ, chain="work", backend="auto")
    assert details["chain"] == "work: there (llmc.toml enrichment.chain, --chain)"
    assert details["backend"] == "auto (--backend)"


def test_a_chain_of_the_environment_is_told(repo, clean_environ):
    clean_environ["ENRICH_CHAIN_JSON"] = json.dumps([{"name": "x"}])
    assert told(repo, clean_environ)["chain"] == "default: x ($ENRICH_CHAIN_JSON)"


def test_keys_are_told_only_as_set_or_not(repo, clean_environ):
    entries = [{"name": "x", "provider": "openai", "url": "http://h", "api_key_env": "MY_KEY"}]
    clean_environ |= {"ENRICH_CHAIN_JSON": json.dumps(entries), "GEMINI_API_KEY": "AIza"}
    details = told(repo, clean_environ)
    assert details["MY_KEY"] == "not set (environment)"
    assert details["GEMINI_API_KEY"] == "set (environment; not used by a run)"


@pytest.mark.parametrize(
    ("variables", "address", "origin", "model"),
    [
        ({"OPENAI_BASE_URL": "https://h/v1", "OPENAI_MODEL": "m"}, "https://h", "OPENAI_BASE_URL",
         "m ($OPENAI_MODEL)"),
        ({"OPENAI_API_KEY": "k", "GEMINI_MODEL": "g"}, "https://api.openai.com", "OPENAI_API_KEY",
         "g ($GEMINI_MODEL)"),
        ({"GEMINI_API_KEY": "k", "OPENAI_MODEL": "m"},
         "https://generativelanguage.googleapis.com", "GEMINI_API_KEY",
         "gemini-2.5-flash-lite (default)"),
        ({"AZURE_OPENAI_ENDPOINT": "https://a", "AZURE_OPENAI_KEY": "k",
          "AZURE_OPENAI_DEPLOYMENT": "d"}, "https://a", "AZURE_OPENAI_ENDPOINT",
         "d ($AZURE_OPENAI_DEPLOYMENT)"),
    ],
)  # fmt: skip
def test_the_environments_gateway_is_told(repo, clean_environ, variables, address, origin, model):
    details = told(repo, clean_environ | variables, backend="gateway")
    assert details["gateway"] == f"{address} (${origin})"
    assert details["gateway model"] == model


def test_a_gateway_program_is_told(repo, clean_environ, tmp_path):
    program = write_gateway(tmp_path / "gateway", [])
    details = told(repo, clean_environ, gateway_path=str(program))
    assert details["gateway"] == f"program {program} (--gateway-path)"


def test_a_misspelt_variable_is_a_warning_with_the_right_name(repo, clean_environ):
    clean_environ["ENRICH_OLLAMA_HOST"] = "h"
    [(detail, advice)] = warnings(repo, clean_environ)
    assert detail.startswith("ENRICH_OLLAMA_HOST ")
    assert advice == "did you mean ENRICH_OLLAMA_HOSTS?"


def test_a_limit_that_is_no_number_is_a_warning(repo, clean_environ):
    clean_environ["ROUTER_NODE_LIMIT"] = "many"
    assert warnings(repo, clean_environ)[0][0].startswith("ROUTER_NODE_LIMIT is not a number")


IGNORED = {
    "no number": ("ROUTER_NODE_LIMIT", "many", "node limit", None),
    "no whole number": ("ROUTER_NODE_LIMIT", "7.5", "node limit", None),
    "no pair of numbers": ("ROUTER_LINE_THRESHOLDS", "60", "line limits", None),
    "a time that is none": (
        "ENRICH_HEALTHCHECK_TIMEOUT_SECONDS",
        "soon",
        "health check",
        "on, 5 s",
    ),
    "no time at all": ("ENRICH_HEALTHCHECK_TIMEOUT_SECONDS", "0", "health check", "on, 5 s"),
    "no switch": ("ROUTER_ENABLED", "false", "router", "on"),
    "no tier": ("ROUTER_DEFAULT_TIER", "huge", "start tier", "7b"),
}


@pytest.mark.parametrize("name", IGNORED)
def test_a_variable_that_is_ignored_gets_no_credit_but_a_warning(repo, clean_environ, name):
    variable, value, row, expected = IGNORED[name]
    clean_environ[variable] = value
    detail = told(repo, clean_environ).get(row)
    assert detail == (expected and f"{expected} (default)")
    [(warning, advice)] = warnings(repo, clean_environ)
    assert variable in warning + advice


def test_a_limit_that_another_one_undercuts_gets_no_credit(repo, clean_environ):
    clean_environ |= {"ROUTER_CONTEXT_LIMIT": "64000", "ROUTER_PRE_FLIGHT_LIMIT": "900"}
    assert told(repo, clean_environ)["token limit"] == "900 ($ROUTER_PRE_FLIGHT_LIMIT)"


def test_an_empty_switch_that_turns_the_health_check_off_is_told(repo, clean_environ):
    clean_environ["ENRICH_HEALTHCHECK_ENABLED"] = ""
    assert told(repo, clean_environ)["health check"] == "off ($ENRICH_HEALTHCHECK_ENABLED)"


def test_an_address_that_is_empty_gets_no_credit(repo, clean_environ):
    clean_environ |= {"ATHENA_OLLAMA_URL": "", "OLLAMA_URL": "h:1"}
    assert told(repo, clean_environ)["Ollama hosts"] == "localhost http://h:1 ($OLLAMA_URL)"


def test_the_key_of_a_chain_that_is_not_used_is_not_told_as_used(repo, clean_environ):
    entries = [{"name": "x", "provider": "openai", "url": "http://h", "api_key_env": "MY_KEY"}]
    clean_environ |= {"ENRICH_CHAIN_JSON": json.dumps(entries), "MY_KEY": "k"}
    assert "MY_KEY" not in told(repo, clean_environ, backend="ollama")


def test_every_variable_of_the_package_is_known():
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "doctor"
    )
    used = set(re.findall(r'"((?:ENRICH|ROUTER)_[A-Z_]+)"', text))
    assert len(used) > 10
    assert used == KNOWN


# -- what a run would ask ------------------------------------------------------------------------


def test_each_host_and_model_is_one_target_with_all_its_tiers(repo, clean_environ):
    entries = [
        {"name": t, "url": "http://h", "model": "m", "routing_tier": t} for t in ("7b", "14b")
    ]
    clean_environ["ENRICH_CHAIN_JSON"] = json.dumps(entries)
    [asked] = list_asked(load_settings(repo, Flags(), clean_environ))
    found = (asked.target.place, asked.target.model, asked.tiers)
    assert found == ("http://h", "m", ("7b", "14b"))


def test_an_entry_without_a_url_is_asked_at_every_host(repo, clean_environ):
    entries = [{"name": t, "model": "m", "routing_tier": t} for t in ("7b", "14b")]
    clean_environ |= {
        "ENRICH_CHAIN_JSON": json.dumps(entries),
        "ENRICH_OLLAMA_HOSTS": "a=http://a,b=http://b",
    }
    found = list_asked(load_settings(repo, Flags(), clean_environ))
    assert [asked.target.place for asked in found] == ["http://a", "http://b"]


def test_a_key_in_the_environment_is_not_asking_for_the_cloud(repo, clean_environ):
    clean_environ["GEMINI_API_KEY"] = "k"
    settings = load_settings(repo, Flags(), clean_environ)
    assert list_tiers(settings) == ("7b", "14b")
    assert {asked.target.provider for asked in list_asked(settings)} == {"ollama"}


def test_no_trial_is_allowed_more_than_two_minutes(repo, clean_environ):
    entry = {"name": "x", "provider": "openai", "url": "http://h", "timeout_seconds": 900}
    clean_environ["ENRICH_CHAIN_JSON"] = json.dumps([entry])
    clean_environ |= {"OPENAI_BASE_URL": "http://g", "OLLAMA_URL": ""}
    for backend in ("auto", "gateway"):  # an entry's own bound, and that of the gateway
        settings = load_settings(repo, Flags(backend=backend, trust=True), clean_environ)
        [asked] = list_asked(settings)
        assert asked.target.timeout == 120
        assert asked.builder.target == asked.target
