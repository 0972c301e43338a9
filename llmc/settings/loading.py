"""Reading it all: flags beat the environment, which beats `llmc.toml`, which beats the defaults.

`load_settings` is called once, at the edge, and its frozen result is passed down. No other part
reads the environment.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from llmc.errors import ConfigError
from llmc.files import home, tilde
from llmc.net.places import OwnNetwork, spell_address
from llmc.net.routes import Network
from llmc.programs.launching import SearchPath
from llmc.settings import gateways, needs, privacy, trust
from llmc.settings.addresses import OLLAMA_PORT, find_missing_port
from llmc.settings.catalogue import find_model
from llmc.settings.chains import (
    DEFAULT_CHAIN,
    ChainEntry,
    EnrichmentTable,
    UserEntry,
    count_in_flight,
    read_table,
)
from llmc.settings.config import Settings
from llmc.settings.documents import (
    CONFIG_FILE,
    MAX_IN_FLIGHT,
    MAX_NUMBER,
    MAX_SLOTS,
    POLICY_FILE,
    PRESET_FILE,
    SettingsFile,
    quote,
)
from llmc.settings.environment import copy_environment, find_index_path, find_logs
from llmc.settings.files import read_all
from llmc.settings.flags import HOST_ORDERS, Flags
from llmc.settings.gateways import GatewaySettings
from llmc.settings.groups import (
    DEFAULT_LABEL,
    EST_TOKENS_PER_SPAN,
    HOST_PATIENCE_SEC,
    Labels,
    Pace,
    Sources,
)
from llmc.settings.hosts import parse_hosts
from llmc.settings.keys import refuse_unknown
from llmc.settings.network import find_unused_proxies, read_network
from llmc.settings.network import read_table as read_network_table
from llmc.settings.presets import (
    DEFAULT_FALLBACK_MODEL,
    RouterSettings,
    read_policy,
    read_presets,
)
from llmc.settings.privacy import Privacy
from llmc.settings.variables import read_health, read_integer, read_thresholds, read_whole

_T = TypeVar("_T")

USER_FILE = "config.toml"
USER_FILE_BYTES = 1024 * 1024

_LEAST = {
    "limit": 0,
    "retries": 1,
    "retry_wait": 0,
    "cooldown": 0,
    "headroom": 0,
    "host_patience": 0,
    "gateway_timeout": 0.001,
}
"""The least that a flag's number may be."""

_HOST_VARIABLES = ("ENRICH_OLLAMA_HOSTS", "ATHENA_OLLAMA_URL", "OLLAMA_URL")


