"""What was found of an enrichment's claims goes where it goes, and is believed of nothing else."""

import itertools
import json
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmc.errors import CorruptIndexError
from llmc.models import Enrichment, IndexPlace, Verdict
from llmc.store import installation
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.reader import Reader
from llmc.store.remembered import recall_totals
from llmc.store.rescue import rescue
from llmc.store.seal import Seal
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome
from llmc.store.verdicts import MAX_REASON_CHARS, MAX_VERDICTS

MINE, THEIRS = Seal("ab" * 8, b"k" * 32), Seal("cd" * 8, b"t" * 32)
SUMMARY = "It counts. It counts again."
VERDICTS = (
    Verdict("summary_120w", "It counts.", "not provable", "prose", "nothing is proven of it"),
    Verdict("summary_120w", "It raises KeyError.", "refuted", "raises", "nothing is raised"),
    Verdict("summary_120w", "It counts again.", "proven", "returns", "line 2 of it"),
    Verdict("inputs", "n: of", "proven", "parameter", "n is a parameter"),
    Verdict("inputs", "n: of", "not provable", "prose", "said twice"),
    Verdict("inputs", "k: of", "refuted", "parameter", "k is no parameter"),
    Verdict("pitfalls", "huge_sum is slow", "refuted", "identifier", "huge_sum is nowhere"),
    Verdict("usage_snippet", "count(3)", "proven", "arity", "count can be called so"),
)
RESULT = Enrichment(summary_120w=SUMMARY, inputs=["n: of", "n: of"], usage_snippet="count(3)")


def span(name, start=1):
    return ParsedSpan(name, "function", start, start + 1, 0, 9, "sha256:" + name.ljust(64, "0"))


def file(path, *spans):
    return ParsedFile(path, "python", repr(spans), 1, 1.0, spans)


def passed(model="m"):
    return Outcome("pass", "success", None, "7b", "ollama", model, 1, 9, 5, 9, time.time())


def save(store, name, verdicts=VERDICTS, result=RESULT):
    [found] = [one for one in store.spans.list_pending(0, 99) if one.symbol == name]
    return store.save_enrichment(
        found, result, schema_version="v", outcome=passed(), verdicts=verdicts
    )


def found(store, path="a.py"):
    """Return the rulings on each span's claims, by symbol."""
    return {
        one.span.symbol: one.verdicts and [verdict.ruling for verdict in one.verdicts]
        for one in store.results.find(path)
    }


ALL = [verdict.ruling for verdict in VERDICTS]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index.db"


@pytest.fixture
def store(path):
    with Store.open(path, create=True, seal=MINE) as opened:
        opened.spans.put_file(file("a.py", span("one")))
        yield opened


def sql(path, statement, *values):
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute(statement, values).fetchall()
        raw.commit()
    return rows


def test_each_verdict_stands_at_its_claim_and_of_a_dropped_one_no_text_is_kept(store, path):
    save(store, "one")
    [shown] = store.results.find("a.py")
    assert [(one.field, one.place, one.claim, one.ruling) for one in shown.verdicts] == [
        ("summary_120w", 0, "It counts.", "not provable"),
        ("summary_120w", -1, None, "refuted"),
        ("summary_120w", 11, "It counts again.", "proven"),
        ("inputs", 0, "n: of", "proven"),
        ("inputs", 1, "n: of", "not provable"),
        ("inputs", -1, None, "refuted"),
        ("pitfalls", -1, None, "refuted"),
        ("usage_snippet", 0, "count(3)", "proven"),
    ]
    assert [one.reason for one in shown.verdicts] == [one.reason for one in VERDICTS]
    assert "KeyError" not in str(sql(path, "SELECT * FROM llmc_verdicts"))


def test_a_verdict_on_what_is_not_in_the_result_is_not_kept(store):
    save(store, "one", [Verdict("inputs", "m: of", "proven", "parameter", ""), *VERDICTS])
    assert found(store) == {"one": ALL}
    assert store.counts.count_all().proven == 3


def test_whatever_a_model_wrote_of_its_claims_can_be_stored_within_bounds(store):
    odd = Verdict("pitfalls", "\ud83d", "refuted", "a b\ud83d", "\ud83d\0" * 900)
    save(store, "one", [odd] * (MAX_VERDICTS + 1))
    [shown] = store.results.find("a.py")
    assert len(shown.verdicts) == MAX_VERDICTS
    assert len(shown.verdicts[0].reason) == MAX_REASON_CHARS
    assert store.counts.count_all().dropped == {"a-b?": MAX_VERDICTS}


