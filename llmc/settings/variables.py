"""Numbers from environment variables: what is no number counts as unset, or is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmc.errors import ConfigError
from llmc.settings.documents import MAX_NUMBER, quote


def read_integer(text: str | None, default: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        return default


def read_thresholds(text: str | None, default: tuple[int, int]) -> tuple[int, int]:
    try:
        low, high = sorted(int(part) for part in (text or "").split(","))
    except ValueError:
        return default
    return (low, high) if low > 0 else default


def read_whole(env: Mapping[str, str], name: str, least: int, most: int = MAX_NUMBER) -> int | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > len(str(most)) or not least <= int(text) <= most:
        raise ConfigError(
            f"${name} is {quote(text)}; it must be a whole number, at least {least} and at most "
            f"{most}"
        )
    return int(text)


def read_health(env: Mapping[str, str]) -> dict[str, Any]:
    switch = env.get("ENRICH_HEALTHCHECK_ENABLED")
    try:
        timeout = float(env.get("ENRICH_HEALTHCHECK_TIMEOUT_SECONDS") or 5.0)
    except ValueError:
        timeout = 5.0
    enabled = switch is None or switch.strip().lower() in ("1", "true", "yes", "on")
    return {"health_check": enabled, "health_timeout": timeout if timeout > 0 else 5.0}
