"""Hosts that fail in every known way, at scale: each span ends, within its bound, and is accounted
for truly.

How many calls a span may cost: an attempt makes one call, and asks again only when a busy server
sends it away (429 or 503), or when a kept connection turns out to be closed before any byte of an
answer, which happens to an attempt once at most. So calls <= attempts + busy answers + dropped
connections, and attempts <= twice the number of Ollama hosts. (A prompt that a server says it has
cut is sent once more, shorter; these are too short for that.)
"""

import hashlib
import json
import random
import re
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmc.store.retries import RUNTIME_PAUSES_SEC
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.chaos import world as w

SPANS = 10_000 if w.LONG else 300
OLLAMA_HOSTS = 3
SLOTS = 4
FAILING = 0.3
HOPELESS = 25
"""Of so many spans, one is never answered well."""

LIMIT = 2 * OLLAMA_HOSTS

SLOW = (
    faults.SlowHeaders(0.05),
    faults.SlowTokens(2000),
    faults.ModelSwap(0.02),
)
FAILURES = (
    *(faults.FAULTS[name] for name in faults.QUICK_FAILURES if name != "model-not-found"),
    faults.EndlessWhitespace(per_second=None),
)
BUSY = ("QueueFull", "RateLimited")
BREAKS_OFF = ("DropConnection", "DropMidBody")
SPOILED = {type(fault).__name__ for fault in FAILURES}

CLOUD = """\
[[enrichment.chain]]
name = "cloud"
provider = "openai"
url = "{url}/v1"
model = "big"
routing_tier = "nano"
"""


@dataclass(frozen=True)
class Met:
    """A call as its fake met it: for which function, by which model, spoiled by which fault."""

    model: str
    fault: str | None
    status: int | None


class Scripted:
    """The script of a fake: fails a share of the calls, and remembers whom each was for."""

    def __init__(self, seed):
        self._fails = faults.sometimes(FAILING, seed=seed, faults=FAILURES)
        self._dawdles = faults.sometimes(0.05, seed=seed + 1, faults=SLOW)
        self._seed = seed
        self.names = {}
        self.well = False

    def __call__(self, call):
        name = self.names[call.index] = w.name_in(call.prompt)
        if self.well:
            return None
        if int(name.partition("_")[2]) % HOPELESS == 7:
            return self._choice(call)
        return self._fails(call) or self._dawdles(call)

    def _choice(self, call):
        """Fail in one way or another, but not by being busy for ever."""
        ways = [fault for fault in FAILURES if type(fault).__name__ not in BUSY]
        key = f"{self._seed}|{call.model}|{call.seen}|{call.prompt}"
        return ways[int(hashlib.sha256(key.encode()).hexdigest(), 16) % len(ways)]

    def met(self, fake):
        """Yield (function, call) of everything that the fake was asked."""
        for call in fake.calls:
            yield (
                self.names[call.index],
                Met(call.model, next(iter(call.faults), None), call.status),
            )


@dataclass
class Site:
    """The world of one run, its fakes and their scripts."""

    world: w.World
    fakes: list[Any]
    scripts: list[Scripted]

    def met(self):
        """Return what the fakes met, by function."""
        found = defaultdict(list)
        for fake, script in zip(self.fakes, self.scripts, strict=True):
            for name, call in script.met(fake):
                found[name].append(call)
        return found


def write_spans(repo):
    """Write functions that start at all three tiers."""
    shapes = {w.small: 0.8, w.nested: 0.15, w.deep: 0.05}
    begin = 0
    for shape, share in shapes.items():
        end = begin + round(SPANS * share)
        w.write_functions(repo, range(begin, end), shape)
        begin = end
    assert begin == SPANS


@pytest.fixture
def site(tmp_path, clean_environ, seed):
    """A repository with spans of all tiers; three Ollama hosts and a cloud that often fail."""
    repo = w.make_repository(tmp_path / "repo")
    write_spans(repo)
    with ExitStack() as stack:
        scripts = [Scripted(seed + number) for number in range(OLLAMA_HOSTS + 1)]
        fakes = [
            stack.enter_context(
                (FakeOllama if script is not scripts[-1] else FakeOpenAI)(script, keep_bodies=False)
            )
            for script in scripts
        ]
        (repo / "llmc.toml").write_text(CLOUD.format(url=fakes[-1].url))
        world = w.World(repo, clean_environ).with_hosts(*(fake.url for fake in fakes[:-1]))
        world.trust()
        yield Site(world, fakes, scripts)