def test_a_result_without_verdicts_is_not_checked_and_ends_earlier_ones(store, path):
    save(store, "one")
    sql(path, "DELETE FROM enrichments")
    save(store, "one", ())
    assert found(store) == {"one": None}
    assert sql(path, "SELECT count(*) FROM llmc_verdicts") == [(0,)]


def test_without_a_place_for_the_key_none_are_kept(path):
    with Store.open(path, create=True) as store:
        store.spans.put_file(file("a.py", span("one")))
        assert save(store, "one")
    assert sql(path, "SELECT count(*) FROM llmc_verdicts") == [(0,)]


# -- where a result goes -------------------------------------------------------------------------


def test_they_come_back_with_a_text_that_left_and_came_back_elsewhere(store):
    save(store, "one")
    store.spans.put_file(file("a.py", span("other")))
    assert store.counts.count_all().checked == 0
    store.spans.put_file(file("b.py", span("one", 31)))
    assert found(store, "b.py") == {"one": ALL}
    assert store.counts.count_all().checked == 1


def test_a_twin_has_them_too_and_takes_them_over(store):
    store.spans.put_file(file("b.py", span("one", 31)))
    save(store, "one")
    assert found(store, "b.py") == {"one": ALL}
    store.spans.remove_file("a.py")
    assert found(store, "b.py") == {"one": ALL}


def test_a_result_that_comes_after_its_span_has_left_has_them_on_its_return(store):
    [one] = store.spans.list_pending(0, 9)
    store.spans.remove_file("a.py")
    words = {"schema_version": "v", "outcome": passed(), "verdicts": VERDICTS}
    assert not store.save_enrichment(one, RESULT, **words)
    store.spans.put_file(file("a.py", span("one")))
    assert found(store) == {"one": ALL}


def test_a_rescue_saves_them(store, path):
    save(store, "one")
    store.close()
    rescue(path, CorruptIndexError("as if"))
    with Store.open(path, seal=MINE) as rescued:
        rescued.spans.put_file(file("a.py", span("one")))
        assert found(rescued) == {"one": ALL}


def test_an_index_that_others_removed_is_saved_with_them(store, path, tmp_path):
    save(store, "one")
    path.unlink()
    aside, _ = store.save_beside()
    store.close()
    aside.rename(path)
    with Reader.open_readonly(path, seal=MINE) as reader:
        assert found(reader) == {"one": ALL}


STEPS = st.lists(st.sampled_from(["save", "unchecked", "leave", "back", "move", "twin"]))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_wherever_a_text_goes_its_result_has_the_verdicts_it_was_stored_with(steps):
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(Path(folder) / "i.db", create=True, seal=MINE) as store,
    ):
        known, lines = None, itertools.count(1, 10)
        store.spans.put_file(file("a.py", span("one")))
        for step in [*steps, "back"]:
            match step:
                case "save" | "unchecked" if store.spans.list_pending(0, 9):
                    known = ALL if step == "save" else None
                    save(store, "one", VERDICTS if step == "save" else ())
                case "leave":
                    store.spans.put_file(file("a.py", span("other")))
                    store.spans.remove_file("b.py")
                    store.spans.remove_file("a.py")
                case "back" | "move":
                    store.spans.put_file(file("a.py", span("one", next(lines))))
                case "twin":
                    store.spans.put_file(file("b.py", span("one", next(lines))))
        assert found(store) == {"one": known}
        assert store.counts.count_all().checked == (known is not None)


# -- what is not believed ------------------------------------------------------------------------


CHANGES = {
    "another text": "UPDATE enrichments SET summary = 'It is safe.'",
    "a model of another name": "UPDATE enrichments SET model = 'better'",
    "another number": "UPDATE llmc_verdicts SET proven = proven + 1",
    "fewer that were dropped": "UPDATE llmc_verdicts SET dropped = ''",
    "a number that is text": "UPDATE llmc_verdicts SET not_provable = 'x'",
    "numbers and their seal from another row": "UPDATE llmc_verdicts SET proven = 1, counted = mac",
    "seals that are made up": "UPDATE llmc_verdicts SET mac = zeroblob(32), counted = mac",
    "the mark of the result": "UPDATE llmc_verdicts SET (mac, counted) = "
    "(SELECT mac, mac FROM llmc_origins)",
    "a result without a mark": "DELETE FROM llmc_origins",
    "a table that is gone": "DROP TABLE llmc_verdicts",
    "a table that lacks a column": "ALTER TABLE llmc_verdicts DROP COLUMN dropped",
}


