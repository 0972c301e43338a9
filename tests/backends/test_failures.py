"""A span that failed is remembered, and left alone for a while by later runs of the same kind."""

import sqlite3
import time
from contextlib import closing

import pytest

from llmc.models import Enrichment
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome

HOUR = 3600.0


def outcome(result="fail", reason="parse", at=1000.0, detail=None):
    return Outcome(result, reason, detail, "7b", "ollama", "m", 1, 9, 9, 9, at)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index.db"


@pytest.fixture
def cut():
    spans = (ParsedSpan(f"s{n}", "function", 1, 2, n, n + 1, f"sha256:{n}") for n in range(1, 6))
    return ParsedFile("a.py", "python", "x", 1, 1.0, tuple(spans))


@pytest.fixture
def store(path, cut):
    with Store.open(path, create=True) as opened:
        opened.spans.put_file(cut)
        yield opened


@pytest.fixture
def span(store):
    return store.spans.list_pending(0, 1)[0]


def row(path):
    with closing(sqlite3.connect(path)) as raw:
        raw.row_factory = sqlite3.Row
        [found] = raw.execute("SELECT * FROM llmc_failures").fetchall()
    return dict(found)


def enrich(store, span):
    result = Enrichment(summary_120w="s")
    done = outcome("pass", "success", time.time())
    return store.save_enrichment(span, result, schema_version="v", outcome=done)


def test_a_failure_is_kept_with_its_reply_and_its_pause(store, path, span):
    failed = outcome(reason="parse", at=1000.0, detail="no JSON")
    store.save_failure(span, failed, signature="m|p|s", excerpt="Sure! Here")
    assert row(path) == {
        "span_hash": span.span_hash,
        "count": 1,
        "kind": "parse",
        "detail": "no JSON",
        "excerpt": "Sure! Here",
        "failed_at": 1000.0,
        "retry_at": 1000.0 + HOUR,
        "signature": "m|p|s",
    }


def test_the_pause_grows_from_run_to_run(store, path, span):
    for _ in range(3):
        store.save_failure(span, outcome(at=1000.0), signature="m")
    assert (row(path)["count"], row(path)["retry_at"]) == (3, 1000.0 + 4 * HOUR)


def test_another_signature_starts_the_count_anew(store, path, span):
    for signature in ("m", "m", "other"):
        store.save_failure(span, outcome(at=1000.0), signature=signature)
    assert (row(path)["count"], row(path)["retry_at"]) == (1, 1000.0 + HOUR)


def test_a_failure_of_the_host_rests_for_a_shorter_time(store, path, span):
    store.save_failure(span, outcome(reason="runtime", at=1000.0))
    assert row(path)["retry_at"] == 1060.0


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ("x" * 501, "x" * 500),
        ("half a pair: \ud83d", "half a pair: ?"),
        ("nul \0 inside", "nul \0 inside"),
        ("", ""),
        (None, None),
    ],
)
def test_an_excerpt_is_short_and_can_be_stored(store, path, span, reply, kept):
    store.save_failure(span, outcome(), excerpt=reply)
    assert row(path)["excerpt"] == kept


def test_a_detail_with_half_a_surrogate_pair_is_stored(store, path, span):
    store.save_failure(span, outcome(detail="unexpected '\udc80'"))
    assert row(path)["detail"] == "unexpected '?'"


def test_a_result_with_half_a_surrogate_pair_is_stored(store, span):
    result = Enrichment(summary_120w="s", inputs=["\ud83d"], tags=["\ud83d"], model="\ud83d")
    done = outcome("pass", "success", 1.0)
    assert store.save_enrichment(span, result, schema_version="\ud83d", outcome=done)
    kept = store.results.list_latest(1)[0].enrichment
    assert (kept["tags"], kept["model"], kept["schema_ver"]) == (["?"], "?", "?")


def test_resting_spans_are_counted_until_their_time_has_come(store):
    first, second, third, *_ = store.spans.list_pending(0, 5)
    store.save_failure(first, outcome(reason="parse", at=1000.0), signature="m")
    store.save_failure(second, outcome(reason="runtime", at=1000.0), signature="m")
    store.save_failure(third, outcome(at=1000.0), signature="other")
    assert store.counts.count_resting("m", now=1001.0) == 2
    assert store.counts.count_resting("m", now=1060.0) == 1
    assert store.counts.count_resting("m", now=1000.0 + HOUR) == 0
    assert store.counts.count_resting("unknown", now=1001.0) == 0


def test_an_enriched_span_no_longer_counts_as_failed(store, path, span):
    store.save_failure(span, outcome(at=time.time()), signature="m")
    assert (store.counts.count_all().failed, store.counts.count_resting("m")) == ({"parse": 1}, 1)
    enrich(store, span)
    assert (store.counts.count_all().failed, store.counts.count_resting("m")) == ({}, 0)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT count(*) FROM llmc_failures").fetchone() == (0,)


def test_a_span_that_another_program_enriched_does_not_rest(store, path, span):
    store.save_failure(span, outcome(at=time.time()), signature="m")
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("INSERT INTO enrichments (span_hash) VALUES (?)", (span.span_hash,))
        raw.commit()
    assert (store.counts.count_resting("m"), store.counts.count_all().failed) == (0, {})


def test_a_failure_leaves_with_its_span(store, path, span):
    store.save_failure(span, outcome())
    store.spans.remove_file("a.py")
    assert (store.counts.count_all().failed, store.counts.count_all().spans) == ({}, 0)
    store.save_failure(span, outcome())
    assert store.counts.count_all().failed == {}


