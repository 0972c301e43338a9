"""Settings: flags beat the environment, which beats `llmc.toml`, which beats the defaults.

`load_settings` is called once, at the edge, and its frozen result is passed down. No other module
reads the environment. Keys are held as SecretStr, which never shows its value in a log or a repr.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import SecretStr

from llmc.errors import ConfigError, UntrustedError
from llmc.files import home
from llmc.models import IndexPlace
from llmc.net.places import OwnNetwork
from llmc.programs.launching import SearchPath
from llmc.redaction.keys import find_secrets
from llmc.settings import gateways, needs, privacy, trust
from llmc.settings.chains import DEFAULT_CHAIN, ChainEntry, count_in_flight, read_table
from llmc.settings.documents import (
    CONFIG_FILE,
    MAX_IN_FLIGHT,
    MAX_SLOTS,
    POLICY_FILE,
    PRESET_FILE,
    SettingsFile,
    quote,
)
from llmc.settings.files import read_all
from llmc.settings.gateways import GatewaySettings
from llmc.settings.hosts import Host, parse_hosts
from llmc.settings.presets import (
    DEFAULT_FALLBACK_MODEL,
    TIERS,
    RouterSettings,
    TierPreset,
    choose_preset,
    read_policy,
    read_presets,
)
from llmc.settings.privacy import Privacy
from llmc.settings.variables import read_health, read_integer, read_thresholds, read_whole

_T = TypeVar("_T")

BACKENDS = ("auto", "ollama", "gateway", "embedded")
HOST_ORDERS = ("spread", "failover")
USER_FILE = "config.toml"
USER_FILE_BYTES = 1024 * 1024
HOST_PATIENCE_SEC = 900.0
"""Long enough for a machine to be restarted."""

DEFAULT_INDEX = ".rag/index_v2.db"
DEFAULT_SCHEMA_VERSION = "enrichment.v1"
EST_TOKENS_PER_SPAN = 350

_HOST_VARIABLES = ("ENRICH_OLLAMA_HOSTS", "ATHENA_OLLAMA_URL", "OLLAMA_URL")


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; None where it said nothing.

    `gateway_env` are variables that the gateway program gets besides what every program needs;
    with `whole_environ` it gets all.
    """

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
    gateway: str | None = None
    gateway_env: tuple[str, ...] = ()
    whole_environ: bool = False
    schema_version: str = DEFAULT_SCHEMA_VERSION
    log: str | None = None
    verbose: bool = False
    slots: int | None = None
    host_order: str | None = None
    host_patience: float | None = None
    retry_failed: bool = False
    trust: bool = False


