"""Answers that no script has a say in, and how they go out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from llmc.testing._http import JSON_TYPE, Connection, Request, chunk, head

MAX_LENGTH_KNOWN = 2048
"""Bytes: servers written in Go, such as Ollama, send a longer body in chunks without a length."""


@dataclass(frozen=True, slots=True)
class Response:
    """A plain answer: to a look-up, or a refusal; `lines` (if any) are sent as a stream."""

    status: int
    body: bytes = b""
    content_type: str | None = JSON_TYPE
    lines: tuple[bytes, ...] = ()


def json_response(value: Any, status: int = 200) -> Response:
    """Return a value as a JSON response."""
    return Response(status, json.dumps(value).encode())


def send(connection: Connection, request: Request, response: Response) -> None:
    """Send a response; one of lines, or one that is long, goes in chunks."""
    headers = {} if response.content_type is None else {"Content-Type": response.content_type}
    lines = response.lines
    if not lines and len(response.body) > MAX_LENGTH_KNOWN and request.method != "HEAD":
        lines = (response.body,)
    if lines and request.http11:
        headers["Transfer-Encoding"] = "chunked"
        body = b"".join(chunk(line) for line in lines) + chunk(b"")
    else:
        body = b"".join(lines) or response.body
        headers["Content-Length"] = str(len(body))
    start = head(response.status, headers)
    connection.send(start if request.method == "HEAD" else start + body)
