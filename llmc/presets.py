"""What each tier runs on and what the router goes by: the two small files a repository may carry.

`presets/enrich_7b_ollama.yaml` says model, keep_alive and options for the local tiers;
`router/policy.json` says when to promote. Both are optional, and every value has a default.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmc.errors import ConfigError

TIERS = ("7b", "14b", "nano")
PRESET_FILE = Path("presets/enrich_7b_ollama.yaml")
POLICY_FILE = Path("router/policy.json")

DEFAULT_MODEL = "qwen2.5:7b-instruct-q4_K_M"
DEFAULT_FALLBACK_MODEL = "qwen2.5:14b-instruct-q4_K_M"
DEFAULT_KEEP_ALIVE = "15m"
ALL_LAYERS = 999
"""num_gpu that means every layer, whatever the model."""

NO_LIMIT = 2**62
"""A limit that no span exceeds."""


@dataclass(frozen=True, slots=True)
class TierPreset:
    """What a tier sends to Ollama; a None `keep_alive` is not sent, a None `model` was null."""

    name: str
    model: str | None
    keep_alive: str | float | None
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RouterPolicy:
    """When a span is promoted, and how often it may be tried."""

    default_tier: str = "7b"
    fallback_tier: str = "14b"
    span_line_count_gte: int = 100
    schema_failures_gte: int = 2
    max_retries_per_span: int = 3
    log_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """The router's switch, its policy and its limits; `token_limit` counts prompt and reply."""

    policy: RouterPolicy = RouterPolicy()
    enabled: bool = True
    start_tier: str = "auto"
    token_limit: int = 28000
    node_limit: int = 800
    depth_limit: int = 6
    nesting_limit: int = 3
    line_thresholds: tuple[int, int] = (60, 100)

    @property
    def reaches_cloud(self) -> bool:
        """Tell whether a span can get to tier nano: by name, or because it is too big."""
        named = (self.start_tier, self.policy.default_tier, self.policy.fallback_tier)
        limits = (self.token_limit, self.node_limit, self.depth_limit)
        sized = self.enabled and self.start_tier == "auto" and min(limits) < NO_LIMIT
        return "nano" in named or sized


def read_presets(repo: Path, num_gpu: str = "") -> dict[str, TierPreset]:
    """Return the presets "7b" and "14b" of a repository.

    `num_gpu` stands for an `auto_vram` value if it is a number ($ENRICH_NUM_GPU).
    Raises ConfigError for a file that can't be read as a YAML mapping.
    """
    found = _yaml_mapping(repo / PRESET_FILE)
    options = found.get("options") or found
    if not isinstance(options, Mapping):
        raise ConfigError(f"{repo / PRESET_FILE}: options is {options!r}; it must be a mapping")
    small: dict[str, Any] = {
        "num_ctx": _whole(options.get("num_ctx"), 3072),
        "num_batch": _whole(options.get("num_batch"), 48),
        "num_gpu": _gpu_layers(options.get("num_gpu"), num_gpu),
        "num_thread": _whole(options.get("num_thread"), physical_cores()),
    }
    if found.get("kv_type"):
        small["kv_type"] = found["kv_type"]
    keep_alive = found.get("keep_alive", DEFAULT_KEEP_ALIVE)
    if not isinstance(keep_alive, str | int | float | None):
        raise ConfigError(
            f"{repo / PRESET_FILE}: keep_alive is {keep_alive!r}; "
            'it must be seconds, a text such as "15m", or null'
        )
    large = small | {
        "num_batch": max(16, small["num_batch"] // 2),
        "num_gpu": max(32, small["num_gpu"]),
    }
    model = found.get("model", DEFAULT_MODEL)
    fallback = found.get("fallback_model", DEFAULT_FALLBACK_MODEL)
    return {
        "7b": TierPreset("7b", _name(model), keep_alive, small),
        "14b": TierPreset("14b", _name(fallback), keep_alive, large),
    }


def preset_words(repo: Path) -> Mapping[str, Any]:
    """Return what a repository's preset file says itself, options included; empty without one.

    Raises ConfigError as `read_presets` does.
    """
    found = _yaml_mapping(repo / PRESET_FILE)
    options = found.get("options") or found
    named = {key: found[key] for key in ("model", "fallback_model", "keep_alive") if key in found}
    return {**options, **named} if isinstance(options, Mapping) else named


def preset_for(presets: Mapping[str, TierPreset], tier: str) -> TierPreset:
    """Return the preset a tier runs on: 14b has its own, every other tier takes 7b's."""
    return presets["14b" if tier == "14b" else "7b"]


def read_policy(repo: Path, retries: int) -> RouterPolicy:
    """Return the repository's router policy; `retries` is the bound a present file falls back to.

    Raises ConfigError for a file that isn't a JSON object or holds a number that can't be read.
    """
    path = repo / POLICY_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return RouterPolicy()
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not readable as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds a {type(found).__name__}; it must be a JSON object")
    promote = found.get("promote_if") or {}
    if not isinstance(promote, dict):
        raise ConfigError(f"{path}: promote_if is {promote!r}; it must be an object")

    def number(source: Mapping[str, Any], key: str, default: int) -> int:
        try:
            return int(source.get(key) or default)
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(
                f"{path}: {key} is {source[key]!r}; it must be a whole number"
            ) from None

    standard = RouterPolicy()
    log_fields = found.get("log_fields")
    return replace(
        standard,
        default_tier=str(found.get("default_tier") or standard.default_tier).lower(),
        fallback_tier=str(found.get("fallback_tier") or standard.fallback_tier).lower(),
        span_line_count_gte=number(promote, "span_line_count_gte", standard.span_line_count_gte),
        schema_failures_gte=number(promote, "schema_failures_gte", standard.schema_failures_gte),
        max_retries_per_span=number(found, "max_retries_per_span", retries),
        log_fields=tuple(map(str, log_fields)) if isinstance(log_fields, list) else (),
    )


def physical_cores() -> int:
    """Return the number of physical processor cores, logical ones where Linux doesn't tell."""
    siblings = set()
    for cpu in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list"):
        try:
            siblings.add(cpu.read_text())
        except OSError:
            continue
    return len(siblings) or os.cpu_count() or 1


def _yaml_mapping(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    import yaml  # only a repository with a preset file pays for it

    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path} holds a {type(found).__name__}; it must be a mapping")
    return found


def _name(value: object) -> str | None:
    return None if value is None else str(value)


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _gpu_layers(value: object, num_gpu: str) -> int:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("auto", "auto_full"):
        return ALL_LAYERS
    if word.startswith("auto_vram"):
        return int(num_gpu) if num_gpu.isdecimal() else ALL_LAYERS
    return _whole(value, 64)
