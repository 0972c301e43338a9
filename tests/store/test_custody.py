"""An index that came with a repository, or was swapped, linked or owned by another, is refused."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from llmc import cli, engine
from llmc.doctor.machine import examine_index
from llmc.errors import StoreError
from llmc.events import Warned
from llmc.models import IndexPlace
from llmc.settings.loading import load_settings
from llmc.store.database import custody
from llmc.store.store import Store
from tests import driving

READING = ("status", "show", "ledger", "doctor")
COMMANDS = (*READING, "index", "enrich", "driver")


def git(repo, *words):
    identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run(["git", "-C", repo, *identity, *words], check=True, capture_output=True)


@pytest.fixture
def place(repo, clean_environ, monkeypatch):
    """A repository with an index of its user's, and no host."""
    for name, value in clean_environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ENRICH_HEALTHCHECK_ENABLED", "0")
    engine.index(repo)
    return load_settings(repo).index


def run(command, repo):
    """Run a command to its end; return its exit status."""
    words = {
        "show": ("show", "--repo", str(repo)),
        "ledger": ("ledger", "check", str(repo)),
        "doctor": ("doctor", str(repo), "--no-trial"),
        "enrich": ("enrich", str(repo), "--limit", "1"),
    }
    if command == "driver":
        return subprocess.run(
            [sys.executable, driving.SCRIPT, "--repo", repo, "--max-spans", "1"],
            check=False,
            timeout=driving.SECONDS,
        ).returncode
    return cli.main(words.get(command, (command, str(repo))))


def refuse(command, repo, capfd):
    """Assert that a command refuses the index; return what it says."""
    capfd.readouterr()
    status = run(command, repo)
    said = " ".join("".join(capfd.readouterr()).split())
    assert status == (1 if command == "doctor" else 2), said
    return said


def contents(folder):
    """Return what a folder holds: the bytes of every file below it."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def count(path):
    with Store.open_readonly(path) as reader:
        return reader.counts.count_results()


def pay(place, summary="paid for"):
    """Store a result for a span that has none."""
    with Store.open(place) as store:
        [span, *_] = store.spans.list_pending(0, 1)
        store._db.execute(
            "INSERT INTO enrichments (span_hash, summary, model) VALUES (?, ?, 'm')",
            (span.span_hash, summary),
        )


def leave_a_journal(place):
    """Store a result as a run does that is killed: it is in the journal alone."""
    journal = place.path.with_name(f"{place.path.name}-wal")
    with Store.open(place) as store:
        [span] = store.spans.list_pending(0, 1)
        store._db.execute(
            "INSERT INTO enrichments (span_hash, summary) VALUES (?, 'late')", (span.span_hash,)
        )
        left = {file: file.read_bytes() for file in (place.path, journal)}
    for file, data in left.items():
        file.write_bytes(data)
    return journal


def lose_its_user(place, tmp_path):
    """Take a repository to where its user isn't known: an archive, or another machine."""
    copy = tmp_path / "copy"
    shutil.copytree(place.repo, copy, ignore=shutil.ignore_patterns("*.kept"))
    return IndexPlace(copy / place.path.relative_to(place.repo), copy, place.environ)


def told(place):
    """Open an index for writing; return the sentences that are said about it."""
    said = []
    engine.open_store(place, (said.append,)).close()
    return [event.message for event in said if isinstance(event, Warned)]


# What git carries


@pytest.mark.parametrize("command", COMMANDS)
def test_an_index_that_git_tracks_is_refused_by_every_command(place, command, capfd):
    git(place.repo, "add", "-f", place.path)
    before = contents(place.path.parent)
    assert "git rm -r --cached .rag/index_v2.db" in refuse(command, place.repo, capfd)
    assert contents(place.path.parent) == before


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm", ".reserve", ".reserve-2", ".kept"])
def test_a_tracked_file_beside_the_index_is_refused(place, suffix):
    beside = place.path.with_name(place.path.name + suffix)
    beside.unlink(missing_ok=True)
    beside.touch()
    git(place.repo, "add", "-f", beside)
    with pytest.raises(StoreError, match="is tracked by git"):
        Store.open(place)


