"""A run as a whole: who is asked what and in which order, and what is on record afterwards."""

import itertools
import json
import random
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from llmc.events import RunFinished, RunStarted, SpanEnriched, SpanStarted, Warned
from llmc.run import measures, routing
from llmc.testing import faults, refused
from tests.driving import (
    TRUNCATION,
    VALIDATION,
    drive,
    lettered,
    make_repo,
    marked,
    plain,
)
from tests.running import (
    PATIENCE_SEC,
    calls,
    claims,
    configured,
    enrich,
    entry,
    names,
    on_nth,
    owners,
    repo_of,
    serving,
    written,
)


class Together:
    """A script that lets the first calls go on only when so many are there at once."""

    def __init__(self, parties):
        self._barrier = threading.Barrier(parties)
        self._left = parties
        self._lock = threading.Lock()

    def __call__(self, call):
        with self._lock:
            self._left -= 1
            waits = self._left >= 0
        if waits:
            self._barrier.wait(PATIENCE_SEC)


# -- slots -----------------------------------------------------------------------------------------


def test_every_host_works_in_all_its_slots_at_once_and_never_in_more(tmp_path):
    repo = repo_of(tmp_path / "repo", *names(36))
    with serving("abc", Together(6), latency=0.03) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=2))
        assert {label: host.peak_in_flight for label, host in hosts.items()} == {
            "a": 2,
            "b": 2,
            "c": 2,
        }
        assert min(len(host.calls) for host in hosts.values()) >= 6
    assert (ran.report.enriched, ran.report.left) == (36, 0)
    assert [(host.name, host.slots) for host in ran.told(RunStarted)[0].hosts] == [
        ("a", 2),
        ("b", 2),
        ("c", 2),
    ]


def test_the_slots_of_an_entry_beat_the_flag(tmp_path):
    repo = repo_of(tmp_path / "repo", *names(24))
    with serving("ab", Together(5), latency=0.03) as hosts:
        toml = entry("a", url=hosts["a"].url, slots=1) + entry("b", url=hosts["b"].url)
        repo.write("llmc.toml", toml)
        enrich(repo, configured(repo, slots=4))
        assert [host.peak_in_flight for host in hosts.values()] == [1, 4]


@pytest.mark.parametrize("chosen", ["by the flag", "by an entry"])
def test_the_embedded_model_is_asked_one_thing_at_a_time(tmp_path, chosen):
    repo = repo_of(tmp_path / "repo", *names(12))
    backend = "embedded" if chosen == "by the flag" else "auto"
    if backend == "auto":
        repo.write("llmc.toml", entry("local", provider="llamacpp", slots=4))
    under_way, most = itertools.count(), []
    busy = threading.Lock()

    def answer(call):
        most.append(busy.acquire(blocking=False))
        threading.Event().wait(0.01)
        busy.release()
        next(under_way)

    ran = enrich(repo, configured(repo, backend=backend, slots=8), script=answer)
    assert most == [True] * 12
    assert ran.report.enriched == 12


@pytest.mark.parametrize("order", ["spread", "failover"])
@pytest.mark.parametrize("limit", [1, 7])
def test_a_limit_starts_no_call_that_is_not_needed(tmp_path, order, limit):
    repo = repo_of(tmp_path / "repo", *names(30))
    with serving("abc", latency=0.02) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=2, limit=limit, host_order=order))
        assert len(calls(hosts)) == limit
    assert (ran.report.enriched, ran.report.left) == (limit, 30 - limit)


def test_a_limit_takes_one_more_span_for_each_that_fails(tmp_path):
    repo = repo_of(tmp_path / "repo", *names(5, "V"), *names(20))
    with serving("ab", lettered(*names(5, "V"), *names(20)), latency=0.01) as hosts:
        settings = configured(repo, hosts, slots=2, limit=4, router="off", retries=1)
        ran = enrich(repo, settings)
    assert (ran.report.enriched, ran.report.failed) == (4, {"validation": 5})
    assert len(ran.told(SpanStarted)) == 9


# -- failover: the batch driver's order ------------------------------------------------------------

FAULTS = [faults.Prose(), faults.CutOutput(), faults.WrongSchema(), faults.HttpStatus(500)]


