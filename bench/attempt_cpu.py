"""CPU per attempt, from planning to stored row and records, and where it goes.

The hosts are processes of their own, so their CPU does not count. PROFILE=1 prints the functions
that take most of the main thread's time.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import _world as world
from llmc import engine
from llmc.models import RunReport

SPANS = int(os.environ.get("SPANS", "4000"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = world.make_repository(Path(folder, "repo"), SPANS)
        fakes = [stack.enter_context(world.host(latency=0.05)) for _ in range(2)]
        driven = world.driver(settings, [fake.url for fake in fakes], 100)
        run = world.settings_for(settings, [fake.url for fake in fakes], concurrency=4)
        before = time.process_time()

        def enrich() -> RunReport:
            return engine.enrich(run.repo, run)

        if os.environ.get("PROFILE"):
            profile = cProfile.Profile()
            report = profile.runcall(enrich)
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        else:
            report = enrich()
        used = time.process_time() - before
    assert report.enriched == SPANS, report
    print(
        f"attempt_cpu  {used / SPANS * 1000:.2f} ms CPU per attempt (goal 1.0, aim 0.5), "
        f"{SPANS} spans at {report.enriched / report.wall_sec:.0f} spans/s; the driver on 100, "
        f"with its start {driven.cpu / driven.spans * 1000:.2f} ms, {driven.pace:.0f} spans/s"
    )


if __name__ == "__main__":
    main()