def test_a_tracked_owner_is_refused(place):
    owner = place.path.with_name("index_v2.db.runs") / "1-0123456789abcdef"
    owner.parent.mkdir()
    owner.touch()
    git(place.repo, "add", "-f", owner)
    with pytest.raises(StoreError, match="is tracked by git"):
        Store.open(place)


@pytest.mark.parametrize("command", READING)
def test_an_index_in_the_place_of_a_submodule_is_refused(place, tmp_path, command, capfd):
    shutil.rmtree(place.path.parent / "index_v2.db.runs", ignore_errors=True)
    (place.path.parent / ".gitignore").unlink()
    git(place.path.parent, "init", "-q")
    git(place.path.parent, "add", ".")
    git(place.path.parent, "commit", "-qm", "x")
    git(place.repo, "-c", "advice.addEmbeddedRepo=false", "add", ".rag")
    assert "tracked by git" in refuse(command, place.repo, capfd)


def test_a_name_with_signs_of_a_pattern_is_taken_as_it_is(repo):
    plain = IndexPlace(repo / "[i]*.db", repo)
    Store.open(plain, create=True).close()
    (repo / "i1.db").touch()
    git(repo, "add", "-f", repo / "i1.db")
    Store.open(plain).close()
    git(repo, "--literal-pathspecs", "add", "-f", plain.path)
    with pytest.raises(StoreError, match="is tracked by git"):
        Store.open(plain)


# Links, and other things that are no files


@pytest.mark.parametrize("command", COMMANDS)
def test_a_link_in_the_place_of_the_index_is_refused(place, tmp_path, command, capfd):
    place.path.rename(tmp_path / "elsewhere.db")
    place.path.symlink_to(tmp_path / "elsewhere.db")
    before = contents(tmp_path)
    assert "is a link" in refuse(command, place.repo, capfd)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_link_in_the_place_of_its_folder_is_refused(place, tmp_path, command, capfd):
    place.path.parent.rename(tmp_path / "elsewhere")
    place.path.parent.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in refuse(command, place.repo, capfd)


def test_a_link_that_leads_nowhere_makes_no_file(repo, tmp_path):
    (repo / ".rag").mkdir()
    (repo / ".rag/index_v2.db").symlink_to(tmp_path / "made")
    with pytest.raises(StoreError, match="is a link"):
        engine.index(repo)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm", ".reserve", ".runs", ".kept"])
def test_a_link_beside_the_index_is_refused(place, tmp_path, suffix):
    beside = place.path.with_name(place.path.name + suffix)
    beside.unlink(missing_ok=True)
    beside.symlink_to(tmp_path / "treasure")
    with pytest.raises(StoreError, match="is a link"):
        Store.open(place)


def test_whoever_takes_a_journal_out_of_git_as_advised_has_it_played_back_into_nothing(place):
    journal = leave_a_journal(place)
    git(place.repo, "add", "-f", journal)
    with pytest.raises(StoreError, match="is tracked by git") as refusal:
        Store.open(place)
    advice = str(refusal.value).partition("git with: git ")[2].partition(",")[0]
    git(place.repo, "commit", "-qm", "a journal")
    git(place.repo, *advice.split())
    assert count(place) == (5, 0)


@pytest.mark.parametrize("suffix", ["", "-wal", ".reserve"])
def test_what_is_no_regular_file_is_refused_at_once(place, suffix):
    file = place.path.with_name(place.path.name + suffix)
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    with pytest.raises(StoreError, match="no regular file"):
        Store.open_readonly(place)


def test_a_hard_link_to_another_file_is_refused(place, tmp_path, repo):
    treasure = tmp_path / "treasure"
    treasure.touch()
    other = IndexPlace(repo / ".rag/other.db", repo, place.environ)
    os.link(treasure, other.path)
    with pytest.raises(StoreError, match="is a hard link"):
        Store.open(other)
    assert treasure.read_bytes() == b""


