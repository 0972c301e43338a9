"""Marks are checked again where the index isn't as it was, whoever changed it; and only there."""

import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmc.models import Enrichment, Evidence, Verdict
from llmc.store.checks import PAGE_ROWS, Seen
from llmc.store.database.handle import Database
from llmc.store.database.opening import connect_readonly
from llmc.store.origins import Origins
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.reader import Reader
from llmc.store.seal import Seal
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome
from llmc.store.verdicts import ClaimCounts, Verdicts

MINE = Seal("0123456789abcdef", b"k" * 32)
OUTCOME = Outcome("pass", "success", None, "7b", "ollama", "m", 1, 9, 5, 9, 1.0)
RESULT = Enrichment(summary_120w="It counts.", evidence=[Evidence(field="inputs", lines=[3, 4])])
VERDICTS = [
    Verdict("summary_120w", "It counts.", "proven", "call", "it does"),
    Verdict("pitfalls", "It ends.", "refuted", "raise", "it does not"),
]
FAR = 2**62


def name(number):
    return f"sha256:{number:064x}"


def span(number):
    line = 1 + 2 * number
    place = (line, line + 1, 9 * number, 9 * number + 9)
    return ParsedSpan(f"work_{number}", "function", *place, name(number))


def make(path):
    """Make an index of ten spans: six enriched here, one adopted, one made elsewhere."""
    with Store.open(path, create=True, seal=MINE) as store:
        spans = tuple(map(span, range(10)))
        store.spans.put_file(ParsedFile("a.py", "python", "0", 1, 1.0, spans))
        for each in store.spans.list_pending(0, 6):
            store.save_enrichment(
                each, RESULT, schema_version="v", outcome=OUTCOME, verdicts=VERDICTS
            )
        change(path, "INSERT INTO enrichments (span_hash, summary) VALUES (?, 'theirs')", name(6))
        store.adoption.adopt(time.time())
        change(path, "INSERT INTO enrichments (span_hash, summary) VALUES (?, 'theirs')", name(7))
    return path


SIX = ClaimCounts(6, 6, 0, {"raise": 6})


@pytest.fixture
def index(tmp_path):
    return make(tmp_path / "index.db")


def change(path, statement, *values):
    """Change an index as another program may."""
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute(statement, values)
        raw.commit()


def count(path, before):
    with Reader.open_readonly(path, seal=MINE) as reader:
        return reader.counts.count_since(before)


def look_at_each(path):
    """Return how many results were made elsewhere, how many adopted, and the claims of the others,
    by looking at each.
    """
    with closing(connect_readonly(path)) as connection:
        db = Database(path, connection)
        origins = Origins(db, MINE)
        results = list(origins.read_results("enrichments"))
        strangers = {result.span_hash for result in results if result.made == "elsewhere"}
        claims = Verdicts(db, origins).count(without=strangers)
    made = Counter(result.made for result in results)
    return made["elsewhere"], made["adopted"], claims


def read_counts(totals):
    claims = ClaimCounts(totals.checked, totals.proven, totals.not_provable, totals.dropped)
    return sum(totals.elsewhere.values()), totals.adopted, claims


def read_makers(totals):
    return read_counts(totals)[:2]


def test_a_result_at_the_least_place_of_all_is_looked_at_and_adopted(index):
    place = (-(2**63), name(7))
    change(index, "UPDATE enrichments SET rowid = ? WHERE span_hash = ?", *place)
    assert look_at_each(index)[:2] == (1, 1)
    with Store.open(index, seal=MINE) as store:
        assert store.adoption.count_strangers().count == store.adoption.adopt(5.0) == 1
    assert look_at_each(index)[:2] == (0, 2)


def test_it_is_counted_what_a_look_at_each_result_finds(index):
    totals, seen = count(index, Seen())
    assert read_counts(totals) == look_at_each(index) == (1, 1, SIX)
    assert totals.elsewhere == {("-", "-"): 1}
    assert seen.invalid == frozenset()


def test_what_is_as_it_was_is_not_checked_again(index):
    change(index, "UPDATE enrichments SET summary = 'forged' WHERE span_hash = ?", name(2))
    totals, seen = count(index, Seen())
    assert (read_makers(totals), seen.invalid) == ((2, 1), {name(2)})
    pretended = replace(seen, invalid=frozenset())
    totals, again = count(index, pretended)
    assert (read_makers(totals), again) == ((1, 1), pretended)


def test_verdicts_that_are_as_they_were_are_not_checked_again(index):
    change(index, "UPDATE llmc_verdicts SET proven = 9 WHERE span_hash = ?", name(2))
    totals, seen = count(index, Seen())
    assert (totals.proven, seen.unsound) == (5, {name(2)})
    pretended = replace(seen, unsound=frozenset())
    assert count(index, pretended)[0].proven == 14


