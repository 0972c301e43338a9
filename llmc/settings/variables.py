"""Numbers from environment variables: what is no number counts as unset, or is refused."""

from __future__ import annotations

from collections.abc import Mapping

from llmc.errors import ConfigError
from llmc.settings.documents import MAX_NUMBER, quote
from llmc.settings.groups import HEALTH_SEC, HealthCheck


def read_integer(text: str | None, default: int) -> int:
    """Return the number that a text is, the default if it is none."""
    try:
        return int(text or "")
    except ValueError:
        return default


def read_thresholds(text: str | None, default: tuple[int, int]) -> tuple[int, int]:
    """Return (low, high) of two positive numbers with a comma between, else the default."""
    try:
        low, high = sorted(int(part) for part in (text or "").split(","))
    except ValueError:
        return default
    return (low, high) if low > 0 else default


def read_whole(env: Mapping[str, str], name: str, least: int, most: int = MAX_NUMBER) -> int | None:
    """Return the number in a variable, None if it is unset. Raises ConfigError."""
    text = env.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > len(str(most)) or not least <= int(text) <= most:
        raise ConfigError(
            f"${name} is {quote(text)}; it must be a whole number, at least {least} and at most "
            f"{most}"
        )
    return int(text)


def read_health(env: Mapping[str, str]) -> HealthCheck:
    """Return whether hosts are asked before a run; a timeout that is none counts as unset."""
    switch = env.get("ENRICH_HEALTHCHECK_ENABLED")
    try:
        timeout = float(env.get("ENRICH_HEALTHCHECK_TIMEOUT_SECONDS") or HEALTH_SEC)
    except ValueError:
        timeout = HEALTH_SEC
    enabled = switch is None or switch.strip().lower() in ("1", "true", "yes", "on")
    return HealthCheck(enabled, timeout if 0 < timeout <= MAX_NUMBER else HEALTH_SEC)