class Signed(Protocol):
    """Whatever signs in with the key in a variable."""

    @property
    def name(self) -> str | None: ...

    @property
    def api_key_env(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run goes by. Paths are absolute; times are in seconds.

    `concurrency` is how many requests a host gets at once; an entry's `slots` beats it.
    `hosts_down` are the addresses that did not answer when the run was prepared. Where every host
    rests, a run waits for `host_patience`.

    `files` are the settings files that all this was read from. Unless they are `trusted`, a run may
    not go by what they ask for beyond what any repository may say: see `unmet`; `trust_problem`
    says why it can't be told. `passed_over` says which of their addresses gave way to the user's,
    `chain_chosen` is the chain that they name where the user names none.
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
    privacy: Privacy = field(default_factory=Privacy)
    warnings: tuple[str, ...] = ()
    files: Mapping[str, SettingsFile] = field(default_factory=dict, repr=False)
    trusted: bool = False
    trust_problem: str = ""
    passed_over: tuple[str, ...] = ()
    chain_chosen: str | None = None

    @property
    def index(self) -> IndexPlace:
        return IndexPlace(self.index_path, self.repo, self.environ)

    @property
    def logs(self) -> Path:
        return self.repo / "logs"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the keys and passwords that the environment and the chain's addresses hold."""
        named = {entry.api_key_env for entry in self.chain}
        urls = [entry.url or "" for entry in self.chain]
        return find_secrets(self.environ, named=named, urls=urls)

    def entries(self, tier: str) -> tuple[ChainEntry, ...]:
        """Return the chain's entries for a tier, in the order in which they are asked."""
        return tuple(entry for entry in self.chain if entry.routing_tier == tier)

    def unmet(self, *, driver: bool = False) -> tuple[needs.Need, ...]:
        """Return what a run would use that the repository's user has not allowed.

        The batch driver goes by the chain's entries whatever its --backend.
        """
        if self.trusted:
            return ()
        found = needs.find_in_run(
            self.chain,
            self.presets,
            self.backend,
            tiers=self.tiers,
            chosen=self.chain_chosen,
            driver=driver,
        )
        return tuple(need for need in found if need.kind != "here" or self._named_hosts)

    @property
    def _named_hosts(self) -> bool:
        """Whether the user said where the code goes, so that no repository may say otherwise."""
        places = ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "ENRICH_CHAIN_JSON")
        elsewhere = any(self.environ.get(name) for name in places)
        return self.hosts_configured or elsewhere or self.gateway.program is not None

    def require_trust(self, *, driver: bool = False) -> None:
        """Raise UntrustedError if a run would use what the user has not allowed."""
        unmet = self.unmet(driver=driver)
        if unmet and self.trust_problem:
            raise ConfigError(self.trust_problem)
        if unmet:
            asked = "; ".join(dict.fromkeys(f"{need.text} ({need.where})" for need in unmet))
            raise UntrustedError(
                f"{self.repo} is not trusted, and its settings want to: {asked}. If you agree, run "
                f"llmc trust {shlex.quote(str(self.repo))}{', or add --trust' if driver else ''}"
            )

    @property
    def tiers(self) -> tuple[str, ...]:
        """Every tier that a span may get to; a policy may name some of its own."""
        policy = self.router.policy
        return tuple(dict.fromkeys((*TIERS, policy.default_tier, policy.fallback_tier)))

    def staying(self) -> Settings:
        """Return the settings for spans that must stay: hosts and entries that lead away are gone.

        They hold for the tiers of `staying_tiers`.
        """
        leads_away = self.privacy.leads_away
        hosts = tuple(host for host in self.hosts if not leads_away("ollama", host.url, None))
        staying = replace(self, hosts=hosts)
        return replace(staying, chain=tuple(filter(staying._stays, self.chain)))

    def staying_tiers(self) -> frozenset[str]:
        """Return the tiers at which something can be asked without code leaving."""
        staying = self.staying()
        return frozenset(tier for tier in self.tiers if staying._serves(tier, self.entries(tier)))

    def _serves(self, tier: str, configured: tuple[ChainEntry, ...]) -> bool:
        if self.backend == "auto" and configured:
            return bool(self.entries(tier))
        if self.backend == "gateway":
            endpoint = None if self.gateway.program else self.gateway.endpoint
            return endpoint is not None and not self.privacy.leads_away(
                "openai", endpoint.url, endpoint.model
            )
        if self.backend == "auto" and tier == "nano":
            return False
        return self.backend == "embedded" or self._hosts_stay(tier, None)

    def _stays(self, entry: ChainEntry) -> bool:
        if entry.provider == "ollama" and not entry.url:
            return self._hosts_stay(entry.routing_tier, entry.model)
        model, url = entry.model, entry.url or ""
        if entry.provider == "ollama":
            model = self._ollama_model(entry.routing_tier, model)
        elif not url and self.gateway.endpoint:
            url = self.gateway.endpoint.url
        place = entry.command or "" if entry.provider == "command" else url
        return not self.privacy.leads_away(entry.provider, place, model)

    def _hosts_stay(self, tier: str, model: str | None) -> bool:
        model = self._ollama_model(tier, model)
        urls = [host.url for host in self.hosts]
        return bool(urls) and not any(self.privacy.leads_away("ollama", url, model) for url in urls)

    def _ollama_model(self, tier: str, model: str | None) -> str | None:
        return model or choose_preset(self.presets, tier).model or self.ollama_model

    def key(self, entry: Signed) -> SecretStr | None:
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
        return gateways.wrap_secret(value)

    @property
    def search(self) -> SearchPath:
        """Where programs are looked for."""
        return SearchPath.of(self.environ, self.repo)

    def gateway_of(self, entry: ChainEntry) -> GatewaySettings:
        """Return the gateway that a command entry's program is."""
        environ = gateways.make_program_environ(self.environ, entry.env, self.search)
        return replace(self.gateway, environ=environ)