@pytest.mark.parametrize("ahead", [40 * 365 * 86400.0, 2 * 86400.0])
def test_a_clock_that_was_ahead_does_not_make_a_span_rest_for_long(store, span, ahead):
    store.save_failure(span, outcome(at=time.time() + ahead), signature="m")
    assert store.counts.count_resting("m") == 0
    assert len(store.claims.take(0, 9, lease_sec=60, signature="m")) == 5
    assert store.results.find("a.py")[0].failure.retry_at <= time.time()


def test_a_pause_longer_than_any_of_ours_does_not_count(store, path, span):
    store.save_failure(span, outcome(at=time.time()), signature="m")
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE llmc_failures SET retry_at = 9e999")
        raw.commit()
    assert store.counts.count_resting("m") == 0


def test_a_clock_that_was_a_little_ahead_does_no_harm(store, span):
    store.save_failure(span, outcome(at=time.time() + HOUR), signature="m")
    assert (
        store.counts.count_resting("m"),
        len(store.claims.take(0, 9, lease_sec=60, signature="m")),
    ) == (1, 4)


def moved_away_and_back(store, cut):
    """As when another branch is checked out, and then the first one again."""
    store.spans.remove_file("a.py")
    store.spans.put_file(cut)


def test_a_failure_comes_back_with_its_text(store, path, span, cut):
    store.save_failure(span, outcome(at=1000.0), signature="m", excerpt="Sure!")
    before = row(path)
    moved_away_and_back(store, cut)
    assert row(path) == before
    store.save_failure(span, outcome(at=1000.0), signature="m")
    assert row(path)["count"] == 2


def test_a_failure_of_text_that_has_left_is_there_when_it_returns(store, path, span, cut):
    store.spans.remove_file("a.py")
    store.save_failure(span, outcome(at=1000.0), signature="m")
    store.save_failure(span, outcome(at=1000.0), signature="m")
    store.spans.put_file(cut)
    assert row(path)["count"] == 2


def test_a_result_of_text_that_has_left_ends_its_failure(store, span, cut):
    store.save_failure(span, outcome(), signature="m")
    store.spans.remove_file("a.py")
    enrich(store, span)
    store.spans.put_file(cut)
    assert (store.counts.count_all().failed, store.counts.count_all().enriched) == ({}, 1)


def test_a_late_failure_leaves_an_enriched_span_as_it_is(store, path, span):
    enrich(store, span)
    late = outcome(reason="runtime", at=9.0)
    store.save_failure(span, late, signature="m")
    kept = store.results.find("a.py")[0].outcome
    assert (kept.result, kept.reason, kept.updated_at > 9.0) == ("pass", "success", True)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT count(*) FROM llmc_failures").fetchone() == (0,)


def test_the_tokens_of_a_late_failure_are_counted(store, span):
    enrich(store, span)
    store.save_failure(span, outcome())
    assert store.counts.count_all().prompt_tokens == 18


def test_a_failure_of_a_span_without_a_file_is_not_counted(store, path, span):
    """As another program leaves it that has foreign keys off."""
    store.save_failure(span, outcome())
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("DELETE FROM files")
        raw.commit()
    totals = store.counts.count_all()
    assert (totals.spans, totals.pending, totals.failed) == (0, 0, {})


def test_totals_add_up_after_every_commit(store):
    def adds_up():
        totals = store.counts.count_all()
        return totals.spans == totals.enriched + totals.pending + sum(totals.failed.values())

    first, second, third, *_ = store.claims.take(0, 4, lease_sec=60)
    for settle in (
        lambda: enrich(store, first),
        lambda: store.save_failure(second, outcome(reason="parse")),
        lambda: store.save_failure(second, outcome(reason="runtime")),
        lambda: enrich(store, second),
        lambda: store.save_failure(third, outcome(reason="validation")),
        lambda: store.save_failure(first, outcome(reason="parse")),
    ):
        settle()
        assert adds_up()
    totals = store.counts.count_all()
    assert (totals.enriched, totals.pending, totals.failed) == (2, 2, {"validation": 1})


def older(path, *without):
    """Turn an index into one that lacks some tables of ours."""
    with closing(sqlite3.connect(path)) as raw:
        for table in without:
            raw.execute(f"DROP TABLE {table}")
        raw.commit()


def test_an_older_index_is_read_with_the_failures_it_knows(store, path, span):
    store.save_failure(span, outcome(reason="parse"))
    store.close()
    older(path, "llmc_failures", "llmc_claims")
    with Store.open_readonly(path) as reader:
        totals = reader.counts.count_all()
        assert (totals.failed, totals.pending, totals.claimed) == ({"parse": 1}, 4, 0)
        assert reader.counts.count_resting("m") == 0


def test_an_older_index_gets_its_failures_carried_over_and_they_may_be_tried(store, path, span):
    store.save_failure(span, outcome(reason="parse"))
    store.save_failure(span, outcome(reason="truncation"))
    store.close()
    older(path, "llmc_failures", "llmc_claims")
    with Store.open(path) as reopened:
        assert reopened.counts.count_all().failed == {"truncation": 1}
        assert len(reopened.claims.take(0, 9, lease_sec=60, signature="")) == 5
    assert row(path)["count"] == 2


@pytest.mark.parametrize("missing", ["llmc_twins", "llmc_outcomes", "llmc_archive"])
def test_an_index_without_one_of_our_tables_is_read_and_completed(store, path, span, missing):
    enrich(store, span)
    store.close()
    older(path, missing)
    with Store.open_readonly(path) as reader:
        assert (reader.counts.count_all().enriched, len(reader.results.find("a.py"))) == (1, 5)
    with Store.open(path) as reopened:
        reopened.save_failure(reopened.spans.list_pending(0, 1)[0], outcome())
        assert reopened.counts.count_all().failed == {"parse": 1}