# What holds at every commit

MOMENT = """
SELECT (SELECT count(*) FROM spans),
    (SELECT count(*) FROM spans s JOIN enrichments e USING (span_hash)),
    (SELECT count(*) FROM spans s JOIN llmc_failures x USING (span_hash)),
    (SELECT count(*) FROM spans s WHERE NOT EXISTS
        (SELECT 1 FROM enrichments e WHERE e.span_hash = s.span_hash) AND NOT EXISTS
        (SELECT 1 FROM llmc_failures x WHERE x.span_hash = s.span_hash)),
    (SELECT count(*) FROM llmc_outcomes o WHERE (o.result = 'pass') <> EXISTS
        (SELECT 1 FROM enrichments e WHERE e.span_hash = o.span_hash)),
    (SELECT count(*) FROM llmc_outcomes),
    (SELECT count(*) FROM llmc_claims c JOIN llmc_outcomes o USING (span_hash))
"""


def contradictions(moment):
    """Return what is not as it should be in a moment of an index, counted without llmc."""
    spans, enriched, failed, pending, untrue, outcomes, settled_claims = moment
    return [
        text
        for text, wrong in (
            ("spans <> enriched + pending + failed", spans != enriched + pending + failed),
            ("an outcome says other than what is stored", untrue != 0),
            ("a result has no outcome", outcomes != enriched + failed),
            ("a settled span is still claimed", settled_claims != 0),
        )
        if wrong
    ]


class Watcher(threading.Thread):
    """Looks at an index from outside whenever it has changed."""

    def __init__(self, index: Path):
        super().__init__(daemon=True)
        self._index = index
        self.wrong: list[Any] = []
        self.moments = 0
        self.over = threading.Event()

    def run(self):
        with closing(sqlite3.connect(f"file:{self._index}?mode=ro", uri=True)) as database:
            version = None
            while not self.over.wait(0.05 if w.LONG else 0.005):
                before, version = version, database.execute("PRAGMA data_version").fetchone()
                if version != before:
                    moment = database.execute(MOMENT).fetchone()
                    self.moments += 1
                    self.wrong += [(moment, text) for text in contradictions(moment)]


@contextmanager
def watched(index):
    """Watch an index while the block runs; what was seen wrong fails the test."""
    watcher = Watcher(index)
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.over.set()
        watcher.join(w.PATIENCE_SEC)
    assert watcher.wrong == []


def status_of(world):
    """Return what `llmc status` says; its numbers must add up."""
    code, said = world.run("status", "--json")
    assert code == 0, said
    totals = json.loads(said)
    assert totals["spans"] == totals["enriched"] + totals["pending"] + totals["failed"] == SPANS
    assert min(totals["enriched"], totals["pending"], totals["failed"]) >= 0
    return totals


# What the records say


ONLY_SOMETIMES = {"rebuilt", "unfinished", "parroted"}
"""Documented fields of lines that this run has no reason to write."""


def documented_fields():
    """Return the fields of (ledger, metrics, metrics of a success) that docs/batch-driver.md names.

    A cell may name one field of both, or one of each in the order of the next cell.
    """
    text = Path("docs/batch-driver.md").read_text().partition("## Records")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \| ([a-z, ]+) \|", text, flags=re.MULTILINE)
    fields = {"ledger": set(), "metrics": set(), "success": set()}
    for names, place in rows:
        every, places = re.findall(r"`(\w+)`", names), place.split(", ")
        if place == "both":
            places = ["ledger", "metrics"]
        elif place == "metrics, success":
            places = ["success"]
        elif len(places) == 2:
            for name, one in zip(every, places, strict=True):
                fields[one].add(name)
            continue
        for one in places:
            fields[one] |= set(every)
    return fields["ledger"], fields["metrics"], fields["metrics"] | fields["success"]


def functions_by_hash(world):
    with w.looked_at(world.index) as database:
        return dict(database.execute("SELECT span_hash, symbol FROM spans"))


def assert_lines_are_whole(metrics, ledger):
    of_ledger, of_failure, of_success = documented_fields()
    assert len(of_ledger) > 20 < len(of_failure) < len(of_success)
    for line in ledger:
        assert set(line) == of_ledger - ONLY_SOMETIMES, line
    for line in metrics:
        fields = of_success if line["schema_ok"] else of_failure
        assert set(line) == fields - ONLY_SOMETIMES, line


