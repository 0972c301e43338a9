"""CPU per request of the HTTP client that the backends use, beside the alternatives.

Small JSON replies over kept connections to a server in another process, 8 threads. The figure is
this process's CPU time per request, in milliseconds, so the server's doesn't count.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from llmc.net.client import Client

REQUESTS = 4000
THREADS = 8
BODY = json.dumps({"model": "m", "prompt": "hello", "stream": False}).encode()


def measure(name: str, send: Callable[[], None]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: send(), range(THREADS * 4)))
        before = time.process_time()
        list(pool.map(lambda _: send(), range(REQUESTS)))
        used = time.process_time() - before
    print(f"http     {name:<24} {used / REQUESTS * 1000:.3f} ms CPU per request")


def main() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "llmc.testing.ollama", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    url = server.stdout.readline().split()[-1]
    try:
        compare(url)
    finally:
        server.terminate()
        server.wait()


def compare(url: str) -> None:
    client = Client()

    def ours() -> None:
        with client.request("POST", f"{url}/api/generate", body=BODY, timeout=30) as exchange:
            exchange.read()

    measure("llmc.net.client", ours)
    place = urlsplit(url)

    def plain() -> None:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        connection.request("POST", "/api/generate", body=BODY)
        connection.getresponse().read()
        connection.close()

    measure("http.client, no reuse", plain)
    try:
        import httpx
    except ImportError:
        return
    session = httpx.Client()
    measure("httpx", lambda: (session.post(f"{url}/api/generate", content=BODY), None)[1])


if __name__ == "__main__":
    main()
