"""What a run uses is settled and said before anything is sent."""

import json

import pytest

from llmc.config import Flags, load_settings
from llmc.errors import ConfigError
from llmc.models import SpanMetrics
from llmc.routing import start_tier
from llmc.selection import is_this_machine, select
from llmc.testing.ollama import FakeOllama

HUGE = SpanMetrics(5, 1, 5000, 20, 10**6, 1200)
DOWN = "http://127.0.0.1:9"


def chosen(repo, environ, **flags):
    return select(load_settings(repo, Flags(**flags), environ))


def chain(**entry):
    return json.dumps([{"name": "one", **entry}])


@pytest.mark.embedded
def test_nothing_configured_and_no_ollama_means_the_embedded_model(repo, clean_environ):
    clean_environ.pop("OLLAMA_URL")
    # Nothing answers at the default address on a build machine; a developer's may.
    clean_environ["OLLAMA_URL"] = ""
    selection = chosen(repo, clean_environ)
    assert selection.settings.backend == "embedded"
    assert any("no Ollama answers" in line for line in selection.lines)
    assert selection.lines[-1] == "privacy   nothing leaves this machine"


def test_an_ollama_that_answers_is_used(repo, clean_environ):
    with FakeOllama() as fake:
        clean_environ["OLLAMA_URL"] = fake.url
        selection = chosen(repo, clean_environ)
    assert selection.settings.backend == "auto"
    assert fake.url in selection.lines[0]
    assert selection.lines[-1] == "privacy   nothing leaves this machine"


def test_a_configured_host_that_is_down_is_an_error_not_a_fallback(repo, clean_environ):
    clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={DOWN}"
    with pytest.raises(ConfigError, match=r"attic \(http://127.0.0.1:9\)"):
        chosen(repo, clean_environ)


def test_a_host_that_is_down_among_others_is_said(repo, clean_environ):
    with FakeOllama() as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={DOWN},cellar={fake.url}"
        selection = chosen(repo, clean_environ)
    assert "does not answer" in selection.lines[0]
    assert "does not answer" not in selection.lines[1]


def test_a_key_in_the_environment_alone_sends_nothing_to_a_cloud(repo, clean_environ):
    with FakeOllama() as fake:
        clean_environ |= {"OLLAMA_URL": fake.url, "GEMINI_API_KEY": "k"}
        selection = chosen(repo, clean_environ)
    assert start_tier(HUGE, selection.settings.router) != "nano"
    assert any("no cloud" in line for line in selection.lines)


def test_asked_for_the_gateway_is_used_and_said(repo, clean_environ):
    clean_environ["GEMINI_API_KEY"] = "s3cret"
    selection = chosen(repo, clean_environ, backend="gateway")
    said = "\n".join(selection.lines)
    assert "your code is sent to https://generativelanguage.googleapis.com" in said
    assert "s3cret" not in said


def test_the_gateway_without_any_configuration_is_an_error(repo, clean_environ):
    with pytest.raises(ConfigError, match="no gateway is configured"):
        chosen(repo, clean_environ, backend="gateway")


def test_a_nano_entry_of_the_chain_is_asking_for_the_cloud(repo, clean_environ):
    clean_environ["ENRICH_CHAIN_JSON"] = chain(
        provider="openai", routing_tier="nano", url="https://cloud.example/v1", model="m"
    )
    selection = chosen(repo, clean_environ)
    assert start_tier(HUGE, selection.settings.router) == "nano"
    assert "https://cloud.example" in selection.lines[-1]


def test_a_chain_without_an_entry_for_a_tier_serves_it_with_its_others(repo, clean_environ):
    with FakeOllama() as fake:
        clean_environ["ENRICH_CHAIN_JSON"] = chain(provider="ollama", url=fake.url, model="m")
        selection = chosen(repo, clean_environ)
    assert [entry.model for entry in selection.settings.entries("14b")] == ["m"]


def test_a_chain_whose_hosts_are_all_down_is_an_error(repo, clean_environ):
    clean_environ["ENRICH_CHAIN_JSON"] = chain(provider="ollama", url=DOWN, model="m")
    with pytest.raises(ConfigError, match="no host of the chain answers"):
        chosen(repo, clean_environ)


def test_an_address_with_a_password_is_shown_without_it(repo, clean_environ):
    clean_environ["OPENAI_BASE_URL"] = "https://user:s3cret@cloud.example/v1"
    clean_environ["OPENAI_MODEL"] = "m"
    said = "\n".join(chosen(repo, clean_environ, backend="gateway").lines)
    assert "s3cret" not in said
    assert "https://cloud.example" in said


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:1", True),
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://attic:1", False),
        ("http://localhost.evil.example", False),
        ("http://[broken", False),
    ],
)
def test_this_machine_is_told_from_others(url, local):
    assert is_this_machine(url) is local
