"""What a database holds besides rows is found before it is used, in time and without a trace."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from llmc.errors import CorruptIndexError, StoreError
from llmc.store.database import look
from llmc.store.salvage import read_rows
from llmc.store.store import Store
from tests import driving
from tests.store.test_custody import (  # noqa: F401 - a fixture
    COMMANDS,
    contents,
    count,
    lose_its_user,
    place,
    refuse,
)

FIXTURES = Path(__file__).parents[1] / "data" / "indexes"
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
RESULTS = (
    "span_hash TEXT PRIMARY KEY, summary TEXT, tags TEXT, evidence TEXT, model TEXT, "
    "created_at DATETIME, schema_ver TEXT, inputs TEXT, outputs TEXT, side_effects TEXT, "
    "pitfalls TEXT, usage_snippet TEXT"
)


def results(text=RESULTS, tail=""):
    return f"DROP TABLE enrichments; CREATE TABLE enrichments ({text}) {tail}"


HOSTILE = {
    "a view without end": "DROP TABLE enrichments; CREATE VIEW enrichments AS "
    f"{ENDLESS} SELECT x AS span_hash FROM n",
    "a view beside": f"CREATE VIEW theirs AS {ENDLESS} SELECT x FROM n",
    "a trigger that replaces": "CREATE TRIGGER t AFTER INSERT ON enrichments BEGIN "
    "UPDATE enrichments SET summary = 'theirs'; END",
    "a trigger on ours": "CREATE TRIGGER t AFTER DELETE ON llmc_claims BEGIN SELECT 1; END",
    "a virtual table": "CREATE VIRTUAL TABLE theirs USING fts5(x)",
    "a virtual table for ours": "DROP TABLE llmc_claims; CREATE VIRTUAL TABLE llmc_claims "
    "USING fts5(span_hash, owner, expires)",
    "a generated column": "ALTER TABLE files ADD COLUMN x AS (hex(zeroblob(9000000)))",
    "a default that computes": results(RESULTS + ", x DEFAULT (randomblob(900000000))"),
    "a check": results(RESULTS + ", CHECK (length(randomblob(900000000)) > 0)"),
    "a check in odd letters": results(RESULTS + ", x TEXT /* */ ChEcK(x <> 'a')"),
    "an index over an expression": "CREATE INDEX x ON files(hex(zeroblob(900000)))",
    "an index over a part": "CREATE INDEX x ON files(path) WHERE path > 'a'",
    "a key that makes results replace each other": "CREATE UNIQUE INDEX x ON enrichments(model)",
    "another primary key": results(
        RESULTS.replace(" PRIMARY KEY", "").replace(
            "created_at DATETIME", "created_at INTEGER PRIMARY KEY"
        )
    ),
    "a conflict that drops the new": results(
        RESULTS.replace("PRIMARY KEY", "PRIMARY KEY ON CONFLICT IGNORE")
    ),
    "an order in which hashes are equal": results(
        RESULTS.replace("PRIMARY KEY", "COLLATE NOCASE PRIMARY KEY")
    ),
    "a value that is wanted": results(RESULTS + ", x TEXT NOT NULL"),
    "no null where a result has it": results(RESULTS.replace("tags TEXT", "tags TEXT NOT NULL")),
    "a reference of its own": "CREATE TABLE x (y PRIMARY KEY); "
    + results(RESULTS + ", z REFERENCES x(y)"),
    "strict types": results(RESULTS.replace("DATETIME", "INT"), "STRICT"),
    "no row numbers": results(tail="WITHOUT ROWID"),
    "a column in place of row numbers": "ALTER TABLE enrichments ADD COLUMN RowID INTEGER",
    "a column of ours in place of row numbers": "ALTER TABLE llmc_origins ADD COLUMN rowid",
    "a table of ours with another key": "DROP TABLE llmc_claims; "
    "CREATE TABLE llmc_claims (span_hash, owner PRIMARY KEY)",
    "a column of ours that computes": "DROP TABLE llmc_claims; "
    "CREATE TABLE llmc_claims (span_hash PRIMARY KEY, owner, x AS (hex(owner)))",
    "a record of steps that computes": "DROP TABLE llmc_migrations; "
    "CREATE TABLE llmc_migrations (number AS (9), x)",
    "a record of steps without end": "DROP TABLE llmc_migrations; CREATE VIEW llmc_migrations AS "
    f"{ENDLESS} SELECT x AS number FROM n",
    "in capital letters": "DROP TABLE enrichments; CREATE VIEW Enrichments AS SELECT 1",
    "a huge schema": "BEGIN; "
    + "; ".join(f"CREATE TABLE t{number} (x)" for number in range(2100))
    + "; COMMIT",
}


@pytest.fixture
def hostile(place, request):  # noqa: F811
    """An index of the user's into which somebody has put something."""
    with closing(sqlite3.connect(place.path)) as raw:
        raw.executescript(HOSTILE[request.param])
    return place


