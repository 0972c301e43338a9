"""The store keeps every result that was paid for, wherever its text goes."""

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from llmc.engine import open_store
from llmc.errors import CorruptIndexError, StoreError
from llmc.models import Enrichment, Evidence
from llmc.store.owners import name_folder
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome

LINE = 10
"""Bytes a line of the made-up files has."""


def span(text, start=1, lines=5):
    """A span of `lines` lines whose hash depends on its text alone."""
    return ParsedSpan(
        symbol=text,
        kind="function",
        start_line=start,
        end_line=start + lines - 1,
        byte_start=start * LINE,
        byte_end=(start + lines) * LINE,
        span_hash="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
    )


def file(path, *spans, lang="python"):
    digest = hashlib.sha256(repr(spans).encode()).hexdigest()
    return ParsedFile(path, lang, digest, 100, 1000.0, spans)


def outcome(result="pass", reason="success", **changes):
    values = {
        "detail": None,
        "tier": "7b",
        "backend": "ollama",
        "model": "m:7b",
        "attempts": 1,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "wall_ms": 5,
        "updated_at": time.time(),
    }
    return Outcome(result=result, reason=reason, **(values | changes))


def enrich(store, text, line=None):
    """Store a result for the span made of `text`, citing `line` if one is given."""
    [found] = [s for s in store.spans.list_pending(0, 1000) if s.symbol == text]
    cited = line or found.start_line
    result = Enrichment(
        summary_120w=f"about {text}",
        evidence=[Evidence(field="summary_120w", lines=[cited, cited])],
    )
    assert store.save_enrichment(found, result, schema_version="v1", outcome=outcome())


def summary_of(store, path, symbol):
    [found] = [r for r in store.results.find(path) if r.span.symbol == symbol]
    return found.summary