def test_a_result_of_this_installation_is_added_to_what_was_checked(index):
    _, before = count(index, Seen())
    with Store.open(index, seal=MINE) as store:
        [last, *_] = store.spans.list_pending(0, 9)
        store.save_enrichment(last, RESULT, schema_version="v", outcome=OUTCOME)
    totals, seen = count(index, before)
    assert (totals.enriched, read_counts(totals)) == (9, (1, 1, SIX))
    assert seen.pages["spans"] == before.pages["spans"]
    assert seen.pages["enrichments"] != before.pages["enrichments"]


CHANGES = {
    "a text is changed": "UPDATE enrichments SET summary = 'forged' WHERE span_hash = '{1}'",
    "a text becomes bytes": "UPDATE enrichments SET summary = CAST(summary AS BLOB) "
    "WHERE span_hash = '{1}'",
    "a text is not UTF-8": "UPDATE enrichments SET summary = CAST(x'ff41' AS TEXT) "
    "WHERE span_hash = '{1}'",
    "evidence is changed": "UPDATE enrichments SET evidence = '[]' WHERE span_hash = '{1}'",
    "a time is changed": "UPDATE enrichments SET created_at = '5' WHERE span_hash = '{1}'",
    "a result is added": "INSERT INTO enrichments (span_hash, summary) VALUES ('{8}', 'forged')",
    "a result of ours is put beside another text": "INSERT INTO enrichments (span_hash, summary, "
    "evidence, model, created_at, schema_ver) SELECT '{8}', summary, evidence, model, created_at, "
    "schema_ver FROM enrichments WHERE span_hash = '{1}'",
    "a result is moved to another text": "UPDATE enrichments SET span_hash = '{8}' "
    "WHERE span_hash = '{1}'",
    "a result is removed": "DELETE FROM enrichments WHERE span_hash = '{1}'",
    "one made elsewhere is removed": "DELETE FROM enrichments WHERE span_hash = '{7}'",
    "an adopted one is removed": "DELETE FROM enrichments WHERE span_hash = '{6}'",
    "an adopted one is changed": "UPDATE enrichments SET summary = 'x' WHERE span_hash = '{6}'",
    "a row goes to another page": f"UPDATE enrichments SET rowid = {FAR} WHERE span_hash = '{{1}}'",
    "a row goes below all": f"UPDATE enrichments SET rowid = {-(2**63)} WHERE span_hash = '{{1}}'",
    "a row goes above all": f"UPDATE enrichments SET rowid = {2**63 - 1} WHERE span_hash = '{{1}}'",
    "a mark is changed": "UPDATE llmc_origins SET mac = zeroblob(32) WHERE span_hash = '{1}'",
    "a mark is a text": "UPDATE llmc_origins SET mac = 'x' WHERE span_hash = '{1}'",
    "a mark is removed": "DELETE FROM llmc_origins WHERE span_hash = '{1}'",
    "a mark goes to another": "UPDATE llmc_origins SET installation = 'x' WHERE span_hash = '{1}'",
    "a mark says another line": "UPDATE llmc_origins SET line = line + 1 WHERE span_hash = '{1}'",
    "a mark says adopted": "UPDATE llmc_origins SET adopted_at = 5.0 WHERE span_hash = '{1}'",
    "a mark says not adopted": "UPDATE llmc_origins SET adopted_at = NULL WHERE span_hash = '{6}'",
    "a mark is made up": "INSERT INTO llmc_origins SELECT '{7}', installation, what, line, "
    "adopted_at, mac FROM llmc_origins WHERE span_hash = '{1}'",
    "a mark is made up as adopted": "INSERT INTO llmc_origins SELECT '{7}', installation, what, "
    "line, adopted_at, mac FROM llmc_origins WHERE span_hash = '{6}'",
    "a span is moved": "UPDATE spans SET start_line = start_line + 1 WHERE span_hash = '{1}'",
    "a span is removed": "DELETE FROM spans WHERE span_hash = '{1}'",
    "a span is of another text": "UPDATE spans SET span_hash = 'x' WHERE span_hash = '{1}'",
    "a hash is none": "INSERT INTO enrichments (span_hash, summary) VALUES (NULL, 'forged')",
    "a hash is of bytes": "INSERT INTO enrichments (span_hash, summary) VALUES (x'00', 'forged')",
    "a hash has a zero": "INSERT INTO enrichments (span_hash, summary) "
    "VALUES ('{8}' || char(0), 'forged')",
    "verdicts are changed": "UPDATE llmc_verdicts SET proven = 9 WHERE span_hash = '{1}'",
    "verdicts are of another kind of number": "UPDATE llmc_verdicts SET proven = '1 ' "
    "WHERE span_hash = '{1}'",
    "verdicts name another kind": "UPDATE llmc_verdicts SET dropped = '' WHERE span_hash = '{1}'",
    "a seal of verdicts is changed": "UPDATE llmc_verdicts SET counted = zeroblob(32) "
    "WHERE span_hash = '{1}'",
    "verdicts are removed": "DELETE FROM llmc_verdicts WHERE span_hash = '{1}'",
    "verdicts go to another result": "UPDATE llmc_verdicts SET span_hash = '{6}' "
    "WHERE span_hash = '{1}'",
    "verdicts are made up": "INSERT INTO llmc_verdicts SELECT '{6}', installation, 5, 5, dropped, "
    "counted, verdicts, mac FROM llmc_verdicts WHERE span_hash = '{1}'",
    "verdicts are of nobody": "UPDATE llmc_verdicts SET installation = 'x'",
    "all verdicts are changed": "UPDATE llmc_verdicts SET not_provable = 5",
    "all is changed": "UPDATE enrichments SET model = 'forged'",
    "all spans are gone": "DELETE FROM spans",
    "no mark is left": "DELETE FROM llmc_origins",
}


