"""Whatever the hosts do, a run ends by itself, with a status that means something and a last line
that says why; and it ends when it is asked to."""

import itertools
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from llmc import engine
from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.backends.cascade import BackendCascade
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.testing import FakeBackend
from llmc.testing.gateway import GatewayReply, gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama
from tests.chaos import world as w
from tests.chaos.hosts import MOODS, WIRES, MoodyHost

SPANS = 4
SEQUENCES = 200 if w.LONG else 6
AT_ONCE = 12
"""Runs side by side: they wait most of the time."""

ENTRY = """\
[[enrichment.chain]]
name = "{name}"
url = "{url}"
routing_tier = "{tier}"
timeout_seconds = 0.5
"""

DEADLINE = "did not answer in full by the deadline"
NO_ANSWER = "no answer within the call's time"
"""Why a host rests that gives no sign of life until the deadline."""

DROPPED = "it closes the connection without an answer"
"""Why a host rests that takes a request and drops it: no span fails for that."""

HARM = {
    "error": "HTTP 500",
    "busy": "HTTP 429",
    "full": "HTTP 503",
    "drop": DROPPED,
    "reset": "http://127.0.0.1:",
    "silent": DEADLINE,
    "slow": DEADLINE,
    "prose": "reply refused",
    "hang": DEADLINE,
    "dribble": DEADLINE,
    "cut": "reset by peer",
}
"""What a span's failure says, where a host does nothing else."""


@dataclass(frozen=True)
class Ended:
    """A run that has come to its end."""

    status: int
    said: str
    world: w.World

    def failures(self):
        """Return why each failed span failed."""
        with w.looked_at(self.world.index) as database:
            return [row[0] for row in database.execute("SELECT detail FROM llmc_failures")]

    @property
    def last_line(self):
        return self.said.splitlines()[-1]


def make_world(folder, environ, urls):
    """Make a repository with a few spans, and a chain of these hosts with short deadlines."""
    repo = w.make_repository(folder / "repo")
    w.write_functions(repo, range(SPANS))
    (repo / "llmc.toml").write_text(
        "".join(
            ENTRY.format(name=f"host{number}-{tier}", url=url, tier=tier)
            for tier in ("7b", "14b")
            for number, url in enumerate(urls)
        )
    )
    world = w.World(repo, {**environ, "ENRICH_HEALTHCHECK_TIMEOUT_SECONDS": "1"})
    world.trust()
    return world


@pytest.fixture
def run_all(tmp_path, clean_environ):
    """Run once against each set of hosts, all side by side; each host is given by its moods."""

    def run(number, lives, patience):
        folder = tmp_path / str(number)
        with ExitStack() as stack:
            hosts = [stack.enter_context(MoodyHost(life)) for life in lives]
            world = make_world(folder, clean_environ, [host.url for host in hosts])
            order = ("spread", "failover")[number % 2]
            words = ("--slots", "2", "--hosts", order, "--wait-for-hosts", patience)
            status, said = world.run("enrich", *words)
        return Ended(status, said, world)

    def run_each(*sets, patience="1"):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(run, range(len(sets)), sets, [patience] * len(sets)))

    return run_each


def assert_accounted_for(ended, patience="1"):
    """Check that the status, the last lines, the index and the logs tell the same story."""
    world, said = ended.world, ended.said
    w.assert_clean_end(world)
    with w.looked_at(world.index) as database:
        enriched = len(w.stored(database))
        failed = w.count(database, "llmc_failures")
    assert all(ended.failures())
    pending = SPANS - enriched - failed
    if ended.last_line.startswith("llmc: no host of the chain answers; tried host0-7b"):
        assert (ended.status, pending) == (2, SPANS), said
        return
    found = world.audit()
    assert (found["missing"], found["lost"], found["twice"]) == ([], [], [])
    assert f"{enriched} enriched, {failed} failed" in said
    assert f", {pending} left" in said
    if pending:
        assert ended.last_line.startswith(
            f"stopped: no host has answered for {patience} s: host"
        ), said
        assert ended.status == 2
    else:
        assert ended.status == (1 if failed else 0), said


def test_hosts_that_do_nothing_but_harm_fail_each_span_or_stop_the_run(run_all):
    """The first look at a host finds it well; "silent" lets look-ups pass."""
    lives = [[("silent", 0.5), (mood, 0.0)] if mood in WIRES else [(mood, 0.0)] for mood in HARM]
    for mood, ended in zip(HARM, run_all(*([life, life] for life in lives)), strict=True):
        assert_accounted_for(ended)
        may_rest = mood in WIRES or HARM[mood] in (DEADLINE, DROPPED)
        assert ended.status in ((1, 2) if may_rest else (1,)), ended.said
        reasons = [ended.last_line] if ended.status == 2 else ended.failures()
        # A request that a host had in hand as it changed its mood may have been dropped by it.
        in_hand = mood in WIRES or HARM[mood] == DEADLINE
        expected = (HARM[mood], NO_ANSWER, DROPPED) if in_hand else (HARM[mood],)
        assert any(text in reason for text in expected for reason in reasons), (mood, reasons)


def test_hosts_that_are_all_dead_are_named_at_once(run_all):
    [ended] = run_all([[("dead", 0.0)]] * 2)
    assert_accounted_for(ended)
    assert ended.status == 2
    assert "host1-14b (http://127.0.0.1:" in ended.last_line


def test_hosts_that_all_die_under_way_are_waited_for_and_then_named(run_all):
    [ended] = run_all([[("silent", 0.5), ("dead", 0.0)]] * 2)
    assert_accounted_for(ended)
    assert ended.status == 2
    assert "Connection refused" in ended.said or DROPPED in ended.said


