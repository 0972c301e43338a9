"""How a run ends before its work is done: asked to once, twice, by a signal, or by a bug."""

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from llmc.events import (
    AttemptFinished,
    CallFinished,
    CallStarted,
    RunFinished,
    SpanEnriched,
    SpanStarted,
    Stopping,
)
from llmc.records.ledger import Ledger
from llmc.run.loop import Run
from llmc.run.parts import Parts
from llmc.run.stopping import SIGNALS, Stop
from llmc.run.worklist import Rules
from llmc.store.store import Store
from llmc.testing import faults, refused
from llmc.testing.ollama import FakeOllama
from tests.driving import VALIDATION, lettered, marked
from tests.running import (
    PATIENCE_SEC,
    builder_of,
    calls,
    claims,
    configured,
    enrich,
    entry,
    names,
    on_nth,
    owners,
    pause_at,
    repo_of,
    serving,
    until,
    written,
)

FOR_EVER = 600.0
"""Seconds that a reply takes which nobody is to wait for."""


def twice(stop):
    stop.request()
    stop.request()


@pytest.fixture
def repo(tmp_path):
    return repo_of(tmp_path / "repo", *names(20))


# -- asked once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SpanStarted, CallStarted, AttemptFinished, SpanEnriched])
def test_after_a_stop_no_call_starts_and_those_in_flight_are_stored(repo, kind):
    stop, asked = Stop(), []

    def ask(_):
        asked.append(len(calls(hosts)))
        stop.request()

    with serving("ab", latency=0.05) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=2), on_nth(kind, 3, ask), stop=stop)
        made = calls(hosts)
    started = len(ran.told(CallStarted))
    after = ran.events[ran.events.index(ran.told(Stopping)[0]) :]
    assert not [event for event in after if isinstance(event, CallStarted)]
    assert ran.report.interrupted
    assert ran.report.enriched == len(made) == started < 20
    assert (ran.report.left, ran.report.unfinished) == (20 - started, 0)
    assert len(written(repo).rows) == started
    assert (claims(repo), owners(repo)) == ([], [])


def test_a_stop_that_is_asked_for_while_slots_are_filled_starts_no_further_call(repo):
    stop = Stop()
    with serving("a", latency=0.02) as hosts:
        settings = configured(repo, hosts, slots=8)
        enrich(repo, settings, on_nth(CallStarted, 2, lambda _: stop.request()), stop=stop)
        assert len(calls(hosts)) == 2


def test_a_stop_starts_nothing_that_was_put_by_either(tmp_path):
    """Eight replies are refused, and all eight spans could go on to the large model at once."""
    spans = names(8, "TG")
    repo, stop = repo_of(tmp_path / "repo", *spans), Stop()

    def hold(_):
        until(lambda: sum(bool(call.ended) for call in hosts["a"].calls) == 8, "all replies")
        time.sleep(0.2)  # for the workers to hand them in

    with serving("a", lettered(*spans)) as hosts:
        hooks = on_nth(AttemptFinished, 1, hold), on_nth(CallStarted, 10, lambda _: stop.request())
        ran = enrich(repo, configured(repo, hosts, slots=8), *hooks, stop=stop)
        assert len(calls(hosts)) == 10
    assert (ran.report.enriched, ran.report.unfinished) == (2, 6)


@pytest.mark.parametrize("requests", [1, 2])
def test_a_stop_before_the_run_begins_lets_no_call_start(repo, requests):
    stop = Stop()
    for _ in range(requests):
        stop.request()
    with serving("a") as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=4), stop=stop)
        assert calls(hosts) == []
    assert (ran.report.interrupted, ran.report.enriched, ran.report.left) == (True, 0, 20)
    assert claims(repo) == []


def test_a_stop_tells_how_many_requests_are_finished(repo):
    stop = Stop()
    with serving("a", latency=0.05) as hosts:
        settings = configured(repo, hosts, slots=4)
        ran = enrich(repo, settings, on_nth(SpanStarted, 4, lambda _: stop.request()), stop=stop)
    [told] = ran.told(Stopping)
    assert told.in_flight == 4
    assert isinstance(ran.events[-1], RunFinished)