def copy_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a copy of `environ`, of the process's own environment if that is None."""
    return dict(os.environ if environ is None else environ)


def load_settings(
    repo: Path, flags: Flags | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read everything that configures a run in `repo`.

    `environ` stands for the process's environment. Raises ConfigError.
    """
    flags = flags or Flags()
    env = copy_environment(environ)
    repo = repo.resolve()
    files = read_all(repo)
    table = read_table(files.get(CONFIG_FILE), env.get("ENRICH_CHAIN_JSON", ""))
    trusted, trust_problem = (True, "") if flags.trust else trust.check_standing(env, repo, files)
    wanted = flags.chain or (table.default_chain if trusted else table.untrusted_default)
    chain, passed_over = table.selected(wanted), tuple[str, ...]()
    hosts_named = any(env.get(name) for name in _HOST_VARIABLES)
    if (hosts_named or env.get("ENRICH_CHAIN_JSON")) and not trusted:
        chain, passed_over = needs.keep_to_own_hosts(chain)
    backend = flags.backend or "auto"
    presets = read_presets(files.get(PRESET_FILE), env.get("ENRICH_NUM_GPU", ""))
    cooldown = _first(
        flags.cooldown, read_whole(env, "ENRICH_COOLDOWN_SECONDS", 0), table.cooldown_seconds
    )
    settings = Settings(
        repo=repo,
        index_path=find_index_path(repo, env),
        metrics_log=Path(flags.log).absolute()
        if flags.log
        else repo / "logs/enrichment_metrics.jsonl",
        backend=backend,
        router=_router(files.get(POLICY_FILE), flags, env),
        hosts=parse_hosts(env),
        hosts_configured=hosts_named,
        presets=presets,
        gateway=read_gateway(flags, env, SearchPath.of(env, repo)),
        ollama_model=env.get("OLLAMA_MODEL", presets["7b"].model),
        chain=chain,
        chains_elsewhere=tuple(sorted({e.chain for e in table.entries if e.enabled} - {wanted})),
        limit=flags.limit,
        retries=flags.retries,
        retry_wait=flags.retry_wait,
        cooldown=cooldown or 0,
        concurrency=_slots(flags, env) or table.concurrency or 1,
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
        files=files,
        trusted=trusted,
        trust_problem=trust_problem,
        passed_over=passed_over,
        privacy=_privacy(repo, files.get(CONFIG_FILE), env),
        chain_chosen=None if flags.chain or wanted == DEFAULT_CHAIN else wanted,
        **read_health(env),
    )
    return replace(settings, warnings=tuple(_warnings(settings, flags.chain, table.unknown)))


def _slots(flags: Flags, env: Mapping[str, str]) -> int | None:
    if flags.slots is not None and not 1 <= flags.slots <= MAX_SLOTS:
        raise ConfigError(f"slots is {quote(flags.slots)}; it must be 1 to {MAX_SLOTS}")
    return flags.slots or read_whole(env, "ENRICH_CONCURRENCY", 1, MAX_SLOTS)


def _warnings(settings: Settings, chain: str | None, unknown: tuple[str, ...]) -> list[str]:
    found = [f"llmc.toml: {key} is not a setting of llmc; ignored" for key in unknown]
    if (total := count_in_flight(settings.chain, settings.concurrency)) > MAX_IN_FLIGHT:
        raise ConfigError(
            f"the chain's slots come to {total}, and {MAX_IN_FLIGHT} are the most: lower slots or "
            "concurrency"
        )
    if chain and not settings.chain:
        raise ConfigError(f"--chain {chain!r}: llmc.toml has no enabled entry with that chain")
    return found


def find_user_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where llmc keeps what it knows of its user. Raises ConfigError."""
    return home.find_folder(os.environ if environ is None else environ)


def _privacy(repo: Path, file: SettingsFile | None, env: Mapping[str, str]) -> Privacy:
    """Return what stays here: the user says it, and the repository may say more."""
    own, local = _users_words(env)
    own += tuple(env.get("LLMC_OWN_NETWORK", "").split(","))
    theirs = privacy.read_local_lines(file.document if file else {}, repo / CONFIG_FILE)
    sources = (local, theirs, privacy.read_local_file(repo))
    return Privacy(OwnNetwork.of(own), tuple(filter(None, sources)))


def _users_words(env: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (own_network, local_only) of the user's own settings file; it need not be there."""
    try:
        folder = home.find_folder(env)
    except ConfigError:
        return (), ()  # nobody's environment, such as that of a service
    path = folder / USER_FILE
    data = home.read(path, USER_FILE_BYTES)
    try:
        return privacy.read_users_words(tomllib.loads((data or b"").decode("utf-8")), path)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def find_index_path(repo: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Return where a repository's index is."""
    env = os.environ if environ is None else environ
    for name in ("LLMC_RAG_INDEX_PATH", "EMBEDDING_INDEX_PATH"):
        if env.get(name):
            return repo / env[name]
    name = env.get("EMBEDDING_INDEX_NAME", "")
    return repo / (f".rag/{name}" if name else DEFAULT_INDEX)


def locate_index(repo: Path, environ: Mapping[str, str] | None = None) -> IndexPlace:
    """Return a repository's index, to be opened without the settings."""
    env = dict(os.environ if environ is None else environ)
    repo = repo.resolve()
    return IndexPlace(find_index_path(repo, env), repo, env)


def _router(policy: SettingsFile | None, flags: Flags, env: Mapping[str, str]) -> RouterSettings:
    standard = RouterSettings()
    context = read_integer(env.get("ROUTER_CONTEXT_LIMIT"), 32000)
    pre_flight = read_integer(env.get("ROUTER_PRE_FLIGHT_LIMIT"), standard.token_limit)
    headroom = read_integer(
        env.get("ROUTER_MAX_TOKENS_HEADROOM"), _first(flags.headroom, 4000) or 0
    )
    return RouterSettings(
        policy=read_policy(policy, flags.retries),
        enabled=(flags.router or env.get("ROUTER_ENABLED", "on")).lower() != "off",
        start_tier=_first(flags.start_tier, env.get("ROUTER_DEFAULT_TIER", "").strip().lower())
        or "auto",
        token_limit=min(pre_flight, max(1, context - headroom)),
        node_limit=read_integer(env.get("ROUTER_NODE_LIMIT"), standard.node_limit),
        depth_limit=read_integer(env.get("ROUTER_DEPTH_LIMIT"), standard.depth_limit),
        nesting_limit=read_integer(env.get("ROUTER_NESTING_LIMIT"), standard.nesting_limit),
        line_thresholds=read_thresholds(
            env.get("ROUTER_LINE_THRESHOLDS"), standard.line_thresholds
        ),
    )


def read_gateway(flags: Flags, env: Mapping[str, str], search: SearchPath) -> GatewaySettings:
    """Return the gateway that the flags and the environment name. Raises ConfigError."""
    endpoint, trouble = gateways.choose(env, flags.gateway or env.get(gateways.CHOICE))
    azure = gateways.is_azure(env)
    listed = filter(None, map(str.strip, env.get("LLMC_GATEWAY_ENV", "").split(",")))
    names = (*flags.gateway_env, *listed)
    return GatewaySettings(
        program=Path(flags.gateway_path) if flags.gateway_path else None,
        timeout=flags.gateway_timeout,
        debug=flags.verbose,
        environ=gateways.make_program_environ(env, None if flags.whole_environ else names, search),
        endpoint=endpoint,
        trouble=trouble,
        label=env["AZURE_OPENAI_DEPLOYMENT"] if azure else gateways.find_label(env),
        is_azure=azure,
    )


def _first(*values: _T | None) -> _T | None:
    return next((value for value in values if value is not None), None)