def test_a_host_that_dies_and_returns_in_time_finishes_the_work(run_all):
    returning = [("slow", 0.3), ("dead", 1.0), ("good", 0.0)]
    [ended] = run_all([returning, [("dead", 0.0)]], patience="60")
    assert_accounted_for(ended)
    assert ended.status == 0, ended.said


def test_any_sequence_of_moods_comes_to_an_end_that_is_accounted_for(run_all, seed):
    rng = random.Random(seed)
    sets = [
        [
            [(mood, rng.uniform(0.1, 2.0)) for mood in rng.choices(MOODS, k=rng.randint(1, 5))]
            for _ in range(2)
        ]
        for _ in range(SEQUENCES)
    ]
    every = run_all(*sets)
    for number, ended in enumerate(every):
        print(f"{number}: {ended.status} {ended.last_line[:200]}  {sets[number]}")
        assert_accounted_for(ended)
    statuses = Counter(ended.status for ended in every)
    print(f"{SEQUENCES} sequences, ended with {dict(sorted(statuses.items()))}")
    assert not w.LONG or statuses.keys() == {0, 1, 2}


# Asked to end


@pytest.fixture
def slow_hosts(request):
    """Two hosts whose replies take so many seconds."""
    with ExitStack() as stack:
        yield [stack.enter_context(FakeOllama(latency=request.param)) for _ in range(2)]


@pytest.fixture
def interrupt(tmp_path, clean_environ, slow_hosts):
    """Start a run, wait until all slots are busy, send these signals; return how it ended."""

    def send(*numbers):
        repo = w.make_repository(tmp_path / "repo")
        w.write_functions(repo, range(40))
        world = w.World(repo, clean_environ).with_hosts(*(host.url for host in slow_hosts))
        run = world.start("enrich", "--slots", "2")
        w.wait_until(lambda: sum(host.in_flight for host in slow_hosts) == 4, run)
        for number in numbers:
            run.process.send_signal(number)
            time.sleep(0.3)  # two at once would be one
        ended = Ended(run.wait(), run.said, world)
        w.assert_clean_end(world)
        return ended

    return send


@pytest.mark.parametrize("slow_hosts", [1.0], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_is_in_flight_finish(interrupt, slow_hosts, number):
    ended = interrupt(number)
    assert ended.status == 128 + number, ended.said
    calls = [call for host in slow_hosts for call in host.calls]
    with w.looked_at(ended.world.index) as database:
        assert len(w.stored(database)) == len(calls) < 40
    assert not any(call.disconnected for call in calls)
    assert f"{len(calls)} enriched, 0 failed, {40 - len(calls)} left" in ended.said
    assert ended.last_line == "interrupted: run it again to go on from here"
    found = ended.world.audit()
    assert (found["missing"], found["lost"]) == ([], [])


@pytest.mark.parametrize("slow_hosts", [3600.0], indirect=True)
@pytest.mark.parametrize("numbers", [(signal.SIGINT,) * 2, (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_cuts_off_calls_that_would_take_an_hour(interrupt, slow_hosts, numbers):
    ended = interrupt(*numbers)
    assert ended.status == 128 + numbers[0], ended.said
    calls = [call for host in slow_hosts for call in host.calls]
    w.wait_until(lambda: all(call.disconnected for host in slow_hosts for call in host.calls))
    assert len(calls) == 4
    assert "0 enriched, 0 failed, 40 left" in ended.said
    assert ended.last_line == "interrupted: run it again to go on from here"


def test_a_second_signal_ends_a_gateway_program_with_all_that_it_started(tmp_path, clean_environ):
    repo = w.make_repository(tmp_path / "repo")
    w.write_functions(repo, range(4))
    program = write_gateway(tmp_path / "gateway", default=GatewayReply(sleep=120))
    world = w.World(repo, clean_environ)
    run = world.start("enrich", "--backend", "gateway", "--gateway-path", str(program))
    w.wait_until(lambda: gateway_calls(program), run)
    for _ in range(2):
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert run.wait() == 130, run.said
    w.wait_until(lambda: not processes_of(program))


def processes_of(program):
    """Return the processes that run a program."""
    listed = subprocess.run(
        ["ps", "-axww", "-o", "args="], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if str(program) in line.split()]


# Calls that never come back


class Builder(CascadeBuilder):
    """Its first call never comes back, deadline or not; all others are answered."""

    def __init__(self, settings):
        super().__init__(settings, CallPolicy())
        self.calls = itertools.count()

    def check(self):
        pass

    def __call__(self, attempt):
        return (
            super().__call__(attempt)._replace(cascade=BackendCascade([FakeBackend(self._answer)]))
        )

    def _answer(self, call):
        if next(self.calls) == 0:
            threading.Event().wait()
        return {"summary_120w": "About it."}


@pytest.mark.skipif(not w.LONG, reason="takes more than a minute: LLMC_CHAOS=1")
def test_a_call_that_overruns_every_deadline_is_given_up(tmp_path, clean_environ):
    world = make_world(tmp_path, clean_environ, ["http://127.0.0.1:9"])
    world.run("index")
    settings = load_settings(world.repo, Flags(retry_wait=0.0), dict(world.environ))
    report = engine.enrich(world.repo, settings, builder=Builder(settings))
    assert report.enriched == SPANS
    outcomes = [len(line["attempt_details"]) for line in world.records(w.METRICS)]
    attempts = [line["attempts"] for line in world.records(w.METRICS)]
    assert sorted(attempts) == [1] * (SPANS - 1) + [2]
    assert sum(outcomes) == SPANS