def assert_lines_match_the_index(world, metrics, ledger):
    hashes = [line["span_hash"] for line in metrics]
    assert hashes == [line["task_id"] for line in ledger]
    assert len(set(hashes)) == len(hashes) == SPANS
    with w.looked_at(world.index) as database:
        failed = dict(database.execute("SELECT span_hash, kind FROM llmc_failures"))
        enriched = set(w.stored(database))
    assert {line["task_id"] for line in ledger if line["result"] == "pass"} == enriched
    assert {
        line["task_id"]: line["reason"] for line in ledger if line["result"] == "fail"
    } == failed
    totals = [line["enrichments_total"] for line in metrics if line["schema_ok"]]
    assert totals == list(range(1, len(enriched) + 1))
    assert {line["spans_total"] for line in metrics if line["schema_ok"]} == {SPANS}


def assert_lines_match_the_calls(site, metrics, ledger):
    functions, met = functions_by_hash(site.world), site.met()
    assert met.keys() == set(functions.values())
    for line, entry in zip(metrics, ledger, strict=True):
        calls, attempts = met[functions[line["span_hash"]]], line["attempts"]
        kinds = Counter(call.fault for call in calls)
        asked = len(calls) - sum(kinds[name] for name in BUSY)
        broken = sum(kinds[name] for name in BREAKS_OFF)
        assert attempts == entry["attempts"] == len(line["attempt_details"]) <= LIMIT
        assert attempts <= asked <= attempts + broken, (line, calls)
        good = [call for call in calls if call.fault not in SPOILED]
        assert len(good) == line["schema_ok"], (line, calls)
        if good:
            assert line["model"] == entry["result_model"] == good[0].model
        tried = {detail["model"] for detail in line["attempt_details"]}
        assert tried == {call.model for call in calls}
        assert line["attempt_details"][-1]["success"] is line["schema_ok"]


def test_every_span_ends_within_its_bound_and_is_truly_accounted_for(site, seed):
    world = site.world
    world.run("index")
    started = time.monotonic()
    with watched(world.index) as watcher:
        run = world.start("enrich", "--slots", str(SLOTS), "--quiet")
        pauses, looks = random.Random(seed), 0
        while run.status is None:
            status_of(world)
            looks += 1
            time.sleep(pauses.uniform(0, 5 if w.LONG else 1))
        status = run.wait()
    seconds = time.monotonic() - started
    assert status == 1, run.said

    totals = status_of(world)
    assert totals["pending"] == 0
    assert totals["failed"] >= SPANS // HOPELESS
    w.assert_clean_end(world)

    metrics, ledger = world.records(w.METRICS), world.records(w.LEDGER)
    assert_lines_are_whole(metrics, ledger)
    assert_lines_match_the_index(world, metrics, ledger)
    assert_lines_match_the_calls(site, metrics, ledger)
    found = world.audit()
    assert (found["missing"], found["lost"], found["twice"]) == ([], [], [])

    calls = [call for some in site.met().values() for call in some]
    for script in site.scripts:
        script.well = True
    assert world.run("enrich")[0] == 0, "spans that failed rest, and that is no failure"
    rested = seconds < RUNTIME_PAUSES_SEC[0]  # else the pause of some is over by now
    assert status_of(world)["failed"] == totals["failed"] or not rested
    assert world.run("enrich", "--retry-failed")[0] == 0
    assert status_of(world)["enriched"] == SPANS
    with w.looked_at(world.index) as database:
        assert w.count(database, "llmc_failures") == 0
    assert sum(line["result"] == "pass" for line in world.records(w.LEDGER)) == SPANS

    kinds = Counter(call.fault for call in calls if call.fault in SPOILED)
    assert len(kinds) >= 16
    assert kinds.total() >= 0.28 * len(calls)
    print(
        f"{SPANS} spans in {seconds:.0f} s: {totals['enriched']} enriched, {totals['failed']} "
        f"failed; {len(calls)} calls (bound {LIMIT * SPANS} attempts), {kinds.total()} of them "
        f"spoiled in {len(kinds)} ways; looked at from outside at {watcher.moments} moments and by "
        f"{looks} times `llmc status`, it always added up"
    )
