"""Many processes share one index: none gets in another's way, and no span is worked on twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from llmc.store.parsed import ParsedFile, ParsedSpan
from llmc.store.store import Store

PROCESSES = 8
CLAIMS = 1000 if os.environ.get("LLMC_CHAOS") else 100
PATIENCE_SEC = 300

PROGRAM = """
import json, sys, time
from pathlib import Path
from llmc.models import Enrichment
from llmc.store.tables.outcomes import Outcome
from llmc.store.store import Store

path, start, role = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)


def outcome():
    return Outcome("pass", "success", None, "7b", "ollama", "m", 1, 10, 10, 5, time.time())


def save(store, spans):
    with store.transaction():
        for span in spans:
            result = Enrichment(summary_120w=store.owner)
            store.save_enrichment(span, result, schema_version="v", outcome=outcome())


def work(limit):
    claimed, after = [], 0
    with Store.open(path, create=True) as store:
        while spans := store.claims.take(after, limit, lease_sec=600):
            save(store, spans)
            claimed += [span.id for span in spans]
            after = spans[-1].id
    return claimed


def hold():
    store = Store.open(path)
    spans = store.claims.take(0, 5, lease_sec=600)
    print(json.dumps([span.id for span in spans]), flush=True)
    time.sleep(600)


def opened():
    with Store.open(path, create=True) as store:
        return store.counts.count_results()


print(json.dumps({"one": lambda: work(1), "several": lambda: work(7), "hold": hold,
                  "open": opened}[role]()), flush=True)
"""


def make_index(path, spans):
    """Make an index with so many spans, 20 to a file."""
    with Store.open(path, create=True) as store, store.transaction():
        for first in range(0, spans, 20):
            cut = (
                ParsedSpan(f"s{n}", "function", 1, 2, n, n + 1, f"sha256:{n:064x}")
                for n in range(first, min(spans, first + 20))
            )
            store.spans.put_file(
                ParsedFile(f"f{first}.py", "python", f"{first}", 1, 1.0, tuple(cut))
            )


@pytest.fixture
def start(tmp_path):
    """Start processes that all begin in the same moment; what is left of them is ended."""
    running = []

    def begin(path, *roles):
        flag = tmp_path / f"go-{len(running)}"
        some = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, path, flag, role],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for role in roles
        ]
        running.extend(some)
        for process in some:
            assert process.stdout.readline() == "ready\n"
        flag.touch()
        return some

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def results(processes):
    """Wait for processes; return what each says, and fail with the words of one that fails."""
    found = []
    for process in processes:
        out, err = process.communicate(timeout=PATIENCE_SEC)
        assert process.returncode == 0, err
        found.append(json.loads(out))
    return found


@pytest.mark.parametrize("role", ["one", "several"])
def test_processes_that_claim_at_once_share_the_spans_without_a_lock_error(tmp_path, start, role):
    path, spans = tmp_path / "index.db", PROCESSES * CLAIMS
    make_index(path, spans)
    shares = results(start(path, *[role] * PROCESSES))
    claimed = Counter(span_id for share in shares for span_id in share)
    assert [span_id for span_id, times in claimed.items() if times > 1] == []
    assert len(claimed) == spans
    with Store.open_readonly(path) as store:
        assert store.counts.count_results() == (spans, spans)
        assert store.counts.count_all().claimed == 0


def test_processes_that_make_an_index_in_the_same_moment_all_succeed(tmp_path, start):
    path = tmp_path / "folder" / "index.db"
    assert results(start(path, *["open"] * 10)) == [[0, 0]] * 10
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == ["index.db"]


def test_a_killed_process_leaves_its_spans_to_the_others(tmp_path, start):
    path = tmp_path / "index.db"
    make_index(path, 20)
    [holder] = start(path, "hold")
    held = json.loads(holder.stdout.readline())
    with Store.open(path) as store:
        assert [span.id for span in store.claims.take(0, 3, lease_sec=600)] == [6, 7, 8]
        assert store.claims.take_over(lease_sec=600) == []
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (
            [span.id for span in store.claims.take_over(lease_sec=600)] == held == [1, 2, 3, 4, 5]
        )
        assert store.claims.take_over(lease_sec=600) == []


def test_a_stopped_process_keeps_its_spans(tmp_path, start):
    """Only death and expiry end a claim: a process in the background is as good as any."""
    path = tmp_path / "index.db"
    make_index(path, 5)
    [holder] = start(path, "hold")
    assert holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    with Store.open(path) as store:
        assert store.claims.take(0, 9, lease_sec=600) == store.claims.take_over(lease_sec=600) == []


def test_what_a_killed_process_stored_is_there_and_the_index_is_sound(tmp_path, start):
    path, spans = tmp_path / "index.db", 2000
    make_index(path, spans)
    [worker] = start(path, "several")
    deadline = time.monotonic() + PATIENCE_SEC
    with Store.open_readonly(path) as watcher:
        while not watcher.counts.count_results()[1] and time.monotonic() < deadline:
            time.sleep(0.001)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        stored = watcher.counts.count_results()[1]
    with Store.open(path) as store:
        totals = store.counts.count_all()
        # It may have been killed between writing a group of 7 and letting others know.
        assert (totals.enriched - stored, totals.claimed) in {(0, 0), (7, 0)}
        assert totals.pending == spans - totals.enriched > 0
        assert len(store.claims.take(0, spans, lease_sec=600)) == totals.pending