def fill(statement):
    return statement.format(*map(name, range(10)))


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES.keys())
def test_whatever_is_changed_is_checked_again(index, statement):
    _, before = count(index, Seen())
    change(index, fill(statement))
    totals, seen = count(index, before)
    assert read_counts(totals) == look_at_each(index)
    assert read_counts(count(index, seen)[0]) == look_at_each(index)


def test_a_result_that_moved_with_its_span_is_checked_again_when_that_is_gone(index):
    with Store.open(index, seal=MINE) as store:
        moved = (replace(span(each), start_line=50 + each, end_line=99) for each in range(10))
        store.spans.put_file(ParsedFile("a.py", "python", "1", 1, 1.0, tuple(moved)))
    totals, before = count(index, Seen())
    assert read_counts(totals) == (1, 1, SIX)
    change(index, "DELETE FROM spans WHERE span_hash = ?", name(1))
    totals, _ = count(index, before)
    assert read_counts(totals) == look_at_each(index)
    assert read_makers(totals) == (2, 1)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(CHANGES.values())), max_size=6))
def test_changes_in_any_order_are_checked_again(tmp_path_factory, statements):
    index = make(tmp_path_factory.mktemp("changes") / "index.db")
    _, seen = count(index, Seen())
    for statement in statements:
        try:
            change(index, fill(statement))
        except sqlite3.IntegrityError:
            continue
        totals, seen = count(index, seen)
        assert read_counts(totals) == look_at_each(index)


def test_a_mark_without_anything_in_it_does_not_hide_a_forged_result(index):
    change(index, "ALTER TABLE llmc_origins RENAME TO old")
    change(index, "CREATE TABLE llmc_origins AS SELECT * FROM old")
    change(index, "DROP TABLE old")
    change(
        index,
        "INSERT INTO llmc_origins (span_hash, installation, what) VALUES (?, ?, 'result')",
        name(7),
        MINE.installation,
    )
    totals, seen = count(index, Seen())
    assert (read_makers(totals), seen.invalid) == ((1, 1), {name(7)})


def test_rows_are_known_again_by_each_page(index):
    with closing(sqlite3.connect(index)) as raw:
        for page, number in enumerate((1, 2, 3)):
            place = (PAGE_ROWS * (page + 5), name(number))
            raw.execute("UPDATE enrichments SET rowid = ? WHERE span_hash = ?", place)
        raw.commit()
    _, before = count(index, Seen())
    assert sorted(before.pages["enrichments"]) == [0, 5, 6, 7]
    change(index, "UPDATE enrichments SET summary = 'forged' WHERE span_hash = ?", name(2))
    totals, after = count(index, before)
    assert (read_makers(totals), after.invalid) == ((2, 1), {name(2)})
    known, found = before.pages["enrichments"], after.pages["enrichments"]
    assert [page for page in known if known[page] != found[page]] == [6]


def test_another_key_knows_no_row_again(index):
    _, before = count(index, Seen())
    with Reader.open_readonly(index, seal=replace(MINE, key=b"x" * 32)) as reader:
        totals, seen = reader.counts.count_since(before)
    assert read_counts(totals) == (8, 0, ClaimCounts())
    assert len(seen.invalid) == 7


def test_of_an_index_full_of_forged_marks_nothing_is_kept(index):
    with closing(sqlite3.connect(index)) as raw:
        for number in range(100, 1200):
            row = (name(number), "forged")
            raw.execute("INSERT INTO enrichments (span_hash, summary) VALUES (?, ?)", row)
            mark = (name(number), MINE.installation)
            raw.execute("INSERT INTO llmc_origins VALUES (?, ?, 'result', 1, NULL, 'x')", mark)
        raw.commit()
    totals, seen = count(index, Seen())
    assert (read_counts(totals), seen) == ((1101, 1, SIX), Seen())
