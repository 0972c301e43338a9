"""How exactly a call ends: overrun of its deadline, and time to closed socket after a cancel.

On loopback, against a server that writes slowly for ever; the server's clock says when the client
left. CALLS=N takes another number than 200.
"""

from __future__ import annotations

import os
import statistics
import threading
import time

from llmc.errors import RequestError
from llmc.net.client import Client
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama

CALLS = int(os.environ.get("CALLS", "200"))
TIMEOUT_SEC = 0.2
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "go on"}]}'


def call(client: Client, url: str) -> float:
    """Read an endless reply until it is ended; return how long that took, in seconds."""
    started = time.monotonic()
    try:
        with client.request("POST", f"{url}/api/chat", body=BODY, timeout=TIMEOUT_SEC) as exchange:
            exchange.read()
    except RequestError:
        pass
    return time.monotonic() - started


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def deadlines(fake: FakeOllama) -> None:
    client = Client()
    over = [call(client, fake.url) - TIMEOUT_SEC for _ in range(CALLS)]
    print(
        f"deadline overrun      median {statistics.median(over) * 1000:.1f} ms, "
        f"p99 {percentile(over, 0.99) * 1000:.1f} ms of {CALLS} (goal: p99 <= 250)"
    )


def cancels(fake: FakeOllama) -> None:
    closed = []
    for _ in range(CALLS // 4):
        client = Client()
        reader = threading.Thread(target=call, args=(client, fake.url))
        reader.start()
        time.sleep(0.05)
        before = time.monotonic()
        client.cancellation.cancel()
        reader.join()
        closed.append(time.monotonic() - before)
    print(
        f"closed after cancel   median {statistics.median(closed) * 1000:.1f} ms, "
        f"p99 {percentile(closed, 0.99) * 1000:.1f} ms of {len(closed)} (goal: <= 100)"
    )


def main() -> None:
    with FakeOllama(lambda _: faults.EndlessWhitespace(per_second=50), keep_bodies=False) as fake:
        deadlines(fake)
        cancels(fake)


if __name__ == "__main__":
    main()
