"""Whether every slot is busy: many fake hosts and slots, beside the one-at-a-time driver.

Slot time is measured at the hosts: the time in which calls were under way, from the first call's
start to the last one's, over slots times that time. SECONDS=N sets how long each run takes.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import _world as world
from llmc import engine

SECONDS = float(os.environ.get("SECONDS", "20"))


def measure(name: str, hosts: int, slots: int, latency: float) -> None:
    spans = int(SECONDS * hosts * slots / latency)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = world.make_repository(Path(folder, "repo"), spans)
        fakes = [stack.enter_context(world.host(latency=latency)) for _ in range(hosts)]
        urls = [fake.url for fake in fakes]
        alone = world.driver(settings, urls, max(4, int(5 / latency))).pace
        for fake in fakes:
            fake.process.terminate()
            fake.process.communicate(timeout=30)
        fakes = [stack.enter_context(world.host(latency=latency)) for _ in range(hosts)]
        run = world.settings_for(settings, [fake.url for fake in fakes], concurrency=slots)
        report = engine.enrich(run.repo, run)
        share = world.busy_share(fakes, slots)
        peak = [fake.stats()["peak_in_flight"] for fake in fakes]
    pace = report.enriched / report.wall_sec
    print(
        f"slots    {name}: busy {share:.1%} of slot time (goal 97 %), {report.enriched} spans, "
        f"{pace:.1f} spans/s; driver alone {alone:.2f} spans/s: {pace / alone:.0f} times; "
        f"most in flight per host {max(peak)}"
    )


def main() -> None:
    measure("3 hosts x 4 slots x 250 ms", 3, 4, 0.25)
    measure("1 host x 64 slots x 500 ms", 1, 64, 0.5)


if __name__ == "__main__":
    main()
