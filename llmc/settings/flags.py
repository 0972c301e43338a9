"""What a command line can say, and the words that it may choose among."""

from __future__ import annotations

from dataclasses import dataclass

BACKENDS = ("auto", "ollama", "gateway", "embedded")
HOST_ORDERS = ("spread", "failover")

DEFAULT_SCHEMA_VERSION = "enrichment.v1"


@dataclass(frozen=True, kw_only=True)
class GatewayFlags:
    """What the command line said of the gateway; None where it said nothing."""

    gateway: str | None = None
    """One of `gateways.CLOUDS`, where variables of several are set; $LLMC_GATEWAY."""

    gateway_path: str | None = None
    """A program that is the gateway; None: a server is."""

    gateway_timeout: float = 300.0
    """Seconds of one call at the gateway."""

    gateway_env: tuple[str, ...] = ()
    """Names of variables that the program gets besides what every program needs."""

    whole_environ: bool = False
    """Whether the program gets the whole environment, as the batch driver gives it."""

    verbose: bool = False
    """Whether the program is asked to say more."""


@dataclass(frozen=True, kw_only=True)
class PaceFlags(GatewayFlags):
    """What the command line said of how much is done, how often and where first."""

    limit: int = 0
    """Spans after whose success a run ends; 0: no limit."""

    retries: int = 3
    """Attempts that a span may have, at least; the policy may lower it."""

    retry_wait: float = 2.0
    """Seconds before an attempt is made again."""

    cooldown: int | None = None
    """Seconds for which a changed file is left alone; $ENRICH_COOLDOWN_SECONDS, else 0."""

    slots: int | None = None
    """Requests that a host gets at once; $ENRICH_CONCURRENCY, else 1."""

    host_order: str | None = None
    """One of HOST_ORDERS; None: the first of them."""

    host_patience: float | None = None
    """Seconds that a run waits where every host rests; None: 900."""

    retry_failed: bool = False
    """Whether spans are asked for at once whose failure is not long ago."""

    ask_all: bool = False
    """Whether models are asked about spans that would be written by rule, too."""


@dataclass(frozen=True, kw_only=True)
class Flags(PaceFlags):
    """What the command line said; None where it said nothing."""

    backend: str | None = None
    """One of BACKENDS; None: auto."""

    chain: str | None = None
    """The chain of `llmc.toml` that is used; None: its default."""

    in_process: str | None = None
    """The model that runs in this process and does it all: a name of the catalogue, or a file."""

    proxy: str | None = None
    """The URL of a proxy that is used; env: those of the environment; None: as settings say."""

    router: str | None = None
    """on or off; $ROUTER_ENABLED, else on."""

    start_tier: str | None = None
    """The tier at which every span begins; $ROUTER_DEFAULT_TIER, else auto."""

    headroom: int | None = None
    """Tokens of the context that are kept free; $ROUTER_MAX_TOKENS_HEADROOM beats it, else 4000."""

    model: str | None = None
    """The model's name in the records where none was sent; None: qwen2.5:7b."""

    fallback_model: str | None = None
    """The same for a failure; $RAG_FALLBACK_MODEL, else the 14b model of a missing preset."""

    schema_version: str = DEFAULT_SCHEMA_VERSION
    """The version that is stored with each enrichment."""

    log: str | None = None
    """The metrics file; None: logs/enrichment_metrics.jsonl in the repository."""

    trust: bool = False
    """Whether the repository's settings are taken as the user's own word for this run."""

    lenient: bool = False
    """Whether keys of `llmc.toml` that nothing reads are passed over, as the batch driver does."""
