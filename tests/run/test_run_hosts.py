"""Hosts that come and go during a run, and cascades that go over several of them."""

import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager

import pytest

from llmc.events import (
    AttemptFinished,
    CallFinished,
    CallStarted,
    HostRests,
    HostReturned,
    RunStarted,
)
from llmc.run.health import FAILURES_BEFORE_REST
from llmc.run.stopping import Stop
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama
from tests.driving import DEAD_URL, VALIDATION, lettered, marked
from tests.running import (
    PATIENCE_SEC,
    calls,
    claims,
    configured,
    enrich,
    entry,
    names,
    on_nth,
    pause_at,
    repo_of,
    serving,
    until,
    written,
)


class Nobody:
    """Where nobody answers, and every attempt to connect is counted.

    A refused connection leaves no trace. This one is accepted and closed before its TLS handshake,
    which is just as much of no connection.
    """

    def __init__(self):
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_SEC)


@contextmanager
def free_port():
    """Yield a port where nobody listens, until somebody in the block does."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    yield port


@pytest.fixture
def repo(tmp_path):
    return repo_of(tmp_path / "repo", *names(30))


# -- a host that is not there ----------------------------------------------------------------------


@pytest.mark.parametrize("order", ["spread", "failover"])
def test_a_dead_host_costs_one_connection_per_rest_and_no_span(repo, order):
    with Nobody() as nobody, serving("b", latency=0.05) as hosts:
        ran = enrich(repo, configured(repo, {"a": nobody.url, **hosts}, host_order=order))
        rests = [event for event in ran.told(HostRests) if event.host == "a"]
        assert nobody.connections in one_each(rests)
    assert (ran.report.enriched, ran.report.failed) == (30, {})
    asked = Counter(event.host for event in ran.told(CallStarted))
    assert asked == {"a": 1, "b": 30}
    assert [rest.seconds for rest in rests][:2] == [1.0, 2.0][: len(rests)]


def one_each(rests):
    """Return how many connections may have been made; the end of a run may cut one off."""
    return len(rests), len(rests) + 1


def test_a_host_known_to_be_down_is_asked_nothing_before_it_is_back(repo):
    with Nobody() as nobody, serving("b") as hosts:
        settings = configured(repo, {"a": nobody.url, **hosts})
        ran = enrich(repo, settings.change(down=frozenset([nobody.url])))
    assert [event.host for event in ran.told(CallStarted)] == ["b"] * 30
    first = ran.told(HostRests)[0]
    assert (first.host, first.reason) == ("a", "did not answer at the start")
    assert isinstance(ran.events[1], RunStarted), "only where code goes is told before"


def test_a_host_that_dies_leaves_its_work_to_the_others(repo):
    """Host a dies at its fifth call, with another one in flight; b waits for that moment."""

    def dying(call):
        if call.index == 4:
            threading.Thread(target=hosts["a"].close).start()
            gone.wait(0.3)

    def lasting(call):
        if call.index == 5:
            until(lambda: len(hosts["a"].calls) >= 5, "host a has had its calls")

    gone = threading.Event()
    with serving("a", dying, latency=0.01) as a, serving("b", lasting, latency=0.01) as b:
        hosts = a | b
        ran = enrich(repo, configured(repo, hosts, slots=2))
    assert (ran.report.enriched, ran.report.failed, ran.report.left) == (30, {}, 0)
    assert {event.host for event in ran.told(HostRests)} == {"a"}
    assert written(repo).rows.keys() == set(names(30))


def test_a_host_that_turns_up_in_mid_run_takes_its_share(repo):
    """Host a waits at its tenth call until the newcomer has been given one."""
    with free_port() as port:
        late = FakeOllama(latency=0.01, port=port)
        url = f"http://127.0.0.1:{port}"

        def answer(call):
            if call.index == 3:
                late.start()
            if call.index == 10:
                until(lambda: late.calls, "the newcomer has work")

        try:
            with FakeOllama(answer, latency=0.01) as here:
                settings = configured(repo, {"late": url, "here": here})
                ran = enrich(repo, settings.change(down=frozenset([url])))
        finally:
            late.close()
    assert (ran.report.enriched, ran.report.failed) == (30, {})
    assert [event.host for event in ran.told(HostReturned)] == ["late"]
    shares = Counter(event.host for event in ran.told(AttemptFinished))
    assert shares["late"] >= 5
    assert shares["late"] + shares["here"] == 30


def test_a_host_that_only_gives_errors_draws_few_spans_while_another_works(repo):
    failing = serving("a", lambda call: faults.HttpStatus(500))
    with failing as bad, serving("b", latency=0.03) as good:
        ran = enrich(repo, configured(repo, bad | good))
        drawn = len(calls(bad))
    returns = len(ran.told(HostReturned))
    assert drawn <= FAILURES_BEFORE_REST + returns
    assert (ran.report.enriched, ran.report.failed) == (30, {})


def test_a_host_that_only_refuses_replies_does_not_rest(repo):
    with serving("a", lambda call: VALIDATION) as hosts:
        ran = enrich(repo, configured(repo, hosts, router="off", retries=1))
    assert ran.report.failed == {"validation": 30}
    assert ran.told(HostRests) == []


# -- no host at all --------------------------------------------------------------------------------


def test_when_all_hosts_stay_away_the_run_ends_and_says_which(repo):
    with Nobody() as one, Nobody() as other:
        settings = configured(repo, {"attic": one.url, "cellar": other.url})
        ran = enrich(repo, settings.change(host_patience=1.5, timeout=1.0))
    assert ran.report.stopped.startswith("no host has answered for 1.5 s: attic: ")
    assert "; cellar: " in ran.report.stopped
    assert ran.report.wall_sec >= 1.5
    assert (ran.report.enriched, ran.report.failed, ran.report.interrupted) == (0, {}, False)
    assert ran.report.left == 30
    assert (written(repo).rows, claims(repo)) == ({}, [])


def test_a_span_that_waits_for_a_host_uses_no_attempt(repo):
    """All hosts are dead at first; the one that comes back finds every span as it was."""
    with free_port() as port:
        late, url = FakeOllama(port=port), f"http://127.0.0.1:{port}"
        begin = on_nth(HostRests, 1, lambda _: late.start())
        try:
            settings = configured(repo, {"a": url}, host_patience=PATIENCE_SEC)
            ran = enrich(repo, settings.change(down=frozenset([url])), begin)
        finally:
            late.close()
    assert (ran.report.enriched, ran.report.stopped) == (30, None)
    assert {event.outcome.attempt.number for event in ran.told(AttemptFinished)} == {1}


def test_a_host_that_dies_and_returns_goes_on_with_the_run(repo):
    first = FakeOllama(latency=0.01).start()
    again = FakeOllama(port=first.port)
    settings = configured(repo, {"a": first}, host_patience=PATIENCE_SEC)
    begin = on_nth(HostRests, 1, lambda _: again.start())

    def die(event):
        if isinstance(event, CallFinished) and len(first.calls) == 10:
            first.close()

    try:
        ran = enrich(repo, settings, die, begin)
    finally:
        again.close()
    assert (ran.report.enriched, ran.report.failed) == (30, {})
    assert len(again.calls) >= 19
    assert ran.told(HostReturned) != []


def test_a_host_that_is_well_is_waited_for_however_little_patience_there_is(tmp_path):
    """It is the pause before the retry that nothing happens in, not a host that stays away."""
    repo = repo_of(tmp_path / "repo", "VG_0")
    with Nobody() as nobody, serving("b", lettered("VG_0")) as hosts:
        settings = configured(repo, {"a": nobody.url, **hosts}, retry_wait=0.3, host_patience=0)
        ran = enrich(repo, settings.change(down=frozenset([nobody.url])))
    assert (ran.report.enriched, ran.report.stopped) == (1, None)


def test_a_stop_while_hosts_are_waited_for_ends_the_run_at_once(repo):
    stop = Stop()
    with Nobody() as nobody:
        settings = configured(repo, {"a": nobody.url}, host_patience=10 * PATIENCE_SEC)
        ran = enrich(repo, settings, on_nth(HostRests, 1, lambda _: stop.request()), stop=stop)
    assert ran.report.wall_sec < PATIENCE_SEC
    assert (ran.report.interrupted, ran.report.stopped, ran.report.left) == (True, None, 30)


def test_hosts_that_stay_away_are_exit_status_2_of_the_command(repo, clean_environ):
    go = threading.Event()

    def answer(call):
        if call.index > 2:
            pause_at(go)

    with serving("a", answer) as hosts:
        host = hosts["a"]
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={host.url}"
        process = subprocess.Popen(
            [sys.executable, "-m", "llmc", "enrich", repo.root, "--wait-for-hosts", "1"],
            env=clean_environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: len(host.calls) == 4, "three calls are done")
        go.set()
        host.close()
        output, errors = process.communicate(timeout=PATIENCE_SEC)
    assert process.returncode == 2, errors
    assert "no host has answered for 1 s: attic: " in output
    assert "Traceback" not in errors


# -- cascades over several hosts -------------------------------------------------------------------


def chain(repo, hosts, **words):
    """Configure one entry per host, by its label, for the small tier; nothing is promoted."""
    urls = {label: getattr(host, "url", host) for label, host in hosts.items()}
    toml = [entry(label, url=url, **words) for label, url in urls.items()]
    repo.write("llmc.toml", "".join(toml))
    return configured(repo, router="off", retries=1)


def test_a_cascade_begins_at_the_host_with_a_free_slot(repo):
    together = threading.Barrier(3)

    def answer(call):
        if call.index == 0:
            together.wait(PATIENCE_SEC)

    with serving("xyz", answer) as hosts:
        ran = enrich(repo, chain(repo, hosts))
        assert sum(len(host.calls) for host in hosts.values()) == 30
    began = {event.outcome.records[0].backend_name for event in ran.told(AttemptFinished)}
    assert began == set("xyz")
    assert {len(event.outcome.records) for event in ran.told(AttemptFinished)} == {1}


def test_a_cascade_that_moves_on_waits_for_a_slot_of_the_next_host(repo):
    """Host x refuses at once, so all its work goes on to y, which takes one call at a time."""
    refusing = serving("x", lambda call: VALIDATION, latency=0.001)
    with refusing as bad, serving("y", latency=0.01) as good:
        repo.write(
            "llmc.toml",
            entry("x", url=bad["x"].url, slots=4) + entry("y", url=good["y"].url, slots=1),
        )
        ran = enrich(repo, configured(repo, router="off", retries=1))
        assert good["y"].peak_in_flight == 1
        assert bad["x"].peak_in_flight <= 4
        assert len(calls(bad)) >= 4
    assert ran.report.enriched == 30
    both = [
        [(record.backend_name, record.success) for record in event.outcome.records]
        for event in ran.told(AttemptFinished)
        if len(event.outcome.records) > 1
    ]
    assert len(both) == len(bad["x"].calls)
    assert all(records == [("x", False), ("y", True)] for records in both)


def test_every_call_of_a_cascade_is_told_with_its_host(repo):
    with serving("x", lambda call: VALIDATION) as bad, serving("y") as good:
        ran = enrich(repo, chain(repo, bad | good))
        made = {"x": len(calls(bad)), "y": len(calls(good))}
    assert Counter(event.host for event in ran.told(CallStarted)) == made
    assert Counter(event.host for event in ran.told(CallFinished)) == made


def test_a_cascade_passes_over_a_host_that_rests_without_a_connection(tmp_path):
    repo = repo_of(tmp_path / "repo", "V_0")
    with Nobody() as nobody, serving("y", lettered("V_0")) as hosts:
        settings = chain(repo, {"x": nobody.url, **hosts})
        ran = enrich(repo, settings.change(down=frozenset([nobody.url])))
        assert nobody.connections in one_each(ran.told(HostRests)[1:])
    [attempt] = ran.told(AttemptFinished)
    assert [(record.backend_name, record.error_message) for record in attempt.outcome.records] == [
        ("y", attempt.outcome.records[0].error_message),
        ("x", "x rests: did not answer at the start"),
    ]
    assert "surprise" in attempt.outcome.records[0].error_message


def test_an_attempt_that_fails_everywhere_has_a_record_of_every_host(tmp_path):
    repo = repo_of(tmp_path / "repo", "bad")
    replies = {"x": VALIDATION, "y": faults.HttpStatus(500), "z": "not JSON at all }"}
    with ExitStack() as stack:
        hosts = {
            label: stack.enter_context(FakeOllama(lambda call, said=said: said))
            for label, said in replies.items()
        }
        ran = enrich(repo, chain(repo, hosts))
    [attempt] = ran.told(AttemptFinished)
    assert [record.backend_name for record in attempt.outcome.records] == ["x", "y", "z"]
    kinds = [record.failure_type for record in attempt.outcome.records]
    assert kinds == ["validation", "runtime", "parse"]
    details = written(repo).metrics["bad"]["attempt_details"]
    assert [detail["backend"] for detail in details] == ["x", "y", "z"]
    assert ran.report.failed == {"parse": 1}


def test_no_cascade_waits_for_a_slot_that_another_waiting_one_holds(repo):
    """Every reply is refused, so that every attempt goes over all hosts, from wherever it began."""
    with serving("xyz", lambda call: VALIDATION) as hosts:
        ran = enrich(repo, chain(repo, hosts, slots=2))
        assert [host.peak_in_flight <= 2 for host in hosts.values()] == [True] * 3
        asked = Counter((marked(call.prompt)) for host in hosts.values() for call in host.calls)
    assert ran.report.failed == {"validation": 30}
    assert asked == dict.fromkeys(names(30), 3)


def test_one_dead_entry_does_not_fail_a_span_that_another_can_answer(repo):
    with serving("y", latency=0.005) as hosts:
        ran = enrich(repo, chain(repo, {"x": DEAD_URL, **hosts}))
    assert (ran.report.enriched, ran.report.failed) == (30, {})
