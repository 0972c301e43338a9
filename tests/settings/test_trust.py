"""A repository's settings say how it is enriched; where and with what is its user's to say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from llmc import engine
from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.cli import main
from llmc.doctor import examination
from llmc.errors import UntrustedError
from llmc.run.selection import select
from llmc.settings import needs, trust
from llmc.settings.config import Settings
from llmc.settings.documents import CONFIG_FILE, POLICY_FILE, PRESET_FILE
from llmc.settings.files import read_all
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.running import entry

AWAY = "http://away.example:8000/v1"
HERE = "http://127.0.0.1:9"


def settings(repo: Path, env: Mapping[str, str], toml: str = "", **flags: object) -> Settings:
    if toml:
        (repo / CONFIG_FILE).write_text(toml)
    return load_settings(repo, Flags(**flags), env)  # type: ignore[arg-type]


def kinds(found: tuple[needs.Need, ...]) -> list[str]:
    return [need.kind for need in found]


# What needs the user's word

ASKING = {
    "a program": (entry("x", provider="command", command="tools/x.sh"), "program", "tools/x.sh"),
    "a host": (entry("x", url=AWAY), "host", "http://away.example:8000"),
    "a host that looks like this machine": (
        entry("x", url="http://127.0.0.1.away.example"),
        "host",
        "http://127.0.0.1.away.example",
    ),
    "a host behind a user name": (
        entry("x", url="http://127.0.0.1@away.example"),
        "host",
        "http://away.example",
    ),
    "a user name here": (entry("x", url="http://u:p@127.0.0.1:9"), "host", HERE),
    "a query here": (entry("x", url=f"{HERE}?to=away"), "host", HERE),
    "a fragment here": (entry("x", url=f"{HERE}#/x"), "host", HERE),
    "an escape here": (entry("x", url=f"{HERE}/%2e%2e/x"), "host", HERE),
    "the user's gateway": (entry("x", provider="openai", model="big"), "gateway", "big"),
    "a cloud model": (entry("x", model="gpt-oss:120b-cloud"), "cloud model", "gpt-oss:120b-cloud"),
    "a cloud model by an OpenAI server here": (
        entry("x", provider="openai", url=f"{HERE}/v1", model="glm:cloud"),
        "cloud model",
        "glm:cloud",
    ),
    "a key": (
        entry("x", provider="openai", url=f"{HERE}/v1", api_key_env="AWS_SECRET_ACCESS_KEY"),
        "key",
        "AWS_SECRET_ACCESS_KEY",
    ),
    "a model file inside": (
        entry("x", provider="llamacpp", model="m.gguf"),
        "model file",
        "inside",
    ),
    "a model file outside": (
        entry("x", provider="llamacpp", model="in/../../m.gguf"),
        "model file",
        "outside",
    ),
    "a model file of the user": (
        entry("x", provider="llamacpp", model="~/m.gguf"),
        "model file",
        "outside",
    ),
    "an option that is none of a model": (
        entry("x", provider="openai", url=f"{HERE}/v1") + f'options.api_base = "{AWAY}"\n',
        "option",
        AWAY,
    ),
    "an option that holds more": (entry("x") + "options.stop = ['x']\n", "option", "stop"),
    "one entry among others": (entry("a") + entry("x", url=AWAY), "host", "away.example"),
}


@pytest.mark.parametrize("case", ASKING)
def test_it_needs_the_users_word(repo: Path, own_environ: dict[str, str], case: str) -> None:
    toml, kind, value = ASKING[case]
    found = settings(repo, own_environ, toml)
    assert kinds(found.unmet()) == [kind]
    with pytest.raises(UntrustedError) as caught:
        found.require_trust()
    for part in (value, CONFIG_FILE, "'x'", f"llmc trust {repo}"):
        assert part in str(caught.value)


PLAIN = {
    "tiers and slots": entry("a", routing_tier="14b", slots=4, timeout_seconds=9),
    "a model that Ollama runs": entry("a", model="qwen2.5:7b", keep_alive=-1),
    "plain options": entry("a") + "options = {num_ctx = 8192, temperature = 0.5, top_p = 1}\n",
    "a server here": entry("a", provider="openai", url="http://[::1]:8000/v1", model="m"),
    "a host here": entry("a", url="http://localhost:11434/"),
    "the packaged model": entry("a", provider="llamacpp"),
    "an entry that is switched off": entry("a", url=AWAY, enabled=False),
    "a chain that is not chosen": entry("a") + entry("x", url=AWAY, chain="other"),
    "the rest of the table": "[enrichment]\nconcurrency = 8\ncooldown_seconds = 60\n",
}


@pytest.mark.parametrize("case", PLAIN)
def test_it_does_not(repo: Path, own_environ: dict[str, str], case: str) -> None:
    assert settings(repo, own_environ, PLAIN[case]).unmet() == ()


@pytest.mark.parametrize(
    ("key", "toml", "backend", "asks"),
    [
        ("model", "", "auto", True),
        ("fallback_model", "", "ollama", True),
        ("model", "", "gateway", False),
        ("model", "", "embedded", False),
        ("model", entry("a", model="m"), "auto", False),
        ("model", entry("a"), "auto", True),
        ("fallback_model", entry("a", model="m"), "auto", True),
        ("fallback_model", entry("a", model="m", routing_tier="14b"), "auto", False),
        ("model", entry("a", model="m"), "ollama", True),
    ],
)
def test_a_cloud_model_of_the_presets_counts_where_it_would_be_asked(
    repo: Path, own_environ: dict[str, str], key: str, toml: str, backend: str, asks: bool
) -> None:
    (repo / "presets").mkdir()
    (repo / PRESET_FILE).write_text(f"{key}: glm:cloud\n")
    found = settings(repo, own_environ, toml, backend=backend).unmet()
    assert kinds(found) == (["cloud model"] if asks else [])


FULL = "".join(entry(tier, model="m", routing_tier=tier) for tier in ("7b", "14b"))


def test_a_cloud_model_that_stands_for_one_that_is_null_counts(
    repo: Path, own_environ: dict[str, str]
) -> None:
    (repo / "presets").mkdir()
    (repo / PRESET_FILE).write_text("model: glm:cloud\nfallback_model: null\n")
    assert kinds(settings(repo, own_environ, entry("a", model="m")).unmet()) == ["cloud model"]
    assert settings(repo, own_environ, FULL).unmet() == ()


def test_a_cloud_model_counts_for_a_tier_of_the_policys_own(
    repo: Path, own_environ: dict[str, str]
) -> None:
    for folder in ("presets", "router"):
        (repo / folder).mkdir()
    (repo / PRESET_FILE).write_text("model: glm:cloud\n")
    (repo / POLICY_FILE).write_text('{"fallback_tier": "another"}')
    assert kinds(settings(repo, own_environ, FULL).unmet()) == ["cloud model"]


@pytest.mark.parametrize("backend", ["ollama", "gateway", "embedded"])
def test_a_chain_that_is_not_used_needs_nothing(
    repo: Path, own_environ: dict[str, str], backend: str
) -> None:
    assert settings(repo, own_environ, entry("x", url=AWAY), backend=backend).unmet() == ()


def test_what_the_user_says_in_the_environment_needs_nothing(
    repo: Path, own_environ: dict[str, str]
) -> None:
    own = {"name": "x", "provider": "openai", "url": AWAY, "api_key_env": "K", "options": {"a": 1}}
    assert settings(repo, own_environ | {"ENRICH_CHAIN_JSON": json.dumps([own])}).unmet() == ()


def test_a_file_cannot_choose_a_chain_that_the_user_keeps_for_other_uses(
    repo: Path, own_environ: dict[str, str]
) -> None:
    own_environ["ENRICH_CHAIN_JSON"] = json.dumps(
        {"chains": {"cloud": [{"name": "x", "url": AWAY}]}}
    )
    toml = '[enrichment]\ndefault_chain = "cloud"\n'
    assert kinds(settings(repo, own_environ, toml).unmet()) == ["chain"]
    assert settings(repo, own_environ, toml, chain="cloud").unmet() == ()


def test_text_of_the_repository_is_told_in_one_plain_line(
    repo: Path, own_environ: dict[str, str]
) -> None:
    toml = '[[enrichment.chain]]\nname = "a\\u001b[2J\\nb"\nprovider = "command"\ncommand = "\\n"\n'
    with pytest.raises(UntrustedError) as caught:
        settings(repo, own_environ, toml).require_trust()
    assert str(caught.value).isprintable()


# It holds on every way in, before anyone is asked


@pytest.fixture
def elsewhere(repo: Path) -> Iterator[FakeOpenAI]:
    """A server here that gets a key of the user's by the repository's word."""
    with FakeOpenAI() as fake:
        (repo / CONFIG_FILE).write_text(
            entry("x", provider="openai", url=f"{fake.url}/v1", model="m", api_key_env="SECRET")
        )
        yield fake
        assert fake.calls == ()


def test_select_asks_nobody(repo: Path, own_environ: dict[str, str], elsewhere: FakeOpenAI) -> None:
    with pytest.raises(UntrustedError, match="SECRET"):
        select(settings(repo, own_environ))


def test_a_builder_of_a_library_user_is_not_made(
    repo: Path, own_environ: dict[str, str], elsewhere: FakeOpenAI
) -> None:
    with pytest.raises(UntrustedError, match="SECRET"):
        CascadeBuilder(settings(repo, own_environ), CallPolicy())


def test_nor_does_enrich_run_with_a_builder_of_their_own(
    repo: Path, own_environ: dict[str, str], elsewhere: FakeOpenAI
) -> None:
    harmless = CascadeBuilder(replace(settings(repo, own_environ), chain=()), CallPolicy())
    with pytest.raises(UntrustedError, match="SECRET"):
        engine.enrich(repo, settings(repo, own_environ), builder=harmless)


def test_doctor_looks_at_nothing_of_it(
    repo: Path, own_environ: dict[str, str], elsewhere: FakeOpenAI
) -> None:
    report = examination.examine(repo, None, own_environ | {"SECRET": "value"})
    assert report.exit_status == 2
    assert "SECRET" in report.findings[0].detail
    assert any(finding.section == "repository" for finding in report.findings)


@pytest.mark.parametrize("command", ["enrich", "doctor"])
def test_a_command_ends_with_status_2(
    repo: Path,
    at_home: None,
    elsewhere: FakeOpenAI,
    command: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([command, str(repo)]) == 2
    told = capsys.readouterr()
    assert "SECRET" in told.out + told.err


@pytest.mark.parametrize("words", [["index"], ["index", "--json"], ["enrich", "--dry-run"]])
def test_what_uses_none_of_it_goes_on(
    repo: Path, at_home: None, elsewhere: FakeOpenAI, words: list[str]
) -> None:
    assert main([*words, str(repo)]) == 0


# The user's hosts win


def test_an_untrusted_entry_is_asked_at_the_users_hosts(
    repo: Path, own_environ: dict[str, str]
) -> None:
    with FakeOllama() as mine, FakeOllama() as theirs:
        own_environ["ENRICH_OLLAMA_HOSTS"] = mine.url
        toml = entry("x", url=theirs.url, model="their:7b") + entry("y", url=theirs.url, slots=2)
        selection = select(settings(repo, own_environ, toml))
        engine.index(repo, selection.settings)
        engine.enrich(repo, selection.settings)
    assert theirs.calls == ()
    assert {call.model for call in mine.calls} == {"their:7b"}
    assert any("'x'" in line and theirs.url in line for line in selection.lines)


def test_a_trusted_entry_is_asked_where_its_url_says(
    repo: Path, own_environ: dict[str, str], own_folder: Path
) -> None:
    with FakeOllama() as mine, FakeOllama() as theirs:
        own_environ["ENRICH_OLLAMA_HOSTS"] = mine.url
        settings(repo, own_environ, entry("x", url=theirs.url, model="their:7b"))
        trust.grant(own_folder, repo, read_all(repo), [])
        selection = select(settings(repo, own_environ))
        engine.index(repo, selection.settings)
        engine.enrich(repo, selection.settings)
    assert theirs.calls
    assert selection.settings.sources.passed_over == ()


@pytest.mark.parametrize(
    "named", [{"ENRICH_OLLAMA_HOSTS": HERE}, {"OPENAI_BASE_URL": f"{HERE}/v1"}]
)
def test_another_server_here_does_not_replace_a_host_that_the_user_named(
    repo: Path, own_environ: dict[str, str], named: dict[str, str]
) -> None:
    toml = entry("x", provider="openai", url=f"{HERE}9/v1", model="m")
    assert kinds(settings(repo, own_environ | named, toml).unmet()) == ["here"]
