"""An index of an earlier llmc, or one that lacks something, becomes one of this; no row is lost."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from llmc import cli, engine
from llmc.errors import CorruptIndexError, StoreError
from llmc.models import Enrichment, IndexPlace
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.store.database import migrations
from llmc.store.reader import Reader
from llmc.store.seal import Seal
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome
from llmc.testing.ollama import FakeOllama, Reply
from tests import driving
from tests.store.test_custody import COMMANDS, READING, contents, refuse, run

INDEXES = Path(__file__).parents[1] / "data" / "indexes"
RELEASES = sorted(path.stem for path in INDEXES.glob("*.db"))
ESTABLISHED = ("files", "spans", "enrichments", "embeddings", "embeddings_meta")
RESULTS = (
    "SELECT span_hash, summary FROM enrichments UNION SELECT span_hash, summary FROM llmc_archive"
)
GOOD = Reply(text='{"summary_120w": "Does what it says."}')


def columns_of(raw):
    """Return the columns of each table, in their order."""
    names = raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {
        name: [row[1] for row in raw.execute(f"PRAGMA table_info({name})")] for (name,) in names
    }


with migrations.build_in_memory(migrations.LATEST) as _newest:
    OURS = {name: made for name, made in columns_of(_newest).items() if name.startswith("llmc_")}
COLUMNS = [(table, column) for table, columns in OURS.items() for column in columns]


def query(path, statement):
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(statement).fetchall()


def execute(path, statements):
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(statements)


def rows(path):
    """Return each table's columns and rows; the record of steps, which is to change, is none."""
    with closing(sqlite3.connect(path)) as raw:
        return {
            table: (columns, raw.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall())
            for table, columns in columns_of(raw).items()
            if table != "llmc_migrations"
        }


def keeps(path, before):
    """Assert that an index has the rows that it had, by the columns that they had."""
    with closing(sqlite3.connect(path)) as raw:
        for table, (columns, then) in before.items():
            now = raw.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            assert sorted(now, key=repr) == sorted(then, key=repr), table


def schema(path, *tables):
    """Return the definitions of some tables and their indexes."""
    statement = "SELECT name, sql FROM sqlite_master WHERE tbl_name LIKE '{}' ORDER BY name"
    return [row for table in tables for row in query(path, statement.format(table))]


def numbers(path):
    return [row[0] for row in query(path, "SELECT number FROM llmc_migrations ORDER BY number")]


def opened(path):
    """Open an index for writing; return what is told."""
    told = []
    Store.open(IndexPlace(path, tell=told.append)).close()
    return told


class Project:
    """A repository whose index an earlier release has made."""

    def __init__(self, root, environ):
        self.root, self.environ = root, environ
        self.index = root / ".rag/index_v2.db"
        self.index.parent.mkdir()

    def take(self, release):
        shutil.copy(INDEXES / f"{release}.db", self.index)

    def enrich(self):
        """Bring the index up to date with the sources, and enrich what is pending."""
        settings = load_settings(self.root, Flags(retry_wait=0.0), self.environ)
        engine.index(self.root, settings)
        return engine.enrich(self.root, settings)


@pytest.fixture
def host():
    with FakeOllama(lambda _: GOOD) as fake:
        yield fake