def test_spans_that_a_stop_leaves_unfinished_are_on_record_and_not_failed(tmp_path):
    spans = ["TG_0", "VVG_1", *names(10)]
    repo, stop = repo_of(tmp_path / "repo", *spans), Stop()
    ask = on_nth(SpanEnriched, 4, lambda _: stop.request())
    with serving("a", lettered(*spans)) as hosts:
        ran = enrich(repo, configured(repo, hosts), ask, stop=stop)
    report, ledger = ran.report, written(repo).ledger
    assert (report.unfinished, report.failed) == (2, {})
    assert report.left == 12 - report.enriched
    assert [ledger[name]["result"] for name in spans[:2]] == ["unfinished", "unfinished"]
    assert [ledger[name]["reason"] for name in spans[:2]] == ["truncation", "validation"]
    assert written(repo).metrics["TG_0"]["unfinished"] is True
    assert repo.query("SELECT * FROM llmc_failures") == []
    assert claims(repo) == []


def test_the_next_run_begins_with_what_a_stop_has_left(tmp_path):
    spans = ["TG_0", *names(10)]
    repo, stop = repo_of(tmp_path / "repo", *spans), Stop()
    ask = on_nth(SpanEnriched, 4, lambda _: stop.request())
    with serving("a", lettered(*spans)) as hosts:
        enrich(repo, configured(repo, hosts), ask, stop=stop)
        before = len(calls(hosts))
        ran = enrich(repo, configured(repo, hosts))
        assert calls(hosts)[before][2] == "TG_0"
    assert (ran.report.left, ran.report.resting) == (0, 0)
    assert written(repo).rows.keys() == set(spans)


def test_a_pause_before_a_retry_does_not_hold_up_a_stop(tmp_path):
    repo, stop = repo_of(tmp_path / "repo", "V_0"), Stop()
    ask = on_nth(AttemptFinished, 1, lambda _: stop.request())
    with serving("a", lettered("V_0")) as hosts:
        settings = configured(repo, hosts, retry_wait=FOR_EVER)
        ran = enrich(repo, settings, ask, stop=stop)
    assert ran.report.wall_sec < FOR_EVER / 10
    assert ran.report.unfinished == 1


@pytest.mark.parametrize("fault", [faults.RateLimited(150), faults.QueueFull()], ids=["429", "503"])
def test_a_wait_for_a_busy_server_ends_with_a_stop_and_charges_no_span(repo, fault):
    stop = Stop()

    def answer(call):
        if call.index == 1:
            threading.Timer(0.2, stop.request).start()
        return fault

    with serving("a", answer) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=2), stop=stop)
    assert ran.report.wall_sec < PATIENCE_SEC
    assert (ran.report.interrupted, ran.report.failed, ran.report.unfinished) == (True, {}, 0)
    assert ran.report.left == 20


# -- asked twice -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["twice", "interrupt"])
def test_a_second_stop_ends_the_run_at_once_and_closes_its_calls(repo, how):
    stop = Stop()

    def end(_):
        until(lambda: len(calls(hosts)) == 3, "the first three calls are with the host")
        if how == "interrupt":
            raise KeyboardInterrupt
        twice(stop)

    with serving("a", latency=FOR_EVER) as hosts:
        settings = configured(repo, hosts, slots=4)
        ran = enrich(repo, settings, on_nth(CallStarted, 4, end), stop=stop)
        until(lambda: all(call.disconnected for call in hosts["a"].calls), "the calls are closed")
    assert ran.report.wall_sec < FOR_EVER / 10
    assert (ran.report.interrupted, ran.report.enriched, ran.report.left) == (True, 0, 20)
    assert (claims(repo), owners(repo)) == ([], [])


@pytest.mark.parametrize("first", ["the reply", "the stop"])
@pytest.mark.parametrize("how", ["twice", "interrupt"])
def test_a_reply_that_has_arrived_is_stored_however_the_run_ends(repo, how, first):
    """While the hook holds up the main thread, three replies come in; the fourth never does."""
    stop = Stop()

    def answer(call):
        return faults.SlowHeaders(FOR_EVER) if marked(call.prompt) == "G_3" else None

    def end(_):
        if first == "the stop" and how == "twice":
            twice(stop)
        arrived = until(lambda: sum(bool(call.ended) for call in hosts["a"].calls) == 3, "replies")
        assert arrived
        time.sleep(0.3)  # for the three workers to hand in what they have
        if how == "interrupt":
            raise KeyboardInterrupt
        if first == "the reply":
            twice(stop)

    with serving("a", answer) as hosts:
        settings = configured(repo, hosts, slots=4)
        ran = enrich(repo, settings, on_nth(CallStarted, 4, end), stop=stop)
    assert written(repo).rows.keys() == {"G_0", "G_1", "G_2"}
    assert written(repo).ledger.keys() >= {"G_0", "G_1", "G_2"}
    assert (ran.report.enriched, ran.report.left) == (3, 17)


