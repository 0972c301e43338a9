"""What the embedded model does with real code: spans of the standard library's `json` package.

Prints valid replies at the first attempt, tokens written per span, prompt tokens evaluated per
span after the first, and spans per minute. SPANS=N takes another number than 20.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from llmc import engine
from llmc.events import AttemptFinished, Event
from llmc.run.selection import select
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings


def main() -> None:
    spans = int(os.environ.get("SPANS", "20"))
    outcomes = []

    def watch(event: Event) -> None:
        if isinstance(event, AttemptFinished):
            outcomes.append(event.outcome)

    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder, "json")
        shutil.copytree(
            Path(json.__file__).parent, repo, ignore=shutil.ignore_patterns("__pycache__")
        )
        subprocess.run(["git", "init", "-q", str(repo)], check=True)
        settings = load_settings(repo, Flags(backend="embedded", limit=spans), environ={})
        settings = select(settings).settings.change(limit=spans)
        engine.index(repo, settings)
        started = time.perf_counter()
        report = engine.enrich(repo, settings, hooks=(watch,))
        taken = time.perf_counter() - started
    first = [outcome for outcome in outcomes if outcome.attempt.number == 1]
    valid = sum(outcome.success for outcome in first)
    written = [outcome.completion_tokens or 0 for outcome in outcomes if outcome.success]
    print(f"embedded valid at the first attempt  {valid}/{len(first)}")
    print(f"embedded tokens written per span     {sum(written) / max(1, len(written)):.0f}")
    print(
        f"embedded spans per minute            {report.enriched / taken * 60:.1f} "
        f"({report.enriched} spans in {taken:.0f} s)"
    )


if __name__ == "__main__":
    main()
