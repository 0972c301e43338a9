"""The values that belong together among the settings: pace, health, labels, sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmc.settings.documents import SettingsFile
from llmc.settings.flags import DEFAULT_SCHEMA_VERSION, HOST_ORDERS
from llmc.settings.presets import DEFAULT_FALLBACK_MODEL

DEFAULT_LABEL = "qwen2.5:7b"
EST_TOKENS_PER_SPAN = 350

HOST_PATIENCE_SEC = 900.0
"""Long enough for a machine to be restarted."""

HEALTH_SEC = 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is done, how often, at how many places at once."""

    limit: int = 0
    """Spans after whose success a run ends; 0: no limit."""

    retries: int = 3
    """Attempts that a span may have, at least; the policy may lower it."""

    retry_wait: float = 2.0
    """Seconds before an attempt is made again."""

    cooldown: int = 0
    """Seconds for which a changed file is left alone."""

    concurrency: int = 1
    """Requests that a host gets at once; an entry's `slots` beats it."""

    host_order: str = HOST_ORDERS[0]
    """spread: hosts work side by side; failover: each is asked when those before it fail."""

    host_patience: float = HOST_PATIENCE_SEC
    """Seconds that a run waits where every host rests."""

    callees: bool | None = None
    """Whether callees come first and are described to their callers; None: to large models."""

    retry_failed: bool = False
    """Whether spans are asked for at once whose failure is not long ago."""

    ask_all: bool = False
    """Whether models are asked about spans that would be written by rule, too."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Whether hosts are asked before a run if they are there, and what was found."""

    enabled: bool = True
    """Whether they are asked at all."""

    timeout: float = HEALTH_SEC
    """Seconds in which a host must answer."""

    down: frozenset[str] = frozenset()
    """The addresses that did not answer when the run was prepared."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What stands in the index and the records where a reply doesn't say it."""

    model: str = DEFAULT_LABEL
    """The model of a success that names none."""

    fallback_model: str = DEFAULT_FALLBACK_MODEL
    """The model of a failure that names none."""

    schema_version: str = DEFAULT_SCHEMA_VERSION
    """The version stored with each enrichment."""

    est_tokens_per_span: int = EST_TOKENS_PER_SPAN
    """Tokens that a stored enrichment is taken to save whoever reads it instead of the code."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the settings were read from, and whether the user stands by it."""

    files: Mapping[str, SettingsFile] = field(default_factory=dict, repr=False)
    """The repository's settings files, by their names."""

    trusted: bool = False
    """Whether they may ask for more than any repository may: see `Settings.find_unmet`."""

    trust_problem: str = ""
    """Why it can't be told whether they are trusted."""

    passed_over: tuple[str, ...] = ()
    """A sentence for each of their addresses that gave way to the user's."""

    chain_chosen: str | None = None
    """The chain that they name where the user names none."""

    chains_elsewhere: tuple[str, ...] = ()
    """Chains that have entries and are not used."""

    hosts_named: bool = False
    """Whether the user's environment names the Ollama hosts."""

    warnings: tuple[str, ...] = ()
    """What was found that the user should know of."""
