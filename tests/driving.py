"""What the tests of the batch driver share: a repository with an index, a run of the script.

The index is written here with plain sqlite3 in the established schema, as another program would.
The script runs as a process of its own, in an environment that holds nothing but what a test puts
there; it is forked off a process that has done the imports, as 0.3 s of start add up over hundreds
of runs. What is read back (calls at the fake hosts, records, rows, saved replies) is evidence from
outside; nothing of the package is imported but the fakes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import multiprocessing
import os
import re
import runpy
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from llmc.testing import faults
from llmc.testing.gateway import gateway_calls
from llmc.testing.ollama import Call, FakeOllama
from llmc.testing.script import Scripted

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "qwen_enrich_batch.py"
INDEX = ".rag/index_v2.db"

SECONDS = 120
"""How long a run may take."""

SMALL_MODEL = "qwen2.5:7b-instruct-q4_K_M"
LARGE_MODEL = "qwen2.5:14b-instruct-q4_K_M"

DEAD_URL = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""

NO_HOST = {"OLLAMA_URL": DEAD_URL, "ENRICH_HEALTHCHECK_ENABLED": "0"}
"""For runs that only need a gateway."""

SCHEMA = """
CREATE TABLE files (id INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL, lang TEXT NOT NULL,
  file_hash TEXT NOT NULL, size INTEGER NOT NULL, mtime REAL NOT NULL);
