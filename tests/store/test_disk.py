"""A disk that is full, read-only or damaged is told of, and costs nothing that was paid for."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from llmc.errors import CorruptIndexError, FullDiskError, StoreError
from llmc.models import Enrichment
from llmc.store.database.reserve import Reserve
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.rescue import rescue
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome

MIB = 2**20


def file(spans, name="a.py"):
    """A file of made-up spans, each with a hash of its own."""
    cut = (
        ParsedSpan(f"s{n}", "function", 1, 2, n, n + 1, f"sha256:{name}{n:060x}")
        for n in range(spans)
    )
    return ParsedFile(name, "python", name, 1, 1.0, tuple(cut))


def save(store, span):
    outcome = Outcome("pass", "success", None, "7b", "ollama", "m", 1, 9, 9, 9, time.time())
    result = Enrichment(summary_120w="x" * 1000)
    store.save_enrichment(span, result, schema_version="v", outcome=outcome)


def save_all(store, spans):
    with store.transaction():
        for span in spans:
            save(store, span)


def save_until_full(store, spans):
    """Store results one by one; return the spans that there was no room for."""
    for number, span in enumerate(spans):
        try:
            save(store, span)
        except FullDiskError:
            return spans[number:]
    raise AssertionError("the disk is too big for this test")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index.db"


def fill(disk):
    """Leave no room at all; return the file that takes it."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    return ballast


# A full disk


def test_a_full_disk_is_told_of_and_what_was_stored_stays(small_disk):
    path = small_disk / "index.db"
    with Store.open(path, create=True) as store:
        store.spans.put_file(file(1000))
        spans = store.spans.list_pending(0, 1000)
        left = save_until_full(store, spans)
        with pytest.raises(FullDiskError, match="free some disk space"):
            save(store, left[0])
        assert store.counts.count_results() == (1000, 1000 - len(left))
    with Store.open_readonly(path) as store:
        assert store.counts.count_results() == (1000, 1000 - len(left))


def test_an_open_index_goes_on_when_there_is_room_again(small_disk):
    with Store.open(small_disk / "index.db", create=True) as store:
        store.spans.put_file(file(100))
        ballast = fill(small_disk)
        left = save_until_full(store, store.spans.list_pending(0, 100))
        ballast.unlink()
        for span in left:
            save(store, span)
        assert store.counts.count_results() == (100, 100)


def test_a_group_that_does_not_fit_is_stored_not_even_in_part(small_disk):
    with Store.open(small_disk / "index.db", create=True) as store:
        store.spans.put_file(file(300))
        fill(small_disk)
        with pytest.raises(FullDiskError):
            save_all(store, store.spans.list_pending(0, 300))
        assert store.counts.count_results() == (300, 0)
        assert not store._db.connection.in_transaction


def test_an_index_can_not_be_made_on_a_full_disk(small_disk):
    fill(small_disk)
    with pytest.raises(FullDiskError, match="free some disk space"):
        Store.open(small_disk / "index.db", create=True)


def test_a_claim_on_a_full_disk_is_not_half_made(small_disk):
    with Store.open(small_disk / "index.db", create=True) as store:
        store.spans.put_file(file(1000))
        ballast = fill(small_disk)
        with pytest.raises(FullDiskError):
            store.claims.take(0, 1000, lease_sec=60)
        ballast.unlink()
        assert len(store.claims.take(0, 1000, lease_sec=60)) == 1000


def test_the_reserve_gives_room_to_what_is_paid_for(small_disk):
    path = small_disk / "index.db"
    with Store.open(path, create=True) as store:
        store.spans.put_file(file(1000))
        reserve = Reserve.make(path, MIB)
        left = save_until_full(store, store.spans.list_pending(0, 1000))
        assert reserve.spend()
        for span in left[:60]:
            save(store, span)
        assert store.counts.count_results()[1] == 1060 - len(left)
        assert not reserve.spend()


def test_a_reserve_without_room_says_how_much_is_missing_and_leaves_nothing(small_disk):
    path = small_disk / "index.db"
    Store.open(path, create=True).close()
    with pytest.raises(FullDiskError, match=r"100\.0 MiB .* 9[67]\.\d MiB of that are missing"):
        Reserve.make(path, 100 * MIB)
    assert [left.name for left in small_disk.iterdir()] == ["index.db"]


# A reserve


def test_a_reserve_is_a_file_of_real_bytes(path):
    reserve = Reserve.make(path, MIB + 123)
    assert reserve.path.name == "index.db.reserve"
    assert reserve.path.stat().st_size == MIB + 123
    assert reserve.path.stat().st_blocks * 512 >= MIB
    reserve.remove()
    reserve.remove()
    assert list(path.parent.iterdir()) == []


