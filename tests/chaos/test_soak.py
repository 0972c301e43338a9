"""A run of a hundred thousand spans needs no more memory, files or threads at its end than soon
after its start."""

import resource
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos import world as w

SPANS = 100_000 if w.LONG else 2_000
WARM = 0.1 if w.LONG else 0.3
"""After this share of the spans nothing may grow any more."""

SLOTS = 4
HOSTS = 2
GROWTH_BYTES = 10 * 1024 * 1024
FILES_MORE_OR_LESS = 2
PAGE_BYTES = resource.getpagesize()

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


@contextmanager
def fake_host():
    """Run a fake host without latency in a process of its own; yield its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llmc.testing.ollama", "--no-bodies"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate(timeout=60)


@dataclass(frozen=True)
class Sample:
    """What a process needs at one moment, and how far it is."""

    done: int
    resident: int
    files: int
    threads: int


def sample(pid, ledger):
    """Look at a process; None once it is gone."""
    proc = Path(f"/proc/{pid}")
    try:
        resident = int((proc / "statm").read_text().split()[1]) * PAGE_BYTES
        return Sample(
            done=ledger.count(),
            resident=resident,
            files=len([*(proc / "fd").iterdir()]),
            threads=len([*(proc / "task").iterdir()]),
        )
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None


class Lines:
    """Counts the lines of a growing file."""

    def __init__(self, path):
        self._path = path
        self._read = self._lines = 0

    def count(self):
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                more = file.read()
            self._read += len(more)
            self._lines += more.count(b"\n")
        return self._lines


def test_memory_files_and_threads_stay_flat(tmp_path, clean_environ):
    repo = w.make_repository(tmp_path / "repo")
    w.write_functions(repo, range(SPANS))
    with ExitStack() as stack:
        urls = [stack.enter_context(fake_host()) for _ in range(HOSTS)]
        world = w.World(repo, clean_environ).with_hosts(*urls)
        world.run("index")
        began = time.monotonic()
        run = world.start("enrich", "--slots", str(SLOTS), "--quiet")
        ledger, samples = Lines(repo / "logs" / w.LEDGER), []
        while run.status is None:
            if found := sample(run.process.pid, ledger):
                samples.append(found)
            time.sleep(0.5 if w.LONG else 0.05)
        seconds = time.monotonic() - began
    assert run.wait() == 0, run.said
    w.assert_clean_end(world)
    assert len(world.lines(w.LEDGER)) == SPANS

    warm = [found for found in samples if WARM * SPANS <= found.done < SPANS]
    assert len(warm) > 10
    grown = max(found.resident for found in warm) - warm[0].resident
    files = {found.files for found in warm}
    threads = {found.threads for found in warm}
    print(
        f"{SPANS} spans in {seconds:.0f} s ({SPANS / seconds:.0f} per second): "
        f"{warm[0].resident / 2**20:.1f} MiB at {WARM:.0%} of the run, at most "
        f"{grown / 2**20:+.1f} MiB afterwards; {min(files)} to {max(files)} open files, "
        f"{min(threads)} to {max(threads)} threads"
    )
    assert grown < GROWTH_BYTES
    assert max(files) - min(files) <= 2 * FILES_MORE_OR_LESS
    assert max(threads) - min(threads) <= 1
