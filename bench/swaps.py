"""Model swaps: 500 spans of which 30 % are promoted, on one host that charges for a swap.

The depth-first order (`--hosts failover`, the batch driver's) against the blocks of `spread`.
A swap costs 0.3 s here and a reply 30 ms, the proportion of a real 7b: 5 s to 0.5 s.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import _world as world
from llmc import engine
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama
from llmc.testing.script import Call, Scripted

SPANS = 500
SHARE = 0.3
SWAP_SEC = 0.3
LATENCY = 0.03


def script(call: Call) -> Scripted:
    """Let the small model fail at 30 % of the spans, always the same ones."""
    digest = hashlib.sha256(call.prompt.encode()).digest()
    fails = call.model == world.SMALL and digest[0] < 256 * SHARE
    return faults.Prose() if fails else None


def measure(order: str) -> tuple[float, int, int]:
    """Return seconds, swaps and promotions of a run in this order."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = world.make_repository(Path(folder, "repo"), SPANS)
        fake = stack.enter_context(
            FakeOllama(script, latency=LATENCY, swap_seconds=SWAP_SEC, keep_bodies=False)
        )
        run = world.settings_for(settings, [fake.url], host_order=order)
        report = engine.enrich(run.repo, run)
        assert report.enriched == SPANS, report
        return report.wall_sec, fake.swaps, len(fake.calls) - SPANS


def drive() -> tuple[float, int]:
    """Return seconds and swaps of the batch driver on the same spans."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = world.make_repository(Path(folder, "repo"), SPANS)
        fake = stack.enter_context(
            FakeOllama(script, latency=LATENCY, swap_seconds=SWAP_SEC, keep_bodies=False)
        )
        return world.driver(settings, [fake.url], SPANS).seconds, fake.swaps


def main() -> None:
    driven, driver_swaps = drive()
    deep, deep_swaps, _ = measure("failover")
    blocks, swaps, promoted = measure("spread")
    print(
        f"swaps    {promoted} promotions: {swaps} swaps in blocks (goal: {promoted // 50}), "
        f"{deep_swaps} depth-first; {blocks:.1f} s against {deep:.1f} s, {blocks / deep:.2f} of "
        f"it; the driver {driver_swaps} swaps, {driven:.1f} s"
    )


if __name__ == "__main__":
    main()
