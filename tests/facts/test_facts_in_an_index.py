"""Facts in an index: stored with their spans, gone with them, made up for where they lack."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import zlib
from contextlib import closing

import pytest

from llmc import cli, engine
from llmc.facts.codec import VERSION, decode_facts, encode_facts
from llmc.facts.values import Facts, Raise
from llmc.models import IndexPlace
from llmc.settings.loading import load_settings
from llmc.store import installation
from llmc.store.parsed import ParsedSpan
from llmc.store.reader import Reader
from llmc.store.tables.facts import write_facts

SOURCE = 'def f(n):\n    """Doc."""\n    if n < 0:\n        raise ValueError("bad")\n    return n\n'


@pytest.fixture
def repo(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a.py").write_text(SOURCE)
    return tmp_path


def environ(folder=None):
    """The environment of whoever has this folder, the tests' user by default."""
    return {"XDG_CONFIG_HOME": str(folder or os.environ["XDG_CONFIG_HOME"])}


def index(repo, user=None, **how):
    return engine.index(repo, load_settings(repo, environ=user or environ()), **how)


def database(repo):
    return load_settings(repo, environ={}).index_path


def query(repo, statement):
    with closing(sqlite3.connect(database(repo))) as raw, raw:
        return raw.execute(statement).fetchall()


def facts_of(repo, path="a.py", user=None):
    seal = installation.load_seal(user or environ(), pytest.fail)
    with Reader.open_readonly(IndexPlace(database(repo)), seal=seal) as reader:
        return [decode_facts(result.facts) for result in reader.results.find(path)]


def test_indexing_stores_what_is_proven(repo):
    index(repo)
    [facts] = facts_of(repo)
    assert [(entry.error, entry.guard) for entry in facts.raises] == [("ValueError", "n < 0")]


def test_facts_leave_with_their_span(repo):
    index(repo)
    (repo / "a.py").write_text("def g(): pass\n")
    index(repo)
    assert query(repo, "SELECT count(*) FROM llmc_facts") == [(1,)]
    assert facts_of(repo)[0].parameters == ()


def test_a_twin_has_the_facts_of_its_text(repo):
    (repo / "b.py").write_text(SOURCE)
    index(repo)
    assert facts_of(repo, "b.py") == facts_of(repo, "a.py") != [None]


@pytest.mark.parametrize(
    "lack",
    [
        "DELETE FROM llmc_facts",
        "UPDATE llmc_facts SET version = 0, facts = x''",
        "UPDATE llmc_facts SET file_hash = 'of other bytes', facts = x''",
    ],
)
def test_an_index_without_facts_gets_them_and_no_file_counts_as_changed(repo, lack):
    index(repo)
    query(repo, lack)
    report = index(repo)
    assert report.changed == 0
    assert facts_of(repo)[0].parameters


def test_facts_of_a_file_that_somebody_else_indexed_anew_are_made_up_for(repo, stranger):
    index(repo)
    (repo / "a.py").write_text("def g(a): pass\n")
    index(repo, stranger)
    assert facts_of(repo) == [None]
    assert index(repo).changed == 0
    assert [entry.name for entry in facts_of(repo)[0].parameters] == ["a"]


def test_the_facts_of_a_text_that_moved_to_another_file_are_there(repo):
    (repo / "b.py").write_text(f"{SOURCE}\n\ndef g(): pass\n")
    index(repo)
    (repo / "a.py").unlink()
    index(repo)
    assert [bool(facts.parameters) for facts in facts_of(repo, "b.py")] == [True, False]


def test_facts_whose_table_was_removed_come_back(repo):
    index(repo)
    query(repo, "DROP TABLE llmc_facts")
    index(repo)
    assert facts_of(repo)[0].parameters


