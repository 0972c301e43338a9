"""Who is asked for a tier is answered once: every place that tells, asks or looks agrees."""

import json

import pytest

from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.doctor.examination import Trials, examine
from llmc.models import Attempt
from llmc.run.lanes import Lanes
from llmc.run.selection import select
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.targets import arrange, list_local_tiers, list_targets
from llmc.testing.ollama import FakeOllama, Reply
from tests import driving, running

SMALL, LARGE = "qwen2.5:7b-instruct-q4_K_M", "qwen2.5:14b-instruct-q4_K_M"
REFUSED = Reply(text='{"surprise": 1}')


@pytest.fixture
def own_tier(repo):
    """Return a repository whose policy promotes to a tier that nobody else knows."""
    (repo / "router").mkdir()
    (repo / "router/policy.json").write_text('{"fallback_tier": "70B"}')
    return repo


def entries(environ, *listed):
    chain = [{"name": f"e{number}", **entry} for number, entry in enumerate(listed)]
    return environ | {"ENRICH_CHAIN_JSON": json.dumps(chain)}


# -- a tier that only the policy knows -------------------------------------------------------------


def test_a_tier_of_the_policys_own_runs_on_the_small_preset(own_tier, clean_environ):
    targets = list_targets(load_settings(own_tier, Flags(), clean_environ))
    assert [target.model for target in targets["70b"]] == [SMALL]
    assert targets["70b"] == targets["7b"] != targets["14b"]


def test_the_lines_at_the_start_name_the_model_of_every_tier(own_tier, clean_environ):
    with FakeOllama() as host:
        settings = load_settings(own_tier, Flags(), clean_environ | {"OLLAMA_URL": host.url})
        lines = select(settings).lines
    assert f"models    7b: {SMALL}, 14b: {LARGE}, 70b: {SMALL}" in lines
    assert any("70b is a tier of router/policy.json alone" in line for line in lines)


def test_the_doctor_looks_at_it_and_warns_that_a_promotion_changes_nothing(own_tier, clean_environ):
    with FakeOllama() as host:
        environ = clean_environ | {"OLLAMA_URL": host.url}
        report = examine(own_tier, Flags(), environ, trials=Trials(local=False))
    [warning] = [finding for finding in report.findings if finding.name == "promotes to"]
    assert (warning.state, warning.detail.split()[:2]) == ("warn", ["tier", "70b"])
    assert "14b" in warning.advice
    models = [finding.detail for finding in report.findings if finding.name == "model"]
    assert any(f"{SMALL} (7b, 70b)" in detail for detail in models)


def test_a_run_asks_the_model_that_its_lines_named(tmp_path, clean_environ):
    repo = driving.make_repo(tmp_path / "repo", driving.plain("f"))
    repo.write("router/policy.json", '{"fallback_tier": "70b"}')
    with FakeOllama([REFUSED, REFUSED, Reply()]) as host:
        settings = load_settings(
            repo.root, Flags(retry_wait=0.0), clean_environ | {"OLLAMA_URL": host.url}
        )
        ran = running.enrich(repo, select(settings).settings)
        asked = [call.model for call in host.calls]
    assert ran.report.enriched == 1
    assert asked == [SMALL] * 3


def test_of_a_chain_it_takes_the_small_ones_entries_where_no_host_answers(own_tier, clean_environ):
    with FakeOllama() as host:
        environ = entries(
            clean_environ,
            {"url": host.url, "model": "s"},
            {"url": host.url, "model": "l", "routing_tier": "14b"},
        )
        selection = select(load_settings(own_tier, Flags(), environ))
    assert [target.model for target in list_targets(selection.settings)["70b"]] == ["s"]
    assert any(line.startswith("backend   70b: e0 (ollama, s,") for line in selection.lines)
    assert selection.destinations.hosts == (host.url,)


def test_hosts_beside_a_chain_that_serve_it_are_named(own_tier, clean_environ):
    with FakeOllama() as host, FakeOllama() as shared:
        both = ({"url": host.url, "model": "m", "routing_tier": t} for t in ("7b", "14b"))
        environ = entries(clean_environ, *both) | {"ENRICH_OLLAMA_HOSTS": f"far={shared.url}"}
        lines = select(load_settings(own_tier, Flags(), environ)).lines
    assert any(f"70b: Ollama far ({shared.url})" in line for line in lines)


@pytest.mark.parametrize(
    ("policy", "router", "told"),
    [
        ({"default_tier": "70b"}, "on", False),
        ({"default_tier": "70b"}, "off", True),
        ({"default_tier": "70b", "fallback_tier": "90b"}, "on", True),
    ],
    ids=["never reached", "without the router", "behind a start tier that nobody knows"],
)
def test_a_default_tier_is_told_where_spans_get_to_it(repo, clean_environ, policy, router, told):
    (repo / "router").mkdir()
    (repo / "router/policy.json").write_text(json.dumps(policy))
    settings = load_settings(repo, Flags(router=router), clean_environ)
    assert ("70b" in list_local_tiers(settings)) is told


# -- all agree -------------------------------------------------------------------------------------


def test_lanes_and_builder_ask_the_same_targets(own_tier, clean_environ):
    environ = entries(
        clean_environ | {"ENRICH_OLLAMA_HOSTS": "a=http://a:1,b=http://b:1"},
        {"model": "m"},
        {"url": "http://c:1", "model": "n", "slots": 3},
        {"provider": "openai", "url": "http://d:1/v1", "model": "o", "timeout_seconds": 9},
    )
    settings = load_settings(own_tier, Flags(), environ)
    lanes, builder = Lanes.of(settings), CascadeBuilder(settings, CallPolicy())
    for tier, targets in list_targets(settings).items():
        for choice in lanes.choices[tier]:
            host = choice.host_index or 0
            asked = arrange(targets, host, choice.first_entry)
            steps = [(step.model, step.slots, step.timeout) for step in choice.steps]
            assert steps == [(target.shown, target.slots, target.timeout) for target in asked]
            if all(target.is_somewhere for target in asked):
                built = builder(Attempt(1, tier, host, first_entry=choice.first_entry))
                names = [backend.config.name for backend in built.cascade.backends]
                assert names == [target.name for target in asked]


def test_a_host_index_past_the_chains_end_is_its_last_host(repo, clean_environ):
    environ = clean_environ | {"ENRICH_OLLAMA_HOSTS": "a=http://a:1,b=http://b:1"}
    targets = list_targets(load_settings(repo, Flags(), environ))["7b"]
    assert [target.label for target in arrange(targets, 7)] == ["b"]


def test_a_missing_key_is_a_problem_of_its_target_alone(repo, clean_environ):
    environ = entries(
        clean_environ,
        {"provider": "openai", "url": "http://d:1/v1", "model": "o", "api_key_env": "NOT_THERE"},
        {"url": "http://c:1", "model": "n"},
    )
    problems = [t.problem for t in list_targets(load_settings(repo, Flags(), environ))["7b"]]
    assert "NOT_THERE" in problems[0]
    assert problems[1] == ""


def test_a_key_is_in_no_repr(repo, clean_environ):
    environ = entries(
        clean_environ | {"MY_KEY": "sk-s3cret"},
        {"provider": "openai", "url": "http://d:1/v1", "model": "o", "api_key_env": "MY_KEY"},
        {"provider": "command", "command": "gw", "env": ["MY_KEY"]},
    )
    targets = list_targets(load_settings(repo, Flags(), environ))["7b"]
    assert targets[0].key.secret.get_secret_value() == "sk-s3cret"
    assert targets[1].environ["MY_KEY"] == "sk-s3cret"
    assert "sk-s3cret" not in repr(targets)
