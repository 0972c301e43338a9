"""Configured chains: `[enrichment]` in llmc.toml and $ENRICH_CHAIN_JSON."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from llmc.errors import ConfigError
from llmc.settings.chains import ChainEntry, EnrichmentTable, read_table
from llmc.settings.documents import CONFIG_FILE
from llmc.settings.files import read_file

FULL = """
[enrichment]
default_chain = "default"
concurrency = 2
cooldown_seconds = 30
est_tokens_per_span = 400
[[enrichment.chain]]
name = "attic-7b"
chain = "default"
provider = "ollama"
model = "qwen2.5:7b-instruct-q4_K_M"
url = "http://attic:11434"
routing_tier = "7b"
timeout_seconds = 120
keep_alive = "15m"
slots = 2
enabled = true
options = { num_ctx = 8192 }
"""


def table(repo: Path, chain_json: str = "") -> EnrichmentTable:
    return read_table(read_file(repo, CONFIG_FILE), chain_json)


def toml(repo: Path, text: str) -> Path:
    path = repo / "llmc.toml"
    path.write_text(text, encoding="utf-8")
    return path


def entry(*lines: str) -> str:
    return "\n".join(["[[enrichment.chain]]", *lines, ""])


def names(entries: tuple[ChainEntry, ...]) -> list[str]:
    return [entry.name for entry in entries]


def refusal(repo: Path, chain_json: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        table(repo, chain_json)
    return str(caught.value)


# What a file may say


@pytest.mark.parametrize("text", [None, "", "[other]\nx = 1\n", "[enrichment]\n"])
def test_nothing_configured_means_no_chains(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        toml(tmp_path, text)
    assert table(tmp_path) == EnrichmentTable()


def test_every_documented_key_of_an_entry_is_read(tmp_path: Path) -> None:
    toml(tmp_path, FULL)
    assert table(tmp_path).entries == (
        ChainEntry(
            name="attic-7b",
            chain="default",
            provider="ollama",
            model="qwen2.5:7b-instruct-q4_K_M",
            url="http://attic:11434",
            routing_tier="7b",
            timeout_seconds=120,
            keep_alive="15m",
            slots=2,
            enabled=True,
            options={"num_ctx": 8192},
        ),
    )


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("default_chain", "default"),
        ("concurrency", 2),
        ("cooldown_seconds", 30),
        ("est_tokens_per_span", 400),
    ],
)
def test_every_documented_key_of_the_table_is_read(
    tmp_path: Path, attribute: str, value: object
) -> None:
    toml(tmp_path, FULL)
    assert getattr(table(tmp_path), attribute) == value


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("chain", "default"),
        ("provider", "ollama"),
        ("routing_tier", "7b"),
        ("slots", None),
        ("enabled", True),
        ("model", None),
        ("url", None),
        ("timeout_seconds", None),
        ("keep_alive", None),
        ("options", {}),
    ],
)
def test_an_entry_needs_only_its_name(tmp_path: Path, attribute: str, value: object) -> None:
    toml(tmp_path, entry('name = "a"'))
    assert getattr(table(tmp_path).entries[0], attribute) == value


@pytest.mark.parametrize(
    ("word", "provider"),
    [
        ("ollama", "ollama"),
        ("openai", "openai"),
        ("gateway", "openai"),
        ("gemini", "openai"),
        ("command", "command"),
        ("llamacpp", "llamacpp"),
    ],
)
def test_each_provider_word_is_accepted(tmp_path: Path, word: str, provider: str) -> None:
    toml(tmp_path, entry('name = "a"', f'provider = "{word}"', 'command = "cat"'))
    assert table(tmp_path).entries[0].provider == provider


@pytest.mark.parametrize("tier", ["7b", "14b", "nano"])
def test_each_routing_tier_is_accepted(tmp_path: Path, tier: str) -> None:
    toml(tmp_path, entry('name = "a"', f'routing_tier = "{tier}"'))
    assert table(tmp_path).entries[0].routing_tier == tier


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-1", -1), ('"5m"', "5m")])
def test_keep_alive_may_be_a_number_or_a_duration(
    tmp_path: Path, text: str, value: int | str
) -> None:
    toml(tmp_path, entry('name = "a"', f"keep_alive = {text}"))
    found = table(tmp_path).entries[0].keep_alive
    assert found == value
    assert type(found) is type(value)


def test_entries_keep_the_order_of_the_file(tmp_path: Path) -> None:
    toml(tmp_path, "".join(entry(f'name = "{name}"') for name in "cab"))
    assert names(table(tmp_path).select()) == ["c", "a", "b"]


def test_a_disabled_entry_is_not_selected(tmp_path: Path) -> None:
    toml(tmp_path, entry('name = "a"', "enabled = false") + entry('name = "b"'))
    assert names(table(tmp_path).select()) == ["b"]


def test_a_disabled_entry_is_still_checked(tmp_path: Path) -> None:
    toml(tmp_path, entry('name = "a"', "enabled = false", 'provider = "x"'))
    assert "provider" in refusal(tmp_path)


TWO_CHAINS = entry('name = "a"') + entry('name = "b"', 'chain = "cloud"')


@pytest.mark.parametrize(
    ("default", "asked", "expected"),
    [
        pytest.param("", None, ["a"], id="the chain named default"),
        pytest.param('default_chain = "cloud"', None, ["b"], id="default_chain"),
        pytest.param("", "cloud", ["b"], id="the one asked for"),
        pytest.param('default_chain = "cloud"', "default", ["a"], id="asking beats default_chain"),
        pytest.param("", "none", [], id="one that does not exist"),
    ],
)
def test_one_chain_is_selected(
    tmp_path: Path, default: str, asked: str | None, expected: list[str]
) -> None:
    toml(tmp_path, f"[enrichment]\n{default}\n{TWO_CHAINS}")
    assert names(table(tmp_path).select(asked)) == expected


# What is refused, and what the refusal names

WRONG = [
    pytest.param('provider = "olama"', "provider", "'olama'", ["ollama", "openai"], id="provider"),
    pytest.param('provider = "Ollama"', "provider", "'Ollama'", ["ollama"], id="provider case"),
    pytest.param("provider = 5", "provider", "5", ["command", "llamacpp"], id="provider type"),
    pytest.param(
        'routing_tier = "70b"', "routing_tier", "'70b'", ["7b", "14b", "nano"], id="routing_tier"
    ),
    pytest.param(
        "routing_tier = 7", "routing_tier", "7", ["7b", "14b", "nano"], id="routing_tier type"
    ),
    pytest.param('url = "attic"', "url", "'attic'", ["http"], id="url without scheme"),
    pytest.param('url = "ftp://x"', "url", "'ftp://x'", ["http"], id="url with another scheme"),
    pytest.param('url = "http://"', "url", "'http://'", ["http"], id="url without host"),
    pytest.param("timeout_seconds = 0", "timeout_seconds", "0", ["greater than 0"], id="timeout 0"),
    pytest.param(
        "timeout_seconds = -5", "timeout_seconds", "-5", ["greater than 0"], id="timeout negative"
    ),
    pytest.param(
        'timeout_seconds = "9"', "timeout_seconds", "'9'", ["number"], id="timeout quoted"
    ),
    pytest.param("timeout_seconds = nan", "timeout_seconds", "nan", ["0"], id="timeout nan"),
    pytest.param("slots = 0", "slots", "0", ["1"], id="slots 0"),
    pytest.param("slots = 1.5", "slots", "1.5", ["integer"], id="slots fraction"),
    pytest.param("slots = true", "slots", "True", ["integer"], id="slots bool"),
    pytest.param('enabled = "yes"', "enabled", "'yes'", ["boolean"], id="enabled quoted"),
    pytest.param("enabled = 1", "enabled", "1", ["boolean"], id="enabled number"),
    pytest.param("options = 3", "options", "3", ["dictionary"], id="options"),
    pytest.param("model = 7", "model", "7", ["string"], id="model"),
    pytest.param("chain = 7", "chain", "7", ["string"], id="chain"),
    pytest.param("keep_alive = 1.5", "keep_alive", "1.5", ["string", "integer"], id="keep_alive"),
    pytest.param("api_key_env = 7", "api_key_env", "7", ["string"], id="api_key_env"),
    pytest.param('modle = "m"', "modle", "", ["model", "routing_tier", "url"], id="unknown key"),
]


@pytest.mark.parametrize(("line", "key", "value", "allowed"), WRONG)
def test_a_wrong_entry_names_file_entry_key_value_and_what_is_allowed(
    tmp_path: Path, line: str, key: str, value: str, allowed: list[str]
) -> None:
    path = toml(tmp_path, entry('name = "first"') + entry('name = "attic"', line))
    told = refusal(tmp_path)
    for part in (str(path), "'attic'", key, value, *allowed):
        assert part in told


@pytest.mark.parametrize(("line", "key", "value", "allowed"), WRONG)
def test_a_wrong_entry_of_the_variable_is_named_likewise(
    tmp_path: Path, line: str, key: str, value: str, allowed: list[str]
) -> None:
    raw = {"name": "attic", **tomllib.loads(line)}
    told = refusal(tmp_path, json.dumps([{"name": "first"}, raw]))
    for part in ("ENRICH_CHAIN_JSON", "'attic'", key, value, *allowed):
        assert part in told


def test_an_entry_without_a_name_is_told_by_its_position(tmp_path: Path) -> None:
    path = toml(tmp_path, entry('name = "a"') + entry('model = "m"'))
    told = refusal(tmp_path)
    for part in (str(path), "chain[1]", "name", "missing"):
        assert part in told


def test_an_entry_with_an_empty_name_is_refused(tmp_path: Path) -> None:
    toml(tmp_path, entry('name = ""'))
    assert "name is ''" in refusal(tmp_path)


def test_a_command_entry_without_its_program_is_refused(tmp_path: Path) -> None:
    path = toml(tmp_path, entry('name = "prog"', 'provider = "command"'))
    told = refusal(tmp_path)
    for part in (str(path), "'prog'", "command"):
        assert part in told


def test_a_key_written_into_an_entry_is_refused_and_not_shown(tmp_path: Path) -> None:
    toml(tmp_path, entry('name = "a"', 'api_key = "sk-planted"'))
    told = refusal(tmp_path)
    assert "api_key" in told
    assert "sk-planted" not in told


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("enrichment = 3", ["enrichment", "3", "table"], id="enrichment is no table"),
        pytest.param("[enrichment]\nchain = 4", ["chain", "4", "list"], id="chain is no list"),
        pytest.param("[enrichment]\nchain = [4]", ["chain[0]", "4", "table"], id="entry, no table"),
        pytest.param(
            "[enrichment]\ndefault_chain = 4", ["default_chain", "4", "string"], id="default_chain"
        ),
        pytest.param("[enrichment]\nconcurrency = 0", ["concurrency", "0", "1"], id="concurrency"),
        pytest.param(
            '[enrichment]\nconcurrency = "2"', ["concurrency", "'2'", "whole"], id="quoted"
        ),
        pytest.param(
            "[enrichment]\nconcurrency = true", ["concurrency", "True", "whole"], id="bool"
        ),
        pytest.param(
            "[enrichment]\ncooldown_seconds = -1", ["cooldown_seconds", "-1", "0"], id="cooldown"
        ),
        pytest.param(
            "[enrichment]\nest_tokens_per_span = 1.5",
            ["est_tokens_per_span", "1.5", "whole"],
            id="est_tokens",
        ),
        pytest.param("[enrichment", ["TOML"], id="broken TOML"),
        pytest.param("x = 1\nx = 2", ["TOML"], id="a key twice"),
    ],
)
def test_a_wrong_table_is_refused_with_the_file_and_the_key(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    path = toml(tmp_path, text)
    told = refusal(tmp_path)
    for part in (str(path), *parts):
        assert part in told


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "llmc.toml"
    path.write_bytes(b"x = '\xff'")
    assert str(path) in refusal(tmp_path)


def test_a_cooldown_of_0_is_allowed(tmp_path: Path) -> None:
    toml(tmp_path, "[enrichment]\ncooldown_seconds = 0")
    assert table(tmp_path).cooldown_seconds == 0


# $ENRICH_CHAIN_JSON

FILE = (
    entry('name = "a1"')
    + entry('name = "a2"')
    + entry('name = "b1"', 'chain = "cloud"')
    + entry('name = "c1"', 'chain = "spare"')
)


def chains(repo: Path, value: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in table(repo, value if isinstance(value, str) else json.dumps(value)).entries:
        found.setdefault(one.chain, []).append(one.name)
    return found


UNCHANGED = {"default": ["a1", "a2"], "cloud": ["b1"], "spare": ["c1"]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("", UNCHANGED, id="empty"),
        pytest.param("  \n", UNCHANGED, id="blank"),
        pytest.param([], UNCHANGED, id="empty list"),
        pytest.param({"chains": {}}, UNCHANGED, id="no chains"),
        pytest.param(
            [{"name": "n"}], UNCHANGED | {"default": ["n"]}, id="a list replaces the default chain"
        ),
        pytest.param(
            [{"name": "n", "chain": "cloud"}, {"name": "m"}],
            UNCHANGED | {"cloud": ["n"], "default": ["m"]},
            id="a list replaces each chain its entries name",
        ),
        pytest.param(
            {"chains": {"cloud": [{"name": "n"}, {"name": "m"}]}},
            UNCHANGED | {"cloud": ["n", "m"]},
            id="an object replaces the chain it names",
        ),
        pytest.param(
            {"chains": {"cloud": [{"name": "n", "chain": "spare"}]}},
            UNCHANGED | {"cloud": ["n"]},
            id="the object's name is the chain",
        ),
        pytest.param(
            {"chains": {"new": [{"name": "n"}]}}, UNCHANGED | {"new": ["n"]}, id="a new chain"
        ),
        pytest.param(
            {"chains": {"default": []}},
            {"cloud": ["b1"], "spare": ["c1"]},
            id="an empty chain replaces too",
        ),
    ],
)
def test_the_variable_replaces_the_chains_it_names(
    tmp_path: Path, value: Any, expected: dict[str, list[str]]
) -> None:
    toml(tmp_path, FILE)
    assert chains(tmp_path, value) == expected


def test_the_variable_alone_is_enough(tmp_path: Path) -> None:
    assert chains(tmp_path, [{"name": "n", "routing_tier": "14b"}]) == {"default": ["n"]}


def test_the_variable_leaves_the_rest_of_the_table_alone(tmp_path: Path) -> None:
    toml(tmp_path, FULL)
    assert table(tmp_path, '[{"name": "n"}]').concurrency == 2


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        pytest.param("{", ["JSON"], id="broken"),
        pytest.param("words", ["JSON"], id="words"),
        pytest.param("5", ["5", "list"], id="a number"),
        pytest.param("null", ["None", "list"], id="null"),
        pytest.param('"x"', ["'x'", "list"], id="a string"),
        pytest.param("[5]", ["[0]", "5", "table"], id="an entry that is a number"),
        pytest.param("{}", ["chains"], id="an object without chains"),
        pytest.param('{"name": "n"}', ["chains"], id="an entry without its list"),
        pytest.param('{"chains": []}', ["chains"], id="chains is a list"),
        pytest.param('{"chains": {"x": {}}}', ["chains.x", "list"], id="a chain that is no list"),
        pytest.param(
            '{"chains": {"x": [{"name": "n"}, {"name": "m", "slots": 0}]}}',
            ["chains.x[1]", "'m'", "slots", "0"],
            id="a wrong entry of a named chain",
        ),
        pytest.param("[" * 100_000, ["JSON"], id="nested too deep"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    tmp_path: Path, value: str, parts: list[str]
) -> None:
    told = refusal(tmp_path, value)
    for part in ("ENRICH_CHAIN_JSON", *parts):
        assert part in told
