"""An index that is cut short or overwritten under a run ends it, and what was paid for is saved."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from llmc import engine
from llmc.errors import DisplacedIndexError
from llmc.events import SpanEnriched
from llmc.store.carbon import Carbon
from llmc.store.database.reserve import Reserve
from llmc.store.database.watch import UNSHARED, name_journal, name_shared
from llmc.store.owners import survey
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.store import Store
from llmc.testing.faults import SlowHeaders
from llmc.testing.ollama import Call, FakeOllama
from tests.driving import ROOT, Repo, environment, make_index, make_repo
from tests.running import Ran, configured, enrich, names, on_nth, repo_of, serving

SPANS = 24
AT = 10
PAGE = 4096

Harm = Callable[[Path], object]


def cut_to(share: float) -> Harm:
    return lambda index: os.truncate(index, int(index.stat().st_size * share))


def overwrite(index: Path, *pieces: str) -> None:
    """Write another index over one, as cp does: the file stays the same one."""
    theirs = index.with_name("theirs.db")
    make_index(theirs)
    other = Repo(index.parent)
    with closing(sqlite3.connect(theirs)) as database:
        database.execute("CREATE TABLE pad (text)")
        database.executemany("INSERT INTO pad VALUES (?)", [("x" * 900,) for _ in pieces])
        database.commit()
    assert not other.hashes
    shutil.copyfile(theirs, index)
    theirs.unlink()


def scribble(index: Path) -> None:
    with index.open("r+b") as file:
        file.write(os.urandom(3 * PAGE))


def cut_journal(index: Path) -> None:
    os.truncate(name_journal(index), PAGE)


def cut_shared(size: int) -> Harm:
    return lambda index: os.truncate(name_shared(index), size)


HARMS: dict[str, Harm] = {
    "nothing is left": cut_to(0),
    "a page is left": lambda index: os.truncate(index, PAGE),
    "half is left": cut_to(0.5),
    "a small index is written over it": overwrite,
    "a big index is written over it": lambda index: overwrite(index, *map(str, range(2000))),
    "noise is written over it": scribble,
    "its journal is cut": cut_journal,
    "nothing is left of what is shared": cut_shared(0),
    "half of what is shared is left": cut_shared(4 * PAGE),
    "what is shared is removed": lambda index: name_shared(index).unlink(),
}


def after_checkpoint(harm: Harm) -> Harm:
    """Have all that is stored so far moved into the file, before it is harmed."""

    def do(index: Path) -> None:
        with closing(sqlite3.connect(index)) as database:
            assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        harm(index)

    return do


def saved_of(repo: Repo) -> Path:
    [copy] = repo.index.parent.glob(f"{repo.index.name}.saved-*")
    return copy


def results(file: Path) -> set[str]:
    """Return whose results an index has, in use or put by; it must be sound by itself."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = database.execute(
            "SELECT span_hash FROM enrichments UNION ALL SELECT span_hash FROM llmc_archive"
        ).fetchall()
    assert len(found) == len(set(found))
    return {name for (name,) in found}


def enriched_under(repo: Repo, harm: Harm, number: int = AT) -> Ran:
    """Enrich by a real host, and harm the index once so many spans are stored."""
    hook = on_nth(SpanEnriched, number, lambda _: harm(repo.index))
    with serving("a", slots=2) as hosts:
        return enrich(repo, configured(repo, hosts, slots=2), hook)


def paid_for(ran: Ran) -> set[str]:
    return {event.report.span.span_hash for event in ran.told(SpanEnriched)}


@pytest.mark.parametrize("wrap", [after_checkpoint, lambda harm: harm], ids=["moved", "in journal"])
@pytest.mark.parametrize("name", HARMS)
def test_all_that_a_run_stored_is_saved(
    tmp_path: Path, name: str, wrap: Callable[[Harm], Harm]
) -> None:
    if name == "its journal is cut" and wrap is after_checkpoint:
        pytest.skip("it has none by then")
    repo = repo_of(tmp_path / "repo", *names(SPANS))
    ran = enriched_under(repo, wrap(HARMS[name]))
    copy = saved_of(repo)
    assert results(copy) >= paid_for(ran)
    assert AT <= ran.report.enriched == len(paid_for(ran)) < SPANS
    assert ran.report.left == SPANS - ran.report.enriched
    assert f"is saved as {copy}" in (ran.report.stopped or "")
    assert (ran.report.stopped or "").endswith(f"move it to {repo.index}, then run: llmc index")


