"""What a run uses is settled and said before anything is sent."""

import json

import pytest

from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.errors import ConfigError
from llmc.models import Attempt, SpanMetrics
from llmc.net.places import is_this_machine
from llmc.run.routing import choose_tier
from llmc.run.selection import select
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI

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


def test_a_host_that_turns_the_question_away_is_not_told_to_start(repo, clean_environ):
    with FakeOpenAI(lambda call: None) as other:  # has no /api/tags
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={other.url}"
        with pytest.raises(ConfigError, match=r"HTTP status \d+; see what answers there") as caught:
            chosen(repo, clean_environ)
    assert "ollama serve" not in str(caught.value)


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
    assert choose_tier(HUGE, selection.settings.router) != "nano"
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
    assert choose_tier(HUGE, selection.settings.router) == "nano"
    assert "https://cloud.example" in selection.lines[-1]


def test_a_chain_without_an_entry_for_a_tier_serves_it_with_its_others(repo, clean_environ):
    with FakeOllama() as fake:
        clean_environ["ENRICH_CHAIN_JSON"] = chain(provider="ollama", url=fake.url, model="m")
        selection = chosen(repo, clean_environ)
    assert [entry.model for entry in selection.settings.list_entries("14b")] == ["m"]


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


# -- code goes nowhere it was not asked to go --------------------------------------------------


def test_a_policy_that_falls_back_to_the_cloud_does_not_send_it_code(repo, clean_environ):
    (repo / "router").mkdir()
    policy = {"fallback_tier": "nano", "promote_if": {"span_line_count_gte": 1}}
    (repo / "router/policy.json").write_text(json.dumps(policy))
    with FakeOllama() as fake:
        clean_environ |= {"OLLAMA_URL": fake.url, "OPENAI_BASE_URL": "http://cloud.example/v1"}
        selection = chosen(repo, clean_environ)
    assert choose_tier(HUGE, selection.settings.router) == "14b"
    assert selection.settings.router.policy.fallback_tier == "14b"


def test_hosts_that_serve_the_tiers_without_an_entry_are_named(repo, clean_environ):
    with FakeOllama() as chained, FakeOllama() as shared:
        clean_environ["ENRICH_CHAIN_JSON"] = chain(provider="ollama", url=chained.url, model="m")
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"far={shared.url}"
        selection = chosen(repo, clean_environ)
    assert selection.settings.list_entries("14b") == ()
    assert any("14b: Ollama far" in line and shared.url in line for line in selection.lines)


def test_entries_without_a_url_need_a_host_that_answers(repo, clean_environ):
    both = [{"name": "a", "model": "m"}, {"name": "b", "model": "m", "routing_tier": "14b"}]
    clean_environ["ENRICH_CHAIN_JSON"] = json.dumps(both)
    with pytest.raises(ConfigError, match="no host of the chain answers"):
        chosen(repo, clean_environ)


def test_a_program_of_the_chain_is_said_to_get_the_code(repo, clean_environ):
    clean_environ["ENRICH_CHAIN_JSON"] = chain(provider="command", command="/bin/cat")
    assert chosen(repo, clean_environ).lines[-1].endswith("given to the program /bin/cat")


def test_a_default_chain_without_entries_is_an_error_that_names_the_others(repo, clean_environ):
    clean_environ["ENRICH_CHAIN_JSON"] = chain(provider="ollama", url=DOWN, chain="night")
    with pytest.raises(ConfigError, match="'night'"):
        chosen(repo, clean_environ)


def test_a_password_of_a_host_that_is_down_is_not_shown(repo, clean_environ):
    clean_environ["ENRICH_OLLAMA_HOSTS"] = "attic=http://user:s3cret@127.0.0.1:9"
    with pytest.raises(ConfigError) as caught:
        chosen(repo, clean_environ)
    assert "s3cret" not in str(caught.value)


def test_a_name_that_begins_like_an_address_is_another_machine():
    assert not is_this_machine("http://127.0.0.1.evil.example")


def test_asking_for_ollama_leaves_the_chain_aside(repo, clean_environ):
    with FakeOllama() as fake:
        clean_environ["OLLAMA_URL"] = fake.url
        clean_environ["ENRICH_CHAIN_JSON"] = chain(provider="command", command="/bin/cat")
        settings = chosen(repo, clean_environ, backend="ollama").settings
    [backend] = CascadeBuilder(settings, CallPolicy())(Attempt(1, "7b", 0)).cascade.backends
    assert backend.describe_host() == "localhost"


def test_an_entry_signs_in_with_its_own_key(repo, clean_environ):
    clean_environ |= {"MY_KEY": "sk-mine", "OPENAI_API_KEY": "sk-other"}
    with FakeOpenAI(api_key="sk-mine") as fake:
        clean_environ["OPENAI_BASE_URL"] = f"{fake.url}/v1"
        clean_environ["ENRICH_CHAIN_JSON"] = chain(
            provider="openai", api_key_env="MY_KEY", model="m"
        )
        settings = chosen(repo, clean_environ).settings
        [backend] = CascadeBuilder(settings, CallPolicy())(Attempt(1, "7b", 0)).cascade.backends
        backend.generate("hello", item={"lines": [1, 1]})
        assert len(fake.calls) == 1
