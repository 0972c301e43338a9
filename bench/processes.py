"""Ten processes started on one index by mistake: they share the work, nobody pays twice."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench import _world as world
from llmc.testing.ollama import FakeOllama

PROCESSES = 10
SPANS = 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, FakeOllama(latency=0.05) as fake:
        settings = world.make_repository(Path(folder, "repo"), SPANS)
        command = [sys.executable, "-m", "llmc", "enrich", str(settings.repo), "--quiet"]
        environ = dict(os.environ, ENRICH_OLLAMA_HOSTS=fake.url)
        started = time.monotonic()
        runs = [
            subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        errors = [run.communicate()[1] for run in runs]
        taken = time.monotonic() - started
        asked = Counter(call.prompt for call in fake.calls)
        statuses = Counter(run.returncode for run in runs)
    locked = sum("locked" in text for text in errors)
    twice = sum(count > 1 for count in asked.values())
    print(
        f"processes  {PROCESSES} on one index of {SPANS} spans: {locked} lock errors, {twice} "
        f"spans paid twice, {len(asked)} asked, exit statuses {dict(statuses)}, {taken:.0f} s"
    )


if __name__ == "__main__":
    main()
