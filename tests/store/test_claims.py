"""Runs that share an index claim spans: nobody works on what another has in hand."""

import sqlite3
import time
from contextlib import closing

import pytest

from llmc.errors import CorruptIndexError, StoreError
from llmc.models import Enrichment
from llmc.store.claims import Claims
from llmc.store.database.opening import connect
from llmc.store.owners import name_folder, survey
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.rescue import rescue
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome

LEASE = {"lease_sec": 600.0}


def stall(path):
    """End all claims, as whoever sees that their owners renew them no more."""
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE llmc_claims SET expires = 0")
        raw.commit()


def cut(name, spans, mtime=1000.0):
    """A file of made-up spans, each with a hash of its own."""
    made = (
        ParsedSpan(f"{name}-{n}", "function", 1, 2, n, n + 1, f"sha256:{name}-{n}")
        for n in range(1, spans + 1)
    )
    return ParsedFile(name, "python", name, 1, mtime, tuple(made))


def ids(spans):
    return [span.id for span in spans]


def outcome(result="pass", reason="success"):
    return Outcome(result, reason, None, "7b", "ollama", "m", 1, 9, 9, 9, time.time())


def enrich(store, span):
    result = Enrichment(summary_120w="s")
    return store.save_enrichment(span, result, schema_version="v", outcome=outcome())


def fail(store, span, signature="", kind="parse"):
    store.save_failure(span, outcome("fail", kind), signature=signature)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "index.db"
    with Store.open(path, create=True) as store:
        store.spans.put_file(cut("a.py", 10))
    return path


@pytest.fixture
def store(path):
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def other(path, store):
    """Another run on the same index."""
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def dead(path, store):
    """A run that took spans 1 to 3 and was killed; a killed one leaves its claims and its file."""
    run = Store.open(path)
    run.claims.take(0, 3, **LEASE)
    run._db.close()
    run._registered._file.close()
    return run


def test_claimed_spans_come_by_id_and_only_once(store):
    assert ids(store.claims.take(0, 3, **LEASE)) == [1, 2, 3]
    assert ids(store.claims.take(0, 3, **LEASE)) == [4, 5, 6]
    assert ids(store.claims.take(6, 30, **LEASE)) == [7, 8, 9, 10]
    assert store.claims.take(0, 3, **LEASE) == []


def test_a_claimed_span_is_whole(store):
    assert store.claims.take(0, 1, **LEASE) == store.spans.list_pending(0, 1)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_none_claims_none(store, limit):
    assert store.claims.take(0, limit, **LEASE) == []


def test_spans_before_the_given_one_are_left_out(store):
    assert ids(store.claims.take(7, 2, **LEASE)) == [8, 9]


def test_what_another_run_claimed_is_left_out(store, other):
    assert ids(other.claims.take(0, 4, **LEASE)) == [1, 2, 3, 4]
    assert ids(store.claims.take(0, 4, **LEASE)) == [5, 6, 7, 8]


def test_what_is_enriched_is_left_out(store):
    for span in store.claims.take(0, 2, **LEASE):
        enrich(store, span)
    assert ids(store.claims.take(0, 2, **LEASE)) == [3, 4]


def test_files_changed_lately_are_left_out(store):
    store.spans.put_file(cut("new.py", 3, mtime=2000.0))
    assert len(store.claims.take(0, 99, newest_mtime=1999.0, **LEASE)) == 10
    assert len(store.claims.take(0, 99, newest_mtime=2000.0, **LEASE)) == 3


def test_a_released_span_can_be_claimed_by_another(store, other):
    first, *_ = store.claims.take(0, 3, **LEASE)
    store.claims.release([first.span_hash])
    assert ids(other.claims.take(0, 2, **LEASE)) == [1, 4]


def test_a_claim_of_another_can_not_be_released(store, other):
    claimed = other.claims.take(0, 10, **LEASE)
    store.claims.release([span.span_hash for span in claimed])
    assert store.claims.take(0, 10, **LEASE) == []


def test_closing_ends_the_claims(path, store):
    with Store.open(path) as other:
        other.claims.take(0, 10, **LEASE)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT count(*) FROM llmc_claims").fetchone() == (0,)
    assert len(store.claims.take(0, 10, **LEASE)) == 10


