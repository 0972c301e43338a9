"""The options of a call, and how long its model is to stay in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmc.testing._runners import DEFAULT_KEEP_SECONDS, FOREVER, LoadOptions
from llmc.testing.ollama._answers import RefusedError
from llmc.testing.ollama._json import kind

_MAP = "map[string]interface {}"
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


@dataclass(frozen=True, slots=True)
class Options:
    """A call's options that mean something to a fake; `num_predict` below 1 is no limit."""

    load: LoadOptions
    num_predict: int


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
    return Options(load, number("num_predict", -1))


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
