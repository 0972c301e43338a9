"""Requests to the fake servers, one connection each, for tests of what comes over the wire."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable
from typing import Any

from llmc.testing.ollama import FakeOllama


def post(
    fake: FakeOllama, path: str = "/api/generate", **body: Any
) -> tuple[int, bytes, dict[str, str]]:
    """Send one call; return status, body and headers."""
    return send(
        fake, "POST", path, {"model": "m", "prompt": "def area(): ...", "stream": False, **body}
    )


def send(
    fake: FakeOllama, method: str, path: str, body: Any = None
) -> tuple[int, bytes, dict[str, str]]:
    """Send one request whose body is JSON, or bytes as they are; None for none."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, content)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())


def get(fake: FakeOllama, path: str, method: str = "GET") -> tuple[int, bytes]:
    return send(fake, method, path)[:2]


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
