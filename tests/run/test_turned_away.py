"""Hosts that would say the same to every request, and hosts that drop what they are sent."""

import json
import time

import pytest

from llmc.errors import CredentialsError, TurnedAwayError
from llmc.events import AttemptFinished, CallStarted, HostRests, SpanStarted, Warned
from llmc.run.lanes import Choice, Lane, Lanes, Step
from llmc.run.scheduler import WANTS_SPAN
from llmc.run.spread import make_scheduler
from llmc.testing import faults
from llmc.testing.openai import FakeOpenAI
from tests.driving import LARGE_MODEL, SMALL_MODEL, VALIDATION, marked
from tests.running import calls, claims, configured, enrich, entry, names, repo_of, serving, written

SPENT = json.dumps({"error": {"message": "no more", "code": "insufficient_quota"}})
NO_MODEL = json.dumps({"error": {"message": "The model `m` does not exist"}})
SAID = [
    (429, "You exceeded your current quota, please check your plan and billing details."),
    (429, '{"error": {"message": "no", "type": "exceeded_current_quota_error"}}'),
    (429, '{"detail": {"error": {"code": "insufficient_quota"}}}'),
    (429, "Insufficient balance or no resource package. Please recharge."),
    (400, "Your credit balance is too low to access the API."),
    (400, "Budget has been exceeded! Current cost: 1.0, max budget: 0.5"),
    (400, "API key not valid. Please pass a valid API key."),
    (400, '{"error": "Incorrect API key provided: sk-1***."}'),
    (400, "foo/bar is not a valid model ID"),
    (400, "The requested model 'x' is not supported by any provider you have enabled."),
    (400, "No models loaded. Please load a model in the developer page."),
    (400, "The model `x` has been decommissioned and is no longer supported."),
]
"""How clouds say that a key, an account or a model is no good, each its own way."""
ANSWERS = {
    "a refused key": faults.HttpStatus(401, "no such key"),
    "a key that may not": faults.HttpStatus(403, "forbidden"),
    "a bill": faults.HttpStatus(402, "pay first"),
    "a spent quota": faults.HttpStatus(429, body=SPENT, headers={"Retry-After": "30"}),
    "another address": faults.HttpStatus(308, headers={"Location": "https://new.invalid/v1"}),
    "an address of old": faults.HttpStatus(301, headers={"Location": "/elsewhere"}),
    "no such path": faults.HttpStatus(404, "page not found"),
    "no such model": faults.HttpStatus(400, body=NO_MODEL),
    "a network to log in to": faults.HttpStatus(511, "log in first"),
    "a proxy that wants a password": faults.HttpStatus(407, "who are you"),
    **{said: faults.HttpStatus(status, body=said) for status, said in SAID},
}


MINUTE = "You exceeded your current quota, check your plan and billing details; retryDelay: 1s"


@pytest.fixture
def repo(tmp_path):
    return repo_of(tmp_path / "repo", *names(20))


def asked(ran):
    return len(ran.told(CallStarted))


# -- turned away -----------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_host_that_turns_all_requests_away_ends_the_run_with_its_first_answers(repo, answer):
    with FakeOpenAI(lambda call: answer) as host:
        repo.write("llmc.toml", entry("x", provider="openai", url=f"{host.url}/v1", model="m"))
        ran = enrich(repo, configured(repo, slots=2))
        assert len(host.calls) <= 4
    assert (ran.report.enriched, ran.report.failed, ran.report.left) == (0, {}, 20)
    assert "answered HTTP" in ran.report.stopped
    assert repo.query("SELECT * FROM llmc_failures") == []
    assert (claims(repo), written(repo).rows) == ([], {})


def test_a_quota_that_fills_again_in_a_minute_is_waited_for(repo):
    with FakeOpenAI([faults.HttpStatus(429, MINUTE)]) as host:
        repo.write("llmc.toml", entry("x", provider="openai", url=f"{host.url}/v1", model="m"))
        ran = enrich(repo, configured(repo))
    assert (ran.report.enriched, ran.report.stopped) == (20, None)