def test_a_reserve_that_is_another_file_too_is_not_emptied(place, tmp_path):
    treasure = tmp_path / "treasure"
    treasure.write_text("gold")
    os.link(treasure, f"{place.path}.reserve")
    with pytest.raises(StoreError, match="is a hard link"):
        Store.open(place)
    assert treasure.read_text() == "gold"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
@pytest.mark.parametrize("name", ["index_v2.db", "index_v2.db-wal", "."])
def test_a_file_of_another_user_is_refused(place, name):
    file = place.path.parent / name
    if not file.exists():
        file.touch()
    os.chown(file, 12345, -1)
    with pytest.raises(StoreError, match=r"belongs to another user.*--user 12345"):
        Store.open_readonly(place)


def test_a_link_to_an_index_outside_is_the_users_word(repo, tmp_path, clean_environ):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    environ = clean_environ | {"LLMC_RAG_INDEX_PATH": str(tmp_path / "link/index.db")}
    settings = load_settings(repo, None, environ)
    assert engine.index(repo, settings).spans == 5
    assert count(settings.index) == (5, 0)
    assert (tmp_path / "real/index.db").exists()


def test_a_link_out_of_the_repository_and_back_is_asked_about_all_the_same(place, tmp_path):
    git(place.repo, "add", "-f", place.path)
    (tmp_path / "link.db").symlink_to(place.path)
    with pytest.raises(StoreError, match="is tracked by git"):
        Store.open_readonly(IndexPlace(tmp_path / "link.db", place.repo))


# Journals


def test_the_journal_of_a_killed_run_is_played_back(place):
    leave_a_journal(place)
    assert count(place) == (5, 1)
    assert told(place) == []
    assert count(place) == (5, 1)


def test_a_moved_repository_keeps_what_a_killed_run_left(place, tmp_path):
    leave_a_journal(place)
    place.repo.rename(tmp_path / "moved")
    moved = IndexPlace(tmp_path / "moved/.rag/index_v2.db", tmp_path / "moved", place.environ)
    assert told(moved) == []
    assert count(moved) == (5, 1)


def test_a_journal_that_came_with_an_index_is_set_aside_unread_and_said(place, tmp_path):
    leave_a_journal(place)
    came = lose_its_user(place, tmp_path)
    journal = came.path.with_name(f"{came.path.name}-wal")
    as_it_came = [came.path.read_bytes(), journal.read_bytes()]
    [said] = told(came)
    assert count(came) == (5, 0)
    [aside] = came.path.parent.glob("*.set-aside-*T??????")
    kept = [aside.read_bytes(), aside.with_name(f"{aside.name}-wal").read_bytes()]
    assert kept == as_it_came
    assert f"with {aside}" in said


def test_a_journal_that_was_set_aside_can_be_moved_back_by_its_user(place, tmp_path):
    leave_a_journal(place)
    came = lose_its_user(place, tmp_path)
    told(came)
    [aside] = came.path.parent.glob("*.set-aside-*T??????")
    aside.rename(came.path)
    aside.with_name(f"{aside.name}-wal").rename(f"{came.path}-wal")
    told(came)
    assert count(came) == (5, 1)


@pytest.mark.parametrize("command", READING)
def test_a_command_that_only_reads_leaves_such_a_journal_and_says_so(
    place, tmp_path, command, capfd
):
    leave_a_journal(place)
    came = lose_its_user(place, tmp_path)
    before = contents(came.path.parent)
    assert "came with the index" in refuse(command, came.repo, capfd)
    assert contents(came.path.parent) == before


def test_where_nothing_is_known_of_anybody_a_journal_is_believed(place, tmp_path):
    """As in a container without a home: what was paid for must not be lost."""
    leave_a_journal(place)
    came = lose_its_user(place, tmp_path)
    homeless = IndexPlace(came.path, came.repo, {"PATH": os.environ["PATH"]})
    assert told(homeless) == []
    assert count(homeless) == (5, 1)