def seeded(seed):
    """Spoil 45 % of the calls, the same ones however the prompt is worded."""
    spoil = faults.sometimes(0.45, seed=seed, faults=FAULTS)
    return lambda call: spoil(replace(call, prompt=marked(call.prompt)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_failover_with_one_slot_calls_as_the_batch_driver_does(tmp_path, seed):
    lines = {"small": 3, "long": 70, "longest": 130}
    pieces = [plain(f"{kind}_{n}", lines[kind]) for n in range(8) for kind in lines]
    theirs, ours = make_repo(tmp_path / "theirs"), make_repo(tmp_path / "ours")
    for repo in (theirs, ours):
        repo.add("src/all.py", *pieces)
    with serving("abc", seeded(seed)) as hosts:
        drive(theirs, "--retries", 1, "--batch-size", 50, hosts=hosts)
        expected = calls(hosts)
    with serving("abc", seeded(seed)) as hosts:
        ran = enrich(ours, configured(ours, hosts, slots=1, retries=1, host_order="failover"))
        found = calls(hosts)
    assert found == expected
    assert {host for host, _, _ in found} == set("abc"), "too few failures to show anything"
    assert ran.written.rows.keys() == written(theirs).rows.keys()


# -- spread ----------------------------------------------------------------------------------------


def test_promotions_run_in_one_block_at_the_end(tmp_path):
    spans = [f"{'TG' if number % 3 == 0 else 'G'}_{number}" for number in range(30)]
    repo = repo_of(tmp_path / "repo", *spans)
    with serving("a", lettered(*spans), swap_seconds=0.02) as hosts:
        ran = enrich(repo, configured(repo, hosts))
        tiers = [tier for _, tier, _ in calls(hosts)]
        assert hosts["a"].swaps == 1
    assert tiers == ["7b"] * 30 + ["14b"] * 10
    assert ran.report.enriched == 30


def test_failover_swaps_at_every_promotion(tmp_path):
    spans = [f"{'TG' if number % 3 == 0 else 'G'}_{number}" for number in range(12)]
    repo = repo_of(tmp_path / "repo", *spans)
    with serving("a", lettered(*spans), swap_seconds=0.01) as hosts:
        enrich(repo, configured(repo, hosts, host_order="failover"))
        assert hosts["a"].swaps == 8  # there and back for each of the four


def test_a_span_goes_round_the_hosts_from_the_one_it_began_on(tmp_path):
    repo = repo_of(tmp_path / "repo", "slow", "bad")
    done = threading.Event()

    def answer(call):
        if marked(call.prompt) == "slow":
            assert done.wait(PATIENCE_SEC)
            return None
        if sum(span == "bad" for _, _, span in calls(hosts)) == 4:
            done.set()
        return TRUNCATION

    with serving("abc", answer) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=1))
        path = [f"{tier}@{host}" for host, tier, span in calls(hosts) if span == "bad"]
    assert path == ["7b@b", "14b@b", "7b@c", "14b@c", "7b@a", "14b@a"]
    assert ran.report.failed == {"truncation": 1}


@pytest.mark.parametrize("seed", [1, 2])
def test_each_span_is_tried_as_the_routing_rules_say(tmp_path, seed):
    dice = random.Random(seed)
    spans = ["".join(dice.choices("GVPTR", [2, 3, 2, 2, 1], k=6)) + f"_{n}" for n in range(40)]
    repo = repo_of(tmp_path / "repo", *spans)
    with serving("abc", lettered(*spans)) as hosts:
        settings = configured(repo, hosts, slots=2)
        ran = enrich(repo, settings)
    assert ran.report.enriched + sum(ran.report.failed.values()) == 40
    for name in spans:
        attempts = ran.attempts(name)
        metrics = written(repo).ledger[name]
        state = routing.start(
            measures.measure(
                plain(name).text,
                line_count=3,
                prompt_chars=metrics["tokens_in"] * 4,
                nesting=measures.count_code_nesting,
            ),
            settings.router,
            backend="auto",
            hosts=3,
            retries=3,
        )
        for attempt in attempts:
            offered, made = state.offer(), attempt.outcome.attempt
            assert (made.number, made.tier) == (offered.number, offered.tier), name
            if not attempt.outcome.success:
                state = state.after(attempt.outcome.failure_type)
        assert attempts[-1].outcome.success or state.offer() is None, name


