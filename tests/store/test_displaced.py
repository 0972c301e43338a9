"""An index that is removed or replaced in mid-run ends the run, and what was paid for is saved."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from llmc import engine
from llmc.errors import StoreError
from llmc.events import SpanEnriched, Warned
from llmc.models import IndexPlace
from llmc.settings.loading import load_settings
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.store import Store
from llmc.testing import BackendCall
from tests.driving import Repo, make_index
from tests.running import Ran, configured, enrich, names, on_nth, repo_of

SPANS = 12


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return repo_of(tmp_path / "repo", *names(SPANS))


def describe(_: BackendCall) -> dict[str, str]:
    return {"summary_120w": "Sets a value."}


def results(file: Path) -> int:
    """Count the enrichments of an index, which must be sound by itself."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found: int = database.execute("SELECT count(*) FROM enrichments").fetchone()[0]
    return found


def copy_of(repo: Repo) -> Path:
    [copy] = repo.index.parent.glob(f"{repo.index.name}.saved-*")
    return copy


def enriched_until(repo: Repo, number: int, happens: Callable[[], object]) -> Ran:
    """Enrich until something happens after so many spans are stored."""
    hook = on_nth(SpanEnriched, number, lambda _: happens())
    return enrich(repo, configured(repo), hook, script=describe)


def remove_folder(repo: Repo) -> Callable[[], object]:
    return lambda: shutil.rmtree(repo.index.parent)


def replace(repo: Repo) -> None:
    """Put another index in the place of the one that is there, as a pull does."""
    theirs = repo.index.with_name("theirs.db")
    make_index(theirs)
    theirs.rename(repo.index)


def test_a_run_whose_index_is_removed_ends_and_saves_all_that_it_held(repo: Repo) -> None:
    ran = enriched_until(repo, 5, remove_folder(repo))
    copy = copy_of(repo)
    assert ran.report.stopped == (
        f"{repo.index} was removed while the run was at work on it; all that it held is saved as "
        f"{copy} ({ran.report.enriched} results): to go on with that, move it to {repo.index}"
    )
    assert 5 <= ran.report.enriched == results(copy) < SPANS
    assert ran.report.left == SPANS - ran.report.enriched
    assert not repo.index.exists()
    assert (repo.index.parent / ".gitignore").read_text() == "*\n"


def test_what_was_saved_can_be_moved_into_place_and_gone_on_with(repo: Repo) -> None:
    first = enriched_until(repo, 5, remove_folder(repo)).report.enriched
    copy_of(repo).rename(repo.index)
    ran = enrich(repo, configured(repo), script=describe)
    assert (ran.report.enriched, ran.report.stopped) == (SPANS - first, None)
    assert ran.told(Warned) == []
    assert results(repo.index) == SPANS
    with Store.open_readonly(repo.index) as store:
        assert store.counts.count_results() == (SPANS, SPANS)


def test_an_index_that_takes_its_place_is_left_as_it_is(repo: Repo) -> None:
    ran = enriched_until(repo, 5, lambda: replace(repo))
    assert ran.report.stopped is not None
    assert f"{repo.index} was replaced" in ran.report.stopped
    assert results(copy_of(repo)) == ran.report.enriched >= 5
    assert results(repo.index) == 0


def test_an_index_that_is_removed_at_the_last_span_is_saved_too(repo: Repo) -> None:
    ran = enriched_until(repo, SPANS, remove_folder(repo))
    assert ran.report.stopped is not None
    assert results(copy_of(repo)) == ran.report.enriched == SPANS


def test_a_run_that_is_at_work_on_its_own_index_saves_no_copy(repo: Repo) -> None:
    ran = enrich(repo, configured(repo), script=describe)
    assert (ran.report.enriched, ran.report.stopped) == (SPANS, None)
    assert not list(repo.index.parent.glob("*.saved-*"))


def test_a_copy_is_not_written_through_a_link_that_took_the_folders_place(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    treasure, spare = tmp_path / "treasure", tmp_path / "spare"
    treasure.mkdir()
    spare.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spare))

    def link() -> None:
        shutil.rmtree(repo.index.parent)
        repo.index.parent.symlink_to(treasure)

    ran = enriched_until(repo, 5, link)
    assert list(treasure.iterdir()) == []
    [copy] = spare.glob("llmc-*/index_v2.db.saved-*")
    assert str(copy) in (ran.report.stopped or "")
    assert results(copy) == ran.report.enriched >= 5


def spans_of(name: str, count: int) -> ParsedFile:
    cut = (ParsedSpan(f"s{n}", "function", 1, 2, n, n + 1, f"{name}{n:060x}") for n in range(count))
    return ParsedFile(name, "python", name, 1, 1.0, tuple(cut))


def test_the_end_of_a_displaced_run_takes_nothing_from_the_index_that_came_after(
    tmp_path: Path,
) -> None:
    path = tmp_path / "index.db"
    displaced = Store.open(path, create=True)
    displaced.spans.put_file(spans_of("a", 10))
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    with Store.open(path, create=True) as ours:
        ours.spans.put_file(spans_of("b", 20))
        copy, _ = displaced.save_beside()
        displaced.close()
        assert Path(f"{path}-wal").stat().st_size
        with Store.open_readonly(path) as reader:
            assert reader.counts.count_results() == (20, 0)
    with Store.open(copy) as saved:
        assert saved.counts.count_results() == (10, 0)


def test_a_copy_that_is_made_again_has_what_came_since(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with Store.open(IndexPlace(path, environ=dict(os.environ)), create=True) as store:
        assert store.find_fate() is None
        path.unlink()
        assert store.find_fate() == "was removed"
        first, _ = store.save_beside()
        store.spans.put_file(spans_of("a", 3))
        again, _ = store.save_beside()
    assert again == first
    with Store.open(again) as saved:
        assert saved.counts.count_results() == (3, 0)


def test_an_index_that_is_removed_while_it_is_brought_up_to_date_is_told_of(repo: Repo) -> None:
    repo.write("module.py", "def one():\n    return 1\n")
    settings = load_settings(repo.root)
    engine.index(repo.root, settings)
    repo.execute("UPDATE spans SET start_line = -1")

    def remove(event: object) -> None:
        if isinstance(event, Warned):  # of rows that could not be used
            repo.index.unlink()

    with pytest.raises(StoreError, match=r"was removed while it was written to; start again"):
        engine.index(repo.root, settings, hooks=(remove,))