@pytest.mark.parametrize(
    ("location", "place"),
    [
        (
            "http://user:word@login.invalid:8443/portal?token=abc",
            "http://login.invalid:8443/portal",
        ),
        ("/other/v1", "/other/v1"),
        ("http://[::1]:99/v1", "http://[::1]:99/v1"),
    ],
)
def test_the_new_address_is_said_whole_less_its_secrets(repo, location, place):
    moved = faults.HttpStatus(308, headers={"Location": location})
    with serving("a", lambda call: moved) as hosts:
        ran = enrich(repo, configured(repo, hosts))
    assert f"it has moved to {place};" in ran.report.stopped
    assert "word" not in ran.report.stopped


def test_what_to_do_is_said_with_the_end(repo):
    with serving("a", lambda call: faults.ModelNotFound()) as hosts:
        ran = enrich(repo, configured(repo, hosts))
    assert "run: ollama pull" in ran.report.stopped


def test_a_moderated_prompt_is_the_spans_own_trouble(repo):
    flagged = faults.HttpStatus(403, "your input was flagged by moderation")
    with serving("a", lambda call: flagged if marked(call.prompt) == "G_0" else None) as hosts:
        ran = enrich(repo, configured(repo, hosts))
    assert (ran.report.enriched, ran.report.failed) == (19, {"runtime": 1})


def test_another_host_of_the_tier_takes_over_without_a_charge(repo):
    with serving("a", lambda call: faults.HttpStatus(401)) as bad, serving("b") as good:
        ran = enrich(repo, configured(repo, bad | good))
        assert len(calls(bad)) == 1
    assert (ran.report.enriched, ran.report.failed, ran.report.stopped) == (20, {}, None)
    assert {line["attempts"] for line in written(repo).ledger.values()} == {1}
    [said] = [event.message for event in ran.told(Warned) if "asked no more" in event.message]
    assert said.startswith("a is asked no more: ")


def test_spans_that_only_a_missing_model_could_serve_stay_pending(tmp_path):
    """The large model is not there: what is promoted to it is left, all else is done."""
    repo = repo_of(tmp_path / "repo", "V_0", *names(5))

    def answer(call):
        if call.model == LARGE_MODEL:
            return faults.ModelNotFound()
        return VALIDATION if marked(call.prompt) == "V_0" else None

    with serving("a", answer) as hosts:
        ran = enrich(repo, configured(repo, hosts))
    assert (ran.report.enriched, ran.report.failed) == (5, {})
    assert ran.report.stopped.count("ollama pull") == 1
    assert (ran.report.left, ran.report.unfinished) == (1, 1)
    assert claims(repo) == []


def test_a_cascade_goes_on_to_the_entry_behind_one_that_turns_us_away(repo):
    with serving("x", lambda call: faults.HttpStatus(401)) as bad, serving("y") as good:
        hosts = bad | good
        repo.write("llmc.toml", "".join(entry(n, url=host.url) for n, host in hosts.items()))
        ran = enrich(repo, configured(repo))
        assert len(calls(bad)) <= 2
    assert (ran.report.enriched, ran.report.failed) == (20, {})


# -- models that are not there ---------------------------------------------------------------------


def test_where_no_model_is_there_the_run_ends_before_any_prompt_and_names_all(repo):
    with serving("a", models=["other:1b"]) as hosts:
        ran = enrich(repo, configured(repo, hosts))
        assert calls(hosts) == []
    for model in (SMALL_MODEL, LARGE_MODEL):
        assert f"a has no model {model!r}; run there: ollama pull {model}" in ran.report.stopped
    assert (ran.report.failed, ran.report.left) == ({}, 20)


def test_a_model_that_is_missing_is_said_where_the_other_serves(repo):
    with serving("a", models=[SMALL_MODEL]) as hosts:
        ran = enrich(repo, configured(repo, hosts))
    assert (ran.report.enriched, ran.report.stopped) == (20, None)
    [said] = [event.message for event in ran.told(Warned)]
    assert f"ollama pull {LARGE_MODEL}" in said