def test_a_span_comes_back_to_a_host_that_it_has_left_only_after_all_others(tmp_path):
    spans = names(20, "T")
    repo = repo_of(tmp_path / "repo", *spans)
    with serving("abc", lettered(*spans), latency=0.005) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=2))
        asked = defaultdict(list)
        for host, _, span in calls(hosts):
            asked[span].append(host)
    assert ran.report.failed == {"truncation": 20}
    for span, found in asked.items():
        assert len(found) == 6, span
        for first in (2, 4):  # the small and the large model, then the next host
            left = set(found[:first])
            assert left == set("abc") or found[first] not in left, (span, found)


def test_a_tier_is_asked_only_where_it_is_configured(tmp_path):
    spans = [f"{'TTG' if number % 2 else 'G'}_{number}" for number in range(20)]
    repo = repo_of(tmp_path / "repo", *spans)
    with serving("abc", lettered(*spans), latency=0.005) as hosts:
        large = entry("c", url=hosts["c"].url, routing_tier="14b")
        small = [entry(label, url=hosts[label].url) for label in "ab"]
        repo.write("llmc.toml", "".join([*small, large]))
        ran = enrich(repo, configured(repo, slots=2))
        assert {(host, tier) for host, tier, _ in calls(hosts)} == {
            ("a", "7b"),
            ("b", "7b"),
            ("c", "14b"),
        }
    assert ran.report.enriched == 20


# -- put by ----------------------------------------------------------------------------------------


def test_a_span_that_was_put_by_is_left_for_later_if_its_file_changed_meanwhile(tmp_path):
    spans = ["TG_changed", "TG_kept", *names(4)]
    repo = make_repo(tmp_path / "repo", *map(plain, spans))
    left = []
    change = on_nth(SpanEnriched, 3, lambda _: repo.write("src/TG_changed.py", "other = 1\n" * 9))
    look = on_nth(RunFinished, 1, lambda _: left.extend(claims(repo)))
    with serving("a", lettered(*spans)) as hosts:
        ran = enrich(repo, configured(repo, hosts), change, look)
        found = calls(hosts)
    assert [span for _, tier, span in found if tier == "14b"] == ["TG_kept"]
    [warned] = ran.told(Warned)
    assert warned.message == (
        "src/TG_changed.py:1: has changed since it was indexed; left for later"
    )
    assert (ran.report.enriched, ran.report.left, ran.report.unfinished) == (5, 1, 1)
    assert left == [], "another run can't have it before this one has closed the index"


def test_a_span_that_was_put_by_is_asked_with_the_same_text(tmp_path):
    spans = ["TG_first", *names(4)]
    repo = repo_of(tmp_path / "repo", *spans)
    with serving("a", lettered(*spans)) as hosts:
        enrich(repo, configured(repo, hosts))
        small, large = (
            call.prompt for call in hosts["a"].calls if marked(call.prompt) == "TG_first"
        )
    assert large == small


# -- records ---------------------------------------------------------------------------------------


def test_every_settled_span_has_one_line_in_each_log_and_the_totals_go_up_by_one(tmp_path):
    spans = [*names(8, "V"), *names(8, "TG"), *names(40)]
    repo = repo_of(tmp_path / "repo", *spans)
    with serving("a", lettered(*spans)) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=8, retries=1))
    ledger, metrics = written(repo).ledger, written(repo).metrics
    assert ledger.keys() == metrics.keys() == set(spans)
    totals = [line["enrichments_total"] for line in metrics.values() if line["schema_ok"]]
    assert totals == list(range(1, 49))
    assert {line["spans_total"] for line in metrics.values() if line["schema_ok"]} == {56}
    results = [line["result"] for line in ledger.values()]
    assert Counter(results) == {"pass": 48, "fail": 8}
    assert "fail" in results[:40], "all failed at the end: no total could have been wrong"
    assert ran.written.rows.keys() == {name for name in spans if name[0] != "V"}


@pytest.fixture
def two_runs(tmp_path):
    """Two runs at once on one index of 60 spans: (repository, reports, calls for each span)."""
    repo, ends = repo_of(tmp_path / "repo", *names(60)), []
    with serving("a", Together(4), latency=0.005) as hosts:
        settings = configured(repo, hosts, slots=2)
        threads = [
            threading.Thread(target=lambda: ends.append(enrich(repo, settings).report))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SEC)
        return repo, ends, Counter(span for _, _, span in calls(hosts))


