"""What clients send, read as strictly and refused in the same words as Ollama does.

Fields are found in letters of any case, null is as good as nothing, unknown ones are ignored.
"""

from __future__ import annotations

from typing import Any

from llmc.testing.ollama._answers import RefusedError
from llmc.testing.ollama._json import decode, kind
from llmc.testing.ollama._options import read_keep_alive

_MAP = "map[string]interface {}"
_RUN = {"model": "string", "keep_alive": "", "options": _MAP}
FIELDS: dict[str, dict[str, str]] = {
    "GenerateRequest": {
        **_RUN,
        "prompt": "string",
        "suffix": "string",
        "system": "string",
        "template": "string",
        "context": "[]int",
        "stream": "bool",
        "raw": "bool",
        "format": "",
        "images": "[]api.ImageData",
        "think": "",
    },
    "ChatRequest": {
        **_RUN,
        "messages": "[]api.Message",
        "stream": "bool",
        "format": "",
        "tools": "api.Tools",
        "think": "",
    },
    "EmbedRequest": {**_RUN, "input": "", "truncate": "bool", "dimensions": "int"},
    "EmbeddingRequest": {**_RUN, "prompt": "string"},
    "ShowRequest": {"model": "string", "name": "string", "verbose": "bool", "options": _MAP},
    "CopyRequest": {"source": "string", "destination": "string"},
    "DeleteRequest": {"model": "string", "name": "string"},
    "PullRequest": {"model": "string", "name": "string", "stream": "bool"},
}
"""The fields of each request with Go's name of their type; an empty one takes several."""

_KINDS = {"string": "string", "bool": "bool", "int": "number", _MAP: "object"}


def read(body: bytes, request: str) -> dict[str, Any]:
    """Return the fields of a request that are set, by their proper names."""
    if not body.strip():
        raise RefusedError(400, "missing request body")
    try:
        value = decode(body)
    except ValueError as error:
        raise RefusedError(400, str(error)) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = f"json: cannot unmarshal {kind(value)} into Go value of type api.{request}"
        raise RefusedError(400, message)
    known = FIELDS[request]
    fields = {
        key if key in known else key.lower(): field
        for key, field in value.items()
        if key.lower() in known and field is not None
    }
    for name, field in fields.items():
        _check(field, known[name], f"{request}.{name}")
    if "keep_alive" in fields:
        read_keep_alive(fields)
    if "think" in fields:
        _check_think(fields["think"])
    return fields


def _check(value: Any, wanted: str, field: str) -> None:
    """Raise RefusedError if a field is not of Go's type `wanted`."""
    found = kind(value)
    if wanted in ("[]int", "[]api.ImageData", "[]api.Message", "api.Tools"):
        if found == "array":
            _check_items(value, wanted, field)
            return
    elif not wanted or found == _KINDS[wanted]:
        if wanted == "int" and value != int(value):
            found = f"number {value}"
        else:
            return
    raise RefusedError(
        400, f"json: cannot unmarshal {found} into Go struct field {field} of type {wanted}"
    )


def _check_items(items: list[Any], wanted: str, field: str) -> None:
    for item in items:
        if item is None:
            continue
        if wanted == "[]int":
            _check(item, "int", field)
        elif wanted == "[]api.ImageData":
            _check(item, "string", field)
        elif kind(item) != "object":
            of = "api.Alias" if wanted == "[]api.Message" else "api.Tool"
            message = (
                f"json: cannot unmarshal {kind(item)} into Go struct field {field} of type {of}"
            )
            raise RefusedError(400, message)
        elif wanted == "[]api.Message":
            for name in ("role", "content", "thinking", "tool_name"):
                if item.get(name) is not None:
                    _check(item[name], "string", f"{field}.{name}")


def _check_think(value: Any) -> None:
    if isinstance(value, bool) or value in ("high", "medium", "low"):
        return
    if isinstance(value, str):
        message = (
            f'invalid think value: "{value}" (must be "high", "medium", "low", true, or false)'
        )
    else:
        message = 'think must be a boolean or string ("high", "medium", "low")'
    raise RefusedError(400, message)
