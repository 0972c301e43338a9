"""A repository of 200,000 files and 500,000 spans: time to the first call, `status`, `show PATH`.

Half of the spans are enriched, with the marks of this installation. The figures are medians of
three commands, each a process of its own, from its start; the first call is that of `llmc enrich`,
with its look at every file. `status` is timed three times: at first, right after a change of the
index, and when it has counted that state before. Beside each time stands the CPU that the command
took in all, which a busy machine changes less. FILES=2000 takes another size, with as many spans a
file.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench import _world as world
from llmc.facts.codec import VERSION
from llmc.settings.loading import load_settings
from llmc.store import installation
from llmc.store.remembered import SETTLED_SEC
from llmc.store.seal import Seal
from llmc.store.store import Store

FILES = int(os.environ.get("FILES", "200000"))
SPANS_IN_TWO_FILES = 5
FILES_IN_FOLDER = 500
TRIES = 3
CREATED = 1_700_000_000
_SPANS = (
    "INSERT INTO spans (id, file_id, symbol, kind, start_line, end_line, byte_start, byte_end, "
    "span_hash) VALUES (?, ?, ?, 'function', ?, ?, ?, ?, ?)"
)
_RESULTS = (
    "INSERT INTO enrichments (span_hash, summary, evidence, model, created_at, schema_ver, inputs, "
    "outputs, side_effects, pitfalls) VALUES (?, ?, '[]', 'm', ?, 'v1', '[]', '[]', '[]', '[]')"
)
_OUTCOMES = (
    "INSERT INTO llmc_outcomes (span_hash, result, reason, tier, backend, model, attempts, "
    "failed_runs, prompt_tokens, completion_tokens, wall_ms, updated_at) "
    "VALUES (?, 'pass', 'success', '7b', 'ollama', 'm', 1, 0, 300, 60, 2000, 1.7e9)"
)
_READ_FOR_FACTS = "INSERT INTO llmc_facts_read VALUES (?, ?, ?)"
_MARKS = "INSERT INTO llmc_origins VALUES (?, ?, 'result', ?, NULL, ?)"


def make_repository(repo: Path, seal: Seal) -> None:
    """Write the files and their index, without parsing anything."""
    repo.mkdir()
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    (repo / ".gitignore").write_text(".rag/\nlogs/\n")
    settings = load_settings(repo, environ={})
    Store.open(settings.index_path, create=True).close()
    with closing(sqlite3.connect(settings.index_path)) as database:
        for number in range(FILES):
            _add_file(repo, database, number, seal)
        database.commit()


def _add_file(repo: Path, database: sqlite3.Connection, number: int, seal: Seal) -> None:
    name = path_of(number)
    path = repo / name
    if number % FILES_IN_FOLDER == 0:
        path.parent.mkdir()
    first = number // 2 * SPANS_IN_TWO_FILES + number % 2 * (SPANS_IN_TWO_FILES // 2)
    count = SPANS_IN_TWO_FILES // 2 + number % 2
    texts = [
        f"def work_{each}():\n    return {each}\n".encode() for each in range(first, first + count)
    ]
    raw = b"".join(texts)
    path.write_bytes(raw)
    stat = path.stat()
    database.execute(
        "INSERT INTO files VALUES (?, ?, 'python', ?, ?, ?)",
        (number + 1, name, hashlib.sha256(raw).hexdigest(), stat.st_size, stat.st_mtime),
    )
    database.execute(_READ_FOR_FACTS, (number + 1, seal.installation, VERSION))
    offset = 0
    for line, text in enumerate(texts):
        each = first + line
        start, end = 1 + 2 * line, 2 + 2 * line
        span_hash = f"sha256:{hashlib.sha256(b'python' + text.rstrip()).hexdigest()}"
        place = (start, end, offset, offset + len(text.rstrip()))
        database.execute(_SPANS, (each + 1, number + 1, f"work_{each}", *place, span_hash))
        offset += len(text)
        if each % 2:
            summary = f"Returns {each}."
            row = (summary, None, "[]", "m", CREATED, "v1", "[]", "[]", "[]", "[]", None)
            database.execute(_RESULTS, (span_hash, summary, CREATED))
            database.execute(_OUTCOMES, (span_hash,))
            mac = seal.sign("result", span_hash, start, None, *row)
            database.execute(_MARKS, (span_hash, seal.installation, start, mac))


def path_of(number: int) -> str:
    return f"part_{number // FILES_IN_FOLDER}/module_{number}.py"


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds that a command took, and seconds of CPU."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s (CPU {self.cpu:.2f})"


def find_median(taken: list[Taken]) -> Taken:
    return Taken(
        statistics.median(each.wall for each in taken),
        statistics.median(each.cpu for each in taken),
    )


def time_command(*words: str, environ: dict[str, str]) -> Taken:
    """Run a command and return what it took."""
    began, before = time.monotonic(), count_cpu()
    subprocess.run(
        [sys.executable, "-m", "llmc", *words], env=environ, check=True, capture_output=True
    )
    return Taken(time.monotonic() - began, count_cpu() - before)


def count_cpu() -> float:
    """Return the seconds of CPU of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def time_first_call(repo: Path, environ: dict[str, str]) -> Taken:
    """Return the seconds from the start of `llmc enrich` to its first call, and all of its CPU."""
    with world.host() as fake:
        hosts = {"ENRICH_OLLAMA_HOSTS": fake.url}
        began = time.time()
        taken = time_command(
            "enrich", str(repo), "--limit", "1", "--quiet", environ=environ | hosts
        )
        return Taken(float(fake.calls()[0]["started"]) - began, taken.cpu)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environ = dict(os.environ, XDG_CONFIG_HOME=folder)
        seal = installation.load_seal(environ, print, make=True)
        assert seal is not None
        repo = Path(folder, "repo")
        make_repository(repo, seal)
        path = path_of(FILES // 2)
        enrich, counted, remembered, show = [], [], [], []
        at_first = time_command("status", str(repo), environ=environ)
        for _ in range(TRIES):
            enrich.append(time_first_call(repo, environ))
            time.sleep(SETTLED_SEC)
            counted.append(time_command("status", str(repo), environ=environ))
            remembered.append(time_command("status", str(repo), environ=environ))
            show.append(time_command("show", path, "--repo", str(repo), environ=environ))
        print(
            f"large_index  {FILES:,} files, {FILES * SPANS_IN_TWO_FILES // 2:,} spans: "
            f"first call after {find_median(enrich)}, goal 3; "
            f"status {find_median(remembered)}, goal 0.5; "
            f"after a change {find_median(counted)}; at first {at_first}; "
            f"show PATH {find_median(show)}, goal 0.2"
        )


if __name__ == "__main__":
    main()