def test_an_ended_claim_does_not_count(path, store, other):
    other.claims.take(0, 3, **LEASE)
    stall(path)
    assert ids(store.claims.take(0, 2, **LEASE)) == [1, 2]


def test_a_renewed_claim_counts_again(path, store, other):
    other.claims.take(0, 3, **LEASE)
    stall(path)
    assert other.claims.renew(600) == 3
    assert ids(store.claims.take(0, 2, **LEASE)) == [4, 5]


def test_what_was_taken_over_is_not_renewed(path, store, other):
    other.claims.take(0, 3, **LEASE)
    stall(path)
    store.claims.take_over(**LEASE)
    assert other.claims.renew(600) == 0
    assert store.claims.renew(600) == 3


def test_a_claim_is_owned_until_it_is_ended_or_settled(path, store, other):
    first, second = store.claims.take(0, 2, **LEASE)
    assert store.claims.owns(first.span_hash) is True
    assert other.claims.owns(first.span_hash) is False
    enrich(store, first)
    assert (store.claims.owns(first.span_hash), store.claims.owns(second.span_hash)) == (
        False,
        True,
    )
    stall(path)
    assert not store.claims.owns(second.span_hash)


def test_who_overslept_owns_only_what_nobody_has_taken(path, store, other):
    first, second = store.claims.take(0, 2, **LEASE)
    stall(path)
    other.claims.take(0, 1, **LEASE)
    store.claims.renew(600)
    assert (store.claims.owns(first.span_hash), store.claims.owns(second.span_hash)) == (
        False,
        True,
    )


def test_what_another_has_settled_meanwhile_is_not_owned(path, store, other):
    [span] = store.claims.take(0, 1, **LEASE)
    stall(path)
    enrich(other, *other.claims.take(0, 1, **LEASE))
    store.claims.renew(600)
    assert not store.claims.owns(span.span_hash)


