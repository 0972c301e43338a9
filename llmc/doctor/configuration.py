"""Each setting that matters to a run, with its value and where that came from.

The order in which sources win is `loading.load_settings`'s; a test sets every source in turn and
compares. Of a key only its name is told, and whether it is set.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence

from llmc.doctor.findings import Finding
from llmc.doctor.targets import Asked
from llmc.net.places import spell_address
from llmc.settings.chains import EnrichmentTable, UserEntry, read_table
from llmc.settings.config import Settings
from llmc.settings.documents import CONFIG_FILE, POLICY_FILE, PRESET_FILE
from llmc.settings.flags import Flags
from llmc.settings.gateways import CHOICE
from llmc.settings.hosts import DEFAULT_URL
from llmc.settings.presets import ALL_LAYERS, TIERS, RouterSettings, read_preset_words
from llmc.settings.variables import read_integer, read_thresholds

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

_HEALTH_TIMEOUT = "ENRICH_HEALTHCHECK_TIMEOUT_SECONDS"
_SWITCH = ("on", "off")


def examine_configuration(
    settings: Settings, flags: Flags, targets: Sequence[Asked]
) -> list[Finding]:
    """Return a finding per setting, then what is wrong with the settings."""
    found = [
        Finding(SECTION, name, "info", f"{value} ({origin})")
        for name, value, origin in _rows(settings, flags, targets)
    ]
    found += [Finding(SECTION, "warning", "warn", warning) for warning in settings.sources.warnings]
    if _strange_tier(settings.router):
        detail = f"start tier {settings.router.start_tier!r} is no tier: ignored"
        advice = f"set ROUTER_DEFAULT_TIER to one of auto, {', '.join(TIERS)}"
        found.append(Finding(SECTION, "warning", "warn", detail, advice))
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
    if flags.in_process:
        return "chain", f"{flags.in_process} in this process, and nothing else", "--model"
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
    value = (
        ", ".join(f"{host.label} {spell_address(host.url)}" for host in settings.hosts) or "none"
    )
    if any(part.partition("=")[2] or part for part in _parts(env.get("ENRICH_OLLAMA_HOSTS", ""))):
        return "Ollama hosts", value, "$ENRICH_OLLAMA_HOSTS"
    origins = ["$ATHENA_OLLAMA_URL"] if env.get("ATHENA_OLLAMA_URL") else []
    origins += ["$OLLAMA_URL"] if "OLLAMA_URL" in env else []  # an empty one takes the host away
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
    env = settings.environ
    value = f"on, {settings.health.timeout:g} s" if settings.health.enabled else "off"
    switch = "ENRICH_HEALTHCHECK_ENABLED"  # an empty one turns it off, too
    origins = [f"${switch}"] if switch in env else []
    origins += [f"${_HEALTH_TIMEOUT}"] if _is_used(_HEALTH_TIMEOUT, env) else []
    return "health check", value, ", ".join(origins) or DEFAULT


def _router(router: RouterSettings, env: Mapping[str, str]) -> Iterator[_Row]:
    state = "on" if router.enabled else "off"
    counts = env.get("ROUTER_ENABLED", "").lower() in _SWITCH
    yield "router", state, "$ROUTER_ENABLED" if counts else DEFAULT
    if _strange_tier(router):
        yield "start tier", router.policy.default_tier, DEFAULT
    else:
        yield "start tier", router.start_tier, _origin(*_variables(env, "ROUTER_DEFAULT_TIER"))
    yield from _limit(env, "token limit", router.token_limit, *_token_sources(router, env))
    yield from _limit(env, "node limit", router.node_limit, "ROUTER_NODE_LIMIT")
    yield from _limit(env, "depth limit", router.depth_limit, "ROUTER_DEPTH_LIMIT")
    yield from _limit(env, "nesting limit", router.nesting_limit, "ROUTER_NESTING_LIMIT")
    lines = ", ".join(map(str, router.line_thresholds))
    yield from _limit(env, "line limits", lines, "ROUTER_LINE_THRESHOLDS")


def _token_sources(router: RouterSettings, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables that the token limit follows from: the lower of two counts."""
    name = "ROUTER_PRE_FLIGHT_LIMIT"
    if router.token_limit == read_integer(env.get(name), RouterSettings().token_limit):
        return (name,)
    return ("ROUTER_CONTEXT_LIMIT", "ROUTER_MAX_TOKENS_HEADROOM")


def _strange_tier(router: RouterSettings) -> bool:
    return router.start_tier not in ("auto", *TIERS)


def _is_used(name: str, env: Mapping[str, str]) -> bool:
    """Tell whether a run goes by a variable; one that makes no sense it passes over."""
    text = env.get(name, "")
    if name == "ROUTER_LINE_THRESHOLDS":
        return read_thresholds(text, (1, 1)) == read_thresholds(text, (2, 2))
    if name == _HEALTH_TIMEOUT:
        return _is_positive(text)
    return read_integer(text, 1) == read_integer(text, 2)


def _is_positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def _limit(env: Mapping[str, str], name: str, value: object, *sources: str) -> Iterator[_Row]:
    """Yield a row for a limit that somebody has set; the others are seldom of interest."""
    origins = [f"${source}" for source in sources if _is_used(source, env)]
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
    yield "gateway", spell_address(server.url), origin
    yield "gateway model", server.model, _origin(*_variables(env, *models))


def _keys(settings: Settings, targets: Sequence[Asked]) -> Iterator[_Row]:
    used = [asked.key_name for asked in targets if asked.key_name]
    if settings.backend == "auto":
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
    for name in (*NUMBERS, "ROUTER_LINE_THRESHOLDS"):
        if env.get(name) and not _is_used(name, env):
            what = "two numbers" if name == "ROUTER_LINE_THRESHOLDS" else "a number"
            detail = f"{name} is not {what} that can be used; ignored, and the default taken"
            yield Finding(SECTION, "warning", "warn", detail)
    if (word := env.get("ROUTER_ENABLED", "on")).lower() not in _SWITCH:
        detail = f"ROUTER_ENABLED is {word!r}, which is not off: the router is on"
        yield Finding(SECTION, "warning", "warn", detail, "export ROUTER_ENABLED=off")
