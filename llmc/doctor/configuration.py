"""Each setting that matters to a run, with its value and where that came from.

The order in which sources win is `loading.load_settings`'s; a test sets every source in turn and
compares. Of a key only its name is told, and whether it is set.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from llmc.doctor.findings import Finding
from llmc.doctor.targets import Asked
from llmc.net.places import address
from llmc.settings.chains import EnrichmentTable, UserEntry, read_table
from llmc.settings.config import Settings
from llmc.settings.documents import CONFIG_FILE, POLICY_FILE, PRESET_FILE
from llmc.settings.flags import Flags
from llmc.settings.gateways import CHOICE
from llmc.settings.hosts import DEFAULT_URL
from llmc.settings.presets import ALL_LAYERS, RouterSettings, read_preset_words

SECTION = "configuration"
DEFAULT = "default"
NUMBERS = (
    "ROUTER_CONTEXT_LIMIT",
    "ROUTER_PRE_FLIGHT_LIMIT",
    "ROUTER_MAX_TOKENS_HEADROOM",
    "ROUTER_NODE_LIMIT",
    "ROUTER_DEPTH_LIMIT",
    "ROUTER_NESTING_LIMIT",
    "ENRICH_HEALTHCHECK_TIMEOUT_SECONDS",
)
"""Variables whose value is passed over in silence by a run if it isn't a number."""

KNOWN = frozenset(
    {
        *NUMBERS,
        "ENRICH_CHAIN_JSON",
        "ENRICH_CONCURRENCY",
        "ENRICH_COOLDOWN_SECONDS",
        "ENRICH_HEALTHCHECK_ENABLED",
        "ENRICH_NUM_GPU",
        "ENRICH_OLLAMA_HOSTS",
        "ROUTER_DEFAULT_TIER",
        "ROUTER_ENABLED",
        "ROUTER_LINE_THRESHOLDS",
    }
)
"""Every variable of the two families that are llmc's own."""

_CLOUDS = {
    "AZURE_OPENAI_KEY": (("AZURE_OPENAI_ENDPOINT",), ("AZURE_OPENAI_DEPLOYMENT",)),
    "GEMINI_API_KEY": (("GEMINI_API_KEY",), ("GEMINI_MODEL",)),
    "OPENAI_API_KEY": (("OPENAI_BASE_URL", "OPENAI_API_KEY"), ("OPENAI_MODEL", "GEMINI_MODEL")),
}
"""By the variable of its key, what a cloud's address and its model are named by."""

_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d+)?\s*")


def examine_configuration(
    settings: Settings, flags: Flags, targets: Sequence[Asked]
) -> list[Finding]:
    """Return a finding per setting, then what is wrong with the settings."""
    found = [
        Finding(SECTION, name, "info", f"{value} ({origin})")
        for name, value, origin in _rows(settings, flags, targets)
    ]
    found += [Finding(SECTION, "warning", "warn", warning) for warning in settings.warnings]
    return [*found, *_strange_variables(settings.environ)]


_Row = tuple[str, str, str]
"""A setting's name, its value, and where that came from."""


