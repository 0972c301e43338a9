"""What grows with the index: time to the first request, memory and cost per span.

Indexes of 1,000, 100,000 and 1,000,000 spans are generated; of each, 1,000 spans are enriched, and
of the largest once more when all but its last 1,000 are enriched already. Each run is a process of
its own. The first request is that of `llmc enrich`, from the start of its process, with its look
at every file of the repository. SIZES=1000,100000 takes other sizes.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench import _world as world
from llmc import engine
from llmc.events import Event, SpanEnriched
from llmc.records.ledger import measure_memory
from llmc.settings.config import Settings

SIZES = [int(size) for size in os.environ.get("SIZES", "1000,100000,1000000").split(",")]
SPANS = 1000
WARM = 100


def child(repo: str, url: str) -> None:
    """Enrich 1,000 spans and print what that took, as JSON."""
    settings = world.load(Path(repo))
    run = world.settings_for(settings, [url], concurrency=8, limit=SPANS)
    seen: dict[str, float] = {}
    count = 0

    def watch(event: Event) -> None:
        nonlocal count
        if isinstance(event, SpanEnriched):
            count += 1
            if count == WARM:
                seen["cpu"], seen["rss"] = time.process_time(), measure_memory() or 0.0
            seen["end"] = time.process_time()

    engine.enrich(run.repo, run, hooks=(watch,))
    cpu = (seen["end"] - seen["cpu"]) / (count - WARM)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - seen["rss"]
    print(json.dumps({"cpu": cpu * 1000, "grown": grown}))


def first_request(repo: Path) -> float:
    """Return the seconds from the start of `llmc enrich` to its first call."""
    with world.host() as fake:
        began = time.time()
        subprocess.run(
            [sys.executable, "-m", "llmc", "enrich", str(repo), "--limit", "1", "--quiet"],
            env=dict(os.environ, ENRICH_OLLAMA_HOSTS=fake.url),
            check=True,
            capture_output=True,
        )
        started: float = fake.calls()[0]["started"]
        return started - began


def measure(name: str, repo: Path) -> None:
    first = first_request(repo)
    with world.host(latency=0.02) as fake:
        result = subprocess.run(
            [sys.executable, __file__, str(repo), fake.url],
            check=True,
            capture_output=True,
            text=True,
        )
    found = json.loads(result.stdout.splitlines()[-1])
    with world.host() as fake:
        driven = world.driver(world.load(repo), [fake.url], 1).seconds
    print(
        f"growth   {name:<34} first request after {first:.2f} s (goal 1), "
        f"{found['cpu']:.2f} ms CPU per span, memory +{found['grown']:.1f} MB (goal 20); "
        f"one span with the driver {driven:.2f} s",
        flush=True,
    )


def enrich_all_but(settings: Settings, spans: int) -> None:
    with closing(sqlite3.connect(settings.index_path)) as database:
        database.execute(
            "INSERT INTO enrichments (span_hash, summary, created_at) "
            "SELECT span_hash, 'known', '0' FROM spans ORDER BY id LIMIT ?",
            (spans - SPANS,),
        )
        database.commit()


def main() -> None:
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            repo = Path(folder, "repo")
            settings = world.make_repository(repo, size)
            measure(f"{size:,} spans", repo)
            if size == max(SIZES):
                world.forget(settings)
                enrich_all_but(settings, size)
                measure(f"{size:,} spans, the last 1,000 left", repo)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(sys.argv[1], sys.argv[2])
    else:
        main()
