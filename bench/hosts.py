"""Hosts of unequal speed share the work by their speed; one that turns up in mid-run takes its own.

The late host is in the chain from the start, but answers only later. Its rate from then on is
compared with what it does alone in a run of its own.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from bench import _world as world
from llmc import engine

SLOTS = 2
LATENCY = 0.2


def unequal() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = world.make_repository(Path(folder, "repo"), 600)
        slow = stack.enter_context(world.host(latency=2 * LATENCY))
        fast = stack.enter_context(world.host(latency=LATENCY))
        driven = world.driver(settings, [slow.url, fast.url], 12)
        before = slow.stats()["calls"]
        run = world.settings_for(settings, [slow.url, fast.url], concurrency=SLOTS)
        report = engine.enrich(run.repo, run)
        counts = slow.stats()["calls"] - before, fast.stats()["calls"]
    print(
        f"hosts    twice as fast: {counts[1]} spans against {counts[0]}, "
        f"{counts[1] / counts[0]:.2f} times (goal 2 +- 10 %); "
        f"{report.enriched / report.wall_sec:.1f} spans/s, the driver {driven.pace:.1f}"
    )


def rate(host: world.Host, seconds: float) -> float:
    """Return the calls per second of a host over the last so many seconds of its work."""
    starts: list[float] = [call["started"] for call in host.calls()]
    last = max(starts)
    return sum(start > last - seconds for start in starts) / seconds


def late() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = world.make_repository(Path(folder, "repo"), 600)
        with world.host(latency=LATENCY) as alone:
            run = world.settings_for(settings, [alone.url], concurrency=SLOTS, limit=100)
            engine.enrich(run.repo, run)
            solo = rate(alone, 5)
        world.forget(settings)
        first = stack.enter_context(world.host(latency=LATENCY))
        port = free_port()
        late_url = f"http://127.0.0.1:{port}"
        run = world.settings_for(
            settings, [first.url, late_url], concurrency=SLOTS, hosts_down=frozenset({late_url})
        )
        found: list[world.Host] = []

        def turn_up() -> None:
            time.sleep(4.0)
            found.append(stack.enter_context(world.host(latency=LATENCY, port=port)))

        thread = threading.Thread(target=turn_up)
        thread.start()
        engine.enrich(run.repo, run)
        thread.join()
        starts = [call["started"] for call in found[0].calls()]
        reached = rate(found[0], 5)
    print(
        f"hosts    turned up in mid-run: {len(starts)} spans, {reached:.1f} spans/s against "
        f"{solo:.1f} alone: {reached / solo:.0%} (goal 90 %)"
    )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def main() -> None:
    unequal()
    late()


if __name__ == "__main__":
    main()
