"""The `format` of a call: which are refused, and a reply made to fit one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
_MAX_DEPTH = 32


def refusal(wanted: Any) -> str | None:
    """Return why Ollama refuses a format, None if it takes it."""
    if wanted in (None, "", "json"):
        return None
    if not isinstance(wanted, dict):
        shown = json.dumps(json.dumps(wanted, ensure_ascii=False), ensure_ascii=False)
        return f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
    return None if _is_schema(wanted, wanted) else "invalid JSON schema in format"


def fitted(wanted: Any, value: Any) -> Any:
    """Return the value as a model that is held to the format would say it."""
    return _fit(wanted, wanted, value, 0) if isinstance(wanted, dict) else value


def _is_schema(schema: Any, root: Mapping[str, Any]) -> bool:
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, dict):
        return False
    if "$ref" in schema and _resolved(schema, root) is None:
        return False
    kinds = schema.get("type")
    if not all(kind in _TYPES for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind):
        return False
    parts = [*_of(schema, "properties").values(), *_of(schema, "$defs").values()]
    for key in ("anyOf", "oneOf", "allOf"):
        parts += schema.get(key) or []
    if "items" in schema:
        parts.append(schema["items"])
    return all(_is_schema(part, root) for part in parts)


def _fit(schema: Any, root: Mapping[str, Any], value: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or not schema or depth > _MAX_DEPTH:
        return value
    if "$ref" in schema:
        return _fit(_resolved(schema, root), root, value, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return value if value in schema["enum"] else schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _fit(_choice(schema[key], value), root, value, depth + 1)
    kinds = schema.get("type") or ("object" if "properties" in schema else None)
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if kinds == [None]:
        return value
    kind = next((name for name in kinds if _is_a(value, name)), kinds[0])
    if kind == "object":
        return _fit_object(schema, root, value, depth)
    if kind == "array":
        items = value if isinstance(value, list) else []
        items = items + [None] * (int(schema.get("minItems") or 0) - len(items))
        return [_fit(schema.get("items"), root, item, depth + 1) for item in items]
    plain = {"string": "", "number": 0, "integer": 0, "boolean": False, "null": None}
    return value if _is_a(value, kind) else plain[kind]


def _fit_object(schema: Any, root: Mapping[str, Any], value: Any, depth: int) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {}
    properties = _of(schema, "properties")
    if not properties:
        return given
    required = schema.get("required") or ()
    return {
        name: _fit(part, root, given.get(name), depth + 1)
        for name, part in properties.items()
        if name in given or name in required
    }


def _choice(schemas: list[Any], value: Any) -> Any:
    fitting = (s for s in schemas if isinstance(s, dict) and _is_a(value, s.get("type")))
    return next(fitting, schemas[0])


def _is_a(value: Any, kind: str | None) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    bases: dict[str, Any] = {
        "string": str,
        "number": (int, float),
        "integer": int,
        "array": list,
        "object": dict,
    }
    return value is None if kind == "null" else isinstance(value, bases.get(kind or "", ()))


def _of(schema: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = schema.get(key)
    return found if isinstance(found, dict) else {}


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return what a reference within the schema points to, None if nothing does."""
    place: Any = root
    for step in str(schema["$ref"]).removeprefix("#").split("/")[1:]:
        place = place.get(step) if isinstance(place, dict) else None
    return place