class Clock:
    """A clock that only goes forward, and only when it is told to."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def watcher(path, store):
    """The claims of one more run, by a clock of its own."""
    clock = Clock()
    with Store.open(path) as opened:
        yield Claims(opened._db, opened.owner, clock), clock


def test_a_living_owner_that_renews_keeps_its_claims_whatever_the_wall_clock_says(watcher, other):
    claims, clock = watcher
    other.claims.take(0, 3, lease_sec=-7200.0)  # as a clock two hours behind writes it
    for step in range(5):
        assert ids(claims.take(0, 1, 120.0)) == [4 + step]
        clock.now += 100.0
        other.claims.renew(-7200.0 - step)


def test_an_owner_that_renews_no_more_loses_its_claims_after_a_lease(watcher, other):
    claims, clock = watcher
    other.claims.take(0, 3, **LEASE)
    assert claims.take_over(120.0) == []
    clock.now += 119.0
    assert claims.take_over(120.0) == []
    clock.now += 2.0
    assert ids(claims.take_over(120.0)) == [1, 2, 3]


def test_a_claim_of_a_dead_run_does_not_count(store, dead):
    assert ids(store.claims.take(0, 5, **LEASE)) == [1, 2, 3, 4, 5]


def test_what_a_dead_run_had_is_taken_over(store, dead):
    assert ids(store.claims.take(3, 2, **LEASE)) == [4, 5]
    assert ids(store.claims.take_over(**LEASE)) == [1, 2, 3]
    assert store.claims.take_over(**LEASE) == []
    assert store.claims.renew(600) == 5


def test_only_what_is_still_pending_is_taken_over(store, dead):
    [first] = store.spans.list_pending(0, 1)
    enrich(store, first)
    store.spans.remove_file("a.py")
    store.spans.put_file(cut("b.py", 1))
    assert store.claims.take_over(**LEASE) == []
    assert ids(store.claims.take(0, 9, **LEASE)) == ids(store.spans.list_pending(0, 9))
    assert store.claims.renew(600) == 1


def test_ended_claims_of_a_living_run_are_taken_over(path, store, other):
    other.claims.take(0, 3, **LEASE)
    stall(path)
    assert ids(store.claims.take_over(**LEASE)) == [1, 2, 3]


def test_what_rests_is_not_taken_over_and_free_for_others(store, other, dead):
    fail(other, store.spans.list_pending(0, 1)[0], signature="m")
    assert ids(store.claims.take_over(signature="m", **LEASE)) == [2, 3]
    assert ids(other.claims.take(0, 1, **LEASE)) == [1]


def test_files_changed_lately_are_not_taken_over(store, dead):
    assert store.claims.take_over(newest_mtime=999.0, **LEASE) == []
    assert ids(store.claims.take(0, 3, newest_mtime=1000.0, **LEASE)) == [1, 2, 3]


def test_living_claims_and_ones_own_are_not_taken_over(path, store, other):
    store.claims.take(0, 3, **LEASE)
    stall(path)
    other.claims.take(3, 3, **LEASE)
    assert store.claims.take_over(**LEASE) == []


def test_of_two_who_take_over_one_gets_the_spans(store, other, dead):
    assert ids(other.claims.take_over(**LEASE)) == [1, 2, 3]
    assert store.claims.take_over(**LEASE) == []


def test_a_run_that_starts_alone_clears_the_claims_of_dead_ones(path, store, dead):
    store.close()
    with Store.open(path) as fresh, closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT count(*) FROM llmc_claims").fetchone() == (0,)
        assert fresh.counts.count_all().claimed == 0


def test_a_run_that_starts_leaves_the_dead_ones_claims_to_those_already_at_work(path, store, dead):
    Store.open(path).close()
    assert ids(store.claims.take_over(**LEASE)) == [1, 2, 3]


def test_settled_spans_are_no_longer_claimed(store):
    first, second, _ = store.claims.take(0, 3, **LEASE)
    enrich(store, first)
    fail(store, second)
    assert store.claims.renew(600) == store.counts.count_all().claimed == 1


def test_a_span_that_left_the_index_is_no_longer_claimed_once_it_is_settled(store):
    claimed = store.claims.take(0, 2, **LEASE)
    store.spans.remove_file("a.py")
    assert not enrich(store, claimed[0])
    fail(store, claimed[1])
    assert store.claims.renew(600) == 0


def test_settling_leaves_the_claim_of_the_one_who_took_over(path, store, other):
    [span] = other.claims.take(0, 1, **LEASE)
    stall(path)
    store.claims.take_over(**LEASE)
    fail(other, span)
    assert store.claims.renew(600) == 1


def test_a_group_that_breaks_off_keeps_its_claims(store):
    def broken():
        with store.transaction():
            for span in store.claims.take(0, 3, **LEASE):
                enrich(store, span)
            raise RuntimeError

    claimed = store.claims.take(0, 3, **LEASE)
    with pytest.raises(RuntimeError):
        broken()
    assert store.counts.count_results() == (10, 0)
    assert store.claims.renew(600) == len(claimed)


def test_what_rests_is_left_out_only_for_its_signature(store):
    fail(store, store.claims.take(0, 1, **LEASE)[0], signature="m|p1")
    assert ids(store.claims.take(0, 1, signature="m|p1", **LEASE)) == [2]
    assert ids(store.claims.take(0, 1, signature="m|p2", **LEASE)) == [1]


def test_without_a_signature_nothing_rests(store):
    fail(store, store.claims.take(0, 1, **LEASE)[0], signature="")
    assert ids(store.claims.take(0, 1, **LEASE)) == [1]


def test_claimed_spans_are_counted_while_their_owner_lives(path, store, other, dead):
    with Store.open_readonly(path) as reader:
        assert reader.counts.count_all().claimed == 0
        store.claims.take(5, 1, **LEASE)
        stall(path)
        other.claims.take(3, 2, **LEASE)
        assert reader.counts.count_all().claimed == 2


def test_a_run_has_a_name_and_a_file_while_it_is_open(path):
    store = Store.open(path)
    assert (name_folder(path) / store.owner).exists()
    store.close()
    store.close()
    assert not name_folder(path).exists()


def test_an_index_that_can_not_be_opened_has_no_owner(path):
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError):
        Store.open(path)
    assert not name_folder(path).exists()


# Far ahead: behind thousands of spans that are not free


@pytest.fixture
def sparse(path, store):
    """An index of 12,010 spans, of which only 10 and every 3000th from 5000 on are pending."""
    store.spans.put_file(cut("big.py", 12_000))
    with store.transaction():
        store._db.execute(
            "INSERT INTO enrichments (span_hash) SELECT span_hash FROM spans "
            "WHERE id > 10 AND id % 3000 <> 2000"
        )
    return store


def test_pending_spans_far_apart_are_found(sparse):
    assert ids(sparse.claims.take(0, 11, **LEASE)) == [*range(1, 11), 2000]
    assert ids(sparse.claims.take(2000, 1, **LEASE)) == [5000]
    assert ids(sparse.claims.take(5000, 5, **LEASE)) == [8000, 11000]
    assert sparse.claims.take(11000, 5, **LEASE) == []


def test_far_ones_are_not_claimed_twice(path, sparse):
    with Store.open(path) as other:
        assert ids(sparse.claims.take(10, 1, **LEASE)) == [2000]
        assert ids(other.claims.take(10, 1, **LEASE)) == [5000]
        assert ids(sparse.claims.take(2000, 1, **LEASE)) == [8000]
        assert ids(other.claims.take(5000, 1, **LEASE)) == [11000]


def test_what_others_enriched_meanwhile_is_not_claimed(path, sparse):
    assert ids(sparse.claims.take(10, 1, **LEASE)) == [2000]
    with Store.open(path) as other:
        enrich(other, *other.claims.take(10, 1, **LEASE))
    assert ids(sparse.claims.take(2000, 1, **LEASE)) == [8000]


def test_new_spans_are_found_after_far_ones(path, sparse):
    assert ids(sparse.claims.take(10, 9, **LEASE)) == [2000, 5000, 8000, 11000]
    with Store.open(path) as other:
        other.spans.put_file(cut("more.py", 2))
    assert ids(sparse.claims.take(11000, 9, **LEASE)) == [12011, 12012]


def test_who_starts_again_from_the_beginning_finds_what_was_released(path, sparse):
    with Store.open(path) as other:
        [held] = other.claims.take(10, 1, **LEASE)
        assert ids(sparse.claims.take(10, 9, **LEASE)) == [5000, 8000, 11000]
        other.claims.release([held.span_hash])
        assert ids(sparse.claims.take(10, 9, **LEASE)) == [2000]


def test_for_another_signature_all_are_looked_at_anew(sparse):
    [failed] = sparse.claims.take(2000, 1, **LEASE)
    fail(sparse, failed, signature="a")
    assert ids(sparse.claims.take(10, 1, signature="a", **LEASE)) == [2000]
    assert ids(sparse.claims.take(2000, 1, signature="a", **LEASE)) == [8000]
    assert ids(sparse.claims.take(2001, 1, signature="b", **LEASE)) == [5000]


def test_a_span_without_a_file_is_never_claimed(path, store):
    """As another program leaves it that has foreign keys off."""
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("DELETE FROM files")
        raw.commit()
    assert store.claims.take(0, 5, **LEASE) == []


# Through a link


@pytest.fixture
def link(path):
    link = path.parent / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    return link


def test_who_opens_the_index_through_a_link_meets_the_claims_of_the_others(store, link):
    store.claims.take(0, 3, **LEASE)
    with Store.open(link) as other:
        assert ids(other.claims.take(0, 2, **LEASE)) == [4, 5]
        assert name_folder(store.path) == name_folder(other.path)
    assert store.claims.renew(600) == 3


def test_an_owner_that_came_through_a_link_is_one_of_the_index(path, link):
    connection, owner = connect(link)
    with closing(connection):
        assert survey(path)[0] == {owner.name}
    owner.release()


def test_claims_are_counted_through_a_link(store, link):
    store.claims.take(0, 3, **LEASE)
    with Store.open_readonly(link) as reader:
        assert reader.counts.count_all().claimed == 3


def test_what_a_link_leads_to_is_not_moved_aside(tmp_path):
    treasure = tmp_path / "treasure"
    treasure.write_text("gold" * 1000)
    link = tmp_path / "link.db"
    link.symlink_to(treasure)
    with pytest.raises(CorruptIndexError) as found:
        Store.open(link)
    with pytest.raises(StoreError, match="is a link to"):
        rescue(link, found.value)
    assert treasure.read_text() == "gold" * 1000