def test_what_is_left_of_a_damaged_index_is_looked_through_by_who_opens_it_next(
    tmp_path: Path,
) -> None:
    repo = repo_of(tmp_path / "repo", *names(SPANS))
    assert enriched_under(repo, cut_to(0.5)).report.stopped
    assert survey(repo.index)[1]


def test_a_run_says_what_was_done_to_its_index(tmp_path: Path) -> None:
    said = {}
    for name in ("nothing is left", "noise is written over it", "its journal is cut"):
        repo = repo_of(tmp_path / name.replace(" ", "-"), *names(SPANS))
        stopped = enriched_under(repo, HARMS[name]).report.stopped or ""
        said[name] = stopped.removeprefix(f"{repo.index} ").partition(" while ")[0]
    assert said == {
        "nothing is left": "was truncated",
        "noise is written over it": "was overwritten in place",
        "its journal is cut": "lost what its journal (-wal) held",
    }


def test_results_of_earlier_runs_are_saved_as_far_as_they_can_be_read(tmp_path: Path) -> None:
    repo = repo_of(tmp_path / "repo", *names(400))
    with serving("a") as hosts:
        earlier = paid_for(enrich(repo, configured(repo, hosts, limit=300)))
    ran = enriched_under(repo, after_checkpoint(cut_to(0.8)))
    kept = results(saved_of(repo))
    assert kept >= paid_for(ran)
    assert len(kept & earlier) > 30


def test_what_is_written_over_an_index_stays_as_it_is(tmp_path: Path) -> None:
    repo = repo_of(tmp_path / "repo", *names(SPANS))
    theirs = []

    def replace(index: Path) -> None:
        overwrite(index)
        theirs.append(index.read_bytes())

    enriched_under(repo, replace)
    assert theirs == [repo.index.read_bytes()]
    assert not name_journal(repo.index).exists(), "it would be played back into theirs"


def functions(count: int) -> str:
    body = "    n = x + {}\n    return n\n\n\n"  # no model is asked about less
    return "".join(f"def f{number}(x):\n{body.format(number)}" for number in range(count))


@pytest.mark.parametrize("name", HARMS)
def test_what_was_saved_can_be_moved_into_place_and_gone_on_with(tmp_path: Path, name: str) -> None:
    repo = make_repo(tmp_path / "repo")
    repo.write("module.py", functions(SPANS))
    engine.index(repo.root, configured(repo))
    with serving("a") as hosts:
        settings = configured(repo, hosts, slots=1)
        hook = on_nth(SpanEnriched, AT, lambda _: HARMS[name](repo.index))
        first = enrich(repo, settings, hook).report.enriched
        saved_of(repo).rename(repo.index)
        back = engine.index(repo.root, settings)
        second = enrich(repo, settings)
        asked = len(hosts["a"].calls)
    assert back.elsewhere == 0, "each is known as made here"
    assert second.report.stopped is None
    assert first + second.report.enriched == SPANS == asked, "nothing is paid for twice"
    with Store.open_readonly(repo.index) as store:
        assert store.counts.count_results() == (SPANS, SPANS)
    assert len(results(repo.index)) >= SPANS, "what was read of theirs may lie in the archive"


