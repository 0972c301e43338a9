"""Settings: flags beat the environment, which beats `llmc.toml`, which beats the defaults.

`load_settings` is called once, at the edge, and its frozen result is passed down. No other module
reads the environment. Keys are held as SecretStr, which never shows its value in a log or a repr.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from llmc.chains import ChainEntry, read_table
from llmc.errors import ConfigError
from llmc.hosts import Host, parse_hosts
from llmc.presets import (
    DEFAULT_FALLBACK_MODEL,
    RouterSettings,
    TierPreset,
    read_policy,
    read_presets,
)
from llmc.redaction import secrets_in

_T = TypeVar("_T")

BACKENDS = ("auto", "ollama", "gateway", "embedded")
HOST_ORDERS = ("spread", "failover")
HOST_PATIENCE_SEC = 900.0
"""Long enough for a machine to be restarted."""

DEFAULT_INDEX = ".rag/index_v2.db"
DEFAULT_SCHEMA_VERSION = "enrichment.v1"
EST_TOKENS_PER_SPAN = 350
OPENAI_BASE_URL = "https://api.openai.com/v1"
GEMINI_BASE_URL = "https://generativelanguage.googleapis.com/v1beta/openai"
AZURE_API_VERSION = "2024-10-21"
"""The GA version of the Azure OpenAI data plane that has json_schema response formats."""

_GATEWAY_DEFAULTS = {
    "LLM_DISABLED": "false",
    "NEXT_PUBLIC_LLM_DISABLED": "false",
    "LLM_GATEWAY_DISABLE_RAG": "1",
}


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; None where it said nothing."""

    backend: str | None = None
    chain: str | None = None
    limit: int = 0
    router: str | None = None
    start_tier: str | None = None
    headroom: int | None = None
    retries: int = 3
    retry_wait: float = 2.0
    cooldown: int | None = None
    model: str | None = None
    fallback_model: str | None = None
    gateway_path: str | None = None
    gateway_timeout: float = 300.0
    schema_version: str = DEFAULT_SCHEMA_VERSION
    log: str | None = None
    verbose: bool = False
    slots: int | None = None
    host_order: str | None = None
    host_patience: float | None = None
    retry_failed: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server: the chat completions URL, the model and how to sign in."""

    url: str
    model: str
    label: str
    key: SecretStr | None = None
    key_header: str = "authorization"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The cloud gateway: a program if `program` is set, else `endpoint`, else none.

    `environ` is what the program gets; `label` is its model in the records.
    """

    program: Path | None = None
    timeout: float = 300.0
    debug: bool = False
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    endpoint: Endpoint | None = None
    label: str = "gemini"

    @property
    def configured(self) -> bool:
        return self.program is not None or self.endpoint is not None

    def for_model(self, model: str | None) -> GatewaySettings:
        """Return the gateway as if GEMINI_MODEL were `model`, itself if that is None or empty."""
        if not model:
            return self
        environ = {**self.environ, "GEMINI_MODEL": model}
        known = gateway_settings(Flags(), {**environ, "OPENAI_MODEL": model})
        return replace(self, environ=environ, endpoint=known.endpoint, label=known.label)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run goes by. Paths are absolute; times are in seconds.

    `concurrency` is how many requests a host gets at once; an entry's `slots` beats it.
    `hosts_down` are the addresses that did not answer when the run was prepared. Where every host
    rests, a run waits for `host_patience`.
    """

    repo: Path
    index_path: Path
    metrics_log: Path
    backend: str
    router: RouterSettings
    hosts: tuple[Host, ...]
    presets: Mapping[str, TierPreset]
    gateway: GatewaySettings
    ollama_model: str | None
    chain: tuple[ChainEntry, ...] = ()
    chains_elsewhere: tuple[str, ...] = ()
    hosts_configured: bool = False
    limit: int = 0
    retries: int = 3
    retry_wait: float = 2.0
    cooldown: int = 0
    concurrency: int = 1
    host_order: str = HOST_ORDERS[0]
    host_patience: float = HOST_PATIENCE_SEC
    hosts_down: frozenset[str] = frozenset()
    retry_failed: bool = False
    exclude: str = ""
    model: str = "qwen2.5:7b"
    fallback_model: str = DEFAULT_FALLBACK_MODEL
    schema_version: str = DEFAULT_SCHEMA_VERSION
    est_tokens_per_span: int = EST_TOKENS_PER_SPAN
    health_check: bool = True
    health_timeout: float = 5.0
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def logs(self) -> Path:
        return self.repo / "logs"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the keys and passwords that the environment and the chain's addresses hold."""
        named = {entry.api_key_env for entry in self.chain}
        urls = [entry.url or "" for entry in self.chain]
        return secrets_in(self.environ, named=named, urls=urls)

    def entries(self, tier: str) -> tuple[ChainEntry, ...]:
        """Return the chain's entries for a tier, in the order in which they are asked."""
        return tuple(entry for entry in self.chain if entry.routing_tier == tier)

    def key(self, entry: ChainEntry) -> SecretStr | None:
        """Return the key an entry signs in with, None if it names none.

        Raises ConfigError if the variable it names is unset.
        """
        if entry.api_key_env is None:
            return None
        value = self.environ.get(entry.api_key_env)
        if not value:
            raise ConfigError(
                f"chain entry {entry.name!r}: api_key_env is {entry.api_key_env!r}, "
                "but that variable is not set; export it, or drop api_key_env"
            )
        return _secret(value)


