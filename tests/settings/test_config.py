"""Settings: where each comes from, which source wins, and that no key is ever shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from llmc.errors import ConfigError, LlmcError
from llmc.settings.config import Settings
from llmc.settings.environment import find_index_path
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings

GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"
AZURE = {
    "AZURE_OPENAI_ENDPOINT": "https://corp.openai.azure.com/",
    "AZURE_OPENAI_KEY": "az-planted-1",
    "AZURE_OPENAI_DEPLOYMENT": "gpt-4o-mini",
}


def load(repo: Path, flags: Flags | None = None, /, **environ: str) -> Settings:
    return load_settings(repo, flags, environ)


def toml(repo: Path, text: str) -> None:
    (repo / "llmc.toml").write_text(text, encoding="utf-8")


# The defaults


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("backend", "auto"),
        ("ollama_model", "qwen2.5:7b-instruct-q4_K_M"),
        ("labels.model", "qwen2.5:7b"),
        ("labels.fallback_model", "qwen2.5:14b-instruct-q4_K_M"),
        ("labels.schema_version", "enrichment.v1"),
        ("pace.limit", 0),
        ("pace.retries", 3),
        ("pace.retry_wait", 2.0),
        ("pace.cooldown", 0),
        ("pace.concurrency", 1),
        ("exclude", ""),
        ("labels.est_tokens_per_span", 350),
        ("health.enabled", True),
        ("health.timeout", 5.0),
        ("chain", ()),
        ("warnings", ()),
    ],
)
def test_without_any_source_a_setting_has_its_default(
    tmp_path: Path, attribute: str, value: object
) -> None:
    assert attrgetter(attribute)(load(tmp_path)) == value


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
def test_without_any_source_the_router_has_its_defaults(
    tmp_path: Path, attribute: str, value: object
) -> None:
    assert getattr(load(tmp_path).router, attribute) == value


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("program", None),
        ("timeout", 300.0),
        ("endpoint", None),
        ("label", "gemini"),
        ("debug", False),
        ("configured", False),
    ],
)
def test_without_any_source_there_is_no_gateway(
    tmp_path: Path, attribute: str, value: object
) -> None:
    assert getattr(load(tmp_path).gateway, attribute) == value


def test_the_default_host_is_ollama_on_this_machine(tmp_path: Path) -> None:
    assert [(h.label, h.url) for h in load(tmp_path).hosts] == [
        ("localhost", "http://localhost:11434")
    ]


def test_the_default_logs_are_in_the_repository(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.logs == tmp_path / "logs"
    assert settings.metrics_log == tmp_path / "logs/enrichment_metrics.jsonl"


@pytest.mark.parametrize("name", ["repo", "index_path", "metrics_log"])
def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert getattr(load(Path(), Flags(log="m.jsonl")), name).is_absolute()


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        load(tmp_path).pace.retries = 9  # type: ignore[misc]


def test_loading_leaves_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_MODEL", "flash")
    before = dict(os.environ)
    load_settings(tmp_path)
    assert dict(os.environ) == before


def test_without_an_environ_the_process_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMC_RAG_EXCLUDE", "vendor/")
    assert load_settings(tmp_path).exclude == "vendor/"


def test_an_environ_given_hides_the_process_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMC_RAG_EXCLUDE", "vendor/")
    assert load(tmp_path).exclude == ""


# Flags beat the environment, which beats llmc.toml, which beats the defaults

PRECEDENCE: list[Any] = [
    pytest.param("", {}, Flags(cooldown=30), "pace.cooldown", 30, id="cooldown: flag"),
    pytest.param(
        "cooldown_seconds = 10",
        {"ENRICH_COOLDOWN_SECONDS": "20"},
        Flags(cooldown=30),
        "pace.cooldown",
        30,
        id="cooldown: flag beats all",
    ),
    pytest.param(
        "cooldown_seconds = 10",
        {"ENRICH_COOLDOWN_SECONDS": "20"},
        Flags(cooldown=0),
        "pace.cooldown",
        0,
        id="cooldown: a flag of 0 beats all",
    ),
    pytest.param(
        "cooldown_seconds = 10",
        {"ENRICH_COOLDOWN_SECONDS": "20"},
        Flags(),
        "pace.cooldown",
        20,
        id="cooldown: environment beats file",
    ),
    pytest.param(
        "cooldown_seconds = 10",
        {"ENRICH_COOLDOWN_SECONDS": "0"},
        Flags(),
        "pace.cooldown",
        0,
        id="cooldown: an environment of 0 beats file",
    ),
    pytest.param(
        "cooldown_seconds = 10",
        {"ENRICH_COOLDOWN_SECONDS": ""},
        Flags(),
        "pace.cooldown",
        10,
        id="cooldown: empty environment is none",
    ),
    pytest.param("cooldown_seconds = 10", {}, Flags(), "pace.cooldown", 10, id="cooldown: file"),
    pytest.param(
        "concurrency = 2",
        {"ENRICH_CONCURRENCY": "3"},
        Flags(),
        "pace.concurrency",
        3,
        id="concurrency: environment beats file",
    ),
    pytest.param(
        "concurrency = 2",
        {"ENRICH_CONCURRENCY": ""},
        Flags(),
        "pace.concurrency",
        2,
        id="concurrency: empty environment is none",
    ),
    pytest.param("concurrency = 2", {}, Flags(), "pace.concurrency", 2, id="concurrency: file"),
    pytest.param(
        "est_tokens_per_span = 9", {}, Flags(), "labels.est_tokens_per_span", 9, id="estimate"
    ),
    pytest.param(
        "",
        {"RAG_FALLBACK_MODEL": "big"},
        Flags(fallback_model="bigger"),
        "labels.fallback_model",
        "bigger",
        id="fallback: flag beats environment",
    ),
    pytest.param(
        "",
        {"RAG_FALLBACK_MODEL": "big"},
        Flags(),
        "labels.fallback_model",
        "big",
        id="fallback: env",
    ),
    pytest.param(
        "",
        {"RAG_FALLBACK_MODEL": ""},
        Flags(),
        "labels.fallback_model",
        "",
        id="fallback: the default only if unset",
    ),
    pytest.param("", {}, Flags(model="m"), "labels.model", "m", id="model: flag"),
    pytest.param("", {"OLLAMA_MODEL": "o"}, Flags(), "ollama_model", "o", id="OLLAMA_MODEL"),
    pytest.param("", {"LLMC_RAG_EXCLUDE": "a/,b"}, Flags(), "exclude", "a/,b", id="exclude"),
    pytest.param("", {}, Flags(backend="gateway"), "backend", "gateway", id="backend: flag"),
    pytest.param("", {}, Flags(retries=7), "pace.retries", 7, id="retries: flag"),
    pytest.param("", {}, Flags(retry_wait=0.5), "pace.retry_wait", 0.5, id="retry_wait: flag"),
    pytest.param("", {}, Flags(limit=4), "pace.limit", 4, id="limit: flag"),
    pytest.param(
        "", {}, Flags(schema_version="v9"), "labels.schema_version", "v9", id="schema: flag"
    ),
]


@pytest.mark.parametrize(("table", "environ", "flags", "attribute", "value"), PRECEDENCE)
def test_the_strongest_source_wins(
    tmp_path: Path,
    table: str,
    environ: dict[str, str],
    flags: Flags,
    attribute: str,
    value: object,
) -> None:
    toml(tmp_path, f"[enrichment]\n{table}\n")
    assert attrgetter(attribute)(load(tmp_path, flags, **environ)) == value


def test_the_log_flag_is_relative_to_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = load(tmp_path / "repo", Flags(log="m.jsonl")).metrics_log
    assert found == tmp_path / "here/m.jsonl"


def test_without_ollama_model_the_preset_names_the_model(tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/enrich_7b_ollama.yaml").write_text("model: small\n")
    assert load(tmp_path).ollama_model == "small"


@pytest.mark.parametrize("model", ["other", ""])
@pytest.mark.parametrize("tier", ["7b", "14b"])
def test_neither_ollama_model_nor_the_fallback_model_changes_a_preset(
    tmp_path: Path, tier: str, model: str
) -> None:
    found = load(tmp_path, Flags(fallback_model="x"), OLLAMA_MODEL=model, RAG_FALLBACK_MODEL="y")
    assert found.presets[tier] == load(tmp_path).presets[tier]


def test_num_gpu_of_the_environment_stands_for_auto_vram(tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/enrich_7b_ollama.yaml").write_text("num_gpu: auto_vram\n")
    assert load(tmp_path, ENRICH_NUM_GPU="17").presets["7b"].options["num_gpu"] == 17


def test_the_retries_flag_bounds_a_policy_without_a_number(tmp_path: Path) -> None:
    (tmp_path / "router").mkdir()
    (tmp_path / "router/policy.json").write_text("{}")
    assert load(tmp_path, Flags(retries=8)).router.policy.max_retries_per_span == 8


def test_the_hosts_come_from_the_environment(tmp_path: Path) -> None:
    found = load(tmp_path, ENRICH_OLLAMA_HOSTS="a=x:1, y:2").hosts
    assert [(h.label, h.url) for h in found] == [("a", "http://x:1"), ("host2", "http://y:2")]


# The router


@pytest.mark.parametrize("word", ["off", "OFF", "Off"])
def test_off_in_any_case_switches_the_router_off(tmp_path: Path, word: str) -> None:
    assert not load(tmp_path, ROUTER_ENABLED=word).router.enabled
    assert not load(tmp_path, Flags(router=word)).router.enabled


@pytest.mark.parametrize("word", ["on", "0", "false", "no", "", "disabled"])
def test_any_other_word_leaves_the_router_on(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, ROUTER_ENABLED=word).router.enabled


@pytest.mark.parametrize(
    ("flag", "environ", "enabled"), [("on", "off", True), ("off", "on", False)]
)
def test_the_router_flag_beats_the_environment(
    tmp_path: Path, flag: str, environ: str, enabled: bool
) -> None:
    assert load(tmp_path, Flags(router=flag), ROUTER_ENABLED=environ).router.enabled is enabled


@pytest.mark.parametrize(
    ("flag", "environ", "expected"),
    [
        pytest.param("14b", {}, "14b", id="flag"),
        pytest.param(None, {"ROUTER_DEFAULT_TIER": "nano"}, "nano", id="environment"),
        pytest.param("auto", {"ROUTER_DEFAULT_TIER": "nano"}, "auto", id="flag beats environment"),
        pytest.param(None, {"ROUTER_DEFAULT_TIER": "giant"}, "giant", id="environment, unchecked"),
        pytest.param(None, {"ROUTER_DEFAULT_TIER": " NANO "}, "nano", id="any case, blanks"),
        pytest.param(None, {"ROUTER_DEFAULT_TIER": ""}, "auto", id="empty"),
    ],
)
def test_the_start_tier(
    tmp_path: Path, flag: str | None, environ: dict[str, str], expected: str
) -> None:
    assert load(tmp_path, Flags(start_tier=flag), **environ).router.start_tier == expected


NOT_INTEGERS = ["", "many", "1.5", "1e3", "0x10", "None"]


@pytest.mark.parametrize(
    ("name", "attribute", "default"),
    [
        ("ROUTER_NODE_LIMIT", "node_limit", 800),
        ("ROUTER_DEPTH_LIMIT", "depth_limit", 6),
        ("ROUTER_NESTING_LIMIT", "nesting_limit", 3),
        ("ROUTER_PRE_FLIGHT_LIMIT", "token_limit", 28000),
        ("ROUTER_CONTEXT_LIMIT", "token_limit", 28000),
        ("ROUTER_MAX_TOKENS_HEADROOM", "token_limit", 28000),
    ],
)
@pytest.mark.parametrize("text", NOT_INTEGERS)
def test_a_limit_that_is_no_integer_is_the_default(
    tmp_path: Path, name: str, attribute: str, default: int, text: str
) -> None:
    assert getattr(load(tmp_path, **{name: text}).router, attribute) == default


@pytest.mark.parametrize("text", ["0", "1", "12"])
@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("ROUTER_NODE_LIMIT", "node_limit"),
        ("ROUTER_DEPTH_LIMIT", "depth_limit"),
        ("ROUTER_NESTING_LIMIT", "nesting_limit"),
        ("ROUTER_PRE_FLIGHT_LIMIT", "token_limit"),
    ],
)
def test_a_limit_that_is_an_integer_counts(
    tmp_path: Path, name: str, attribute: str, text: str
) -> None:
    assert getattr(load(tmp_path, **{name: text}).router, attribute) == int(text)


@pytest.mark.parametrize(
    ("flag", "environ", "expected"),
    [
        pytest.param(None, {}, 28000, id="the default is 4000"),
        pytest.param(8000, {}, 24000, id="flag"),
        pytest.param(0, {}, 28000, id="a flag of 0 meets the pre-flight limit"),
        pytest.param(0, {"ROUTER_PRE_FLIGHT_LIMIT": "99999"}, 32000, id="a flag of 0 is a flag"),
        pytest.param(None, {"ROUTER_MAX_TOKENS_HEADROOM": "5000"}, 27000, id="environment"),
        pytest.param(
            8000, {"ROUTER_MAX_TOKENS_HEADROOM": "6000"}, 26000, id="the environment beats the flag"
        ),
        pytest.param(
            8000, {"ROUTER_MAX_TOKENS_HEADROOM": "x"}, 24000, id="but only if it is an integer"
        ),
        pytest.param(
            8000,
            {"ROUTER_MAX_TOKENS_HEADROOM": "0", "ROUTER_PRE_FLIGHT_LIMIT": "99999"},
            32000,
            id="an environment of 0 beats the flag",
        ),
        pytest.param(40000, {}, 1, id="never below 1"),
        pytest.param(32000, {}, 1, id="not 0 either"),
        pytest.param(None, {"ROUTER_CONTEXT_LIMIT": "10000"}, 6000, id="smaller context"),
        pytest.param(None, {"ROUTER_CONTEXT_LIMIT": "100000"}, 28000, id="larger context"),
        pytest.param(None, {"ROUTER_PRE_FLIGHT_LIMIT": "20000"}, 20000, id="pre-flight limit"),
    ],
)
def test_the_token_limit(
    tmp_path: Path, flag: int | None, environ: dict[str, str], expected: int
) -> None:
    assert load(tmp_path, Flags(headroom=flag), **environ).router.token_limit == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30,80", (30, 80)),
        ("80,30", (30, 80)),
        (" 30 , 80 ", (30, 80)),
        ("50,50", (50, 50)),
        ("1,1", (1, 1)),
        ("", (60, 100)),
        ("30", (60, 100)),
        ("30,", (60, 100)),
        ("30,80,90", (60, 100)),
        ("0,80", (60, 100)),
        ("80,0", (60, 100)),
        ("-30,80", (60, 100)),
        ("30,80.5", (60, 100)),
        ("low,high", (60, 100)),
        ("30;80", (60, 100)),
    ],
)
def test_the_line_thresholds(tmp_path: Path, text: str, expected: tuple[int, int]) -> None:
    assert load(tmp_path, ROUTER_LINE_THRESHOLDS=text).router.line_thresholds == expected


# The health check


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "TRUE", "Yes", " on ", "\tON\n"])
def test_the_health_check_is_on_for(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, ENRICH_HEALTHCHECK_ENABLED=word).health.enabled


@pytest.mark.parametrize("word", ["", " ", "0", "false", "no", "off", "2", "y", "enabled"])
def test_the_health_check_is_off_for(tmp_path: Path, word: str) -> None:
    assert not load(tmp_path, ENRICH_HEALTHCHECK_ENABLED=word).health.enabled


@pytest.mark.parametrize(("text", "seconds"), [("2", 2.0), ("0.5", 0.5), ("", 5.0), ("x", 5.0)])
def test_the_health_timeout(tmp_path: Path, text: str, seconds: float) -> None:
    assert load(tmp_path, ENRICH_HEALTHCHECK_TIMEOUT_SECONDS=text).health.timeout == seconds


# The index


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({}, ".rag/index_v2.db", id="default"),
        pytest.param({"EMBEDDING_INDEX_NAME": "mine.db"}, ".rag/mine.db", id="a name, in .rag"),
        pytest.param({"EMBEDDING_INDEX_NAME": ""}, ".rag/index_v2.db", id="an empty name"),
        pytest.param({"EMBEDDING_INDEX_PATH": "x/e.db"}, "x/e.db", id="the embedding path"),
        pytest.param({"LLMC_RAG_INDEX_PATH": "x/l.db"}, "x/l.db", id="the llmc path"),
        pytest.param({"LLMC_RAG_INDEX_PATH": "/abs/l.db"}, "/abs/l.db", id="an absolute path"),
        pytest.param(
            {
                "LLMC_RAG_INDEX_PATH": "l.db",
                "EMBEDDING_INDEX_PATH": "e.db",
                "EMBEDDING_INDEX_NAME": "n.db",
            },
            "l.db",
            id="the llmc path beats all",
        ),
        pytest.param(
            {"EMBEDDING_INDEX_PATH": "e.db", "EMBEDDING_INDEX_NAME": "n.db"},
            "e.db",
            id="the embedding path beats the name",
        ),
        pytest.param(
            {"LLMC_RAG_INDEX_PATH": "", "EMBEDDING_INDEX_PATH": "e.db"},
            "e.db",
            id="an empty path is none",
        ),
    ],
)
def test_the_index_path(tmp_path: Path, environ: dict[str, str], expected: str) -> None:
    assert find_index_path(tmp_path, environ) == tmp_path / expected
    assert load(tmp_path, **environ).index_path == tmp_path / expected


# The gateway


@pytest.mark.parametrize(
    ("environ", "label"),
    [
        pytest.param({}, "gemini", id="nothing set"),
        pytest.param({"GEMINI_MODEL": "flash"}, "flash", id="GEMINI_MODEL"),
        pytest.param({"GEMINI_MODEL": ""}, "", id="empty GEMINI_MODEL"),
        pytest.param(AZURE, "gpt-4o-mini", id="azure"),
        pytest.param(AZURE | {"GEMINI_MODEL": "flash"}, "gpt-4o-mini", id="azure beats gemini"),
        *(
            pytest.param(
                AZURE | {"GEMINI_MODEL": "flash", name: ""}, "flash", id=f"azure with empty {name}"
            )
            for name in AZURE
        ),
        *(
            pytest.param(
                {key: value for key, value in AZURE.items() if key != name},
                "gemini",
                id=f"azure without {name}",
            )
            for name in AZURE
        ),
        pytest.param(
            {"OPENAI_API_KEY": "k", "OPENAI_MODEL": "m", "GEMINI_MODEL": "flash"},
            "flash",
            id="openai has the same labels",
        ),
    ],
)
def test_the_gateway_label(tmp_path: Path, environ: dict[str, str], label: str) -> None:
    assert load(tmp_path, **environ).gateway.label == label


@pytest.mark.parametrize(
    ("environ", "url", "key", "header"),
    [
        pytest.param(
            {"GEMINI_API_KEY": "g"}, GEMINI, "g", "authorization", id="a gemini key is enough"
        ),
        pytest.param(
            {"OPENAI_API_KEY": "o"},
            "https://api.openai.com/v1/chat/completions",
            "o",
            "authorization",
            id="an openai key is enough",
        ),
        pytest.param(
            {"OPENAI_BASE_URL": "http://box:8000/v1"},
            "http://box:8000/v1/chat/completions",
            None,
            "authorization",
            id="a base url needs no key",
        ),
        pytest.param(
            {"OPENAI_BASE_URL": "http://box:8000/v1/", "OPENAI_API_KEY": "o"},
            "http://box:8000/v1/chat/completions",
            "o",
            "authorization",
            id="a base url with a slash and a key",
        ),
    ],
)
def test_the_built_in_gateway_has_an_endpoint(
    tmp_path: Path, environ: dict[str, str], url: str, key: str | None, header: str
) -> None:
    endpoint = load(tmp_path, **environ).gateway.endpoint
    assert endpoint
    assert (endpoint.url, endpoint.key_header) == (url, header)
    assert (endpoint.key and endpoint.key.get_secret_value()) == key


def test_azure_has_its_own_address_and_way_to_sign_in(tmp_path: Path) -> None:
    endpoint = load(tmp_path, **AZURE).gateway.endpoint
    assert endpoint
    assert endpoint.url.startswith(
        "https://corp.openai.azure.com/openai/deployments/gpt-4o-mini/chat/completions?api-version="
    )
    assert endpoint.key_header == "api-key"
    assert endpoint.key
    assert endpoint.key.get_secret_value() == "az-planted-1"


def test_incomplete_azure_variables_leave_the_next_endpoint(tmp_path: Path) -> None:
    found = load(tmp_path, **(AZURE | {"AZURE_OPENAI_KEY": ""}), GEMINI_API_KEY="g")
    assert found.gateway.endpoint
    assert found.gateway.endpoint.url == GEMINI


@pytest.mark.parametrize(
    "environ",
    [
        {"GEMINI_MODEL": "flash"},
        {"GEMINI_API_KEY": "", "OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""},
        {key: value for key, value in AZURE.items() if key != "AZURE_OPENAI_KEY"},
    ],
)
def test_without_a_key_or_a_base_url_there_is_no_endpoint(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    gateway = load(tmp_path, **environ).gateway
    assert (gateway.endpoint, gateway.configured) == (None, False)


def test_the_endpoint_asks_for_the_gemini_model(tmp_path: Path) -> None:
    endpoint = load(tmp_path, GEMINI_API_KEY="g", GEMINI_MODEL="flash").gateway.endpoint
    assert endpoint
    assert (endpoint.model, endpoint.label) == ("flash", "flash")


def test_the_gateway_program_is_kept_as_it_was_named(tmp_path: Path) -> None:
    gateway = load(tmp_path, Flags(gateway_path="bin/gw.js")).gateway
    assert (gateway.program, gateway.configured) == (Path("bin/gw.js"), True)


@pytest.mark.parametrize(
    ("flags", "attribute", "value"),
    [(Flags(gateway_timeout=9.5), "timeout", 9.5), (Flags(verbose=True), "debug", True)],
)
def test_the_gateway_flags(tmp_path: Path, flags: Flags, attribute: str, value: object) -> None:
    assert getattr(load(tmp_path, flags).gateway, attribute) == value


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("LLM_DISABLED", "false"),
        ("NEXT_PUBLIC_LLM_DISABLED", "false"),
        ("LLM_GATEWAY_DISABLE_RAG", "1"),
    ],
)
@pytest.mark.parametrize("own", [None, "true", ""])
def test_the_gateway_program_gets_a_variable_only_if_it_is_unset(
    tmp_path: Path, name: str, default: str, own: str | None
) -> None:
    environ = {} if own is None else {name: own}
    assert load(tmp_path, **environ).gateway.environ[name] == (default if own is None else own)


def test_the_gateway_program_gets_the_environment(tmp_path: Path) -> None:
    environ = load(tmp_path, PATH="/bin", GEMINI_MODEL="flash").gateway.environ
    assert (environ["PATH"], environ["GEMINI_MODEL"]) == ("/bin", "flash")


def test_without_a_gemini_model_the_gateway_program_gets_none(tmp_path: Path) -> None:
    assert "GEMINI_MODEL" not in load(tmp_path).gateway.environ


# Chains

CHAINS = """
[[enrichment.chain]]
name = "small"
[[enrichment.chain]]
name = "large"
routing_tier = "14b"
[[enrichment.chain]]
name = "spare"
routing_tier = "14b"
[[enrichment.chain]]
name = "resting"
routing_tier = "nano"
enabled = false
[[enrichment.chain]]
name = "cloud"
chain = "paid"
provider = "gateway"
routing_tier = "nano"
api_key_env = "CLOUD_KEY"
"""


@pytest.mark.parametrize(
    ("tier", "expected"), [("7b", ["small"]), ("14b", ["large", "spare"]), ("nano", [])]
)
def test_a_tier_has_its_enabled_entries_in_file_order(
    tmp_path: Path, tier: str, expected: list[str]
) -> None:
    toml(tmp_path, CHAINS)
    assert [entry.name for entry in load(tmp_path).entries(tier)] == expected


@pytest.mark.parametrize(
    ("head", "flag", "expected"),
    [
        pytest.param("", None, "small", id="the default chain"),
        pytest.param('[enrichment]\ndefault_chain = "paid"', None, "cloud", id="default_chain"),
        pytest.param("", "paid", "cloud", id="flag"),
        pytest.param('[enrichment]\ndefault_chain = "paid"', "default", "small", id="flag wins"),
    ],
)
def test_the_chain_is_selected(tmp_path: Path, head: str, flag: str | None, expected: str) -> None:
    toml(tmp_path, head + CHAINS)
    assert load(tmp_path, Flags(chain=flag)).chain[0].name == expected


def test_a_chain_flag_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    toml(tmp_path, CHAINS)
    with pytest.raises(ConfigError, match="'pair'"):
        load(tmp_path, Flags(chain="pair"))


def test_the_variable_replaces_the_chain_of_the_file(tmp_path: Path) -> None:
    toml(tmp_path, CHAINS)
    found = load(tmp_path, ENRICH_CHAIN_JSON='[{"name": "new"}]')
    assert [entry.name for entry in found.chain] == ["new"]


@pytest.mark.parametrize(
    ("name", "text", "least"),
    [
        ("ENRICH_CONCURRENCY", "0", "1"),
        ("ENRICH_CONCURRENCY", "-1", "1"),
        ("ENRICH_CONCURRENCY", "two", "1"),
        ("ENRICH_CONCURRENCY", "1.5", "1"),
        ("ENRICH_COOLDOWN_SECONDS", "-1", "0"),
        ("ENRICH_COOLDOWN_SECONDS", "soon", "0"),
    ],
)
def test_a_wrong_override_names_variable_value_and_what_is_allowed(
    tmp_path: Path, name: str, text: str, least: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **{name: text})
    for part in (name, repr(text), f"at least {least}"):
        assert part in str(caught.value)


def test_a_config_error_is_an_llmc_error() -> None:
    assert issubclass(ConfigError, LlmcError)


# Keys

KEYS = {
    **AZURE,
    "AZURE_OPENAI_KEY": "planted-azure",
    "GEMINI_API_KEY": "planted-gemini",
    "OPENAI_API_KEY": "planted-openai",
    "CLOUD_KEY": "planted-cloud",
}


def paid(repo: Path, **environ: str) -> Settings:
    toml(repo, CHAINS)
    return load(repo, Flags(chain="paid"), **environ)


def test_an_entry_signs_in_with_the_variable_it_names(tmp_path: Path) -> None:
    settings = paid(tmp_path, CLOUD_KEY="planted-cloud")
    key = settings.key(settings.chain[0])
    assert key
    assert key.get_secret_value() == "planted-cloud"


def test_an_entry_that_names_no_variable_has_no_key(tmp_path: Path) -> None:
    toml(tmp_path, CHAINS)
    settings = load(tmp_path, **KEYS)
    assert settings.key(settings.chain[0]) is None


@pytest.mark.parametrize("environ", [{}, {"CLOUD_KEY": ""}])
def test_an_entry_whose_variable_is_unset_is_refused(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    settings = paid(tmp_path, **environ)
    with pytest.raises(ConfigError) as caught:
        settings.key(settings.chain[0])
    for part in ("'cloud'", "api_key_env", "'CLOUD_KEY'"):
        assert part in str(caught.value)


@pytest.mark.parametrize("show", [repr, str, "{!r:}".format, "%s".__mod__], ids=range(4))
@pytest.mark.parametrize(
    "environ",
    [
        pytest.param(KEYS | {"LLMC_GATEWAY": cloud}, id=cloud)
        for cloud in ("azure", "gemini", "openai")
    ],
)
def test_no_key_is_shown(
    tmp_path: Path, environ: dict[str, str], show: Callable[[object], str]
) -> None:
    settings = paid(tmp_path, **environ)
    assert settings.gateway.endpoint
    shown = [
        show(value)
        for value in (
            settings,
            settings.gateway,
            settings.gateway.endpoint,
            settings.gateway.endpoint.key,
            settings.key(settings.chain[0]),
        )
    ]
    assert "planted" not in "".join(shown)


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        pytest.param("x", {}, Flags(), id="broken file"),
        pytest.param("enrichment = 1", {}, Flags(), id="wrong table"),
        pytest.param(CHAINS + "modle = 1", {}, Flags(), id="unknown key"),
        pytest.param(CHAINS + "slots = 0", {}, Flags(), id="wrong value"),
        pytest.param(CHAINS + 'api_key = "planted-key"', {}, Flags(), id="a key in the file"),
        pytest.param(CHAINS, {}, Flags(chain="none"), id="unknown chain"),
        pytest.param("", {"ENRICH_CONCURRENCY": "x"}, Flags(), id="wrong override"),
        pytest.param(
            "", {"ENRICH_CHAIN_JSON": '[{"api_key": "planted-key"}'}, Flags(), id="broken JSON"
        ),
        pytest.param(
            "",
            {"ENRICH_CHAIN_JSON": json.dumps([{"name": "a", "api_key": "planted-key"}])},
            Flags(),
            id="a key in the JSON",
        ),
    ],
)
def test_no_key_is_in_an_error(
    tmp_path: Path, text: str, environ: dict[str, str], flags: Flags
) -> None:
    toml(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, flags, **KEYS, **environ)
    assert "planted" not in str(caught.value)
