"""What clients send, read as strictly and refused in the same words as Ollama does.

Fields are found in letters of any case, null is as good as nothing, unknown ones are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmc.testing._runners import DEFAULT_KEEP_SECONDS, FOREVER, LoadOptions
from llmc.testing.ollama._json import decode, kind

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
_INTEGERS = (
    *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"),
    *("num_keep", "seed", "num_predict", "top_k", "repeat_last_n"),
)
_FLOATS = (
    *("top_p", "min_p", "typical_p", "temperature"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty"),
)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER_AND_UNIT = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)", re.ASCII)


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Options:
    """A call's options that mean something to a fake; `num_predict` below 1 is no limit."""

    load: LoadOptions
    num_keep: int
    num_predict: int


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


def read_keep_alive(fields: Mapping[str, Any]) -> float | None:
    """Return the seconds that a request wants its model to stay, None if it doesn't say."""
    if fields.get("keep_alive") is None:
        return None
    try:
        return keep_alive_seconds(fields["keep_alive"])
    except ValueError as error:
        raise RefusedError(400, str(error)) from error


def keep_alive_seconds(value: Any) -> float:
    """Read a keep_alive: seconds, or text such as "15m" and "1h30m"; below 0 is for ever.

    None is Ollama's default of five minutes. Raise ValueError for anything else.
    """
    if value is None:
        return DEFAULT_KEEP_SECONDS
    if isinstance(value, str):
        seconds = _duration(value)
    elif kind(value) == "number":
        seconds = float(value)
    else:
        names = {"bool": "bool", "array": "[]interface {}", "object": _MAP}
        raise ValueError(f"Unsupported type: '{names[kind(value)]}'")
    return FOREVER if seconds < 0 else min(seconds, FOREVER)


def read_options(default_context: int, *given: Mapping[str, Any] | None) -> Options:
    """Merge options, the later ones over the earlier, and check their types."""
    options: dict[str, Any] = {}
    for several in given:
        for name, value in (several or {}).items():
            if value is not None:
                _check_option(name, value)
                options[name] = value

    def number(name: str, default: int) -> int:
        return int(options.get(name, default))

    load = LoadOptions(
        num_ctx=max(4, number("num_ctx", default_context)),
        num_batch=number("num_batch", 512),
        num_gpu=number("num_gpu", -1),
        main_gpu=number("main_gpu", 0),
        use_mmap=options.get("use_mmap"),
        num_thread=number("num_thread", 0),
    )
    return Options(load, number("num_keep", 4), number("num_predict", -1))


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


def _check_option(name: str, value: Any) -> None:
    found, wanted = kind(value), ""
    if name in _INTEGERS and found != "number":
        wanted = "of type integer"
    elif name in _FLOATS and found != "number":
        wanted = "of type float32"
    elif name == "use_mmap" and found != "bool":
        wanted = "of type boolean"
    elif name == "stop" and found != "array":
        wanted = "of type array"
    elif name == "stop" and not all(isinstance(item, str) for item in value):
        wanted = "of an array of strings"
    if wanted:
        raise RefusedError(500, f'option "{name}" must be {wanted}')


def _duration(text: str) -> float:
    """Read a duration as Go does, in seconds."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    parts = _NUMBER_AND_UNIT.findall(digits)
    if digits == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise ValueError(f'time: invalid duration "{text}"')
    for _, unit in parts:
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if text.startswith("-") else seconds