def test_an_index_that_another_program_is_at_work_on_is_shared_with_it(repo, clean_environ):
    made = driving.make_repo(repo.with_name("theirs"), driving.plain("G_1"))
    place = load_settings(made.root, None, clean_environ).index
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("UPDATE spans SET symbol = 'theirs'")
        assert told(place) == []
        with Store.open_readonly(place) as reader:
            assert [span.symbol for span in reader.spans.list_pending(0, 9)] == ["theirs"]
        other.execute("UPDATE spans SET symbol = 'goes on'")


@pytest.mark.parametrize("known", [True, False])
def test_a_rollback_journal_is_never_played_back(place, tmp_path, known):
    journal = place.path.with_name(f"{place.path.name}-journal")
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(2000))
    came = place if known else lose_its_user(place, tmp_path)
    with pytest.raises(StoreError, match="llmc index sets it aside"):
        Store.open_readonly(came)
    [said] = told(came)
    assert "-journal came with the index" in said
    [aside] = came.path.parent.glob("*.set-aside-*-journal")
    assert aside.read_bytes() == journal.read_bytes() if not known else not journal.exists()
    assert count(came)[0] == 5


def test_journals_without_an_index_are_set_aside(repo, clean_environ):
    place = load_settings(repo, None, clean_environ).index
    place.path.parent.mkdir()
    place.path.with_name(f"{place.path.name}-wal").write_bytes(b"from afar" * 100)
    [said] = told(place)
    assert "left without its index" in said
    assert count(place) == (0, 0)


# Another index in its place


@pytest.fixture
def pulled(place, tmp_path):
    """A pull has brought an index of somebody else's over the user's own, which has a result."""
    git(place.repo, "add", "small.py")
    git(place.repo, "commit", "-qm", "x")
    upstream = tmp_path / "upstream"
    git(tmp_path, "clone", "-q", place.repo, upstream)
    driving.make_index(upstream / ".rag/index_v2.db")
    git(upstream, "add", "-f", ".rag/index_v2.db")
    git(upstream, "commit", "-qm", "theirs")
    pay(place)
    git(place.repo, "pull", "-q", upstream, "HEAD")
    return place


def test_a_pull_that_brings_an_index_over_ours_is_refused_and_ours_is_named(pulled):
    with pytest.raises(StoreError, match=r"your own is kept as .*index_v2\.db\.kept"):
        Store.open(pulled)


def test_once_git_has_let_go_of_theirs_ours_is_back(pulled):
    git(pulled.repo, "rm", "-q", "--cached", pulled.path)
    with pytest.raises(StoreError, match="llmc index puts it back"):
        Store.open_readonly(pulled)
    [said] = told(pulled)
    assert "(0 results), and yours is back (1 results)" in said
    assert count(pulled) == (5, 1)
    [theirs] = pulled.path.parent.glob("*.theirs-*")
    assert count(theirs) == (0, 0)


def test_ours_comes_back_with_what_a_killed_run_left_in_its_journal(place, tmp_path):
    leave_a_journal(place)
    place.path.unlink()
    driving.make_index(tmp_path / "theirs.db")
    shutil.copy(tmp_path / "theirs.db", place.path)
    told(place)
    assert count(place) == (5, 1)


def test_an_index_that_its_user_removed_stays_away_and_is_said_to_be_kept(place):
    pay(place)
    place.path.unlink()
    [said] = told(place)
    assert "was removed; the earlier one is kept as" in said
    assert count(place) == (0, 0)
    [before] = place.path.parent.glob("*.kept-*")
    assert count(before) == (5, 1)


def test_a_damaged_index_that_is_moved_aside_is_not_put_back(place):
    pay(place)
    with closing(sqlite3.connect(place.path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with place.path.open("r+b") as file:
        file.write(b"no database")
    [said] = told(place)
    assert "is kept as" in said
    assert told(place) == []
    assert custody.name_kept(place.path).samefile(place.path)


def test_doctor_says_the_same(pulled):
    [found, *_] = examine_index(pulled)
    assert found.state == "fail"
    assert "tracked by git" in found.detail
