"""JSON as Go reads and writes it, down to its error messages."""

from __future__ import annotations

import json
import math
from typing import Any

_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_NO_KEY = "looking for beginning of object key string"
_COMPLAINTS = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": _NO_KEY,
    "Illegal trailing comma before end of object": _NO_KEY,
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Invalid control character at": "in string literal",
}


def encode(value: Any) -> bytes:
    """Write JSON without blanks; <, >, & and line separators are escaped, lone surrogates lost."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def decode(body: bytes) -> Any:
    """Read the first JSON value; raise ValueError in Go's words."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        return _DECODER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        raise ValueError(_complaint(error, text)) from error
    except RecursionError as error:
        raise ValueError("exceeded max depth") from error


def kind(value: Any) -> str:
    """Return what Go calls a JSON value in its errors."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return {"str": "string", "list": "array", "dict": "object"}.get(type(value).__name__, "null")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"json: cannot unmarshal number {text} into Go value of type float64")
    return value


def _int(text: str) -> int:
    _float(text)
    return int(text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"invalid character {name[0]!r} looking for beginning of value")


def _complaint(error: json.JSONDecodeError, text: str) -> str:
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return "unexpected EOF"
    where = _COMPLAINTS.get(error.msg, "in string escape code")
    return f"invalid character {text[error.pos]!r} {where}"


_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_int, parse_constant=_no_constant)