def evidence_of(store, path, symbol):
    [found] = [r for r in store.results.find(path) if r.span.symbol == symbol]
    return found.enrichment["evidence"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".rag" / "index_v2.db"


@pytest.fixture
def store(path):
    with Store.open(path, create=True) as opened:
        yield opened


def test_a_fresh_index_has_the_established_tables_and_columns(store, path):
    with sqlite3.connect(path) as raw:
        columns = {
            table: [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
            for table in ("files", "spans", "embeddings_meta", "embeddings", "enrichments")
        }
        indexes = {
            row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE sql NOTNULL")
        }
    assert {table: " ".join(names) for table, names in columns.items()} == {
        "files": "id path lang file_hash size mtime",
        "spans": "id file_id symbol kind start_line end_line byte_start byte_end span_hash "
        "doc_hint created_at",
        "embeddings_meta": "model dim created_at",
        "embeddings": "span_hash vec",
        "enrichments": "span_hash summary tags evidence model created_at schema_ver inputs "
        "outputs side_effects pitfalls usage_snippet",
    }
    assert {"idx_files_path", "idx_spans_file_id", "idx_spans_span_hash"} <= indexes


def test_an_unchanged_span_keeps_its_enrichment_when_its_file_changes(store):
    store.spans.put_file(file("a.py", span("one"), span("two", 10)))
    enrich(store, "one")
    store.spans.put_file(file("a.py", span("one"), span("three", 10)))
    assert summary_of(store, "a.py", "one") == "about one"
    assert {s.symbol for s in store.spans.list_pending(0, 10)} == {"three"}


def test_evidence_moves_along_when_a_span_moves_down(store):
    store.spans.put_file(file("a.py", span("one", 1)))
    enrich(store, "one", line=3)
    store.spans.put_file(file("a.py", span("one", 41)))
    assert evidence_of(store, "a.py", "one") == [{"field": "summary_120w", "lines": [43, 43]}]


@pytest.mark.parametrize("receiver_first", [True, False])
def test_a_span_that_moves_to_another_file_keeps_its_enrichment(store, receiver_first):
    store.spans.put_file(file("a.py", span("one", 1), span("stays", 10)))
    enrich(store, "one", line=2)
    steps = [file("b.py", span("one", 21)), file("a.py", span("stays", 1))]
    for step in steps if receiver_first else reversed(steps):
        store.spans.put_file(step)
    assert evidence_of(store, "b.py", "one")[0]["lines"] == [22, 22]
    assert [r.span.symbol for r in store.results.find("a.py")] == ["stays"]


def test_a_renamed_file_keeps_its_enrichments(store):
    store.spans.put_file(file("old.py", span("one")))
    enrich(store, "one")
    store.spans.put_file(file("new.py", span("one")))
    store.spans.remove_file("old.py")
    assert summary_of(store, "new.py", "one") == "about one"
    assert list(store.spans.list_files()) == ["new.py"]


def test_text_that_comes_back_gets_its_enrichment_back(store):
    """As when a branch is checked out, and then the first one again."""
    store.spans.put_file(file("a.py", span("one", 1)))
    enrich(store, "one", line=2)
    store.spans.put_file(file("a.py", span("other")))
    assert store.counts.count_results() == (1, 0)
    store.spans.put_file(file("a.py", span("one", 11)))
    assert store.counts.count_results() == (1, 1)
    assert evidence_of(store, "a.py", "one")[0]["lines"] == [12, 12]


def test_a_file_that_comes_back_gets_its_enrichments_back(store):
    store.spans.put_file(file("a.py", span("one")))
    enrich(store, "one")
    store.spans.remove_file("a.py")
    assert store.counts.count_results() == (0, 0)
    store.spans.put_file(file("a.py", span("one")))
    assert summary_of(store, "a.py", "one") == "about one"


def test_the_same_text_in_two_files_is_one_span_shown_in_both(store):
    store.spans.put_file(file("a.py", span("one", 1)))
    store.spans.put_file(file("b.py", span("one", 31)))
    enrich(store, "one", line=2)
    [twin] = store.results.find("b.py")
    assert store.counts.count_results() == (1, 1)
    assert (twin.twin_of, twin.summary) == ("a.py:1", "about one")
    assert twin.enrichment["evidence"][0]["lines"] == [32, 32]


def test_the_same_text_twice_in_a_file_is_shown_twice(store):
    store.spans.put_file(file("a.py", span("one", 1), span("one", 31)))
    assert [r.span.start_line for r in store.results.find("a.py")] == [1, 31]
    assert store.counts.count_results() == (1, 0)


def test_a_twin_takes_over_when_the_original_goes(store):
    store.spans.put_file(file("a.py", span("one", 1)))
    store.spans.put_file(file("b.py", span("one", 31)))
    enrich(store, "one", line=2)
    store.spans.remove_file("a.py")
    [found] = store.results.find("b.py")
    assert (found.twin_of, found.summary) == (None, "about one")
    assert found.enrichment["evidence"][0]["lines"] == [32, 32]


def test_a_twin_that_goes_leaves_the_original_alone(store):
    store.spans.put_file(file("a.py", span("one")))
    store.spans.put_file(file("b.py", span("one", 31)))
    store.spans.put_file(file("b.py", span("other")))
    assert [r.span.symbol for r in store.results.find("a.py")] == ["one"]
    assert [r.span.symbol for r in store.results.find("b.py")] == ["other"]


def test_a_result_for_a_span_that_has_left_is_kept_for_its_return(store):
    store.spans.put_file(file("a.py", span("one")))
    [found] = store.spans.list_pending(0, 1)
    store.spans.remove_file("a.py")
    saved = store.save_enrichment(
        found, Enrichment(summary_120w="late"), schema_version="v1", outcome=outcome()
    )
    store.spans.put_file(file("a.py", span("one")))
    assert (saved, summary_of(store, "a.py", "one")) == (False, "late")


def test_pending_spans_come_by_id_in_pages(store):
    store.spans.put_file(file("a.py", *(span(f"s{n}", n * 10) for n in range(1, 8))))
    first = store.spans.list_pending(0, 3)
    second = store.spans.list_pending(first[-1].id, 3)
    assert [s.symbol for s in first + second] == ["s1", "s2", "s3", "s4", "s5", "s6"]


def test_the_file_of_a_span_is_told_while_the_span_is_at_its_place_there(store):
    store.spans.put_file(file("a.py", span("one")))
    [found] = store.spans.list_pending(0, 1)
    assert store.spans.find_file(found) == store.spans.list_files()["a.py"]
    store.spans.put_file(file("a.py", span("zero"), span("one", 11)))
    assert store.spans.find_file(found) is None


def test_the_stamp_of_a_file_is_its_size_and_time(store):
    store.spans.put_file(file("a.py", span("one")))
    known = store.spans.list_files()["a.py"]
    assert store.spans.list_stamps() == {"a.py": (known.size, known.mtime)}


@pytest.mark.parametrize(
    "damage",
    ["size = 'x'", "size = 1.5", "lang = x'ff'", "lang = 'a' || char(0)", "file_hash = x'00'"],
)
def test_a_file_of_which_something_cannot_be_used_has_no_stamp(store, damage):
    store.spans.put_file(file("a.py", span("one")))
    store._db.execute(f"UPDATE files SET {damage}")
    assert store.spans.list_stamps() == {"a.py": None}


@pytest.mark.parametrize("spelled", ["x'ff'", "'a' || char(0)"])
def test_a_path_that_is_none_has_no_stamp(store, spelled):
    store.spans.put_file(file("a.py", span("one")))
    store._db.execute(f"UPDATE files SET path = {spelled}")
    assert store.spans.list_stamps() == {}


def test_pending_leaves_out_files_changed_lately(store):
    store.spans.put_file(file("a.py", span("one")))
    assert store.spans.list_pending(0, 10, newest_mtime=999.0) == []
    assert len(store.spans.list_pending(0, 10, newest_mtime=1000.0)) == 1


def test_a_row_is_stored_as_the_format_says(store, path):
    store.spans.put_file(file("a.py", span("one")))
    [found] = store.spans.list_pending(0, 1)
    result = Enrichment(
        summary_120w="s", inputs=["a: b"], tags=["x", "y"], usage_snippet="f()", evidence=[]
    )
    store.save_enrichment(
        found, result, schema_version="enrichment.v1", outcome=outcome(updated_at=1234.9)
    )
    with sqlite3.connect(path) as raw:
        raw.row_factory = sqlite3.Row
        row = dict(raw.execute("SELECT * FROM enrichments").fetchone())
    assert row == {
        "span_hash": found.span_hash,
        "summary": "s",
        "tags": "x,y",
        "evidence": "[]",
        "model": "m:7b",
        "created_at": 1234,
        "schema_ver": "enrichment.v1",
        "inputs": json.dumps(["a: b"]),
        "outputs": "[]",
        "side_effects": "[]",
        "pitfalls": "[]",
        "usage_snippet": "f()",
    }


def test_an_index_in_new_folders_keeps_others_from_writing_to_them(tmp_path):
    before = os.umask(0)
    try:
        Store.open(tmp_path / "a/b/c.db", create=True).close()
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o755] * 2


@pytest.mark.parametrize(("given", "stored"), [({"model": None}, None), ({"model": "x"}, "x")])
def test_a_model_named_by_the_reply_beats_the_one_that_was_asked(store, given, stored):
    store.spans.put_file(file("a.py", span("one")))
    [found] = store.spans.list_pending(0, 1)
    result = Enrichment(summary_120w="s", **given)
    store.save_enrichment(found, result, schema_version="v", outcome=outcome())
    [shown] = store.results.find("a.py")
    assert shown.enrichment["model"] == stored


def test_no_tags_are_stored_as_null(store, path):
    store.spans.put_file(file("a.py", span("one")))
    enrich(store, "one")
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT tags FROM enrichments").fetchone() == (None,)


def test_totals_reconcile(store):
    store.spans.put_file(file("a.py", *(span(f"s{n}", n * 10) for n in range(1, 6))))
    store.spans.put_file(file("b.go", span("g"), lang="go"))
    enrich(store, "s1")
    failing = [s for s in store.spans.list_pending(0, 9) if s.symbol in ("s2", "s3")]
    store.save_failure(failing[0], outcome("fail", "parse"))
    store.save_failure(failing[1], outcome("fail", "runtime"))
    totals = store.counts.count_all()
    assert totals.spans == totals.enriched + totals.pending + sum(totals.failed.values()) == 6
    assert totals.failed == {"parse": 1, "runtime": 1}
    assert totals.by_language == {"python": (1, 5, 1), "go": (1, 1, 0)}
    assert totals.by_model == {("m:7b", "7b"): 1}
    assert (totals.prompt_tokens, totals.completion_tokens) == (300, 60)


def test_a_span_enriched_after_failing_counts_as_enriched(store):
    store.spans.put_file(file("a.py", span("one")))
    [found] = store.spans.list_pending(0, 1)
    store.save_failure(found, outcome("fail", "parse"))
    enrich(store, "one")
    totals = store.counts.count_all()
    assert (totals.enriched, totals.failed) == (1, {})
    assert totals.prompt_tokens == 200


def test_a_write_that_breaks_off_leaves_nothing_behind(store):
    def broken():
        with store.transaction():
            store.spans.put_file(file("a.py", span("one")))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert store.counts.count_results() == (0, 0)


def test_latest_gives_the_newest_first(store):
    store.spans.put_file(file("a.py", span("one"), span("two", 10)))
    for symbol, when in (("two", 5.0), ("one", 10.0)):
        [found] = [s for s in store.spans.list_pending(0, 9) if s.symbol == symbol]
        store.save_enrichment(
            found,
            Enrichment(summary_120w="s"),
            schema_version="v",
            outcome=outcome(updated_at=when),
        )
    assert [r.span.symbol for r in store.results.list_latest(5)] == ["one", "two"]


def test_a_line_finds_the_spans_around_it(store):
    whole = span("class", 1, lines=20)
    store.spans.put_file(file("a.py", whole, span("method", 5), span("other", 30)))
    assert [r.span.symbol for r in store.results.find("a.py", 7)] == ["class", "method"]


def test_an_index_of_another_program_is_used_as_it_is(path):
    with Store.open(path, create=True) as made:
        made.spans.put_file(file("a.py", span("one")))
    with sqlite3.connect(path) as raw:
        for table in ("llmc_twins", "llmc_outcomes", "llmc_archive"):
            raw.execute(f"DROP TABLE {table}")
        raw.execute("ALTER TABLE files ADD COLUMN theirs TEXT")
    with Store.open_readonly(path) as readonly:
        assert readonly.counts.count_all().spans == 1
        assert [r.span.symbol for r in readonly.results.find("a.py")] == ["one"]
    with Store.open(path) as opened:
        enrich(opened, "one")
        assert opened.counts.count_results() == (1, 1)


def test_a_missing_index_says_how_to_make_one(path):
    with pytest.raises(StoreError, match="llmc index"):
        Store.open_readonly(path)


def test_a_file_that_is_no_database_is_corrupt(path):
    path.parent.mkdir()
    path.write_bytes(b"this is not a database at all, by any means" * 100)
    with pytest.raises(CorruptIndexError, match=r"index_v2\.db"):
        Store.open(path)


def test_a_corrupt_index_is_moved_aside_whole_and_said_so(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    said = []
    with open_store(path, (said.append,)) as fresh:
        assert fresh.counts.count_results() == (0, 0)
    [aside] = path.parent.glob("*.corrupt-*")
    assert aside.read_bytes() == b"not a database" * 1000
    assert str(aside) in said[0].message


def test_a_damaged_page_is_found_after_an_unclean_end(path):
    with Store.open(path, create=True) as made:
        for n in range(200):
            made.spans.put_file(file(f"f{n}.py", span(f"s{n}")))
    damaged = bytearray(path.read_bytes())
    damaged[8192:16384] = os.urandom(8192)
    path.write_bytes(damaged)
    (path.parent / f"{path.name}-wal").write_bytes(bytes(32))
    for _ in range(2):  # the first look takes the journal away
        with pytest.raises(CorruptIndexError):
            Store.open(path)


@pytest.fixture
def damaged(path):
    """An index that is damaged where only a look at all of it finds it."""
    with Store.open(path, create=True) as made:
        for n in range(200):
            made.spans.put_file(file(f"f{n}.py", span(f"s{n}")))
    data = bytearray(path.read_bytes())
    data[8192:16384] = random.Random(1).randbytes(8192)
    path.write_bytes(data)
    return path


def leave_as_killed(path):
    register = f"from llmc.store.owners import Owner; Owner.register({str(path)!r}); os._exit(1)"
    subprocess.run([sys.executable, "-c", f"import os; {register}"], check=False)


def test_a_damaged_page_is_found_after_somebody_was_killed(damaged):
    leave_as_killed(damaged)
    with pytest.raises(CorruptIndexError, match="is damaged"):
        Store.open(damaged)


def test_who_was_killed_is_remembered_until_all_was_looked_through(damaged):
    leave_as_killed(damaged)
    for _ in range(2):
        with pytest.raises(CorruptIndexError, match="is damaged"):
            Store.open(damaged)


def test_who_was_killed_is_forgotten_once_all_was_looked_through(path, store):
    store.close()
    leave_as_killed(path)
    Store.open(path).close()
    assert not name_folder(path).exists()


def test_a_run_that_meets_the_claims_of_a_dead_one_leaves_its_mark(path, store):
    store.spans.put_file(file("a.py", span("one")))
    claim = f"Store.open(Path({str(path)!r})).claims.take(0, 1, lease_sec=600); os._exit(1)"
    command = f"import os; from pathlib import Path; from llmc.store.store import Store; {claim}"
    subprocess.run([sys.executable, "-c", command], check=False)
    assert len(store.claims.take(0, 1, lease_sec=60)) == 1
    assert len(list(name_folder(path).iterdir())) == 2


def test_an_index_that_was_only_read_is_not_looked_through(damaged):
    """Reading leaves an empty journal behind."""
    Store.open_readonly(damaged).close()
    assert (damaged.parent / f"{damaged.name}-wal").exists()
    Store.open(damaged).close()


def test_damage_that_a_reader_meets_is_found_by_who_opens_it_next(path, store):
    """Else `llmc index`, which is advised then, might not meet it."""
    store.spans.put_file(file("f.py", span("s")))
    store.close()
    with closing(sqlite3.connect(path)) as raw:
        query = "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'spans'"
        pages = [number for (number,) in raw.execute(query)]
    with path.open("r+b") as raw:
        for number in pages:
            raw.seek(4096 * (number - 1))
            raw.write(random.Random(1).randbytes(4096))
    Store.open(path).close()
    with pytest.raises(CorruptIndexError), Store.open_readonly(path) as reader:
        reader.counts.count_all()
    for _ in range(2):
        with pytest.raises(CorruptIndexError, match="is damaged"):
            Store.open(path)


def test_an_index_that_others_have_open_is_not_looked_through(damaged):
    """Ten processes that start at once would each read all of it."""
    with Store.open(damaged):
        (damaged.parent / f"{damaged.name}-wal").write_bytes(bytes(32))
        Store.open(damaged).close()


def test_an_index_that_was_closed_is_not_looked_through(damaged):
    Store.open(damaged).close()
    assert not (damaged.parent / f"{damaged.name}-wal").exists()


def test_a_database_of_something_else_is_refused_unchanged(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE files (name TEXT)")
    with pytest.raises(StoreError, match="only some of an index's tables"):
        Store.open(path, create=True)
    with sqlite3.connect(path) as raw:
        assert [row[0] for row in raw.execute("SELECT name FROM sqlite_master")] == ["files"]


def test_foreign_keys_are_on(store, path):
    store.spans.put_file(file("a.py", span("one")))
    enrich(store, "one")
    with pytest.raises(StoreError, match="FOREIGN KEY"), store.transaction():
        store._db.execute("INSERT INTO enrichments (span_hash) VALUES ('sha256:none')")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_readonly_folder_can_be_read(path):
    with Store.open(path, create=True) as made:
        made.spans.put_file(file("a.py", span("one")))
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with Store.open_readonly(path) as opened:
            assert opened.counts.count_all().spans == 1
        with pytest.raises(StoreError, match="write permission"):
            Store.open(path)
    finally:
        path.parent.chmod(0o700)


def test_removing_a_file_tells_what_left_with_it(store):
    store.spans.put_file(file("a.py", span("one"), span("two", 10), span("shared", 20)))
    store.spans.put_file(file("b.py", span("shared"), span("other", 10)))
    for text in ("one", "shared", "other"):
        enrich(store, text)
    before = store.counts.count_results()
    assert store.spans.remove_file("a.py") == (2, 1)
    assert store.counts.count_results() == (before[0] - 2, before[1] - 1)
    assert store.spans.remove_file("never.py") == (0, 0)


def test_changes_by_another_connection_are_noticed_once(store, path):
    assert not store.is_changed_elsewhere()
    store.spans.put_file(file("a.py", span("one")))
    assert not store.is_changed_elsewhere()
    with Store.open(path) as other:
        other.spans.put_file(file("b.py", span("two")))
    assert store.is_changed_elsewhere()
    assert not store.is_changed_elsewhere()


def test_changes_are_noticed_by_a_reader_too(store, path):
    with Store.open_readonly(path) as reader:
        store.spans.put_file(file("a.py", span("one")))
        assert reader.is_changed_elsewhere()


def test_totals_are_of_one_moment_while_another_writes(store, path):
    store.spans.put_file(file("a.py", *(span(f"s{n}", n * 10) for n in range(1, 400))))
    spans = store.spans.list_pending(0, 400)
    seen, done = [], threading.Event()

    def watch():
        with Store.open_readonly(path) as reader:
            while not done.is_set():
                seen.append(reader.counts.count_all())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for one in spans:
        result = Enrichment(summary_120w="s")
        store.save_enrichment(one, result, schema_version="v", outcome=outcome())
    done.set()
    watcher.join()
    assert len({totals.enriched for totals in seen}) > 1
    for totals in seen:
        assert sum(totals.by_model.values()) == totals.enriched
        assert totals.prompt_tokens == 100 * totals.enriched


def test_only_a_result_that_is_one_more_counts_as_stored(store):
    store.spans.put_file(file("a.py", span("one")))
    [found] = store.spans.list_pending(0, 1)
    result, words = Enrichment(summary_120w="s"), {"schema_version": "v", "outcome": outcome()}
    stored = [store.save_enrichment(found, result, **words) for _ in range(2)]
    store.spans.remove_file("a.py")
    assert [*stored, store.save_enrichment(found, result, **words)] == [True, False, False]


@pytest.mark.parametrize(
    ("statement", "counts"),
    [
        ("INSERT INTO enrichments (span_hash) VALUES ('a'), ('b'), ('c')", (2, 1)),
        ("DELETE FROM files WHERE path = 'a.py'", (1, 0)),
        ("DELETE FROM spans WHERE symbol = 'one'", (1, 0)),
    ],
)
def test_counts_are_those_of_the_totals(store, path, statement, counts):
    """Also where another program has left rows that belong to nothing."""
    store.spans.put_file(file("a.py", span("one")))
    store.spans.put_file(file("b.py", span("two")))
    enrich(store, "one")
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(statement)
        raw.commit()
    totals = store.counts.count_all()
    assert store.counts.count_results() == (totals.spans, totals.enriched) == counts


def test_enrichments_without_a_span_do_not_spoil_the_sum(store, path):
    """As another program leaves them that has foreign keys off."""
    store.spans.put_file(file("a.py", span("one")))
    with closing(sqlite3.connect(path)) as raw:
        raw.executemany("INSERT INTO enrichments (span_hash) VALUES (?)", ["a", "b"])
        raw.commit()
    totals = store.counts.count_all()
    assert (totals.spans, totals.enriched, totals.pending) == (1, 0, 1)


def test_a_write_that_can_not_be_committed_leaves_no_transaction_open(store, path):
    store.spans.put_file(file("a.py", span("one")))
    with pytest.raises(StoreError), store.transaction():
        store._db.execute("ROLLBACK")
    store.spans.put_file(file("b.py", span("two")))
    with Store.open_readonly(path) as reader:
        assert reader.counts.count_results() == (2, 0)


def test_a_paid_result_is_on_the_disk_when_it_is_stored(store):
    """FULL: the journal is synced at every commit, so a power failure takes nothing back."""
    store.spans.put_file(file("a.py", span("one")))
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert store.claims.take(0, 1, lease_sec=60)
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_an_index_that_another_writes_can_be_opened_for_the_first_time(path):
    """To make it WAL takes the file for oneself, and SQLite doesn't wait for that."""
    path.parent.mkdir()
    made = sqlite3.connect(path, isolation_level=None)
    made.execute("PRAGMA journal_mode = DELETE")
    made.execute("CREATE TABLE t (x)")
    made.execute("DROP TABLE t")
    made.close()
    writing = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writing.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, lambda: writing.execute("ROLLBACK")).start()
    with Store.open(path) as opened:
        assert opened.counts.count_results() == (0, 0)
    writing.close()