def test_runs_side_by_side_have_a_reserve_each(path):
    first, second = Reserve.make(path, 10), Reserve.make(path, 10)
    assert second.path.name == "index.db.reserve-2"
    first.spend()
    assert second.path.stat().st_size == 10
    second.remove()


def test_the_reserves_of_killed_runs_are_cleared_away(path):
    for name in ("index.db.reserve", "index.db.reserve-2"):
        (path.parent / name).write_bytes(b"left behind")
    reserve = Reserve.make(path, 5)
    assert [left.name for left in path.parent.iterdir()] == ["index.db.reserve"]
    assert reserve.path.stat().st_size == 5
    reserve.remove()


def test_a_spent_reserve_takes_no_room_even_if_somebody_reads_it(path):
    reserve = Reserve.make(path, MIB)
    with reserve.path.open("rb") as reader:
        reserve.spend()
        assert os.fstat(reader.fileno()).st_blocks == 0


def test_what_only_looks_like_a_reserve_is_left_alone(path):
    other = Reserve.make(path.with_name("index.db2"), 5)
    notes = path.with_name("index.db.reserve-notes")
    notes.write_text("mine")
    Reserve.make(path, 5).remove()
    assert other.path.stat().st_size == 5
    assert notes.read_text() == "mine"
    other.remove()


def test_a_link_in_place_of_the_reserve_is_not_followed(path, tmp_path):
    treasure = tmp_path / "treasure"
    treasure.write_text("gold")
    (tmp_path / "index.db.reserve").symlink_to(treasure)
    with pytest.raises(StoreError, match="set room aside"):
        Reserve.make(path, 5)
    assert treasure.read_text() == "gold"


# A limit on the size of files, as a quota would be


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_disk import MIB, Reserve, file, save_until_full
from llmc.errors import FullDiskError
from llmc.store.rescue import rescue
from llmc.store.store import Store