@pytest.fixture
def project(repo, own_environ, host, monkeypatch):
    environ = own_environ | {"OLLAMA_URL": host.url, "ENRICH_HEALTHCHECK_ENABLED": "0"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Project(repo, environ)


# Earlier releases


@pytest.fixture(params=RELEASES)
def release(request, tmp_path):
    """An index as an earlier release has left it."""
    return Path(shutil.copy(INDEXES / f"{request.param}.db", tmp_path / "index.db"))


def test_an_index_of_an_earlier_release_keeps_every_row(release):
    before = rows(release)
    assert opened(release) == []
    keeps(release, before)


def test_an_index_of_an_earlier_release_has_the_tables_of_this_one_then(release, tmp_path):
    established = schema(release, *ESTABLISHED)
    Store.open(newest := tmp_path / "newest.db", create=True).close()
    opened(release)
    assert schema(release, "llmc%") == schema(newest, "llmc%")
    assert schema(release, *ESTABLISHED) == established
    assert numbers(release) == numbers(newest) == list(range(1, migrations.LATEST + 1))


@pytest.mark.parametrize("name", ["first", "middle"])
def test_failures_of_releases_that_had_no_table_for_them_are_carried_over(tmp_path, name):
    path = Path(shutil.copy(INDEXES / f"{name}.db", tmp_path))
    failed = query(path, "SELECT span_hash, reason FROM llmc_outcomes WHERE result = 'fail'")
    opened(path)
    assert query(path, "SELECT span_hash, kind FROM llmc_failures") == failed != []


def test_failures_that_were_settled_since_are_not_carried_over_again(tmp_path):
    path = Path(shutil.copy(INDEXES / "last.db", tmp_path))
    execute(path, "DELETE FROM llmc_failures")
    opened(path)
    assert query(path, "SELECT * FROM llmc_failures") == []


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("name", RELEASES)
def test_readers_work_on_an_earlier_index_and_change_nothing(project, name, command, capfd):
    project.take(name)
    before = project.index.read_bytes()
    assert run(command, project.root) in (0, 1)  # 1: it finds no lines of runs, or no model
    assert "no such" not in "".join(capfd.readouterr())
    assert project.index.read_bytes() == before


@pytest.mark.parametrize("name", RELEASES)
def test_results_look_the_same_before_and_after(project, name, capsys):
    project.take(name)

    def said():
        root = str(project.root)
        assert cli.main(["status", root, "--json"]) == 0
        assert cli.main(["show", "--repo", root, "--last", "9", "--json", "--all-origins"]) == 0
        return capsys.readouterr().out

    before = said()
    opened(project.index)
    assert said() == before
    assert '"summary' in before


@pytest.mark.parametrize("name", RELEASES)
def test_a_run_goes_on_where_an_earlier_release_left_off(project, name, host):
    project.take(name)
    (project.root / "new.py").write_text("def new():\n    return 'not enriched yet'\n")
    opened(project.index)
    paid = set(query(project.index, RESULTS))
    report = project.enrich()
    assert report.enriched == len(host.calls) > 0
    assert (report.left, report.failed) == (0, {})
    assert set(query(project.index, RESULTS)) > paid


def test_an_index_that_is_up_to_date_is_left_as_it_is(release):
    opened(release)
    before = query(release, "SELECT * FROM llmc_migrations")
    with Store.open(release) as store:
        assert store._db.connection.total_changes == 0
    assert query(release, "SELECT * FROM llmc_migrations") == before


def test_a_step_that_finds_its_work_done_changes_nothing():
    with migrations.build_in_memory(migrations.LATEST) as raw:
        before = raw.execute("SELECT * FROM sqlite_master").fetchall()
        migrations.migrate(raw, anew=True)
        assert raw.execute("SELECT * FROM sqlite_master").fetchall() == before


# What another program, or an unreleased state, has left out


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """An index of this release with rows in all tables but that of claims, which end with a run."""
    path = tmp_path_factory.mktemp("full") / "index.db"
    shutil.copy(INDEXES / "uncounted.db", path)
    with Store.open(path) as store:
        store._db.execute("INSERT INTO llmc_failures_archive SELECT * FROM llmc_failures")
    return path


@pytest.fixture
def index(full, tmp_path):
    return Path(shutil.copy(full, tmp_path))


def copied(table, columns):
    """Return statements that leave of a table some columns without any key, as a bad copy does."""
    names = ", ".join(columns)
    return (
        f"CREATE TABLE x AS SELECT {names} FROM {table}; DROP TABLE {table}; "
        f"ALTER TABLE x RENAME TO {table}"
    )


def remove(path, table, column):
    """Remove a column; one that is part of a key takes all keys along."""
    try:
        execute(path, f"ALTER TABLE {table} DROP COLUMN {column}")
    except sqlite3.OperationalError:
        execute(path, copied(table, [name for name in OURS[table] if name != column]))


def outcome(result, reason):
    return Outcome(result, reason, None, "7b", "ollama", "m", 1, 10, 10, 5, 1795787552.5)


def write_everywhere(path):
    """Settle a span in each way, and take a file out."""
    with Store.open(path, seal=Seal("ab" * 8, b"k" * 32)) as store:
        [span] = store.claims.take(0, 9, lease_sec=60)
        store.save_failure(span, outcome("fail", "parse"))
        result = Enrichment(summary_120w="s")
        done = outcome("pass", "success")
        assert store.save_enrichment(span, result, schema_version="v", outcome=done)
        assert store.spans.remove_file("small.py")[0] in (
            4,
            5,
        )  # one goes to its twin, if it has it
        store.adoption.set_aside(1.0)


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_an_index_without_a_column_of_ours_is_read_as_it_is(index, table, column):
    remove(index, table, column)
    before, told = index.read_bytes(), []
    with Reader.open_readonly(IndexPlace(index, tell=told.append)) as reader:
        assert (reader.counts.count_all().files, len(reader.results.list_latest(9))) == (3, 6)
        assert len(reader.results.find("small.py")) == 5
        assert bool([*reader.results.read_recorded()]) == (table != "llmc_outcomes")
        assert reader.counts.count_resting("m") == 0
    assert index.read_bytes() == before
    assert [table in text for text in told] == [True]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_an_index_without_a_column_of_ours_is_mended_with_all_its_rows(index, table, column):
    remove(index, table, column)
    before = rows(index)
    [told] = opened(index)
    assert table in told
    if (aside := f"{table}_was_1") in told and table in before:
        before[aside] = before.pop(table)
    keeps(index, before)
    assert opened(index) == []
    write_everywhere(index)


@pytest.mark.parametrize("table", [table for table in OURS if table != "llmc_set_aside"])
def test_a_table_of_ours_that_lost_its_keys_has_them_back_with_its_rows(index, full, table):
    execute(index, copied(table, OURS[table]))
    before = rows(index)
    opened(index)
    keeps(index, before)
    assert schema(index, "llmc%") == schema(full, "llmc%")
    write_everywhere(index)


def test_what_does_not_fit_a_table_that_is_made_anew_is_kept_beside_it(index):
    execute(
        index,
        "CREATE TABLE x AS SELECT span_hash, count, kind, 'theirs' AS note FROM llmc_failures "
        "UNION ALL SELECT NULL, 1, 'parse', 'no hash'; "
        "DROP TABLE llmc_failures; ALTER TABLE x RENAME TO llmc_failures",
    )
    then = query(index, "SELECT * FROM llmc_failures")
    [told] = opened(index)
    assert "made anew with 1 of its 2 rows" in told
    assert "kept as llmc_failures_was_1" in told
    assert query(index, "SELECT * FROM llmc_failures_was_1") == then
    assert query(index, "SELECT span_hash, kind FROM llmc_failures") == [then[0][:3:2]]


def test_a_column_that_was_renamed_is_there_again_and_what_it_held_is_kept(index):
    execute(index, "ALTER TABLE llmc_outcomes RENAME COLUMN reason TO why")
    then = query(index, "SELECT span_hash, why FROM llmc_outcomes")
    before = rows(index)
    before["llmc_outcomes_was_1"] = before.pop("llmc_outcomes")
    assert "kept as llmc_outcomes_was_1" in opened(index)[0]
    keeps(index, before)
    assert len(query(index, "SELECT * FROM llmc_outcomes")) == len(then) == 7
    write_everywhere(index)


@pytest.mark.parametrize("table", OURS)
def test_a_table_of_ours_that_is_gone_comes_back(index, full, table):
    execute(index, f"DROP TABLE {table}")
    before = rows(index)
    with Reader.open_readonly(index) as reader:
        assert reader.counts.count_all().files == 3
    opened(index)
    keeps(index, before)
    assert schema(index, "llmc%") == schema(full, "llmc%")
    assert opened(index) == []


def test_a_table_that_was_mended_and_its_reader_are_told_of_once(project, capfd):
    project.take("uncounted")
    execute(project.index, "ALTER TABLE llmc_outcomes DROP COLUMN reason")
    for said in ("what llmc_outcomes holds is left out", "table llmc_outcomes lacked reason", ""):
        command = "status" if said.startswith("what") else "index"
        assert run(command, project.root) == 0
        told = " ".join("".join(capfd.readouterr()).split())
        assert (said in told) if said else ("llmc_outcomes" not in told)


@pytest.mark.parametrize("table", ["llmc_outcomes", "llmc_archive", "llmc_claims"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_works_without_a_column_of_ours(project, command, table, host, capfd):
    project.take("uncounted")
    execute(project.index, f"ALTER TABLE {table} DROP COLUMN {OURS[table][-1]}")
    assert run(command, project.root) in (0, 1)
    said = "".join(capfd.readouterr())
    assert "no such column" not in said
    assert "another program" not in said


# Later releases

LATER = (
    "INSERT INTO llmc_migrations VALUES (9999, 'later', 1.0);"
    "CREATE VIRTUAL TABLE llmc_search USING fts5(text);"
    "ALTER TABLE llmc_claims ADD COLUMN wanted TEXT NOT NULL DEFAULT 'x'"
)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_index_of_a_later_release_is_refused_before_any_call(project, command, host, capfd):
    project.take("uncounted")
    opened(project.index)
    execute(project.index, LATER)
    before = contents(project.index.parent)
    assert "update llmc" in refuse(command, project.root, capfd)
    assert contents(project.index.parent) == before
    assert host.calls == ()


def test_an_index_of_a_later_release_is_not_taken_for_a_damaged_one(index):
    execute(index, LATER)
    for opening in (Store.open, Store.open_readonly):
        with pytest.raises(StoreError, match="made by a newer llmc") as found:
            opening(index)
        assert not isinstance(found.value, CorruptIndexError)


# Kills, and company

DIE_AT_EACH = """
import os, shutil, signal, sqlite3, sys
from pathlib import Path
from llmc.store.database.shape import name_tables
from llmc.store.store import Store

source, folder = map(Path, sys.argv[1:])
READS = ("SELECT", "PRAGMA", "--")  # a kill there is one after the write before
name_tables()


def open_and_die(path, at):
    begun = 0

    def traced(statement):
        nonlocal begun
        if begun or statement.startswith("BEGIN IMMEDIATE"):
            begun += not statement.lstrip().startswith(READS)
        if begun == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(*values, **words):
        connection = connect(*values, **words)
        if values[0] != ":memory:":
            connection.set_trace_callback(traced)
        return connection

    connect, sqlite3.connect = sqlite3.connect, watched
    Store.open(path).close()
    os._exit(0)


for at in range(1, 1000):
    path = folder / f"{at}.db"
    shutil.copy(source, path)
    child = os.fork()
    if not child:
        open_and_die(path, at)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != -signal.SIGKILL:
        sys.exit(status)
"""


def test_a_kill_at_any_statement_leaves_each_step_made_or_not_made(tmp_path):
    source = Path(shutil.copy(INDEXES / "first.db", tmp_path))
    execute(source, "ALTER TABLE llmc_outcomes DROP COLUMN reason")
    execute(source, copied("llmc_twins", OURS["llmc_twins"]))
    before = rows(source)
    (folder := tmp_path / "killed").mkdir()
    subprocess.run(
        [sys.executable, "-c", DIE_AT_EACH, source, folder], check=True, timeout=driving.SECONDS
    )
    killed = sorted(folder.glob("*.db"))
    reached = set()
    for path in killed:
        keeps(path, before)
        reached.add(state(path))
        opened(path)
        keeps(path, before)
        assert state(path) == (True, migrations.LATEST)
    every = {(True, number) for number in range(migrations.LATEST + 1)}
    assert reached == {(False, 0)} | every
    assert len(killed) > 30


def state(path):
    """Return whether an index that was killed is mended, and its step; assert that it is either."""
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = columns_of(raw)
        mended = "reason" in tables["llmc_outcomes"]
        [twins] = raw.execute("SELECT sql FROM sqlite_master WHERE name = 'llmc_twins'").fetchone()
        assert ("PRIMARY KEY" in twins) == mended
    number = len(numbers(path)) if "llmc_migrations" in tables else 0
    with migrations.build_in_memory(number) as made:
        ours = {name for name in columns_of(made) if name.startswith("llmc_")}
    there = {name for name in tables if name.startswith("llmc_")}
    assert there == ours | {"llmc_twins", "llmc_outcomes", "llmc_archive"}
    return mended, number


OPEN = """
import sys, time
from pathlib import Path
from llmc.store.store import Store

print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
Store.open(Path(sys.argv[1])).close()
"""


def test_processes_that_open_at_once_migrate_once(tmp_path):
    path = Path(shutil.copy(INDEXES / "first.db", tmp_path))
    before = rows(path)
    command = [sys.executable, "-c", OPEN, path, tmp_path / "go"]
    some = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in some:
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    assert [process.wait(driving.SECONDS) for process in some] == [0] * 4
    for process in some:
        process.stdout.close()
    keeps(path, before)
    assert numbers(path) == list(range(1, migrations.LATEST + 1))


def test_who_comes_second_finds_the_steps_made(tmp_path):
    """As without the lock that lets one process at a time open an index."""
    path = Path(shutil.copy(INDEXES / "first.db", tmp_path))
    with closing(sqlite3.connect(path, isolation_level=None)) as first:
        migrations.migrate(first)
        then = query(path, "SELECT * FROM llmc_migrations")
        migrations.migrate(first)
    assert query(path, "SELECT * FROM llmc_migrations") == then