def test_two_runs_on_one_index_ask_no_span_twice(two_runs):
    repo, ends, asked = two_runs
    assert [report.enriched > 0 for report in ends] == [True, True]
    assert asked == dict.fromkeys(names(60), 1)
    assert written(repo).ledger.keys() == set(names(60))
    assert (claims(repo), owners(repo)) == ([], [])


def test_of_two_runs_the_one_that_stores_the_last_span_says_that_nothing_is_left(two_runs):
    _, ends, _ = two_runs
    assert sum(report.enriched for report in ends) == 60
    assert 0 in [report.left for report in ends]


def test_two_commands_on_one_repository_ask_no_span_twice(tmp_path, clean_environ):
    repo = repo_of(tmp_path / "repo", *names(40))
    words = [sys.executable, "-m", "llmc", "enrich", repo.root, "--slots", "2", "--json"]
    with serving("a", Together(4), latency=0.005) as hosts:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"a={hosts['a'].url}"
        both = [
            subprocess.Popen(words, env=clean_environ, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        said = [json.loads(process.communicate(timeout=PATIENCE_SEC)[0]) for process in both]
        asked = Counter(span for _, _, span in calls(hosts))
    assert [process.returncode for process in both] == [0, 0]
    assert sum(report["enriched"] for report in said) == 40
    assert asked == dict.fromkeys(names(40), 1)


# -- spans that failed in earlier runs -------------------------------------------------------------


@pytest.fixture
def failed(tmp_path):
    """A repository in which one span has failed by validation, another is enriched."""
    repo = repo_of(tmp_path / "repo", "V_bad", "G_good")
    settings = configured(repo, {"a": "http://127.0.0.1:9"})
    report = enrich(repo, settings, script=refusing).report
    assert (report.enriched, report.failed) == (1, {"validation": 1})
    return repo


def refusing(call):
    return refused("validation") if call.item["symbol"] == "V_bad" else None


def again(repo, env=None, **changes):
    """Run once more with these settings, on a host that answers well; return (report, calls)."""
    with serving("a") as hosts:
        settings = configured(repo, hosts, env=env).change(**changes)
        return enrich(repo, settings).report, len(calls(hosts))


def test_a_span_that_failed_is_left_alone_in_the_next_run(failed):
    report, asked = again(failed)
    assert asked == 0
    assert (report.enriched, report.resting, report.left) == (0, 1, 0)


def test_a_run_says_how_many_spans_wait_without_those_that_rest(failed):
    failed.add("src/more.py", plain("new"))
    with serving("a") as hosts:
        ran = enrich(failed, configured(failed, hosts))
    assert [event.pending for event in ran.told(RunStarted)] == [1]
    assert (ran.report.enriched, ran.report.resting) == (1, 1)


def test_a_span_that_failed_is_tried_at_once_if_asked_for(failed):
    report, asked = again(failed, retry_failed=True)
    assert asked == 1
    assert (report.enriched, report.resting) == (1, 0)


def test_a_span_that_failed_is_tried_again_when_the_schema_version_changes(failed):
    assert again(failed, schema_version="enrichment.v2")[0].enriched == 1


def test_a_span_that_failed_is_tried_again_when_a_model_changes(failed):
    failed.write("presets/enrich_7b_ollama.yaml", "fallback_model: other:14b\n")
    assert again(failed)[0].enriched == 1


def test_another_host_with_the_same_models_is_no_reason_to_try_again(failed):
    with serving("ab") as hosts:
        report = enrich(failed, configured(failed, hosts)).report
        assert calls(hosts) == []
    assert report.resting == 1


def test_a_span_that_failed_is_tried_again_when_its_pause_is_over(failed):
    failed.execute("UPDATE llmc_failures SET retry_at = 1.0")
    assert again(failed)[0].enriched == 1


def test_the_batch_driver_tries_a_span_that_failed_in_every_run(failed):
    for number in (1, 2):
        with serving("a", lambda call: VALIDATION) as hosts:
            drive(failed, hosts=hosts)
            assert {span for _, _, span in calls(hosts)} == {"V_bad"}, number