def _rows(settings: Settings, flags: Flags, targets: Sequence[Asked]) -> Iterator[_Row]:
    env = settings.environ
    table = read_table(settings.sources.files.get(CONFIG_FILE), env.get("ENRICH_CHAIN_JSON", ""))
    ollama = [asked.target for asked in targets if asked.target.provider == "ollama"]
    yield "backend", settings.backend, _origin((flags.backend, "--backend"))
    if settings.chain:
        yield _chain(settings, flags, table)
    if {host.url for host in settings.hosts} & {target.place for target in ollama}:
        yield _hosts(settings)
    if ollama:
        yield from _presets(settings, {target.model for target in ollama})
    yield _health(settings)
    yield from _router(settings.router, env)
    yield from _policy(settings)
    yield (
        "concurrency",
        str(settings.pace.concurrency),
        _origin(
            (env.get("ENRICH_CONCURRENCY", "").strip(), "$ENRICH_CONCURRENCY"),
            (table.concurrency, f"{CONFIG_FILE} enrichment.concurrency"),
        ),
    )
    yield (
        "cooldown",
        f"{settings.pace.cooldown} s",
        _origin(
            (env.get("ENRICH_COOLDOWN_SECONDS", "").strip(), "$ENRICH_COOLDOWN_SECONDS"),
            (table.cooldown_seconds is not None, f"{CONFIG_FILE} enrichment.cooldown_seconds"),
        ),
    )
    if settings.exclude:
        yield "excluded", settings.exclude, "$LLMC_RAG_EXCLUDE"
    index = ("LLMC_RAG_INDEX_PATH", "EMBEDDING_INDEX_PATH", "EMBEDDING_INDEX_NAME")
    yield "index", str(settings.index_path), _origin(*_variables(env, *index))
    yield from _gateway(settings, flags, targets)
    yield from _keys(settings, targets)


def _origin(*sources: tuple[object, str]) -> str:
    return next((name for value, name in sources if value), DEFAULT)


def _variables(env: Mapping[str, str], *names: str) -> list[tuple[object, str]]:
    return [(env.get(name), f"${name}") for name in names]


def _chain(settings: Settings, flags: Flags, table: EnrichmentTable) -> _Row:
    from_file = not any(isinstance(entry, UserEntry) for entry in settings.chain)
    origin = f"{CONFIG_FILE} enrichment.chain" if from_file else "$ENRICH_CHAIN_JSON"
    chosen = _origin(
        (flags.chain, "--chain"),
        (table.default_chain != "default", f"{CONFIG_FILE} enrichment.default_chain"),
    )
    names = ", ".join(dict.fromkeys(entry.name for entry in settings.chain))
    unused = "" if settings.backend == "auto" else "; not used with this backend"
    value = f"{flags.chain or table.default_chain}: {names}{unused}"
    return "chain", value, origin if chosen == DEFAULT else f"{origin}, {chosen}"


def _hosts(settings: Settings) -> _Row:
    env = settings.environ
    value = ", ".join(f"{host.label} {address(host.url)}" for host in settings.hosts) or "none"
    if any(part.partition("=")[2] or part for part in _parts(env.get("ENRICH_OLLAMA_HOSTS", ""))):
        return "Ollama hosts", value, "$ENRICH_OLLAMA_HOSTS"
    names = ("ATHENA_OLLAMA_URL", "OLLAMA_URL")
    origins = [f"${name}" for name in names if name in env]
    if "OLLAMA_URL" not in env and any(host.url == DEFAULT_URL for host in settings.hosts):
        origins.append(DEFAULT)
    return "Ollama hosts", value, ", ".join(origins) or DEFAULT


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip(" =")]


def _presets(settings: Settings, used: Collection[str]) -> Iterator[_Row]:
    words, env = read_preset_words(settings.sources.files.get(PRESET_FILE)), settings.environ
    for tier, key in (("7b", "model"), ("14b", "fallback_model")):
        preset = settings.presets[tier]
        if preset.model is None:
            model, origin = settings.ollama_model or "none", "$OLLAMA_MODEL"
        else:
            model, origin = preset.model, _origin((key in words, f"{PRESET_FILE} {key}"))
        if model in used:
            yield f"model {tier}", model, origin
    options = settings.presets["7b"].options
    for key in ("num_ctx", "num_gpu"):
        every = key == "num_gpu" and options[key] == ALL_LAYERS
        value = "all layers" if every else str(options[key])
        origin = _origin((key in words, f"{PRESET_FILE} {key}"))
        if key == "num_gpu" and str(words.get(key, "")).strip().lower().startswith("auto_vram"):
            origin += ", $ENRICH_NUM_GPU" if env.get("ENRICH_NUM_GPU", "").isdecimal() else ""
        yield key, value, origin


