"""A rescue of a damaged index that is killed, at any call that it makes, has not happened or is
ended by the next open: either way everything that was readable is there, and is told of."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from llmc.engine import open_store
from llmc.events import Warned
from llmc.models import Enrichment, IndexPlace, Verdict
from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.seal import Seal
from llmc.store.store import Store
from llmc.store.tables.outcomes import Outcome
from tests.chaos import world as w

KILLS = 200 if w.LONG else 12
STORED = 400
IN_JOURNAL = 50
SEAL = Seal("ab" * 8, b"k" * 32)
VERDICT = Verdict("summary_120w", "x" * 200, "not provable", "prose", "nothing is proven of it")
DAMAGE = b"\xff" * 96


def fill(store, first, last):
    """Store spans with these numbers, all of them enriched."""
    spans = (
        ParsedSpan(f"s{n}", "function", 1, 2, n, n + 1, f"sha256:{n:064x}")
        for n in range(first, last)
    )
    store.spans.put_file(ParsedFile(f"{first}.py", "python", "h", 1, 1.0, tuple(spans)))
    with store.transaction():
        for span in store.spans.list_pending(0, last):
            outcome = Outcome("pass", "success", None, "7b", "ollama", "m", 1, 9, 9, 9, time.time())
            result = Enrichment(summary_120w="x" * 200)
            words = {"schema_version": "v", "outcome": outcome, "verdicts": [VERDICT]}
            store.save_enrichment(span, result, **words)


def damaged(folder, environ):
    """Make an index as a killed run leaves it, with results in its journal; damage it.

    The user knows of no other: how many calls a rescue makes would change with that.
    """
    environ["XDG_CONFIG_HOME"] = str(folder / "config")
    path, runs = folder / "index.db", folder / "index.db.runs"
    place = IndexPlace(path, environ=environ)
    with Store.open(place, create=True, seal=SEAL) as store:
        fill(store, 0, STORED)
    with Store.open(place, seal=SEAL) as store:
        fill(store, STORED, STORED + IN_JOURNAL)
        files = {name: Path(name).read_bytes() for name in (path, f"{path}-wal")}
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'embeddings'"
        page = database.execute(query).fetchone()[0]
    start = (page - 1) * 4096
    files[path] = files[path][:start] + DAMAGE + files[path][start + len(DAMAGE) :]
    for name, data in files.items():
        Path(name).write_bytes(data)
    runs.mkdir()
    (runs / "1-0123456789abcdef").touch()  # whose lock is gone: a dead owner
    return path


def opened(path, environ, at=0):
    """Open the index in a process that dies at that call; return what it said and printed."""
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos.mortal", path, str(at)],
        capture_output=True,
        text=True,
        env=environ,
        cwd=Path(__file__).parents[2],
        check=False,
    )


@pytest.fixture
def environ(clean_environ):
    return dict(clean_environ)


def beside(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}


def saved(path):
    """Return how many results there are; each has its verdicts."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        results, checked = (
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("llmc_archive", "llmc_verdicts")
        )
    assert results == checked
    return results


def points(rng, counted):
    """Yield calls to die at: half of them while rows are read, half while files change names."""
    for number in range(KILLS):
        exchange = counted["exchange"]
        yield rng.randint(1, exchange) if number % 2 else rng.randint(exchange, counted["calls"])


def test_a_rescue_that_is_killed_anywhere_loses_nothing_that_was_readable(tmp_path, environ, seed):
    rng = random.Random(seed)
    first = damaged(tmp_path, environ)
    told = opened(first, environ)
    assert told.returncode == 0, told.stderr
    counted = json.loads(told.stdout)
    readable = saved(first)
    assert readable == STORED + IN_JOURNAL
    in_place = 0
    for number, point in enumerate(points(rng, counted)):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = damaged(folder, environ)
        killed = opened(path, environ, point)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        said = killed.stderr
        is_damaged = DAMAGE in path.read_bytes()
        assert is_damaged or saved(path) == readable
        in_place += is_damaged
        if rng.random() < 0.5:
            said += opened(path, environ, rng.randint(1, counted["calls"] // 2)).stderr
        warnings = []
        place = IndexPlace(path, environ=environ)
        open_store(place, (warnings.append,)).close()
        said += "".join(event.message for event in warnings if isinstance(event, Warned))
        assert saved(path) == readable, (point, said)
        assert path.samefile(f"{path}.kept")
        [aside] = {name.removesuffix("-wal") for name in beside(path) if ".corrupt-" in name}
        assert DAMAGE in beside(path)[aside]
        assert f"it is kept as {folder / aside}; {readable} enrichments could be read" in said
        for word in ("theirs", "set-aside", "another", ".kept", "removed"):
            assert word not in said
        warnings.clear()
        open_store(place, (warnings.append,)).close()
        assert warnings == []
        may_be = {aside, f"{aside}-wal", "index.db", "index.db.kept"}
        assert beside(path).keys() <= may_be | {"index.db-wal", "index.db-shm"}
    print(
        f"{KILLS} kills at any of {counted['calls']} calls: {in_place} left the damaged index, "
        f"all {readable} results there at the next open"
    )