@pytest.mark.parametrize("kind", [CallFinished, AttemptFinished, SpanEnriched, SpanStarted])
def test_an_interrupt_in_a_hook_loses_no_reply_and_records_none_twice(repo, kind):
    """The main thread is held up first, so that several replies are taken in one go."""
    back, released = itertools.count(1), threading.Event()
    several = threading.Event()

    def answer(call):
        if call.index >= 5:
            pause_at(released)
        elif next(back) == 5:
            several.set()

    def interrupt(_):
        raise KeyboardInterrupt

    wait = on_nth(SpanStarted, 6, lambda _: pause_at(several))
    hooks = wait, on_nth(kind, 6 if kind is SpanStarted else 1, interrupt)
    settings = configured(repo, {"a": "http://127.0.0.1:9"}, slots=6)
    try:
        ran = enrich(repo, settings, *hooks, script=answer)
    finally:
        released.set()
    first = set(names(5))
    assert (ran.report.enriched, ran.report.interrupted) == (5, True)
    assert written(repo).rows.keys() == first
    assert written(repo).ledger.keys() == written(repo).metrics.keys() == first


def test_a_call_that_never_returns_does_not_hold_up_a_second_stop(repo):
    stop, released = Stop(), threading.Event()
    threading.Timer(0.3, twice, [stop]).start()
    try:
        settings = configured(repo, {"a": "http://127.0.0.1:9"}, slots=3)
        ran = enrich(repo, settings, script=lambda call: pause_at(released), stop=stop)
    finally:
        released.set()
    assert ran.report.wall_sec < PATIENCE_SEC / 3
    assert (ran.report.enriched, ran.report.left) == (0, 20)
    assert (claims(repo), owners(repo)) == ([], [])


def test_what_a_run_that_was_cut_off_brings_in_later_is_dropped(repo):
    stop, released = Stop(), threading.Event()
    threading.Timer(0.3, twice, [stop]).start()
    settings = configured(repo, {"a": "http://127.0.0.1:9"}, slots=3)
    enrich(repo, settings, script=lambda call: pause_at(released), stop=stop)
    released.set()
    until(lambda: not workers(), "the workers end")
    assert written(repo).rows == {}


# -- a call that overruns its deadlines ------------------------------------------------------------


def run_by_hand(repo, settings, builder, *hooks):
    """Return a run, and what it tells, so that a test can bring its clocks forward."""
    ledger = Ledger(repo.root, settings.metrics_log, est_tokens_per_span=350)
    store, told = Store.open(settings.index_path), []
    parts = Parts(settings, store, ledger, builder, Rules(), (told.append, *hooks), Stop())
    return Run(parts), told, store


def overrun(run, name):
    """Let a span's call have been under way for too long, and the time be there to notice."""
    for flight in run._flights:
        if flight.job.span.symbol == name:
            flight.overdue = 0.0
    run._lease._renewed_at = 0.0


def test_a_call_that_overruns_its_deadlines_is_given_up_and_its_slot_used_again(repo):
    released = threading.Event()
    settings = configured(repo, {"a": "http://127.0.0.1:9"}, slots=2)

    def answer(call):
        if call.index == 0:
            pause_at(released)

    run, told, store = run_by_hand(
        repo,
        settings,
        builder_of(settings, answer),
        on_nth(SpanStarted, 4, lambda _: overrun(run, "G_0")),
        on_nth(SpanEnriched, 19, lambda _: released.set()),
    )
    with store:
        report = run.run()
    assert (report.enriched, report.failed) == (20, {})
    outcomes = [
        event.outcome
        for event in told
        if isinstance(event, AttemptFinished) and event.span.symbol == "G_0"
    ]
    assert [(outcome.success, outcome.failure_type) for outcome in outcomes] == [
        (False, "runtime"),
        (True, None),
    ]
    assert "did not come back within" in outcomes[0].detail