def test_the_command_ends_with_status_2_and_says_where_all_is(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo")
    repo.write("module.py", functions(SPANS))
    calls = itertools.count(1)

    def harm(_: Call) -> None:
        if next(calls) == AT:
            os.truncate(repo.index, 0)

    with FakeOllama(harm) as host:
        ended = subprocess.run(
            [sys.executable, "-m", "llmc", "enrich", str(repo.root)],
            env=environment({"a": host}, {"LLMC_CONFIG": ""}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2, said
    assert "Traceback" not in said
    assert str(saved_of(repo)) in ended.stdout.strip().splitlines()[-1]
    assert len(results(saved_of(repo))) >= AT - 1


def test_an_index_pass_over_a_file_that_is_cut_short_says_to_start_again(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with Store.open(path, create=True) as store:
        store.spans.put_file(file_of("a", 400))
        after_checkpoint(lambda _: store.find_fate())(path)
        os.truncate(path, PAGE)
        with pytest.raises(DisplacedIndexError, match=r"was truncated .*; start again"):
            store.spans.put_file(file_of("b", 1))


def file_of(name: str, count: int) -> ParsedFile:
    cut = (ParsedSpan(f"s{n}", "function", 1, 2, n, n + 1, f"{name}{n:060x}") for n in range(count))
    return ParsedFile(name, "python", name, 1, 1.0, tuple(cut))


def test_damage_that_shows_only_as_it_is_read_is_saved_from_too(tmp_path: Path) -> None:
    """Nothing of the file's size or header tells of it."""
    repo = repo_of(tmp_path / "repo", *names(3000))

    def spoil(index: Path) -> None:
        with index.open("r+b") as file:
            file.seek(2 * PAGE)
            file.write(os.urandom(index.stat().st_size - 2 * PAGE))

    ran = enriched_under(repo, after_checkpoint(spoil))
    assert f"{repo.index} was damaged while" in (ran.report.stopped or "")
    assert results(saved_of(repo)) >= paid_for(ran)


def test_what_is_shared_and_was_cut_is_noticed_by_all_who_have_it_open(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with Store.open(path, create=True) as one, Store.open(path) as other:
        one.spans.put_file(file_of("a", 100))
        os.truncate(name_shared(path), 0)
        fates = one.find_fate(), other.find_fate()
        assert fates == (UNSHARED, UNSHARED), "the second may have been writing meanwhile"


# -- what is no harm -------------------------------------------------------------------------------


def test_what_others_do_by_right_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with Store.open(path, create=True) as ours, Store.open(path) as theirs:
        for number in range(8):
            theirs.spans.put_file(file_of(f"a{number}", 300))
            ours.spans.put_file(file_of(f"b{number}", 300))
            with closing(sqlite3.connect(path)) as other:
                other.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if number % 2 else 'PASSIVE'})")
            assert (ours.find_fate(), theirs.find_fate()) == (None, None)
        for number in range(7):
            ours.spans.remove_file(f"a{number}")
        with closing(sqlite3.connect(path)) as other:
            other.execute("VACUUM")
            assert ours.find_fate() is None
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert (ours.find_fate(), theirs.find_fate()) == (None, None)
        ours.spans.put_file(file_of("c", 300))


def test_one_that_closes_an_index_leaves_the_locks_of_others_in_its_process(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    program = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1], timeout=0).execute("
    program += "'PRAGMA journal_mode = DELETE').fetchone()[0])"
    with Store.open(path, create=True) as one:
        one.spans.put_file(file_of("a", 3))
        Store.open(path).close()
        Store.open_readonly(path).close()
        asked = [sys.executable, "-c", program, str(path)]
        other = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        assert "database is locked" in other.stderr, "who may change that is alone"


def test_room_is_made_without_touching_an_index_that_is_another_by_now(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with Store.open(path, create=True) as store:
        store.spans.put_file(file_of("a", 100))
        before = path.read_bytes(), name_journal(path).read_bytes()
        reserve = Reserve.make(path, PAGE)
        assert reserve.spend(fold=False)
        assert (path.read_bytes(), name_journal(path).read_bytes()) == before
        assert not reserve.path.exists()


# -- the second copy -------------------------------------------------------------------------------


def archived(number: int) -> tuple[object, ...]:
    return (f"sha256:{number:064x}", 1, "x" * 1000, *[None] * 10)


def kept(carbon: Carbon) -> list[str]:
    return [row[0] for found in carbon.read_rows() for row in found.rows]


def test_the_second_copy_has_a_bound_and_keeps_what_came_last() -> None:
    carbon = Carbon(most_bytes=100_000)
    for number in range(1000):
        carbon.keep("llmc_archive", archived(number))
    found = kept(carbon)
    assert found == [archived(number)[0] for number in range(1000 - len(found), 1000)]
    assert 45 <= len(found) <= 100
    assert not carbon.complete


def test_the_second_copy_is_complete_up_to_its_bound() -> None:
    carbon = Carbon()
    for number in range(300):
        carbon.keep("llmc_archive", archived(number))
    assert (len(kept(carbon)), carbon.complete) == (300, True)


def test_a_saved_index_that_is_damaged_in_turn_is_saved_again(tmp_path: Path) -> None:
    repo = repo_of(tmp_path / "repo", *names(SPANS))
    seen: list[Path] = []

    def twice(event: object) -> None:
        if isinstance(event, SpanEnriched) and len(seen) < 2:
            where = saved_of(repo) if seen else repo.index
            seen.append(where)
            where.write_bytes(os.urandom(3 * PAGE))

    calls = itertools.count(1)
    slower = SlowHeaders(0.5)  # than the first, which is stored alone
    with serving("a", lambda _: None if next(calls) == 1 else slower, slots=4) as hosts:
        ran = enrich(repo, configured(repo, hosts, slots=4), twice)
    assert len(seen) == 2
    newest = max(repo.index.parent.glob("*.saved-*"))
    assert results(newest) >= paid_for(ran)
