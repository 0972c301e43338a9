"""A run that is killed loses no result that was stored, pays nothing twice but what was in flight,
and leaves nothing behind that keeps the next run from finishing.

Kills land by chance, as the seed has it: at start-up, while files are indexed, while spans are
claimed, called for, stored and recorded.
"""

import json
import os
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from llmc.testing.ollama import FakeOllama
from tests.chaos import world as w

KILLS = 200 if w.LONG else 20
HOSTS = SLOTS = 2
IN_FLIGHT = HOSTS * SLOTS
LOST_BY_A_KILL = IN_FLIGHT
"""A kill costs a call for each slot: one in flight, or a reply that is yet to be stored. A slot is
given to the next call only when the reply before it is stored."""

NOISE_FILES = 200
START_UP_SEC = 0.5
AFTER_CALL_SEC = 0.02


@pytest.fixture
def hosts():
    """Two fake hosts that take 20 ms for a reply."""
    with ExitStack() as stack:
        yield [stack.enter_context(FakeOllama(latency=0.02)) for _ in range(HOSTS)]


@pytest.fixture
def world(tmp_path, clean_environ, hosts):
    """An empty repository, to be enriched by the fake hosts."""
    world = w.World(w.make_repository(tmp_path / "repo"), clean_environ)
    return world.with_hosts(*(host.url for host in hosts))


def answered(hosts):
    return sum(call.ended is not None for host in hosts for call in host.calls)


def kill_at_some_time(world, hosts, rng):
    """Start a run, and kill it at a moment that chance decides; tell whether it was still there."""
    calls = 0 if rng.random() < 0.4 else rng.randint(1, 8)
    before = answered(hosts)
    run = world.start("enrich", "--slots", str(SLOTS), "--quiet")
    if calls:
        w.wait_until(lambda: answered(hosts) - before >= calls, run)
    time.sleep(rng.uniform(0, AFTER_CALL_SEC if calls else START_UP_SEC))
    run.kill()
    assert run.status in (0, -signal.SIGKILL), run.said
    return run.status != 0


def write_work(world, rng, number):
    """Write 16 more spans, which no run has done before it is killed, and files without any."""
    w.write_functions(world.repo, range(16 * number, 16 * (number + 1)))
    for noise in range(NOISE_FILES):
        (world.repo / f"noise_{noise}.py").write_text(f"# {rng.random()}\n" * 20)


def tear_logs(world, rng):
    """Cut off the ends of some logs, as a loss of power does; return how many."""
    logs = [world.repo / "logs" / name for name in (w.METRICS, w.LEDGER)]
    torn = [log for log in logs if rng.random() < 0.2 and log.exists() and log.stat().st_size]
    for log in torn:
        os.truncate(log, log.stat().st_size - rng.randint(1, 300))
    return len(torn)


def passes(world, log, key):
    """Count the pass lines of each span; a line that is no JSON must be one that was torn."""
    found, torn = Counter(), 0
    for line in world.lines(log):
        try:
            record = json.loads(line)
        except ValueError:
            assert line.startswith(b"{"), line
            torn += 1
        else:
            found[record[key]] += record["schema_ok"]
    return found, torn


def test_killed_runs_lose_nothing_stored_and_repeat_only_what_was_in_flight(world, hosts, seed):
    rng = random.Random(seed)
    kept, kills, runs, at_start_up, torn = {}, 0, 0, 0, 0
    while kills < KILLS:
        write_work(world, rng, runs)
        calls = sum(len(host.calls) for host in hosts)
        kills += kill_at_some_time(world, hosts, rng)
        runs += 1
        at_start_up += calls == sum(len(host.calls) for host in hosts)
        with w.looked_at(world.index) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            stored = w.stored(database)
        assert stored.items() >= kept.items(), f"kill {kills} undid what was stored"
        kept = stored
        torn += tear_logs(world, rng)
    status, said = world.run("enrich", "--slots", str(SLOTS))
    assert status == 0, said

    w.assert_clean_end(world)
    with w.looked_at(world.index) as database:
        spans = w.count(database, "spans")
        stored = w.stored(database)
        assert w.count(database, "llmc_failures") == 0
        assert w.count(database, "llmc_outcomes WHERE result = 'pass'") == spans
    assert spans == 16 * runs
    assert len(stored) == spans
    assert stored.items() >= kept.items()

    calls = sum(len(host.calls) for host in hosts)
    assert spans <= calls <= spans + KILLS * LOST_BY_A_KILL

    found = world.audit("--rebuild")
    assert len(found["missing"]) <= KILLS * IN_FLIGHT + torn
    again = world.audit()
    assert (again["missing"], again["lost"], again["twice"]) == ([], [], [])
    once = dict.fromkeys(stored, 1)
    ledger, torn_ledger = passes(world, w.LEDGER, "task_id")
    metrics, torn_metrics = passes(world, w.METRICS, "span_hash")
    assert ledger == metrics == once
    assert torn_ledger + torn_metrics <= torn + KILLS
    print(
        f"{KILLS} kills, {at_start_up} of them before the first call: {spans} spans enriched once, "
        f"{calls - spans} calls repeated (bound {KILLS * LOST_BY_A_KILL}), "
        f"{len(found['missing'])} spans without a line, all rebuilt; {torn} logs torn, which left "
        f"{torn_ledger + torn_metrics} lines that are no JSON"
    )


def claims_by_owner(world):
    with w.looked_at(world.index) as database:
        rows = database.execute("SELECT owner, span_hash FROM llmc_claims").fetchall()
    owners = {}
    for owner, span_hash in rows:
        owners.setdefault(owner, set()).add(span_hash)
    return owners


def test_the_others_take_over_from_one_of_three_that_is_killed(world, hosts, seed):
    spans = 1200 if w.LONG else 240
    w.write_functions(world.repo, range(spans))
    world.run("index")
    runs = [world.start("enrich", "--slots", str(SLOTS)) for _ in range(3)]
    w.wait_until(lambda: len(claims_by_owner(world)) == 3 and answered(hosts) > 20, runs[0])
    victim = random.Random(seed).choice(runs)
    victim.kill()
    left = {
        span_hash
        for owner, claimed in claims_by_owner(world).items()
        if owner.startswith(f"{victim.process.pid}-")
        for span_hash in claimed
    }
    assert left
    for run in runs:
        assert run is victim or run.wait() == 0, run.said
    with w.looked_at(world.index) as database:
        stored = w.stored(database)
    assert len(stored) == spans
    assert world.run("enrich")[0] == 0  # it clears away what the killed one kept of the disk

    w.assert_clean_end(world)
    assert left <= stored.keys()
    calls = sum(len(host.calls) for host in hosts)
    assert spans <= calls <= spans + LOST_BY_A_KILL
    found = world.audit("--rebuild")
    assert len(found["missing"]) <= IN_FLIGHT
    assert world.audit()["twice"] == []
    print(f"one of three killed: {len(left)} spans taken over, {calls - spans} calls repeated")
