"""Totals of an index that hasn't changed are not counted twice, and of one that has, always."""

import json
import sqlite3
import time
from contextlib import closing

import pytest

from llmc.files.home import find_folder
from llmc.models import Enrichment, IndexPlace
from llmc.store import installation
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.reader import Reader
from llmc.store.remembered import CHECKED, FILE, recall_totals
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome

AT_ONCE = {"worth_sec": 0.0, "settled_sec": -3600.0}


def file(path, *names):
    spans = tuple(
        ParsedSpan(name, "function", 1, 2, 0, 9, "sha256:" + name.ljust(64, "0")) for name in names
    )
    return ParsedFile(path, "python", "0", 1, 1.0, spans)


@pytest.fixture
def place(tmp_path):
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    place = IndexPlace(tmp_path / "index.db", environ=environ)
    seal = installation.load_seal(environ, print, make=True)
    with Store.open(place, create=True, seal=seal) as store:
        store.spans.put_file(file("a.py", "one", "two", "three"))
        store.spans.put_file(ParsedFile("b.md", "markdown", "0", 1, 1.0, ()))
        first, second, _ = store.spans.list_pending(0, 9)
        outcome = Outcome("pass", "success", None, "7b", "ollama", "m", 1, 9, 5, 9, time.time())
        store.save_enrichment(
            first, Enrichment(summary_120w="It counts."), schema_version="v", outcome=outcome
        )
        store.save_failure(second, Outcome("fail", "parse", None, *[""] * 3, 1, 1, 1, 1, 1.0))
    return place


@pytest.fixture
def kept(place):
    return find_folder(place.environ) / FILE


def recall(place, **options):
    seal = installation.load_seal(place.environ, print)
    with Reader.open_readonly(place, seal=seal) as reader:
        return recall_totals(place, reader, **(AT_ONCE | options))


def pretend(kept):
    """Make what is remembered differ from what would be counted."""
    found = json.loads(kept.read_text())
    for _, totals in found.values():
        totals["files"] = 12345
    kept.write_text(json.dumps(found))


def test_they_are_what_was_counted(place):
    counted = recall(place)
    assert counted.by_language == {"python": (1, 3, 1), "markdown": (1, 0, 0)}
    assert (counted.files, counted.spans, counted.enriched, counted.pending) == (2, 3, 1, 1)
    assert (counted.failed, counted.by_model) == ({"parse": 1}, {("m", "7b"): 1})
    assert recall(place) == counted


def test_they_are_not_counted_while_the_index_is_as_it_was(place, kept):
    recall(place)
    pretend(kept)
    assert recall(place).files == 12345


def test_a_change_has_them_counted_anew(place, kept):
    recall(place)
    pretend(kept)
    with Store.open(place) as store:
        store.spans.put_file(file("c.py", "four"))
        assert recall(place).files == 3
    assert recall(place).files == 3


def test_another_installation_counts_for_itself(place, kept):
    recall(place)
    pretend(kept)
    with Reader.open_readonly(place) as reader:
        totals = recall_totals(place, reader, **AT_ONCE)
    assert totals.files == 2
    assert totals.elsewhere == {("m", "7b"): 1}


def test_claims_are_counted_each_time(place):
    with Store.open(place) as store:
        store.claims.take(0, 1, 600.0)
        assert recall(place).claimed == 1
        assert recall(place).claimed == 1
        store.claims.give_up()
        assert recall(place).claimed == 0


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_damaged_list_of_them_is_made_anew(place, kept, text):
    recall(place)
    kept.write_text(text)
    assert recall(place).files == 2
    pretend(kept)
    assert recall(place).files == 12345


@pytest.mark.parametrize("entry", [None, 5, [], [[], {}], {"a": 1}])
def test_a_damaged_entry_is_made_anew(place, kept, entry):
    recall(place)
    [name] = json.loads(kept.read_text())
    kept.write_text(json.dumps({name: entry}))
    assert recall(place).files == 2


def forge(place, summary="forged"):
    """Change a result as another program may."""
    with closing(sqlite3.connect(place.path)) as raw:
        raw.execute("UPDATE enrichments SET summary = ?", (summary,))
        raw.commit()


def fail_once_more(place):
    with Store.open(place) as store:
        [span, *_] = store.spans.list_pending(0, 9)
        store.save_failure(span, Outcome("fail", "parse", None, *[""] * 3, 1, 1, 1, 1, 1.0))


def test_a_change_has_only_the_marks_checked_of_what_changed(place, kept):
    forge(place)
    assert recall(place).elsewhere == {("m", "7b"): 1}
    checked = kept.with_name(CHECKED)
    [(name, (pages, invalid, unsound))] = json.loads(checked.read_text()).items()
    assert len(invalid) == 1
    checked.write_text(json.dumps({name: [pages, [], unsound]}))
    fail_once_more(place)
    assert recall(place).elsewhere == {}
    forge(place, "forged again")
    assert recall(place).elsewhere == {("m", "7b"): 1}


def test_what_is_forged_after_a_check_is_found(place):
    assert recall(place).elsewhere == {}
    forge(place)
    assert recall(place).elsewhere == {("m", "7b"): 1}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        5,
        [],
        [{}, []],
        [[], [], []],
        [{"enrichments": 5}, [], []],
        [{"spans": {"x": "y"}}, [], []],
    ],
)
def test_damaged_checks_are_made_anew(place, kept, entry):
    forge(place)
    assert recall(place).elsewhere == {("m", "7b"): 1}
    checked = kept.with_name(CHECKED)
    [name] = json.loads(checked.read_text())
    checked.write_text(json.dumps({name: entry}))
    fail_once_more(place)
    assert recall(place).elsewhere == {("m", "7b"): 1}
    assert len(json.loads(checked.read_text())[name][1]) == 1


def test_what_changed_a_moment_ago_is_not_remembered(place, kept):
    recall(place, settled_sec=60.0)
    assert not kept.exists()


def test_what_is_counted_at_once_is_not_remembered(place, kept):
    recall(place, worth_sec=60.0)
    assert not kept.exists()


def test_without_a_folder_of_the_users_they_are_counted(place):
    nowhere = IndexPlace(place.path)
    with Reader.open_readonly(nowhere) as reader:
        assert recall_totals(nowhere, reader, **AT_ONCE).files == 2
