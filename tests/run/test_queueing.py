"""Hosts that are asked for more at once than they do."""

import threading
from collections import Counter

import pytest

from llmc.events import CallFinished, CallStarted, HostRests, Warned
from llmc.run.stopping import Stop
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.driving import marked
from tests.running import PATIENCE_SEC, configured, enrich, entry, names, repo_of, serving, until


def in_flight(events):
    """Return how many calls were under way after each that began or ended, by host."""
    now, seen = Counter(), []
    for event in events:
        if isinstance(event, CallStarted | CallFinished):
            now[event.host] += 1 if isinstance(event, CallStarted) else -1
            seen.append((event.host, now[event.host]))
    return seen


def limits(ran):
    """Return what was said of hosts that do less than they are asked."""
    return [event for event in ran.told(Warned) if "at once" in event.message]


def chain(**urls):
    """Return a chain of hosts whose calls have little time, and four slots each."""
    return "".join(
        entry(name, url=url, slots=4, routing_tier="7b", timeout_seconds=1.6)
        for name, url in urls.items()
    )


def test_a_queue_longer_than_a_calls_time_costs_no_call(tmp_path):
    """The fourth call is answered after 2 s, of the 1.6 s that each has."""
    repo = repo_of(tmp_path / "repo", *names(16))
    with FakeOllama(slots=1, latency=0.5) as host:
        repo.write("llmc.toml", chain(a=host.url))
        ran = enrich(repo, configured(repo, {"a": host}))
        asked = Counter(marked(call.prompt) for call in host.calls)
    assert asked == dict.fromkeys(names(16), 1)
    assert (ran.report.enriched, ran.report.failed) == (16, {})
    assert not any(call.disconnected for call in host.calls)


def test_a_host_that_does_one_call_at_once_gets_one_and_it_is_said_once(tmp_path):
    repo = repo_of(tmp_path / "repo", *names(32))
    with serving("a", slots=1, latency=0.25) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=4))
    [said] = limits(ran)
    assert said.message == (
        "a does 1 request at once (OLLAMA_NUM_PARALLEL); 4 slots were asked for"
    )
    before = ran.events.index(said)
    assert max(count for _, count in in_flight(ran.events[:before])) == 4
    under_way = in_flight(ran.events)[len(in_flight(ran.events[:before])) :]
    counts = [count for _, count in under_way]
    assert max(counts[counts.index(0) :]) == 1
    assert ran.report.enriched == 32


def test_a_host_that_does_four_at_once_goes_on_getting_four(tmp_path):
    repo = repo_of(tmp_path / "repo", *names(40))
    with serving("a", slots=4, latency=0.25) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=4))
        assert hosts["a"].peak_in_flight == 4
    assert limits(ran) == []
    late = [count for _, count in in_flight(ran.events)[-16:]]
    assert max(late) == 4


def test_a_model_that_takes_long_to_load_is_no_queue(tmp_path):
    repo = repo_of(tmp_path / "repo", *names(24))
    with serving("a", slots=4, latency=0.1, swap_seconds=2.0) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=4))
    assert limits(ran) == []


def test_what_would_queue_at_one_host_goes_to_another_that_is_free(tmp_path):
    repo = repo_of(tmp_path / "repo", *names(48))
    with serving("a", slots=1, latency=0.2) as a, serving("b", slots=4, latency=0.2) as b:
        ran = enrich(repo, configured(repo, a | b, slots=4))
    [said] = limits(ran)
    after = in_flight(ran.events)[len(in_flight(ran.events[: ran.events.index(said)])) :]
    at_a = [count for host, count in after if host == "a"]
    assert max(at_a[at_a.index(0) :], default=0) <= 1
    assert max(count for host, count in after if host == "b") == 4
    assert len(b["b"].calls) > len(a["a"].calls)


def test_a_queue_shows_in_a_stream_too(tmp_path):
    """Such a server says nothing of the time that it worked: only that the replies follow."""
    repo = repo_of(tmp_path / "repo", *names(24))
    with FakeOpenAI(slots=1, tokens_per_second=400) as server:
        url = f"{server.url}/v1"
        toml = entry("x", provider="openai", url=url, model="m", slots=3, routing_tier="7b")
        repo.write("llmc.toml", toml)
        ran = enrich(repo, configured(repo))
    assert [event.message for event in limits(ran)] == [
        "x does 1 request at once; 3 slots were asked for"
    ]


# -- who never answers -----------------------------------------------------------------------------


def test_a_host_that_answers_nothing_is_found_out_in_the_time_of_one_call(tmp_path):
    repo = repo_of(tmp_path / "repo", *names(12))
    with serving("a", lambda _: faults.SlowHeaders(3600)) as a, serving("b", latency=0.05) as b:
        repo.write("llmc.toml", chain(a=a["a"].url, b=b["b"].url))
        ran = enrich(repo, configured(repo, a | b))
        assert len(a["a"].calls) <= 5, "four at once, and perhaps one after its rest"
    assert (ran.report.enriched, ran.report.failed) == (12, {})
    assert {rest.reason for rest in ran.told(HostRests)} == {"no answer within the call's time"}


@pytest.mark.parametrize("fault", [faults.SlowTokens(0.001), faults.SlowHeaders(3600)])
def test_a_second_stop_ends_calls_that_queue(tmp_path, fault):
    repo, stop, ran = repo_of(tmp_path / "repo", *names(8)), Stop(), []
    with serving("a", lambda _: fault, slots=1) as hosts:
        settings = configured(repo, hosts, slots=4)
        thread = threading.Thread(target=lambda: ran.append(enrich(repo, settings, stop=stop)))
        thread.start()
        until(lambda: len(hosts["a"].calls) == 4, "four calls, of which three wait")
        stop.request()
        stop.request()
        thread.join(PATIENCE_SEC)
        assert not thread.is_alive()
    assert ran[0].report.interrupted
    assert (ran[0].report.enriched, ran[0].report.failed) == (0, {})