@pytest.mark.parametrize("change", CHANGES)
def test_verdicts_count_for_nothing_once_anything_of_them_or_of_the_result_was_changed(
    store, path, change
):
    save(store, "one")
    store.close()
    sql(path, CHANGES[change])
    with Reader.open_readonly(path, seal=MINE) as reader:
        assert found(reader) == {"one": None}
        totals = reader.counts.count_all()
    assert (totals.checked, totals.proven, totals.not_provable) == (0, 0, 0)
    assert totals.dropped == {}


WORDS = {
    "another ruling": """verdicts = replace(verdicts, '"n"', '"p"')""",
    "another reason": "verdicts = replace(verdicts, 'line 2', 'line 1')",
    "bytes": "verdicts = CAST(verdicts AS BLOB)",
    "no list": "verdicts = '[['",
    "no text": "verdicts = 7",
    "the seal of the numbers": "mac = counted",
}


@pytest.mark.parametrize("change", WORDS)
def test_verdicts_whose_words_alone_were_changed_are_not_shown_but_truly_counted(
    store, path, change
):
    save(store, "one")
    sql(path, f"UPDATE llmc_verdicts SET {WORDS[change]}")
    assert found(store) == {"one": None}
    totals = store.counts.count_all()
    assert (totals.checked, totals.proven, totals.not_provable) == (1, 3, 2)


def test_verdicts_that_are_put_beside_another_result_count_for_nothing(store, path):
    store.spans.put_file(file("a.py", span("one"), span("two", 11)))
    save(store, "one")
    save(store, "two", ())
    sql(
        path,
        "INSERT INTO llmc_verdicts SELECT s.span_hash, installation, proven, not_provable, "
        "dropped, counted, verdicts, mac FROM llmc_verdicts, spans s WHERE s.symbol = 'two'",
    )
    assert found(store) == {"one": ALL, "two": None}
    assert store.counts.count_all().checked == 1


def test_verdicts_on_an_earlier_result_of_the_same_span_count_for_nothing(store, path):
    save(store, "one")
    [row] = sql(path, "SELECT * FROM llmc_verdicts")
    sql(path, "DELETE FROM enrichments")
    save(store, "one", (), RESULT.model_copy(update={"pitfalls": ["It raises KeyError."]}))
    sql(path, f"INSERT INTO llmc_verdicts VALUES ({', '.join('?' * len(row))})", *row)
    assert found(store) == {"one": None}


@pytest.mark.parametrize("claimed", [False, True])
def test_what_another_installation_found_is_never_shown(store, path, claimed):
    save(store, "one")
    store.close()
    if claimed:  # to be ours
        for table in ("llmc_verdicts", "llmc_origins"):
            sql(path, f"UPDATE {table} SET installation = ?", THEIRS.installation)
    with Store.open(path, seal=THEIRS) as other:
        assert found(other) == {"one": None}
        other.adoption.adopt(time.time())
        assert found(other) == {"one": None}
        totals = other.counts.count_all()
        assert (totals.adopted, totals.checked, totals.proven) == (1, 0, 0)


def test_what_was_dropped_by_adopt_is_no_longer_counted(store, path):
    save(store, "one")
    sql(path, "UPDATE enrichments SET summary = 'It is safe.'")
    assert store.adoption.set_aside(1.0) == 1
    assert store.counts.count_all().checked == 0
    save(store, "one", VERDICTS[:1])
    assert found(store) == {"one": ALL[:1]}


# -- counts --------------------------------------------------------------------------------------


def test_claims_are_counted_by_what_was_found_and_dropped_ones_by_kind(store):
    store.spans.put_file(file("a.py", span("one"), span("two", 11), span("six", 21)))
    save(store, "one")
    save(store, "two", VERDICTS[:2])
    save(store, "six", ())
    totals = store.counts.count_all()
    assert (totals.enriched, totals.checked) == (3, 2)
    assert (totals.proven, totals.not_provable) == (3, 3)
    assert totals.dropped == {"identifier": 1, "parameter": 1, "raises": 2}


def test_counts_that_are_remembered_are_those_that_were_counted(tmp_path):
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    place = IndexPlace(tmp_path / "index.db", environ=environ)
    seal = installation.load_seal(environ, pytest.fail, make=True)
    with Store.open(place, create=True, seal=seal) as store:
        store.spans.put_file(file("a.py", span("one")))
        save(store, "one")
    counts = []
    for _ in range(2):
        with Reader.open_readonly(place, seal=seal) as reader:
            counts.append(recall_totals(place, reader, worth_sec=0.0, settled_sec=-3600.0))
    assert counts[0] == counts[1]
    assert counts[1].dropped == {"identifier": 1, "parameter": 1, "raises": 1}
    [[_, entry]] = json.loads((tmp_path / "config/llmc/totals.json").read_text()).values()
    assert entry["proven"] == 3
