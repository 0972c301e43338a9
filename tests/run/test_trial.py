"""A host that gives no sign of when it began on a call is tried: with one alone, and with all."""

import random
from collections import Counter

import pytest

from llmc.events import Warned
from llmc.models import CallTimes
from llmc.run.trial import Trial, measure
from llmc.testing._responses import Response
from llmc.testing.openai import FakeOpenAI
from tests.running import configured, enrich, entry, names, repo_of

RATE = 1000.0
SPANS = 56


def simulate(trial, slots, *, at_once, calls, speed=lambda active: active, seed=1, hidden=1.0):
    """Keep a host busy with calls as the trial allows, and tell the trial of each that ends.

    The host works on the first `at_once` of its queue, which share `speed` times RATE bytes a
    second. Of the time of a call the share that is `hidden` goes by before a sign of it.
    """
    chance, now, flying = random.Random(seed), 0.0, []
    while calls or flying:
        while calls and len(flying) < (trial.limit or slots):
            size = round(chance.lognormvariate(7.0, 0.4))
            flying.append([now, size, 150 + size * chance.lognormvariate(0, 0.15)])
            calls -= 1
        active = flying[:at_once]
        share = speed(len(active)) * RATE / len(active)
        first = min(active, key=lambda call: call[2])
        seconds = first[2] / share
        for call in active:
            call[2] -= seconds * share
        now += seconds
        flying.remove(first)
        sent, size, _ = first
        trial.note(CallTimes(sent, now - (1 - hidden) * (now - sent), now, size), "m")


def found(slots, *, at_once, speed=lambda active: active):
    """Count the limits that come of 20 trials of such a host."""
    limits = Counter()
    for seed in range(20):
        trial = Trial(slots)
        calls = 20 * slots + 100
        simulate(trial, slots, at_once=at_once, calls=calls, speed=speed, seed=seed)
        assert trial.over
        limits[trial.limit] += 1
    return limits


@pytest.mark.parametrize("slots", [2, 4, 16])
def test_a_host_that_does_one_at_a_time_is_found_out(slots):
    assert found(slots, at_once=1)[1] >= 18


@pytest.mark.parametrize("slots", [2, 3, 4, 16])
def test_a_host_that_does_all_at_once_goes_on_getting_all(slots):
    assert found(slots, at_once=slots) == {None: 20}


@pytest.mark.parametrize("power", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("slots", [2, 4, 8])
def test_a_host_that_gains_by_having_all_goes_on_getting_all(slots, power):
    """As a graphics card does: each call takes longer beside others, and all of them less."""
    limits = found(slots, at_once=slots, speed=lambda active: active**power)
    assert limits[None] >= 18


@pytest.mark.parametrize("slots", [4, 8])
def test_a_host_that_does_two_of_what_it_is_asked_gets_two(slots):
    assert found(slots, at_once=2)[2] >= 18


def test_a_host_that_tells_when_it_works_is_not_tried():
    trial = Trial(4)
    simulate(trial, 4, at_once=4, calls=200, hidden=0.5)
    assert (trial.over, trial.limit) == (False, None)


def test_few_calls_begin_no_trial():
    trial = Trial(4)
    simulate(trial, 4, at_once=1, calls=8)
    assert (trial.over, trial.limit) == (False, None)


def silent(trial, count, model, start=0.0):
    for number in range(count):
        at = start + number
        trial.note(CallTimes(at - 2, at, at), model)


def test_another_model_begins_the_trial_anew():
    trial = Trial(2)
    silent(trial, 30, "small")
    assert trial.limit == 1
    silent(trial, 1, "large", start=30.0)
    assert (trial.over, trial.limit) == (False, None)


def test_a_call_that_comes_to_nothing_ends_the_trial_and_its_limit():
    trial = Trial(2)
    trial.give_up()
    silent(trial, 30, "small")
    assert (trial.over, trial.limit) == (False, 1)
    trial.give_up()
    assert (trial.over, trial.limit) == (True, None)


def test_only_the_time_with_so_many_in_flight_is_measured():
    calls = [
        CallTimes(0, 4, 4, 100),
        CallTimes(0, 6, 6, 50),
        CallTimes(7, 9, 9, 1000),
        CallTimes(9, 11, 11, 1),
    ]
    assert measure(calls, 2, 0, 9) == (1, 25.0)
    assert measure(calls, 1, 0, 9) == (2, 262.5)
    assert measure(calls, 1, 5, 9) == (2, 350.0)
    assert measure(calls, 3, 0, 9) == (0, 0.0)


# -- with a real server ----------------------------------------------------------------------------


class Plain(FakeOpenAI):
    """A server that takes no streams, and so says nothing before a reply is whole."""

    def _open(self, request):
        if b'"stream": true' in request.body:
            error = b'{"error": {"message": "stream is not supported", "param": "stream"}}'
            return Response(400, error)
        return super()._open(request)


def limits(tmp_path, slots, at_once):
    repo = repo_of(tmp_path / "repo", *names(SPANS))
    with Plain(slots=at_once, latency=0.3) as server:
        url = f"{server.url}/v1"
        toml = entry("x", provider="openai", url=url, model="m", slots=slots, routing_tier="7b")
        repo.write("llmc.toml", toml)
        ran = enrich(repo, configured(repo))
        asked = len(server.calls)
    assert ran.report.enriched == SPANS
    assert asked <= SPANS + slots, "a few calls found out that it takes no stream"
    return [event.message for event in ran.told(Warned) if "at once" in event.message]


def test_a_server_without_streams_that_does_one_at_a_time_gets_fewer(tmp_path):
    """On a busy machine two do more than one: what a call takes beside its reply counts as well."""
    [said] = limits(tmp_path, slots=4, at_once=1)
    assert said in (
        "x does 1 request at once; 4 slots were asked for",
        "x does 2 requests at once; 4 slots were asked for",
    )


def test_a_server_without_streams_that_does_all_at_once_gets_all(tmp_path):
    assert limits(tmp_path, slots=4, at_once=4) == []