def test_a_cascade_that_moves_on_after_it_was_given_up_keeps_no_slot(repo):
    """Its first backend comes back late, with a refusal; the last span waits for the second."""
    released, moved_on = threading.Event(), threading.Event()
    chain = {"x": ("http://127.0.0.1:9", 1), "y": ("http://127.0.0.1:19", 2)}
    entries = [entry(name, url=url, slots=slots) for name, (url, slots) in chain.items()]
    repo.write("llmc.toml", "".join(entries))
    settings = configured(repo, router="off")

    def first(call):
        if call.index == 0:
            pause_at(released)
            return refused("validation")
        if call.item["symbol"] == "G_19":
            pause_at(moved_on)
        return None

    def second(call):
        threading.Timer(0.5, moved_on.set).start()

    run, told, store = run_by_hand(
        repo,
        settings,
        builder_of(settings, first, second),
        on_nth(SpanStarted, 5, lambda _: overrun(run, "G_0")),
        on_nth(SpanEnriched, 6, lambda _: released.set()),
    )
    with store:
        report = run.run()
    assert (report.enriched, report.failed) == (20, {})
    begun = Counter(event.host for event in told if isinstance(event, CallStarted))
    ended = Counter(event.host for event in told if isinstance(event, CallFinished))
    assert begun == ended
    assert begun.total() == 22  # one that was given up, and its second backend


# -- a bug -----------------------------------------------------------------------------------------


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("llmc-worker")]


def passed(repo):
    """Return the spans that the ledger says are done; calls that were cut off are in it, too."""
    return {name for name, line in written(repo).ledger.items() if line["result"] == "pass"}


def test_a_bug_in_one_of_many_calls_is_a_traceback_and_costs_no_other_reply(repo):
    until(lambda: not workers(), "earlier tests' workers end")
    back, crashed = itertools.count(1), threading.Event()
    others = threading.Event()

    def answer(call):
        name = call.item["symbol"]
        if name == "G_4":
            pause_at(others)
            crashed.set()
            raise ZeroDivisionError("a bug")
        if name in ("G_0", "G_1"):  # before the crash; the rest of the first five after it
            if next(back) == 2:
                others.set()
            return
        pause_at(crashed)

    settings = configured(repo, {"a": "http://127.0.0.1:9"}, slots=5)
    with pytest.raises(ZeroDivisionError, match="a bug") as caught:
        enrich(repo, settings, script=answer)
    assert "answer" in [entry.name for entry in caught.traceback]
    assert written(repo).rows.keys() >= {"G_0", "G_1", "G_2", "G_3"}
    assert written(repo).rows.keys() == passed(repo)
    assert (claims(repo), owners(repo)) == ([], [])
    until(lambda: not workers(), "the workers end")


def test_a_bug_in_a_hook_is_a_traceback_and_costs_no_reply_that_has_come_in(repo):
    def broken(_):
        raise ZeroDivisionError

    with serving("a") as hosts:
        settings = configured(repo, hosts, slots=5)
        with pytest.raises(ZeroDivisionError):
            enrich(repo, settings, on_nth(SpanEnriched, 2, broken))
    assert written(repo).rows.keys() == passed(repo)
    assert len(written(repo).rows) >= 2
    assert (claims(repo), owners(repo)) == ([], [])


# -- signals ---------------------------------------------------------------------------------------


@pytest.fixture
def handlers():
    """The handlers of the signals, as they are put back after a test."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield lambda: {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_request(handlers, number):
    stop = Stop()
    with stop.on_signals():
        os.kill(os.getpid(), number)
        until(lambda: stop.requests, "the signal")
    assert (stop.requests, stop.signal) == (1, number)


def test_the_first_signal_is_the_one_that_counts(handlers):
    stop = Stop()
    with stop.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: stop.requests == 1, "the first signal")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (stop.requests, stop.signal) == (2, signal.SIGTERM)


def test_the_handlers_are_put_back(handlers):
    before = handlers()
    with Stop().on_signals():
        assert handlers() != before
    assert handlers() == before


def test_the_handlers_are_put_back_after_an_error(handlers):
    before = handlers()
    with pytest.raises(ZeroDivisionError), Stop().on_signals():
        raise ZeroDivisionError
    assert handlers() == before


def test_a_signal_that_is_ignored_stays_ignored(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = Stop()
    with stop.on_signals():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: stop.requests, "the other signal")
    assert (stop.requests, stop.signal) == (1, signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_listener_hears_of_requests_made_before_it_listened():
    stop, heard = Stop(), []
    twice(stop)
    stop.listen(lambda: heard.append(1))
    stop.request()
    assert heard == [1, 1, 1]


# -- the command -----------------------------------------------------------------------------------

COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.{handler})
from llmc.cli import main
sys.exit(main())
"""
HEEDING, IGNORING = "default_int_handler", "SIG_IGN"


