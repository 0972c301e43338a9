"""What the chaos tests stand on: repositories, the command as a process, a look at what it left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONG = os.environ.get("LLMC_CHAOS") == "1"
"""Whether each proof is to be given at length."""

PATIENCE_SEC = 3600.0 if LONG else 240.0
"""After so long a process that should have ended counts as one that never will."""

ENDINGS = (0, 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM)
"""The exit statuses that `llmc --help` names."""

POLL_SEC = 0.002
_NAME = re.compile(r"\bdef (work_\d+)\(")


def small(number: int) -> str:
    """Return a function that starts at the small tier."""
    return (
        f"def work_{number}(value, factor={number}):\n"
        f'    """Return what step {number} of the plan makes of a value."""\n'
        "    total = 0\n"
        "    for step in range(factor):\n"
        "        total += value * step\n"
        f'    raise ValueError("step {number} went too far: " + str(total))\n'
    )


def nested(number: int) -> str:
    """Return a function that starts at the middle tier: it is nested deeper than 3."""
    return (
        f"def work_{number}(rows):\n"
        "    for row in rows:\n"
        "        for cell in row:\n"
        f"            if cell > {number}:\n"
        "                while cell:\n"
        "                    cell = next(row)\n"
        "    return rows\n"
    )


def deep(number: int) -> str:
    """Return a function that starts at the cloud tier: its brackets are deeper than 6."""
    return f"def work_{number}():\n    found = [[[[[[[{number}]]]]]]]\n    return found\n"


def name_in(prompt: str) -> str:
    """Return which of these functions a prompt is about."""
    found = _NAME.search(prompt)
    assert found, prompt
    return found[1]


def make_repository(repo: Path) -> Path:
    """Make an empty git repository that ignores what llmc writes."""
    repo.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    (repo / ".gitignore").write_text(".rag/\nlogs/\n")
    return repo


def write_functions(
    repo: Path, numbers: Iterable[int], shape: Callable[[int], str] = small, per_file: int = 50
) -> None:
    """Write functions with these numbers, so many to a file."""
    every = list(numbers)
    for start in range(0, len(every), per_file):
        some = every[start : start + per_file]
        (repo / f"module_{some[0]:06d}.py").write_text("\n\n".join(map(shape, some)))


@dataclass
class Running:
    """A command that was started; what it says goes into a file."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs; below 0 for a signal that ended it."""
        return self.process.poll()

    def wait(self) -> int:
        """Wait for its end and return the exit status; one that does not end fails the test."""
        try:
            return self.process.wait(PATIENCE_SEC)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it never ended:\n{self.said}") from None

    def kill(self) -> None:
        """End it as a power cut would, without a chance to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class World:
    """A repository, and the environment in which llmc runs on it."""

    repo: Path
    environ: Mapping[str, str]

    @property
    def index(self) -> Path:
        return self.repo / ".rag" / "index_v2.db"

    def with_hosts(self, *urls: str) -> World:
        """Return the same repository with other Ollama hosts: host1, host2, ..."""
        return World(self.repo, {**self.environ, "ENRICH_OLLAMA_HOSTS": ",".join(urls)})

    def start(self, command: str, *words: str) -> Running:
        """Start a command of llmc on the repository."""
        with tempfile.NamedTemporaryFile(dir=self.repo.parent, delete=False) as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "llmc", *command.split(), str(self.repo), *words],
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return Running(process, Path(log.name))

    def run(self, command: str, *words: str) -> tuple[int, str]:
        """Run a command of llmc to its end; return its exit status and all that it said."""
        running = self.start(command, *words)
        return running.wait(), running.said

    def trust(self) -> None:
        """Take the repository's settings as the user's own word."""
        status, said = self.run("trust", "--yes")
        assert status == 0, said

    def audit(self, *words: str) -> dict[str, Any]:
        """Run `llmc ledger check`; it must find or make the logs and the index agree."""
        status, said = self.run("ledger check", "--json", *words)
        assert status == 0, said
        found: dict[str, Any] = json.loads(said)
        return found

    def lines(self, log: str) -> list[bytes]:
        """Return the lines of a log under logs/; the last one must be whole."""
        raw = (self.repo / "logs" / log).read_bytes()
        assert not raw or raw.endswith(b"\n"), raw[-200:]
        return raw.splitlines()

    def records(self, log: str) -> list[dict[str, Any]]:
        """Return the records of a log under logs/; each line must be one."""
        return [json.loads(line) for line in self.lines(log)]


METRICS, LEDGER = "enrichment_metrics.jsonl", "run_ledger.log"


@contextmanager
def looked_at(index: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy of an index as it lies there, so that looking changes nothing about it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "index.db")
        for suffix in ("", "-wal"):
            if Path(f"{index}{suffix}").exists():
                shutil.copyfile(f"{index}{suffix}", f"{copy}{suffix}")
        with closing(sqlite3.connect(copy)) as database:
            yield database


def stored(database: sqlite3.Connection) -> dict[str, tuple[Any, ...]]:
    """Return the stored enrichments whole, by the hash of their span."""
    there = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'enrichments'").fetchone()
    rows = database.execute("SELECT * FROM enrichments").fetchall() if there else []
    return {row[0]: row for row in rows}


def count(database: sqlite3.Connection, what: str) -> int:
    """Count the rows of a table, with a WHERE clause if there is one behind its name."""
    number: int = database.execute(f"SELECT count(*) FROM {what}").fetchone()[0]
    return number


def assert_clean_end(world: World) -> None:
    """Check what holds after every end but that of a kill: sound, nothing claimed, nothing left."""
    with looked_at(world.index) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert count(database, "llmc_claims") == 0
    beside = {path.name for path in world.index.parent.iterdir()}
    may_be = {f"{world.index.name}{suffix}" for suffix in ("-wal", "-shm", ".kept")}
    assert beside - may_be == {".gitignore", world.index.name}, beside


def wait_until(happened: Callable[[], object], running: Running | None = None) -> None:
    """Wait for something; an end of the process, or too long a time, fails the test."""
    deadline = time.monotonic() + PATIENCE_SEC
    while not happened():
        assert running is None or running.status is None, running.said
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(POLL_SEC)