CREATE TABLE spans (id INTEGER PRIMARY KEY,
  file_id INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE, symbol TEXT NOT NULL,
  kind TEXT NOT NULL, start_line INTEGER NOT NULL, end_line INTEGER NOT NULL,
  byte_start INTEGER NOT NULL, byte_end INTEGER NOT NULL, span_hash TEXT NOT NULL UNIQUE,
  doc_hint TEXT NULL, created_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE embeddings_meta (model TEXT PRIMARY KEY, dim INTEGER NOT NULL,
  created_at DATETIME NOT NULL);
CREATE TABLE embeddings (
  span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE, vec BLOB NOT NULL);
CREATE TABLE enrichments (
  span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE, summary TEXT,
  tags TEXT, evidence TEXT, model TEXT, created_at DATETIME, schema_ver TEXT, inputs TEXT,
  outputs TEXT, side_effects TEXT, pitfalls TEXT, usage_snippet TEXT);
CREATE INDEX idx_files_path ON files(path);
CREATE INDEX idx_spans_file_id ON spans(file_id);
CREATE INDEX idx_spans_span_hash ON spans(span_hash);
"""


@dataclass(frozen=True)
class Piece:
    """One span: a name that its text carries as "mark:NAME", by which replies are chosen."""

    name: str
    text: str | bytes
    lines: int | None = None

    @property
    def raw(self) -> bytes:
        return self.text.encode() if isinstance(self.text, str) else self.text


def plain(name: str, lines: int = 3) -> Piece:
    """Make a span of so many lines without a single bracket."""
    rest = "".join(f"value = {number}\n" for number in range(1, lines))
    return Piece(name, f"# mark:{name}\n{rest}")


def deep(name: str) -> Piece:
    """Make a span of one line that is 7 levels deep, for which the router starts at nano."""
    return Piece(name, f"# mark:{name} {'{' * 7}{'}' * 7}\n")


@dataclass
class Repo:
    """A git repository with an index; `hashes` maps the name of each span to its hash."""

    root: Path
    hashes: dict[str, str] = field(default_factory=dict)
    places: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    @property
    def index(self) -> Path:
        return self.root / INDEX

    def write(self, path: str, text: str | bytes) -> Path:
        """Write a file of the repository."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        return target

    def name(self, span_hash: str) -> str:
        """Return the name of the span with this hash."""
        return next(name for name, known in self.hashes.items() if known == span_hash)

    def query(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Ask the index something."""
        with closing(sqlite3.connect(self.index)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(sql, values)]

    def execute(self, sql: str, *values: Any) -> None:
        """Change the index by hand."""
        with closing(sqlite3.connect(self.index)) as database:
            database.execute(sql, values)
            database.commit()

    def add(self, path: str, *pieces: Piece, lang: str = "python", age: float = 86400) -> None:
        """Add a file, made of the spans one after the other and changed `age` seconds ago."""
        raw = b"".join(piece.raw for piece in pieces)
        mtime = time.time() - age
        os.utime(self.write(path, raw), (mtime, mtime))
        with closing(sqlite3.connect(self.index)) as database:
            file_id = database.execute(
                "INSERT INTO files (path, lang, file_hash, size, mtime) VALUES (?, ?, ?, ?, ?)",
                (path, lang, hashlib.sha256(raw).hexdigest(), len(raw), mtime),
            ).lastrowid
            line, start = 1, 0
            for piece in pieces:
                count = piece.lines or max(1, piece.raw.count(b"\n"))
                end, last = start + len(piece.raw), line + count - 1
                name = "sha256:" + hashlib.sha256(lang.encode() + piece.raw).hexdigest()
                database.execute(
                    "INSERT INTO spans (file_id, symbol, kind, start_line, end_line, byte_start, "
                    "byte_end, span_hash) VALUES (?, ?, 'function', ?, ?, ?, ?, ?)",
                    (file_id, piece.name, line, last, start, end, name),
                )
                self.hashes[piece.name] = name
                self.places[piece.name] = (path, line, last)
                line, start = last + 1, end
            database.commit()


def make_index(path: Path) -> None:
    """Make an empty index in the established schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA)


def make_repo(root: Path, *pieces: Piece) -> Repo:
    """Make a git repository whose index has these spans, each in a file of its own."""
    root.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", root], check=True)
    make_index(root / INDEX)
    repo = Repo(root)
    for piece in pieces:
        repo.add(f"src/{piece.name}.py", piece)
    return repo


# -- what the fake hosts answer ------------------------------------------------------------------

VALIDATION = '{"surprise": 1}'
PARSE = '{"summary_120w": oops}'
TRUNCATION = '{"summary_120w": "breaks o'
LETTERS: Mapping[str, Scripted] = {
    "G": None,
    "V": VALIDATION,
    "P": PARSE,
    "T": TRUNCATION,
    "R": faults.NotJson(),
}
"""A reply for each outcome of an attempt; R is a body that is refused at once, without retry."""


class Replies:
    """A script: for each named span a list of answers over all hosts, of which the last repeats."""

    def __init__(self, plans: Mapping[str, Sequence[Scripted]] | None = None) -> None:
        self._plans = dict(plans or {})
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> Scripted:
        name = marked(call.prompt)
        with self._lock:
            number = self._seen[name]
            self._seen[name] += 1
        plan = self._plans.get(name)
        return plan[min(number, len(plan) - 1)] if plan else None


def lettered(*names: str) -> Replies:
    """Answer each span as the letters say with which its name begins: VVG_1 gets V, V, G, G..."""
    return Replies({name: [LETTERS[kind] for kind in name.split("_")[0]] for name in names})


def marked(prompt: str) -> str:
    """Return the name of the span that a prompt is about."""
    found = re.search(r"mark:(\w+)", prompt)
    assert found, prompt
    return found.group(1)


def trace(name: str, hosts: Mapping[str, FakeOllama], gateway: Path | None = None) -> str:
    """Return the calls made for a span in order: tier@LABEL of a host by its model, or nano."""
    found = [
        (call.started, ("14b@" if "14b" in call.model else "7b@") + label)
        for label, host in hosts.items()
        for call in host.calls
        if marked(call.prompt) == name
    ]
    if gateway:
        calls = [call for call in gateway_calls(gateway) if marked(call.prompt or "") == name]
        found += [(call.time, "nano") for call in calls]
    return " ".join(step for _, step in sorted(found))


@contextmanager
def serving(status: int, wait: float = 0.0) -> Iterator[str]:
    """Serve every request with a bare status after a wait; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            released.wait(wait)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

    released = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


# -- a run and what it left behind ---------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One run of the script, and what lies in the repository after it."""

    repo: Repo
    status: int
    stdout: str
    stderr: str
    seconds: float

    @cached_property
    def ledger(self) -> dict[str, dict[str, Any]]:
        """The ledger's records by the names of their spans, in the file's order."""
        return self._records("logs/run_ledger.log", "task_id")

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The metrics records by the names of their spans, in the file's order."""
        return self._records("logs/enrichment_metrics.jsonl", "span_hash")

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The stored enrichments by the names of their spans."""
        rows = self.repo.query("SELECT * FROM enrichments ORDER BY rowid")
        return {self.repo.name(row["span_hash"]): row for row in rows}

    @cached_property
    def saved(self) -> dict[str, str]:
        """The saved replies by their file names."""
        folder = self.repo.root / "logs/failed_enrichments"
        return {path.name: path.read_bytes().decode() for path in sorted(folder.glob("*"))}

    def _records(self, path: str, key: str) -> dict[str, dict[str, Any]]:
        records = json_lines(self.repo.root / path)
        found = {self.repo.name(record[key]): record for record in records}
        assert len(found) == len(records), "a span has two records"
        return found


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; one that is not there has none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def environment(
    hosts: Mapping[str, FakeOllama | str] | None = None, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return an environment with nothing in it but the host chain and what a test wants."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    environ["XDG_CONFIG_HOME"] = os.environ["XDG_CONFIG_HOME"]  # as tests.conftest sets it
    if hosts:
        environ["ENRICH_OLLAMA_HOSTS"] = ",".join(
            f"{label}={host if isinstance(host, str) else host.url}"
            for label, host in hosts.items()
        )
    return environ | dict(more or {})


def drive(
    repo: Repo,
    *flags: object,
    hosts: Mapping[str, FakeOllama | str] | None = None,
    env: Mapping[str, str] | None = None,
    bare: bool = False,
) -> Run:
    """Run the script from outside the repository, with --repo, --retry-wait 0 and the flags.

    A `bare` run has nothing but the flags, and is started from nothing in the repository, as from
    a shell.
    """
    environ, started = environment(hosts, env), time.monotonic()
    if bare:
        words = list(map(str, flags))
        result = subprocess.run(
            [sys.executable, SCRIPT, *words],
            env=environ,
            cwd=repo.root,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        status, stdout, stderr = result.returncode, result.stdout, result.stderr
    else:
        words = list(map(str, ["--repo", repo.root, "--retry-wait", 0, *flags]))
        status, stdout, stderr = _forked(words, environ, repo.root.parent)
    assert "Traceback" not in stderr, stderr
    return Run(repo, status, stdout, stderr, time.monotonic() - started)


_WARM = multiprocessing.get_context("forkserver")
_WARM.set_forkserver_preload(["tests.driving", "llmc.engine", "llmc.backends.openai", "yaml"])


def _forked(words: list[str], environ: dict[str, str], folder: Path) -> tuple[int, str, str]:
    with tempfile.TemporaryDirectory() as name:
        output, errors = Path(name, "stdout"), Path(name, "stderr")
        process = _WARM.Process(target=_script, args=(words, environ, folder, output, errors))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode, output.read_text(), errors.read_text()


def _script(
    words: list[str], environ: dict[str, str], folder: Path, output: Path, errors: Path
) -> None:
    for path, descriptor in ((output, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    os.chdir(folder)
    sys.argv = [str(SCRIPT), *words]
    runpy.run_path(str(SCRIPT), run_name="__main__")


def load_script() -> Any:
    """Return the script as a module, for the parts of it that are called by their names."""
    spec = importlib.util.spec_from_file_location("qwen_enrich_batch", SCRIPT)
    assert spec, "the script is there"
    assert spec.loader, "and can be loaded"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


class Is:
    """Equal to every value of these types (a bool is no int), if it also passes the check."""

    def __init__(self, *types: type, check: Callable[[Any], bool] = lambda value: True) -> None:
        self._types = types
        self._check = check

    def __eq__(self, other: object) -> bool:
        return type(other) in self._types and self._check(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<any {' or '.join(kind.__name__ for kind in self._types)}>"


NUMBER = Is(int, float, check=lambda value: bool(value >= 0))
STAMP = Is(str, int, float)