@pytest.fixture
def command(tmp_path, clean_environ):
    """Start `llmc enrich` on a repository of 20 functions; what is left of it is ended."""
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "-q", root], check=True)
    text = "\n\n".join(
        f"def f{number}(x):  # mark:f{number}\n    return x + {number}" for number in range(20)
    )
    (root / "code.py").write_text(text + "\n")
    started = []

    def start(hosts, *words, handler=HEEDING):
        chain = ",".join(f"{label}={host.url}" for label, host in hosts.items())
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND.format(handler=handler), "enrich", root, *words],
            env=clean_environ | {"ENRICH_OLLAMA_HOSTS": chain},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process):
    """Wait for a process; return its exit status and what it said."""
    output, errors = process.communicate(timeout=PATIENCE_SEC)
    assert "Traceback" not in errors, errors
    return process.returncode, output


def test_all_spans_enriched_is_exit_status_0(command):
    with serving("a") as hosts:
        status, output = ended(command(hosts, "--slots", "4"))
    assert (status, output.split(",")[0]) == (0, "20 enriched")


def test_who_stops_reading_loses_no_reply_and_ends_the_run_with_141(command):
    go = threading.Event()

    def answer(call):
        if call.index > 3:
            pause_at(go)

    with serving("a", answer) as hosts:
        process = command(hosts, "--slots", "2")
        until(lambda: len(calls(hosts)) == 6, "two calls in flight after four that are done")
        process.stderr.close()
        process.stdout.close()
        go.set()
        assert process.wait(PATIENCE_SEC) == 141
        made = len(calls(hosts))
    with Store.open_readonly(Path(process.args[4]) / ".rag/index_v2.db") as store:
        assert store.counts.count_results() == (20, made)
    assert made < 20


def test_failed_spans_are_exit_status_1(command):
    def answer(call):
        return VALIDATION if marked(call.prompt) in ("f3", "f7") else None

    with serving("a", answer) as hosts:
        status, output = ended(command(hosts, "--slots", "4"))
    assert (status, output.split(",")[0]) == (1, "18 enriched")
    assert "2 failed (2 validation)" in output


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_lets_calls_finish_and_gives_its_exit_status(command, number):
    go = threading.Event()

    def answer(call):
        if call.index > 3:
            pause_at(go)

    with serving("a", answer) as hosts:
        process = command(hosts, "--slots", "2")
        until(lambda: len(calls(hosts)) == 6, "two calls in flight after four that are done")
        process.send_signal(number)
        time.sleep(0.5)  # for the signal to be there before the replies
        go.set()
        status, output = ended(process)
        made = len(calls(hosts))
    assert status == 128 + number
    assert f"{made} enriched" in output
    assert made < 20


def test_a_second_signal_ends_the_command_at_once(command):
    with serving("a", latency=FOR_EVER) as hosts:
        process = command(hosts, "--slots", "3")
        until(lambda: len(calls(hosts)) == 3, "three calls in flight")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)  # two at once may be taken for one
        process.send_signal(signal.SIGTERM)
        status, output = ended(process)
    assert status == 130
    assert "0 enriched" in output


def test_an_ignored_ctrl_c_does_not_end_the_command(command):
    go = threading.Event()
    with serving("a", lambda call: pause_at(go)) as hosts:
        process = command(hosts, "--slots", "3", handler=IGNORING)
        until(lambda: len(calls(hosts)) == 3, "three calls in flight")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        go.set()
        status, output = ended(process)
    assert (status, output.split(",")[0]) == (0, "20 enriched")


def test_a_second_stop_ends_a_run_that_waits_for_a_locked_index(tmp_path, clean_environ):
    """It says what could not be stored, and takes seconds, not the half minute of the wait."""
    repo = tmp_path / "locked"
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    (repo / "small.py").write_text("def small(value):\n    return value + 1\n")
    with FakeOllama(latency=0.1) as host:
        environ = clean_environ | {"ENRICH_OLLAMA_HOSTS": host.url}
        command = [sys.executable, "-m", "llmc", "enrich", str(repo), "--json"]
        run = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
        until(lambda: len(host.calls) >= 1, "the first call")
        index = sqlite3.connect(
            repo / ".rag/index_v2.db", isolation_level=None, timeout=PATIENCE_SEC
        )
        index.execute("BEGIN IMMEDIATE")
        until(lambda: host.calls[0].ended is not None, "the reply")
        time.sleep(0.5)  # now it waits for the index
        for _ in range(2):
            run.send_signal(signal.SIGINT)
            time.sleep(0.2)
        report = json.loads(run.communicate(timeout=25)[0])
        index.execute("ROLLBACK")
        index.close()
    assert run.returncode == 130
    assert report["enriched"] == 0
    assert "1 results were not stored" in report["stopped"]