def load_settings(
    repo: Path, flags: Flags | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read everything that configures a run in `repo`.

    `environ` stands for the process's environment. Raises ConfigError.
    """
    flags = flags or Flags()
    env = dict(os.environ if environ is None else environ)
    repo = repo.resolve()
    table = read_table(repo, env.get("ENRICH_CHAIN_JSON", ""))
    wanted = flags.chain or table.default_chain
    chain = table.selected(wanted)
    backend = flags.backend or "auto"
    presets = read_presets(repo, env.get("ENRICH_NUM_GPU", ""))
    cooldown = _first(
        flags.cooldown, _whole(env, "ENRICH_COOLDOWN_SECONDS", 0), table.cooldown_seconds
    )
    settings = Settings(
        repo=repo,
        index_path=index_path(repo, env),
        metrics_log=Path(flags.log).absolute()
        if flags.log
        else repo / "logs/enrichment_metrics.jsonl",
        backend=backend,
        router=_router(repo, flags, env),
        hosts=parse_hosts(env),
        hosts_configured=any(
            env.get(name) for name in ("ENRICH_OLLAMA_HOSTS", "ATHENA_OLLAMA_URL", "OLLAMA_URL")
        ),
        presets=presets,
        gateway=gateway_settings(flags, env),
        ollama_model=env.get("OLLAMA_MODEL", presets["7b"].model),
        chain=chain,
        chains_elsewhere=tuple(sorted({e.chain for e in table.entries if e.enabled} - {wanted})),
        limit=flags.limit,
        retries=flags.retries,
        retry_wait=flags.retry_wait,
        cooldown=cooldown or 0,
        concurrency=_first(flags.slots, _whole(env, "ENRICH_CONCURRENCY", 1), table.concurrency)
        or 1,
        host_order=flags.host_order or HOST_ORDERS[0],
        host_patience=_first(flags.host_patience, HOST_PATIENCE_SEC) or 0.0,
        retry_failed=flags.retry_failed,
        exclude=env.get("LLMC_RAG_EXCLUDE", ""),
        model=_first(flags.model, "qwen2.5:7b") or "",
        fallback_model=_first(
            flags.fallback_model, env.get("RAG_FALLBACK_MODEL"), DEFAULT_FALLBACK_MODEL
        )
        or "",
        schema_version=flags.schema_version,
        est_tokens_per_span=table.est_tokens_per_span or EST_TOKENS_PER_SPAN,
        environ=env,
        **_health(env),
    )
    return replace(settings, warnings=tuple(_warnings(settings, flags.chain, table.unknown)))


def _warnings(settings: Settings, chain: str | None, unknown: tuple[str, ...]) -> list[str]:
    found = [f"llmc.toml: {key} is not a setting of llmc; ignored" for key in unknown]
    if chain and not settings.chain:
        raise ConfigError(f"--chain {chain!r}: llmc.toml has no enabled entry with that chain")
    return found


def index_path(repo: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Return where a repository's index is."""
    env = os.environ if environ is None else environ
    for name in ("LLMC_RAG_INDEX_PATH", "EMBEDDING_INDEX_PATH"):
        if env.get(name):
            return repo / env[name]
    name = env.get("EMBEDDING_INDEX_NAME", "")
    return repo / (f".rag/{name}" if name else DEFAULT_INDEX)


def _router(repo: Path, flags: Flags, env: Mapping[str, str]) -> RouterSettings:
    standard = RouterSettings()
    context = _int(env.get("ROUTER_CONTEXT_LIMIT"), 32000)
    pre_flight = _int(env.get("ROUTER_PRE_FLIGHT_LIMIT"), standard.token_limit)
    headroom = _int(env.get("ROUTER_MAX_TOKENS_HEADROOM"), _first(flags.headroom, 4000) or 0)
    return RouterSettings(
        policy=read_policy(repo, flags.retries),
        enabled=(flags.router or env.get("ROUTER_ENABLED", "on")).lower() != "off",
        start_tier=_first(flags.start_tier, env.get("ROUTER_DEFAULT_TIER"), "auto") or "",
        token_limit=min(pre_flight, max(1, context - headroom)),
        node_limit=_int(env.get("ROUTER_NODE_LIMIT"), standard.node_limit),
        depth_limit=_int(env.get("ROUTER_DEPTH_LIMIT"), standard.depth_limit),
        nesting_limit=_int(env.get("ROUTER_NESTING_LIMIT"), standard.nesting_limit),
        line_thresholds=_thresholds(env.get("ROUTER_LINE_THRESHOLDS"), standard.line_thresholds),
    )


def gateway_settings(flags: Flags, env: Mapping[str, str]) -> GatewaySettings:
    """Return the gateway that the flags and the environment name."""
    azure = all(env.get(f"AZURE_OPENAI_{part}") for part in ("ENDPOINT", "KEY", "DEPLOYMENT"))
    label = env["AZURE_OPENAI_DEPLOYMENT"] if azure else env.get("GEMINI_MODEL", "gemini")
    return GatewaySettings(
        program=Path(flags.gateway_path) if flags.gateway_path else None,
        timeout=flags.gateway_timeout,
        debug=flags.verbose,
        environ={**_GATEWAY_DEFAULTS, **env},
        endpoint=_cloud_endpoint(env, label, azure=azure),
        label=label,
    )


def _cloud_endpoint(env: Mapping[str, str], label: str, *, azure: bool) -> Endpoint | None:
    """Return the server that the environment's cloud variables name, None if they name none."""
    if azure:
        base = env["AZURE_OPENAI_ENDPOINT"].rstrip("/")
        version = env.get("AZURE_OPENAI_API_VERSION") or AZURE_API_VERSION
        url = f"{base}/openai/deployments/{label}/chat/completions?api-version={version}"
        return Endpoint(url, label, label, _secret(env["AZURE_OPENAI_KEY"]), "api-key")
    if key := env.get("GEMINI_API_KEY"):
        model = env.get("GEMINI_MODEL") or "gemini-2.5-flash-lite"
        return Endpoint(f"{GEMINI_BASE_URL}/chat/completions", model, label, _secret(key))
    base = env.get("OPENAI_BASE_URL", "").rstrip("/")
    if base or env.get("OPENAI_API_KEY"):
        base = base or OPENAI_BASE_URL
        model = env.get("OPENAI_MODEL") or env.get("GEMINI_MODEL") or "default"
        key = env.get("OPENAI_API_KEY")
        secret = _secret(key) if key else None
        return Endpoint(f"{base}/chat/completions", model, label, secret)
    return None


def _secret(value: str) -> SecretStr:
    """Return a key without the line end that one read from a file often has."""
    return SecretStr(value.strip())


def _health(env: Mapping[str, str]) -> dict[str, Any]:
    switch = env.get("ENRICH_HEALTHCHECK_ENABLED")
    try:
        timeout = float(env.get("ENRICH_HEALTHCHECK_TIMEOUT_SECONDS") or 5.0)
    except ValueError:
        timeout = 5.0
    enabled = switch is None or switch.strip().lower() in ("1", "true", "yes", "on")
    return {"health_check": enabled, "health_timeout": timeout if timeout > 0 else 5.0}


def _int(text: str | None, default: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        return default


def _thresholds(text: str | None, default: tuple[int, int]) -> tuple[int, int]:
    try:
        low, high = sorted(int(part) for part in (text or "").split(","))
    except ValueError:
        return default
    return (low, high) if low > 0 else default


def _whole(env: Mapping[str, str], name: str, least: int) -> int | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"${name} is {text!r}; it must be a whole number, at least {least}")
    return int(text)


def _first(*values: _T | None) -> _T | None:
    return next((value for value in values if value is not None), None)