def test_facts_that_are_none_are_left_out(repo, capsys):
    index(repo)
    [(span_hash,)] = query(repo, "SELECT span_hash FROM spans")
    store(repo, written(span_hash, f'[{VERSION},["function"]]'), environ())
    assert cli.main(["show", "--repo", str(repo), "a.py", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["facts"] is None


def test_show_has_the_facts_before_any_model_has_run(repo, capsys):
    index(repo)
    assert cli.main(["show", "--repo", str(repo), "a.py"]) == 0
    shown = capsys.readouterr().out
    assert "f(n)" in shown
    assert 'raises ValueError "bad" (line 4) under: n < 0' in shown
    assert "returns a value (line 5)" in shown


def test_shown_json_has_the_lines_of_the_file(repo, capsys):
    (repo / "a.py").write_text(f"import os\n\n\n{SOURCE}")
    index(repo)
    assert cli.main(["show", "--repo", str(repo), "a.py", "--json"]) == 0
    [record] = json.loads(capsys.readouterr().out)
    assert record["facts"]["raises"][0]["line"] == 7
    assert record["facts"]["signature"] == "f(n)"
    assert record["origins"]["facts"] == "repository"


def test_show_puts_no_control_characters_of_a_source_on_the_screen(repo, capsys):
    (repo / "a.py").write_text('def f(a="\x1b[2Jx"):\n    raise E("\x1b]0;t\x07")\n')
    index(repo)
    assert cli.main(["show", "--repo", str(repo), "a.py"]) == 0
    assert "\x1b[2J" not in capsys.readouterr().out


def written(span_hash, facts):
    """Return facts of a span as a file's are stored."""
    span = ParsedSpan("f", "function", 1, 1, 0, 1, span_hash, facts=facts)
    return write_facts([span])


def store(repo, facts, user=None):
    """Put facts in place of all that are stored, under a user's seal if one is given."""
    mac = ""
    if user:
        seal = installation.load_seal(user, pytest.fail)
        mac = f", mac = x'{seal.sign('facts', facts).hex()}'"
    query(repo, f"UPDATE llmc_facts SET facts = x'{facts.hex()}'{mac}")


LIE = encode_facts(Facts("function", parameters=(), raises=(Raise(0, "LieError"),)))


def lie(repo, user=None):
    """Put a false fact of the only span in place of what is stored."""
    [(span_hash,)] = query(repo, "SELECT span_hash FROM spans")
    store(repo, written(span_hash, LIE), user)


@pytest.mark.parametrize(
    "facts", [b"", b"no facts", zlib.compress(b"\xff\n"), zlib.compress(b"x\n")]
)
def test_what_is_sealed_but_holds_no_facts_shows_none(repo, facts):
    index(repo)
    store(repo, facts, environ())
    assert facts_of(repo) == [None]


@pytest.fixture
def stranger(tmp_path_factory):
    """The environment of somebody else, who has an installation too."""
    return environ(tmp_path_factory.mktemp("stranger"))


def shown(repo, capsys):
    """Return the facts that `llmc show` gives people and programs."""
    assert cli.main(["show", "--repo", str(repo), "a.py"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["show", "--repo", str(repo), "a.py", "--json", "--all-origins"]) == 0
    return text, json.loads(capsys.readouterr().out)[0]["facts"]


CLAIMS = {
    "in their name": "",
    "in this user's name": "UPDATE OR REPLACE llmc_facts SET installation = '{mine}'",
    "without a mark": "UPDATE llmc_facts SET mac = x'', installation = '{mine}'",
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_false_facts_of_an_index_from_elsewhere_are_never_shown(repo, stranger, capsys, claim):
    mine = installation.load_seal(environ(), pytest.fail, make=True).installation
    index(repo, stranger)
    lie(repo)
    query(repo, claim.format(mine=mine))
    text, facts = shown(repo, capsys)
    assert facts is None
    assert "proven" not in text


def test_facts_that_a_stranger_proved_are_not_believed_either(repo, stranger, capsys):
    index(repo, stranger)
    assert facts_of(repo, user=stranger)[0].raises
    assert shown(repo, capsys)[1] is None


def test_the_next_index_pass_proves_anew_what_came_from_elsewhere_and_once(repo, stranger):
    index(repo, stranger)
    lie(repo)
    assert index(repo).changed == 0
    assert [entry.error for entry in facts_of(repo)[0].raises] == ["ValueError"]
    lie(repo)
    index(repo)  # reads no file, as they have been read
    assert facts_of(repo) == [None]


def test_false_facts_under_this_name_are_replaced_when_their_files_are_read(repo, stranger):
    mine = installation.load_seal(environ(), pytest.fail, make=True).installation
    index(repo, stranger)
    lie(repo)
    query(repo, f"UPDATE llmc_facts SET installation = '{mine}'")
    index(repo, force=True)
    assert [entry.error for entry in facts_of(repo)[0].raises] == ["ValueError"]


def test_facts_are_not_carried_over_to_another_text(repo):
    (repo / "b.py").write_text("def g():\n    return 1\n")
    index(repo)
    query(
        repo,
        "UPDATE llmc_facts SET (facts, mac) = (SELECT facts, mac FROM llmc_facts l "
        "JOIN spans s ON s.file_id = l.file_id WHERE s.symbol = 'g')",
    )
    assert facts_of(repo) == [None]


def test_two_who_share_an_index_have_each_their_own_facts(repo, stranger):
    index(repo)
    index(repo, stranger)
    assert facts_of(repo) == facts_of(repo, user=stranger) != [None]


def test_without_a_folder_of_the_users_there_are_no_facts_and_nothing_fails(repo):
    settings = load_settings(repo, environ={})
    assert engine.index(repo, settings).changed == 1
    assert engine.index(repo, settings).changed == 0
    assert query(repo, "SELECT count(*) FROM llmc_facts") == [(0,)]
    with Reader.open_readonly(IndexPlace(database(repo))) as reader:
        assert [result.facts for result in reader.results.find("a.py")] == [None]