@pytest.mark.parametrize("hostile", HOSTILE, indirect=True)
def test_it_is_refused_for_reading_and_writing_and_left_as_it_was(hostile):
    before = contents(hostile.path.parent)
    for opening in (Store.open_readonly, Store.open):
        with pytest.raises(StoreError, match="move it away") as found:
            opening(hostile)
        assert not isinstance(found.value, CorruptIndexError)
    assert contents(hostile.path.parent) == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "hostile", ["a view without end", "a trigger that replaces"], indirect=True
)
def test_every_command_refuses_it(hostile, command, capfd):
    before = contents(hostile.path.parent)
    assert "move it away" in refuse(command, hostile.repo, capfd)
    assert contents(hostile.path.parent) == before


def foreign(path):
    """Make a database of a browser's kind, as a crash has left it: with a journal."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE moz_places (id INTEGER PRIMARY KEY, url, title)")
        raw.execute("CREATE TRIGGER moz_t AFTER INSERT ON moz_places BEGIN SELECT 1; END")
        raw.execute("INSERT INTO moz_places (url) VALUES ('https://example.org')")
        raw.commit()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_another_programs_database_is_left_byte_for_byte(
    repo, clean_environ, monkeypatch, command, mode, capfd
):
    for name, value in (clean_environ | {"ENRICH_HEALTHCHECK_ENABLED": "0"}).items():
        monkeypatch.setenv(name, value)
    path = repo / ".rag/index_v2.db"
    foreign(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute(f"PRAGMA journal_mode = {mode}")
        raw.execute("UPDATE moz_places SET title = 'x'")
        shutil.copytree(path.parent, repo / "crashed")
    shutil.rmtree(path.parent)
    (repo / "crashed").rename(path.parent)
    before = contents(path.parent)
    assert "another program's database" in refuse(command, repo, capfd)
    assert contents(path.parent) == before


def test_a_database_that_is_in_use_is_left_alone_too(repo, clean_environ):
    path = repo / ".rag/index_v2.db"
    foreign(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("UPDATE moz_places SET title = 'x'")
        before = sorted(path.parent.iterdir())
        with pytest.raises(StoreError, match="another program's database"):
            Store.open(path)
        assert sorted(path.parent.iterdir()) == before


def test_a_trigger_in_a_journal_is_found_before_anything_is_written(place, tmp_path):  # noqa: F811
    """The index itself is in order; what is played back of its journal is not."""
    with closing(sqlite3.connect(place.path, isolation_level=None)) as raw:
        raw.execute("PRAGMA wal_autocheckpoint = 0")
        raw.execute("CREATE TRIGGER t AFTER INSERT ON enrichments BEGIN SELECT 1; END")
        came = lose_its_user(place, tmp_path)
    look.look_untouched(came.path)
    with pytest.raises(StoreError, match="it has a trigger 't'"):
        Store.open(came.path)


def test_a_look_without_end_is_broken_off(tmp_path):
    with closing(sqlite3.connect(tmp_path / "x.db")) as raw:
        begun = time.monotonic()
        with (
            pytest.raises(StoreError, match=r"can't be looked at within 0\.1 s"),
            look.end_in_time(raw, tmp_path / "x.db", 0.1),
        ):
            raw.execute(f"{ENDLESS} SELECT count(*) FROM n").fetchone()
        assert time.monotonic() - begun < driving.SECONDS


def test_what_is_saved_of_a_damaged_index_is_never_computed(tmp_path):
    path = tmp_path / "damaged.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(
            f"CREATE VIEW enrichments AS {ENDLESS} SELECT x AS rowid, x AS span_hash FROM n;"
            "CREATE TABLE llmc_archive (span_hash, start_line, x AS (hex(zeroblob(9))));"
        )
    assert [found.rows for found in read_rows(path)] == []


@pytest.mark.parametrize("name", [path.name for path in FIXTURES.glob("*.db")])
def test_indexes_of_earlier_releases_open_as_before(repo, name):
    path = repo / ".rag" / name
    path.parent.mkdir()
    shutil.copy(FIXTURES / name, path)
    before = count(path)
    with Store.open(path) as store:
        assert store.counts.count_results() == before
    assert before[0] > 0


@pytest.mark.parametrize(
    "beside",
    [
        "ALTER TABLE files ADD COLUMN theirs TEXT",
        "ALTER TABLE enrichments ADD COLUMN theirs TEXT NOT NULL DEFAULT 'it''s CHECK (1)'",
        "ALTER TABLE spans ADD COLUMN score REAL DEFAULT -1.5e3",
        "CREATE INDEX theirs ON spans(symbol DESC, kind)",
        "CREATE UNIQUE INDEX theirs ON files(path)",
        "CREATE TABLE theirs (id INTEGER PRIMARY KEY AUTOINCREMENT, x CHECK (x > 0), y AS (x + 1))",
        "ANALYZE",
        "DROP TABLE embeddings",
    ],
)
def test_what_other_programs_add_in_good_faith_may_stand_beside(place, beside):  # noqa: F811
    with closing(sqlite3.connect(place.path)) as raw:
        raw.execute(beside)
    with Store.open(place) as store:
        assert store.counts.count_results() == (5, 0)