def load_settings(
    repo: Path, flags: Flags | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read everything that configures a run in `repo`.

    `environ` stands for the process's environment. Raises ConfigError.
    """
    flags, env, repo = flags or Flags(), copy_environment(environ), repo.resolve()
    files = read_all(repo)
    if not flags.lenient:
        refuse_unknown(files.get(CONFIG_FILE))
        _check_numbers(flags)
    table = read_table(files.get(CONFIG_FILE), env.get("ENRICH_CHAIN_JSON", ""))
    chain, sources = _choose_chain(repo, table, files, flags, env)
    presets = read_presets(files.get(PRESET_FILE), env.get("ENRICH_NUM_GPU", ""))
    index_path = find_index_path(repo, env)
    settings = Settings(
        repo=repo,
        index_path=index_path,
        metrics_log=_find_metrics_log(find_logs(repo, index_path), flags, env),
        backend=flags.backend or "auto",
        router=_read_router(files.get(POLICY_FILE), flags, env),
        hosts=parse_hosts(env, as_meant=not flags.lenient),
        presets=presets,
        gateway=read_gateway(flags, env, SearchPath.of(env, repo)),
        ollama_model=env.get("OLLAMA_MODEL", presets["7b"].model),
        chain=chain,
        exclude=env.get("LLMC_RAG_EXCLUDE", ""),
        environ=env,
        privacy=_read_privacy(repo, files.get(CONFIG_FILE), env),
        network=find_network(flags, files.get(CONFIG_FILE) if sources.trusted else None, env),
        pace=_read_pace(table, flags, env),
        health=read_health(env),
        labels=_read_labels(table, flags, env),
        sources=sources,
    )
    if flags.in_process:
        settings = _ask_only(flags, settings)
    return settings.change(warnings=tuple(_check(settings, flags.chain)))


def _ask_only(flags: Flags, settings: Settings) -> Settings:
    """Return the settings for which every tier beside the cloud's asks the one model that the user
    named, in this process. Raises ConfigError."""
    if flags.chain or flags.backend not in (None, "auto", "embedded"):
        raise ConfigError(
            "--model names one that runs in this process, and nothing else is asked then: leave "
            "--chain and other backends out"
        )
    model = flags.in_process or ""
    if not find_model(model):
        model = str(Path(tilde.expand(model, settings.environ, "--model")).absolute())
        if not Path(model).is_file():
            raise ConfigError(
                f"--model {flags.in_process!r}: there is no such file, and no such name: "
                "llmc model list says which names there are"
            )
    entry = UserEntry(name="embedded", provider="llamacpp", model=model)
    tiers = [tier for tier in settings.tiers if tier != "nano"]
    chain = tuple(entry.model_copy(update={"routing_tier": tier}) for tier in tiers)
    return settings.change(backend="auto", chain=chain, chain_chosen=None, passed_over=())


def find_network(flags: Flags, file: SettingsFile | None, env: Mapping[str, str]) -> Network:
    """Return the ways out: the user's words, and those of `file` if its repository is trusted.

    Raises ConfigError.
    """
    tables = [read_network_table(*_read_users_document(env))]
    if file:
        tables.append(read_network_table(file.document, file.path))
    return read_network(flags.proxy, tuple(tables), env)


def _check_numbers(flags: Flags) -> None:
    """Refuse numbers that mean nothing; the batch driver takes them as it always did."""
    for name, least in _LEAST.items():
        value = getattr(flags, name)
        if value is not None and not least <= value <= MAX_NUMBER:
            raise ConfigError(
                f"{name} is {quote(value)}; it must be a number, {least} to {MAX_NUMBER}"
            )


def _choose_chain(
    repo: Path,
    table: EnrichmentTable,
    files: Mapping[str, SettingsFile],
    flags: Flags,
    env: Mapping[str, str],
) -> tuple[tuple[ChainEntry, ...], Sources]:
    """Return the entries that a run goes by, and on whose word."""
    trusted, trust_problem = (True, "") if flags.trust else trust.check_standing(env, repo, files)
    wanted = flags.chain or (table.default_chain if trusted else table.untrusted_default)
    chain, passed_over = table.select(wanted), tuple[str, ...]()
    hosts_named = any(env.get(name) for name in _HOST_VARIABLES)
    if (hosts_named or env.get("ENRICH_CHAIN_JSON")) and not trusted:
        chain, passed_over = needs.keep_to_own_hosts(chain)
    return tuple(_expand(entry, env) for entry in chain), Sources(
        files=files,
        trusted=trusted,
        trust_problem=trust_problem,
        passed_over=passed_over,
        chain_chosen=None if flags.chain or wanted == DEFAULT_CHAIN else wanted,
        chains_elsewhere=tuple(sorted({e.chain for e in table.entries if e.enabled} - {wanted})),
        hosts_named=hosts_named,
    )


def _expand(entry: ChainEntry, env: Mapping[str, str]) -> ChainEntry:
    """Return an entry with whole paths: of its program, or of its model's file."""
    where = f"{CONFIG_FILE}, entry {entry.name!r}"
    changed = {}
    if entry.command:
        changed["command"] = tilde.expand(entry.command, env, f"{where}: command")
    if entry.model and entry.provider == "llamacpp":
        changed["model"] = tilde.expand(entry.model, env, f"{where}: model")
    return entry.model_copy(update=changed) if changed else entry


def _find_metrics_log(logs: Path, flags: Flags, env: Mapping[str, str]) -> Path:
    if flags.log:
        return Path(tilde.expand(flags.log, env, "--log")).absolute()
    return logs / "enrichment_metrics.jsonl"


def _read_pace(table: EnrichmentTable, flags: Flags, env: Mapping[str, str]) -> Pace:
    named = read_whole(env, "ENRICH_COOLDOWN_SECONDS", 0)
    if flags.slots is not None and not 1 <= flags.slots <= MAX_SLOTS:
        raise ConfigError(f"slots is {quote(flags.slots)}; it must be 1 to {MAX_SLOTS}")
    slots = flags.slots or read_whole(env, "ENRICH_CONCURRENCY", 1, MAX_SLOTS)
    return Pace(
        limit=flags.limit,
        retries=flags.retries,
        retry_wait=flags.retry_wait,
        cooldown=_first(flags.cooldown, named, table.cooldown_seconds) or 0,
        concurrency=slots or table.concurrency or 1,
        host_order=flags.host_order or HOST_ORDERS[0],
        host_patience=_first(flags.host_patience, HOST_PATIENCE_SEC) or 0.0,
        callees=None if table.callees == "auto" else table.callees,
        retry_failed=flags.retry_failed,
        ask_all=flags.ask_all,
    )


def _read_labels(table: EnrichmentTable, flags: Flags, env: Mapping[str, str]) -> Labels:
    named = env.get("RAG_FALLBACK_MODEL")
    return Labels(
        model=_first(flags.model, DEFAULT_LABEL) or "",
        fallback_model=_first(flags.fallback_model, named, DEFAULT_FALLBACK_MODEL) or "",
        schema_version=flags.schema_version,
        est_tokens_per_span=table.est_tokens_per_span or EST_TOKENS_PER_SPAN,
    )


def _check(settings: Settings, chain: str | None) -> list[str]:
    """Return what the user should know of settings that can be used. Raises ConfigError."""
    total = count_in_flight(settings.chain, settings.pace.concurrency)
    if total > MAX_IN_FLIGHT:
        raise ConfigError(
            f"the chain's slots come to {total}, and {MAX_IN_FLIGHT} are the most: lower slots or "
            "concurrency"
        )
    found = [
        f"{host.label} is {spell_address(host.url)}, so port 80 is asked; "
        f"Ollama listens on {OLLAMA_PORT}"
        for host in settings.hosts
        if find_missing_port(host.url)
    ]
    unused = find_unused_proxies(settings.network, settings.environ)
    if unused and settings.asks_afar:
        found.append(
            f"${' and $'.join(unused)} not used: add --proxy, or trust_env = true under [network] "
            f"in {CONFIG_FILE}"
        )
    if settings.logs.parent != settings.repo:
        found.append(f"{settings.repo} can't be written to; the logs are in {settings.logs}")
    if chain and not settings.chain:
        raise ConfigError(f"--chain {chain!r}: llmc.toml has no enabled entry with that chain")
    return found


def _read_privacy(repo: Path, file: SettingsFile | None, env: Mapping[str, str]) -> Privacy:
    """Return what stays here: the user says it, and the repository may say more."""
    own, local = _read_users_words(env)
    own += tuple(env.get("LLMC_OWN_NETWORK", "").split(","))
    theirs = privacy.read_local_lines(file.document if file else {}, repo / CONFIG_FILE)
    sources = (local, theirs, privacy.read_local_file(repo))
    return Privacy(OwnNetwork.of(own), tuple(filter(None, sources)))


def _read_users_words(env: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (own_network, local_only) of the user's own settings file; it need not be there."""
    return privacy.read_users_words(*_read_users_document(env))


def _read_users_document(env: Mapping[str, str]) -> tuple[dict[str, Any], Path]:
    """Return the user's own settings file, empty if it isn't there, and its path."""
    try:
        folder = home.find_folder(env)
    except ConfigError:
        return {}, Path()  # nobody's environment, such as that of a service
    path = folder / USER_FILE
    data = home.read(path, USER_FILE_BYTES)
    try:
        return tomllib.loads((data or b"").decode("utf-8")), path
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _read_router(
    policy: SettingsFile | None, flags: Flags, env: Mapping[str, str]
) -> RouterSettings:
    standard = RouterSettings()
    context = read_integer(env.get("ROUTER_CONTEXT_LIMIT"), 32000)
    pre_flight = read_integer(env.get("ROUTER_PRE_FLIGHT_LIMIT"), standard.token_limit)
    kept_free = _first(flags.headroom, 4000) or 0
    headroom = read_integer(env.get("ROUTER_MAX_TOKENS_HEADROOM"), kept_free)
    named_tier = env.get("ROUTER_DEFAULT_TIER", "").strip().lower()
    return RouterSettings(
        policy=read_policy(policy, flags.retries),
        enabled=(flags.router or env.get("ROUTER_ENABLED", "on")).lower() != "off",
        start_tier=_first(flags.start_tier, named_tier) or "auto",
        token_limit=min(pre_flight, max(1, context - headroom)),
        line_thresholds=read_thresholds(
            env.get("ROUTER_LINE_THRESHOLDS"), standard.line_thresholds
        ),
        node_limit=read_integer(env.get("ROUTER_NODE_LIMIT"), standard.node_limit),
        depth_limit=read_integer(env.get("ROUTER_DEPTH_LIMIT"), standard.depth_limit),
        nesting_limit=read_integer(env.get("ROUTER_NESTING_LIMIT"), standard.nesting_limit),
    )


def read_gateway(flags: Flags, env: Mapping[str, str], search: SearchPath) -> GatewaySettings:
    """Return the gateway that the flags and the environment name. Raises ConfigError."""
    endpoint, trouble = gateways.choose(env, flags.gateway or env.get(gateways.CHOICE))
    azure = endpoint is not None and endpoint.key_name == gateways.KEYS["azure"]
    label = endpoint.model if endpoint and azure else gateways.find_label(env)
    if gateways.is_azure(env):
        azure, label = True, env["AZURE_OPENAI_DEPLOYMENT"]
    program = tilde.expand(flags.gateway_path or "", env, "--gateway-path")
    listed = filter(None, map(str.strip, env.get("LLMC_GATEWAY_ENV", "").split(",")))
    names = (*flags.gateway_env, *listed)
    return GatewaySettings(
        program=Path(program) if program else None,
        timeout=flags.gateway_timeout,
        debug=flags.verbose,
        environ=gateways.make_program_environ(env, None if flags.whole_environ else names, search),
        endpoint=endpoint,
        trouble=trouble,
        label=label,
        is_azure=azure,
    )


def _first(*values: _T | None) -> _T | None:
    return next((value for value in values if value is not None), None)
