"""How long the batch driver takes from its start to its first request, on an index of 10,000 spans.

The request that counts is the first call for a reply; the health check comes before it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llmc import engine
from llmc.settings.loading import load_settings
from llmc.testing.ollama import FakeOllama

ROOT = Path(__file__).resolve().parent.parent
SPANS = 10_000
PER_FILE = 100
RUNS = 7


def make_repository(repo: Path) -> None:
    repo.mkdir()
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    for number in range(SPANS // PER_FILE):
        functions = (
            f"def work_{number}_{i}(value):\n    return value * {i} + {number}\n"
            for i in range(PER_FILE)
        )
        (repo / f"module_{number}.py").write_text("\n".join(functions))
    report = engine.index(repo, load_settings(repo, environ={}))
    assert report.spans == SPANS, report


def first_request(repo: Path) -> float:
    with FakeOllama() as fake:
        started = time.time()
        subprocess.run(
            [
                sys.executable,
                str(ROOT / "scripts/qwen_enrich_batch.py"),
                *("--repo", str(repo), "--max-spans", "1"),
            ],
            env=dict(os.environ, ENRICH_OLLAMA_HOSTS=fake.url),
            check=True,
            capture_output=True,
        )
        return fake.calls[0].started - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder, "repo")
        make_repository(repo)
        first_request(repo)
        taken = [first_request(repo) for _ in range(RUNS)]
    print(
        f"driver   start to first request, {SPANS:,} spans: median "
        f"{statistics.median(taken) * 1000:.0f} ms, worst {max(taken) * 1000:.0f} ms of {RUNS}"
    )


if __name__ == "__main__":
    main()
