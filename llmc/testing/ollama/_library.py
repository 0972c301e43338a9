"""What changes the models that are there: copies, deletions, and pulls, which find nothing."""

from __future__ import annotations

from llmc.testing._http import Request
from llmc.testing._responses import Response
from llmc.testing.ollama._answers import RefusedError, found, json_response
from llmc.testing.ollama._json import encode
from llmc.testing.ollama._models import Catalogue, parse_name
from llmc.testing.ollama._requests import read

NO_MANIFEST = "pull model manifest: file does not exist"


def copy(catalogue: Catalogue, request: Request) -> Response:
    """Give a model a second name."""
    asked = read(request.body, "CopyRequest")
    source, target = str(asked.get("source", "")), str(asked.get("destination", ""))
    for what, name in (("source", source), ("destination", target)):
        if parse_name(name) is None:
            raise RefusedError(400, f'{what} "{name}" is invalid')
    model = catalogue.find(source)
    if model is None:
        raise RefusedError(404, f'model "{source}" not found')
    catalogue.copy(model, target)
    return Response(200, content_type=None)


def delete(catalogue: Catalogue, request: Request) -> Response:
    """Remove a name."""
    asked = read(request.body, "DeleteRequest")
    name = str(asked.get("model") or asked.get("name") or "")
    if parse_name(name) is None:
        raise RefusedError(400, f'name "{name}" is invalid')
    catalogue.delete(found(catalogue, name))
    return Response(200, content_type=None)


def pull(catalogue: Catalogue, request: Request) -> Response:
    """Pull nothing: what is there is up to date, of all else there is no manifest."""
    asked = read(request.body, "PullRequest")
    name = str(asked.get("model") or asked.get("name") or "")
    if parse_name(name) is None:
        raise RefusedError(400, "invalid model name")
    there = catalogue.find(name) is not None
    end = {"status": "success"} if there else {"error": NO_MANIFEST}
    if asked.get("stream") is False:
        return json_response(end, 200 if there else 500)
    lines = tuple(encode(line) + b"\n" for line in ({"status": "pulling manifest"}, end))
    return Response(200, content_type="application/x-ndjson", lines=lines)
