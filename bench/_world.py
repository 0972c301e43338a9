"""What the engine's benches share: generated repositories, fake hosts in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmc.settings.config import Settings
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.store.store import Store

ROOT = Path(__file__).resolve().parent.parent
PER_FILE = 100
SMALL = "qwen2.5:7b-instruct-q4_K_M"


def function(number: int) -> str:
    """Return the text of one span: a function of nine lines, which starts at the small tier."""
    return (
        f"def work_{number}(value, factor={number}):\n"
        f'    """Return what step {number} of the plan makes of a value."""\n'
        "    total = 0\n"
        "    for step in range(factor):\n"
        "        total += value * step\n"
        f"    if total > {number}:\n"
        f'        raise ValueError("step {number} went too far")\n'
        "    remember(total)\n"
        "    return total\n"
    )


def make_repository(repo: Path, spans: int) -> Settings:
    """Write a repository of so many spans and its index, without parsing anything."""
    repo.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    (repo / ".gitignore").write_text(".rag/\nlogs/\n")
    settings = load_settings(repo, environ={})
    with Store.open(settings.index_path, create=True):
        pass
    with closing(sqlite3.connect(settings.index_path)) as database:
        for start in range(0, spans, PER_FILE):
            _add_file(repo, database, start, min(spans, start + PER_FILE))
        database.commit()
    return settings


def _add_file(repo: Path, database: sqlite3.Connection, start: int, end: int) -> None:
    name = f"module_{start // PER_FILE:05d}.py"
    texts = [function(number).encode() for number in range(start, end)]
    raw = b"\n".join(texts)
    path = repo / name
    path.write_bytes(raw)
    stat = path.stat()
    digest = hashlib.sha256(raw).hexdigest()
    file_id = database.execute(
        "INSERT INTO files (path, lang, file_hash, size, mtime) VALUES (?, 'python', ?, ?, ?)",
        (name, digest, stat.st_size, stat.st_mtime),
    ).lastrowid
    offset, rows = 0, []
    for number, text in enumerate(texts):
        line = 1 + number * 10
        span_hash = f"sha256:{hashlib.sha256(b'python' + text.rstrip()).hexdigest()}"
        place = (line, line + 8, offset, offset + len(text.rstrip()))
        rows.append((file_id, f"work_{start + number}", "function", *place, span_hash))
        offset += len(text) + 1
    database.executemany(
        "INSERT INTO spans (file_id, symbol, kind, start_line, end_line, byte_start, byte_end, "
        "span_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


@dataclass
class Host:
    """A fake Ollama in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    def stats(self) -> dict[str, Any]:
        """Return its counts so far."""
        found: dict[str, Any] = self._ask("stats")
        return found

    def calls(self) -> list[dict[str, Any]]:
        """Return the record of each call, with the times at which it came and was answered."""
        found: list[dict[str, Any]] = self._ask("calls")
        return found

    def _ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/_fake/{what}", timeout=60) as answer:
            return json.load(answer)


@contextmanager
def host(**options: object) -> Iterator[Host]:
    """Run a fake host; the options are those of `python -m llmc.testing.ollama`."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "llmc.testing.ollama", "--no-bodies", *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        yield Host(process.stdout.readline().strip(), process)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def load(repo: Path) -> Settings:
    """Return the settings of a generated repository with nothing configured."""
    return load_settings(repo, environ={})


def settings_for(settings: Settings, hosts: list[str], **changes: Any) -> Settings:
    """Return the settings of a run on these hosts."""
    chain = ",".join(f"host{number}={url}" for number, url in enumerate(hosts))
    flags = Flags(retry_wait=0.0)
    environ = {"ENRICH_OLLAMA_HOSTS": chain, **user_folder(settings)}
    loaded = load_settings(settings.repo, flags, environ)
    return loaded.change(**changes)


def user_folder(settings: Settings) -> dict[str, str]:
    """Return what names a user's folder beside the repository: the real one is left alone."""
    return {"XDG_CONFIG_HOME": str(settings.repo.parent / "config")}


def forget(settings: Settings) -> None:
    """Take all results out of an index again."""
    with closing(sqlite3.connect(settings.index_path)) as database:
        for table in ("enrichments", "llmc_outcomes", "llmc_failures", "llmc_claims"):
            database.execute(f"DELETE FROM {table}")
        database.commit()


def busy_share(hosts: list[Host], slots: int) -> float:
    """Return the share of slot time in which calls were under way, from first to last start.

    The end, when no work is left to fill a slot with, is not counted.
    """
    calls = [call for each in hosts for call in each.calls()]
    begin, end = min(c["started"] for c in calls), max(c["started"] for c in calls)
    busy: float = sum(min(call["ended"] or end, end) - call["started"] for call in calls)
    return float(busy / ((end - begin) * slots * len(hosts)))


@dataclass(frozen=True)
class Driven:
    """What the batch driver took: seconds, and CPU seconds of its process, start-up included."""

    spans: int
    seconds: float
    cpu: float

    @property
    def pace(self) -> float:
        """Spans per second."""
        return self.spans / self.seconds


def driver(settings: Settings, hosts: list[str], spans: int) -> Driven:
    """Run the batch driver, one span at a time, for so many spans; what it stored is forgotten."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            sys.executable,
            str(ROOT / "scripts/qwen_enrich_batch.py"),
            *("--repo", str(settings.repo), "--max-spans", str(spans), "--retry-wait", "0"),
        ],
        env={**os.environ, "ENRICH_OLLAMA_HOSTS": ",".join(hosts), **user_folder(settings)},
        check=True,
        capture_output=True,
    )
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    forget(settings)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Driven(spans, seconds, cpu)