path = Path(sys.argv[1])
with Store.open(path, create=True) as store:
    store.spans.put_file(file(1000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
    try:
        Reserve.make(path, 3 * MIB)
    except FullDiskError as error:
        print(error)
    left = save_until_full(store, store.spans.list_pending(0, 1000))
    try:
        store.spans.put_file(file(1000, "b.py"))
    except FullDiskError as error:
        print(error)
    print(1000 - len(left))
"""


def test_a_limit_on_the_size_of_files_is_a_full_disk(path):
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, path, Path(__file__).parent],
        capture_output=True,
        text=True,
        check=False,
    )
    reserve, failure, saved = result.stdout.splitlines()
    assert "2.0 MiB of that are missing" in reserve
    assert "no room is left" in failure
    with Store.open(path) as store:
        assert store.counts.count_results() == (1000, int(saved))
        assert list(store.spans.list_files()) == ["a.py"]


# A disk that can't be written to


def test_a_read_only_disk_can_be_read_and_says_what_is_missing(small_disk):
    path = small_disk / "index.db"
    with Store.open(path, create=True) as store:
        store.spans.put_file(file(3))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError, match=r"read-only; .* mount it for writing"):
        Store.open(path)
    with Store.open_readonly(path) as store:
        assert store.counts.count_all().spans == 3
    with pytest.raises(StoreError, match=r"read-only; .* mount it for writing"):
        Reserve.make(path, 10)


def test_an_index_that_a_killed_run_left_on_a_disk_now_read_only_says_so(small_disk):
    path = small_disk / "index.db"
    with Store.open(path, create=True) as store:
        store.spans.put_file(file(3))
        journal = Path(f"{path}-wal").read_bytes()
    Path(f"{path}-wal").write_bytes(journal)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError, match=r"read-only; .* mount it for writing"):
        Store.open_readonly(path)


@pytest.mark.parametrize("opened", [Store.open, Store.open_readonly])
def test_a_folder_in_place_of_the_index_is_refused(path, opened):
    path.mkdir()
    with pytest.raises(StoreError, match="is a folder, and an index is a file"):
        opened(path)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / ".rag").write_text("a file")
    with pytest.raises(StoreError, match="cannot create"):
        Store.open(tmp_path / ".rag" / "index.db", create=True)


@pytest.mark.parametrize("planted", ["link", "file"])
def test_anything_but_a_folder_in_place_of_the_owners_is_refused(path, tmp_path, planted):
    (tmp_path / "treasure").mkdir()
    gold = tmp_path / "treasure" / "1-0123456789abcdef"
    gold.write_text("gold")
    place = tmp_path / "index.db.runs"
    if planted == "link":
        place.symlink_to(tmp_path / "treasure")
    else:
        place.write_text("a file")
    with pytest.raises(StoreError, match=r"index\.db\.runs"):
        Store.open(path, create=True)
    assert gold.read_text() == "gold"


# A damaged file


@pytest.fixture
def index(path):
    """An index of 500 spans, half of them enriched, cleanly closed."""
    with Store.open(path, create=True) as store:
        store.spans.put_file(file(500))
        save_all(store, store.spans.list_pending(0, 250))
    return path


def used(path):
    """Open an index and read and write all of it."""
    with Store.open(path) as store:
        store.counts.count_all()
        store.spans.put_file(file(500))
        save_all(store, store.claims.take(0, 1000, lease_sec=60))
        return store.counts.count_results()


@pytest.mark.parametrize("size", [15, 16, 99, 100, 511, 513, 4095, 4097, 20_001, 100_003])
def test_half_a_file_is_corrupt(index, size):
    assert index.stat().st_size > size
    os.truncate(index, size)
    with pytest.raises(CorruptIndexError, match="llmc index"):
        used(index)


def test_a_file_cut_to_nothing_is_a_new_index(index):
    os.truncate(index, 0)
    assert used(index) == (500, 500)


def test_a_last_page_that_is_missing_in_part_is_found_or_harmless(index):
    os.truncate(index, index.stat().st_size - 1)
    with suppress(CorruptIndexError):
        assert used(index) == (500, 500)


@pytest.mark.parametrize("place", range(1, 12))
def test_garbage_in_the_middle_is_a_store_error_or_harmless(index, place):
    data = bytearray(index.read_bytes())
    start = len(data) * place // 12
    data[start : start + 4096] = random.Random(place).randbytes(4096)
    index.write_bytes(data)
    with suppress(StoreError):
        assert used(index)[0] == 500


def test_text_that_is_no_utf8_is_read_as_well_as_it_goes(index):
    with closing(sqlite3.connect(index)) as raw:
        raw.execute("UPDATE files SET lang = CAST(x'61ff62' AS TEXT)")
        raw.commit()
    with Store.open(index) as store:
        assert store.spans.list_pending(0, 1)[0].lang == "a\ufffdb"


def test_a_damaged_index_is_not_moved_away_from_under_a_living_run(index):
    with Store.open(index):
        with pytest.raises(StoreError, match=f"process {os.getpid()}"):
            rescue(index, CorruptIndexError("as if"))
        assert index.exists()


def test_only_the_file_that_was_found_damaged_is_moved_aside(index):
    damaged = index.read_bytes()[:5000]
    index.write_bytes(damaged)
    with pytest.raises(CorruptIndexError) as found:
        Store.open(index)
    rescue(index, found.value)
    with pytest.raises(StoreError, match="replaced by another process"):
        rescue(index, found.value)
    assert [aside.read_bytes() for aside in index.parent.glob("*.corrupt-*")] == [damaged]


def test_a_rescue_saves_archived_results_too(index):
    with Store.open(index) as store:
        store.spans.remove_file("a.py")
        store.spans.put_file(file(3, "b.py"))
        save_all(store, store.spans.list_pending(0, 3))
    found = CorruptIndexError("as if")
    aside, saved = rescue(index, found)
    assert saved == 253
    with Store.open(index) as store:
        store.spans.put_file(file(500))
        assert store.counts.count_results() == (500, 250)
    assert aside.exists()


def test_a_rescue_goes_on_behind_text_that_is_no_utf8(index):
    with closing(sqlite3.connect(index)) as raw:
        raw.execute("UPDATE enrichments SET tags = CAST(x'ff20fe' AS TEXT) WHERE rowid = 5")
        raw.commit()
    assert rescue(index, CorruptIndexError("as if"))[1] == 250


def leaves(index, text):
    """Return the numbers of an index's pages that hold rows with this text, in order."""
    data = index.read_bytes()
    pages = range(0, len(data), 4096)
    return [at // 4096 for at in pages if data[at] == 13 and text in data[at : at + 4096]]


def overwrite(index, *pages):
    data = bytearray(index.read_bytes())
    for page in pages:
        data[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    index.write_bytes(data)


@pytest.mark.parametrize("parts", [(1,), (10,), (1, 10, 11, 19)])
def test_a_rescue_saves_what_lies_behind_a_damaged_page(index, parts):
    with Store.open(index) as store:
        save_all(store, store.spans.list_pending(0, 500))
    pages = leaves(index, b"x" * 500)
    bad = [pages[len(pages) * part // 20] for part in parts]
    overwrite(index, *bad)
    _, saved = rescue(index, CorruptIndexError("as if"))
    lost = 500 - saved
    assert 0 < lost <= 40 * len(bad)


def test_a_rescue_saves_failures_too(index):
    with Store.open(index) as store:
        span = store.spans.list_pending(0, 1)[0]
        failed = Outcome("fail", "parse", None, "7b", "ollama", "m", 1, 9, 9, 9, time.time())
        store.save_failure(span, failed, signature="m")
    rescue(index, CorruptIndexError("as if"))
    with Store.open(index) as store:
        store.spans.put_file(file(500))
        assert (store.counts.count_all().failed, store.counts.count_resting("m")) == (
            {"parse": 1},
            1,
        )
