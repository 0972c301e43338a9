"""Facts in an index: stored with their spans, gone with them, made up for where they lack."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing

import pytest

from llmc import cli, engine
from llmc.facts.codec import decode_facts
from llmc.models import IndexPlace
from llmc.settings.loading import load_settings
from llmc.store.reader import Reader

SOURCE = 'def f(n):\n    """Doc."""\n    if n < 0:\n        raise ValueError("bad")\n    return n\n'


@pytest.fixture
def repo(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a.py").write_text(SOURCE)
    return tmp_path


def index(repo):
    return engine.index(repo, load_settings(repo, environ={}))


def database(repo):
    return load_settings(repo, environ={}).index_path


def query(repo, statement):
    with closing(sqlite3.connect(database(repo))) as raw, raw:
        return raw.execute(statement).fetchall()


def facts_of(repo, path="a.py"):
    with Reader.open_readonly(IndexPlace(database(repo))) as reader:
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
    assert facts_of(repo, "b.py") == facts_of(repo, "a.py")
    assert query(repo, "SELECT count(*) FROM llmc_facts") == [(1,)]


@pytest.mark.parametrize(
    "version", ["DELETE FROM llmc_facts_read", "UPDATE llmc_facts_read SET version = 0"]
)
def test_an_index_without_facts_gets_them_and_no_file_counts_as_changed(repo, version):
    index(repo)
    query(repo, "DELETE FROM llmc_facts")
    query(repo, version)
    report = index(repo)
    assert report.changed == 0
    assert facts_of(repo)[0].parameters


def test_facts_whose_table_was_removed_come_back(repo):
    index(repo)
    query(repo, "DROP TABLE llmc_facts")
    index(repo)
    assert facts_of(repo)[0].parameters


def test_facts_that_are_none_are_left_out(repo, capsys):
    index(repo)
    query(repo, "UPDATE llmc_facts SET facts = '[1,{\"kind\":[]}]'")
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
