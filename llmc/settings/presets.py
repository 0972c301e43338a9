"""What each tier runs on and what the router goes by: the two small files a repository may carry.

`presets/enrich_7b_ollama.yaml` says model, keep_alive and options for the local tiers;
`router/policy.json` says when to promote. Both are optional, and every value has a default.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmc.errors import ConfigError
from llmc.settings.documents import (
    MAX_FIELDS,
    MAX_NAME,
    MAX_NUMBER,
    MAX_WORD,
    OPTIONS,
    SettingsFile,
    quote,
)

TIERS = ("7b", "14b", "nano")

DEFAULT_MODEL = "qwen2.5:7b-instruct-q4_K_M"
DEFAULT_FALLBACK_MODEL = "qwen2.5:14b-instruct-q4_K_M"
DEFAULT_KEEP_ALIVE = "15m"
ALL_LAYERS = 999
"""num_gpu that means every layer, whatever the model."""

NO_LIMIT = 2**62
"""A limit that no span exceeds."""


@dataclass(frozen=True, slots=True)
class TierPreset:
    """What a tier sends to Ollama."""

    name: str
    """7b or 14b."""

    model: str | None
    """The model; None: the file says null."""

    keep_alive: str | float | None
    """How long it stays loaded, as 15m or in seconds; None is not sent."""

    options: Mapping[str, Any]
    """What is sent as options."""


@dataclass(frozen=True, slots=True)
class RouterPolicy:
    """When a span is promoted, and how often it may be tried."""

    default_tier: str = "7b"
    """Where spans begin with the router off."""

    fallback_tier: str = "14b"
    """Where spans go that fail."""

    span_line_count_gte: int = 100
    """Lines from which on a span begins there."""

    schema_failures_gte: int = 2
    """Refused replies after which it goes there."""

    max_retries_per_span: int = 3
    """Attempts that a span may have."""

    log_fields: tuple[str, ...] = ()
    """Names that every metrics record has, null if there is nothing to say."""


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """The router's switch, its policy and its limits."""

    policy: RouterPolicy = RouterPolicy()
    """The repository's policy."""

    enabled: bool = True
    """Whether spans are routed by their size and shape."""

    start_tier: str = "auto"
    """Where every span begins; auto: by its size and shape."""

    token_limit: int = 28000
    """Tokens of prompt and reply beyond which it begins at nano."""

    node_limit: int = 800
    """Nodes, or brackets, beyond which it begins at nano."""

    depth_limit: int = 6
    """Levels of them beyond which it begins at nano."""

    nesting_limit: int = 3
    """Levels of nesting beyond which it begins at 14b."""

    line_thresholds: tuple[int, int] = (60, 100)
    """Lines beyond which it begins at 14b: either is enough."""

    @property
    def reaches_cloud(self) -> bool:
        """Tell whether a span can get to tier nano: by name, or because it is too big."""
        named = (self.start_tier, self.policy.default_tier, self.policy.fallback_tier)
        limits = (self.token_limit, self.node_limit, self.depth_limit)
        sized = self.enabled and self.start_tier == "auto" and min(limits) < NO_LIMIT
        return "nano" in named or sized


def read_presets(file: SettingsFile | None, num_gpu: str = "") -> dict[str, TierPreset]:
    """Return the presets "7b" and "14b" of a repository.

    `num_gpu` stands for an `auto_vram` value if it is a number ($ENRICH_NUM_GPU).
    Raises ConfigError that names the file and the key.
    """
    if file is None:
        return _presets({}, {}, num_gpu)
    try:
        options = file.document.get("options") or file.document
        if not isinstance(options, Mapping):
            raise ValueError(f"options is {quote(options)}; it must be a mapping")
        return _presets(file.document, options, num_gpu)
    except ValueError as error:
        raise ConfigError(f"{file.path}: {error}") from None