def _health(settings: Settings) -> _Row:
    names = ("ENRICH_HEALTHCHECK_ENABLED", "ENRICH_HEALTHCHECK_TIMEOUT_SECONDS")
    value = f"on, {settings.health.timeout:g} s" if settings.health.enabled else "off"
    origins = [f"${name}" for name in names if settings.environ.get(name)]
    return "health check", value, ", ".join(origins) or DEFAULT


def _router(router: RouterSettings, env: Mapping[str, str]) -> Iterator[_Row]:
    state = "on" if router.enabled else "off"
    yield "router", state, _origin(*_variables(env, "ROUTER_ENABLED"))
    yield "start tier", router.start_tier, _origin(*_variables(env, "ROUTER_DEFAULT_TIER"))
    tokens = ("ROUTER_PRE_FLIGHT_LIMIT", "ROUTER_CONTEXT_LIMIT", "ROUTER_MAX_TOKENS_HEADROOM")
    yield from _limit(env, "token limit", router.token_limit, *tokens)
    yield from _limit(env, "node limit", router.node_limit, "ROUTER_NODE_LIMIT")
    yield from _limit(env, "depth limit", router.depth_limit, "ROUTER_DEPTH_LIMIT")
    yield from _limit(env, "nesting limit", router.nesting_limit, "ROUTER_NESTING_LIMIT")
    lines = ", ".join(map(str, router.line_thresholds))
    yield from _limit(env, "line limits", lines, "ROUTER_LINE_THRESHOLDS")


def _limit(env: Mapping[str, str], name: str, value: object, *sources: str) -> Iterator[_Row]:
    """Yield a row for a limit that somebody has set; the others are seldom of interest."""
    origins = [f"${source}" for source in sources if env.get(source)]
    if origins:
        yield name, str(value), ", ".join(origins)


def _policy(settings: Settings) -> Iterator[_Row]:
    policy = settings.router.policy
    value = (
        f"{policy.max_retries_per_span} attempts per span, promote to {policy.fallback_tier} "
        f"after {policy.schema_failures_gte} refused replies"
    )
    yield "policy", value, _origin((POLICY_FILE in settings.sources.files, POLICY_FILE))


def _gateway(settings: Settings, flags: Flags, targets: Sequence[Asked]) -> Iterator[_Row]:
    gateway, env = settings.gateway, settings.environ
    if gateway.program:
        yield "gateway", f"program {gateway.program}", "--gateway-path"
        return
    asked = {(asked.target.place, asked.target.model) for asked in targets}
    server = gateway.endpoint
    if server is None or (server.url, server.model) not in asked:
        return
    chosen = _origin((flags.gateway, ", --gateway"), (env.get(CHOICE), f", ${CHOICE}"))
    named, models = _CLOUDS[server.key_name]
    origin = _origin(*_variables(env, *named)) + ("" if chosen == DEFAULT else chosen)
    yield "gateway", address(server.url), origin
    yield "gateway model", server.model, _origin(*_variables(env, *models))


def _keys(settings: Settings, targets: Sequence[Asked]) -> Iterator[_Row]:
    used = [asked.key_name for asked in targets if asked.key_name]
    used += [entry.api_key_env for entry in settings.chain if entry.api_key_env]
    named = [name for name in _CLOUDS if settings.environ.get(name)]
    for name in dict.fromkeys((*used, *named)):
        state = "set" if settings.environ.get(name) else "not set"
        yield name, state, "environment" if name in used else "environment; not used by a run"


def _strange_variables(env: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted(env):
        if name.startswith(("ENRICH_", "ROUTER_")) and name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, 1)
            advice = f"did you mean {near[0]}?" if near else ""
            detail = f"{name} is not a variable of llmc; ignored"
            yield Finding(SECTION, "warning", "warn", detail, advice)
    for name in NUMBERS:
        text: Any = env.get(name)
        if text and not _NUMBER.fullmatch(text):
            detail = f"{name} is not a number; ignored, and the default taken"
            yield Finding(SECTION, "warning", "warn", detail)