def test_a_host_that_lacks_a_model_leaves_it_to_one_that_has_it(repo):
    with serving("a", models=[LARGE_MODEL]) as bad, serving("b") as good:
        ran = enrich(repo, configured(repo, bad | good))
        assert calls(bad) == []
    assert ran.report.enriched == 20


def test_names_that_ollama_takes_for_the_same_are_the_same(repo):
    with serving("a", models=["m:latest"]) as hosts:
        repo.write("llmc.toml", entry("x", url=hosts["a"].url, model="library/M"))
        ran = enrich(repo, configured(repo))
    assert ran.report.enriched == 20


def test_without_a_health_check_no_host_is_asked_for_its_models(repo):
    with serving("a", models=[SMALL_MODEL]) as hosts:
        ran = enrich(repo, configured(repo, hosts).change(enabled=False))
    assert ran.told(Warned) == []


# -- ways that are closed, as the scheduler has it -------------------------------------------------


class Task:
    def __init__(self, tier):
        self.tier, self.host_index = tier, 0


@pytest.fixture(params=["spread", "failover"])
def plan(request):
    lanes = (Lane("a", 2, one_model=True), Lane("b", 2, one_model=True))
    choices = {
        "7b": (Choice((Step(0, "small", 2),), 0), Choice((Step(1, "small", 2),), 1)),
        "14b": (Choice((Step(0, "large", 2),), 0),),
    }
    return make_scheduler(Lanes(lanes, choices), request.param, 0.0)


def test_work_at_a_closed_way_goes_to_another_host(plan):
    task = Task("7b")
    plan.add(task)
    assert plan.close(Step(0, "small", 2))
    assert plan.next(may_plan=False).choice.lane == 1
    assert plan.take_shut() == []


def test_what_nobody_is_left_for_is_handed_out_once(plan):
    waiting, later = Task("14b"), Task("14b")
    plan.add(waiting)
    assert plan.close(Step(0, "large", 2))
    plan.add(later)
    assert plan.take_shut() == [waiting, later]
    assert plan.take_shut() == []
    assert plan.next(may_plan=True) is WANTS_SPAN, "the other tier is served"


def test_a_way_is_closed_once(plan):
    assert plan.close(Step(0, "small", 2))
    assert not plan.close(Step(0, "small", 4))


def test_a_refused_key_is_one_way_of_being_turned_away():
    assert issubclass(CredentialsError, TurnedAwayError)


# -- dropped without an answer ---------------------------------------------------------------------


def test_a_lone_host_that_drops_every_request_fails_no_span(repo):
    with serving("a", lambda call: faults.DropConnection()) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=4, host_patience=2.0))
    assert ran.report.failed == {}
    assert ran.report.left == 20
    assert ran.report.stopped.startswith("no host has answered for 2 s: a: ")
    assert repo.query("SELECT * FROM llmc_failures") == []
    assert [rest.seconds for rest in ran.told(HostRests)][:2] == [1.0, 2.0]


def test_a_span_whose_request_was_dropped_has_all_its_attempts_left(repo):
    with serving("a", lambda call: faults.DropConnection() if call.index < 2 else None) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=2))
    assert (ran.report.enriched, ran.report.failed) == (20, {})
    assert {event.outcome.attempt.number for event in ran.told(AttemptFinished)} == {1}
    assert len(ran.told(SpanStarted)) == 20, "each is begun once"


def test_a_span_that_brings_its_host_down_each_time_is_left_for_later(tmp_path):
    repo = repo_of(tmp_path / "repo", *names(4))

    def answer(call):
        return faults.DropConnection() if marked(call.prompt) == "G_0" else None

    began = time.monotonic()
    with serving("a", answer) as hosts:
        ran = enrich(repo, configured(repo, hosts))
    assert (ran.report.enriched, ran.report.failed, ran.report.left) == (3, {}, 1)
    assert any("nobody answered" in event.message for event in ran.told(Warned))
    assert time.monotonic() - began >= 1.0