def _presets(
    found: Mapping[str, Any], options: Mapping[str, Any], num_gpu: str
) -> dict[str, TierPreset]:
    numbers = {
        "num_ctx": _whole(options.get("num_ctx"), 3072),
        "num_batch": _whole(options.get("num_batch"), 48),
        "num_gpu": _gpu_layers(options.get("num_gpu"), num_gpu),
        "num_thread": _whole(options.get("num_thread"), count_cores()),
    }
    for name, number in numbers.items():
        if not -1 <= number <= OPTIONS[name]:
            raise ValueError(f"{name} is {number}; it must be -1 to {OPTIONS[name]}")
    small: dict[str, Any] = dict(numbers)
    if kind := found.get("kv_type"):
        small["kv_type"] = _scalar("kv_type", kind)
    keep_alive = found.get("keep_alive", DEFAULT_KEEP_ALIVE)
    if keep_alive is not None:
        keep_alive = _scalar("keep_alive", keep_alive)
    large = small | {
        "num_batch": max(16, numbers["num_batch"] // 2),
        "num_gpu": max(32, numbers["num_gpu"]),
    }
    model = _name("model", found.get("model", DEFAULT_MODEL))
    fallback = _name("fallback_model", found.get("fallback_model", DEFAULT_FALLBACK_MODEL))
    return {
        "7b": TierPreset("7b", model, keep_alive, small),
        "14b": TierPreset("14b", fallback, keep_alive, large),
    }


def read_preset_words(file: SettingsFile | None) -> Mapping[str, Any]:
    """Return what a repository's preset file says itself, options included; empty without one."""
    found = file.document if file else {}
    options = found.get("options") or found
    named = {key: found[key] for key in ("model", "fallback_model", "keep_alive") if key in found}
    return {**options, **named} if isinstance(options, Mapping) else named


def choose_preset(presets: Mapping[str, TierPreset], tier: str) -> TierPreset:
    """Return the preset a tier runs on."""
    return presets[name_preset(tier)]


def make_preset(name: str, given: TierPreset | Mapping[str, Any]) -> TierPreset:
    """Return a preset as such; a mapping may have model, keep_alive and options."""
    if isinstance(given, TierPreset):
        return given
    options = given.get("options") or {}
    return TierPreset(name, given.get("model"), given.get("keep_alive"), options)


def name_preset(tier: str) -> str:
    """Return the name of the preset a tier runs on: 14b has its own, every other takes 7b's."""
    return "14b" if tier == "14b" else "7b"


def read_policy(file: SettingsFile | None, retries: int) -> RouterPolicy:
    """Return the repository's router policy; `retries` is the bound a present file falls back to.

    Raises ConfigError that names the file and the key.
    """
    if file is None:
        return RouterPolicy()
    try:
        return _policy(file.document, retries)
    except ValueError as error:
        raise ConfigError(f"{file.path}: {error}") from None


def _policy(found: Mapping[str, Any], retries: int) -> RouterPolicy:
    standard = RouterPolicy()
    promote = found.get("promote_if") or {}
    if not isinstance(promote, dict):
        raise ValueError(f"promote_if is {promote!r:.200}; it must be an object")
    return replace(
        standard,
        default_tier=_tier(found, "default_tier", standard.default_tier),
        fallback_tier=_tier(found, "fallback_tier", standard.fallback_tier),
        span_line_count_gte=_count(promote, "span_line_count_gte", standard.span_line_count_gte),
        schema_failures_gte=_count(promote, "schema_failures_gte", standard.schema_failures_gte),
        max_retries_per_span=_count(found, "max_retries_per_span", retries),
        log_fields=_fields(found.get("log_fields")),
    )


def _tier(found: Mapping[str, Any], key: str, default: str) -> str:
    value = str(found.get(key) or default)
    if len(value) > MAX_WORD:
        raise ValueError(f"{key} is {quote(value)}; it must have at most {MAX_WORD} characters")
    return value.lower()


def _count(found: Mapping[str, Any], key: str, default: int) -> int:
    try:
        number = int(found.get(key) or default)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{key} is {found[key]!r:.200}; it must be a whole number") from None
    if abs(number) > MAX_NUMBER:
        raise ValueError(f"{key} is {quote(found[key])}; it must be at most {MAX_NUMBER}")
    return number


def _fields(listed: object) -> tuple[str, ...]:
    names = tuple(map(str, listed)) if isinstance(listed, list) else ()
    if len(names) > MAX_FIELDS or any(len(name) > MAX_WORD for name in names):
        raise ValueError(
            f"log_fields may be at most {MAX_FIELDS} names of at most {MAX_WORD} characters each"
        )
    return names


def count_cores() -> int:
    """Return the number of physical processor cores, logical ones where Linux doesn't tell."""
    siblings = set()
    for cpu in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list"):
        try:
            siblings.add(cpu.read_text())
        except OSError:
            continue
    return len(siblings) or os.cpu_count() or 1


def _name(key: str, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ValueError(
            f"{key} is {quote(value)}; it must be a text, in quotes if need be, or null"
        )
    name = None if value is None else str(value)
    if name and len(name) > MAX_NAME:
        raise ValueError(f"{key} is {quote(name)}; it must have at most {MAX_NAME} characters")
    return name


def _scalar(key: str, value: object) -> str | float:
    """Return what goes to the server as it is: a short text, or a number that JSON knows."""
    if isinstance(value, str) and len(value) <= MAX_WORD:
        return value
    if isinstance(value, int | float) and math.isfinite(value) and abs(value) <= MAX_NUMBER:
        return value
    raise ValueError(f'{key} is {quote(value)}; it must be a number, a text such as "15m", or null')


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _gpu_layers(value: object, num_gpu: str) -> int:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("auto", "auto_full"):
        return ALL_LAYERS
    if word.startswith("auto_vram"):
        most = int(OPTIONS["num_gpu"])
        return min(int(num_gpu[:9]), most) if num_gpu.isdecimal() else ALL_LAYERS
    return _whole(value, 64)
