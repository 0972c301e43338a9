"""The settings of a run, and what they answer.

They are read once, by `loading`, and passed down. Keys are held as SecretStr, which never shows its
value in a log or a repr.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from llmc.errors import ConfigError, UntrustedError
from llmc.models import IndexPlace
from llmc.net.places import is_this_machine
from llmc.net.routes import STRAIGHT, Network
from llmc.programs.launching import SearchPath
from llmc.redaction.keys import find_secrets
from llmc.settings import gateways, needs
from llmc.settings.chains import ChainEntry
from llmc.settings.documents import CONFIG_FILE
from llmc.settings.environment import find_logs
from llmc.settings.gateways import GatewaySettings
from llmc.settings.groups import HealthCheck, Labels, Pace, Sources
from llmc.settings.hosts import Host
from llmc.settings.presets import TIERS, RouterSettings, TierPreset, choose_preset
from llmc.settings.privacy import Privacy


class Signed(Protocol):
    """Whatever signs in with the key in a variable."""

    @property
    def name(self) -> str | None: ...

    @property
    def api_key_env(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run goes by. Paths are absolute; times are in seconds."""

    repo: Path
    """The root of the repository."""

    index_path: Path
    """The index's file."""

    metrics_log: Path
    """Where the run's metrics are written, a line of JSON a span."""

    backend: str
    """One of `flags.BACKENDS`; auto: the chain where a tier has entries, else hosts and gateway."""

    router: RouterSettings
    """At which tier a span begins, and when it goes to another."""

    hosts: tuple[Host, ...]
    """The Ollama hosts that the user's environment names."""

    presets: Mapping[str, TierPreset]
    """What the tiers 7b and 14b send to Ollama."""

    gateway: GatewaySettings
    """The user's way to a cloud."""

    ollama_model: str | None
    """The model that stands for one that a preset leaves open."""

    chain: tuple[ChainEntry, ...] = ()
    """The enabled entries of the chain that is used, in file order."""

    exclude: str = ""
    """Patterns of paths that are left alone, with commas between."""

    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The environment; keys are taken from here, by name."""

    privacy: Privacy = field(default_factory=Privacy)
    """What must not leave, and what counts as leaving."""

    network: Network = STRAIGHT
    """The ways out: proxies, if the user wants them, and certificates that are believed."""

    pace: Pace = field(default_factory=Pace)
    """How much is done, how often, at how many places at once."""

    health: HealthCheck = field(default_factory=HealthCheck)
    """Whether hosts are asked before a run if they are there."""

    labels: Labels = field(default_factory=Labels)
    """What the index and the records say where a reply doesn't."""

    sources: Sources = field(default_factory=Sources)
    """What all this was read from, and whether the user stands by it."""

    def change(self, **changes: Any) -> Settings:
        """Return the settings with other values, by the names of fields, a group's among them.

        Raises TypeError for a name that there is none of.
        """
        groups = {}
        for name in ("pace", "health", "labels", "sources"):
            group = getattr(self, name)
            theirs = {each.name for each in fields(group)} & changes.keys()
            groups[name] = replace(group, **{each: changes.pop(each) for each in theirs})
        return replace(self, **{**groups, **changes})

    @property
    def index(self) -> IndexPlace:
        return IndexPlace(self.index_path, self.repo, self.environ)

    @property
    def logs(self) -> Path:
        return find_logs(self.repo, self.index_path)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the keys and passwords that the environment and the chain's addresses hold."""
        named = {entry.api_key_env for entry in self.chain}
        urls = [entry.url or "" for entry in self.chain]
        return find_secrets(self.environ, named=named, urls=urls)

    def entries(self, tier: str) -> tuple[ChainEntry, ...]:
        """Return the chain's entries for a tier, in the order in which they are asked."""
        return tuple(entry for entry in self.chain if entry.routing_tier == tier)

    @property
    def asks_afar(self) -> bool:
        """Whether anything is configured that is not on this machine: a proxy may matter."""
        urls = [host.url for host in self.hosts] + [entry.url for entry in self.chain if entry.url]
        if self.gateway.endpoint:
            urls.append(self.gateway.endpoint.url)
        return not all(map(is_this_machine, urls))

    def unmet(self, *, driver: bool = False) -> tuple[needs.Need, ...]:
        """Return what a run would use that the repository's user has not allowed.

        The batch driver goes by the chain's entries whatever its --backend.
        """
        if self.sources.trusted:
            return ()
        found = needs.find_in_run(
            self.chain,
            self.presets,
            self.backend,
            tiers=self.tiers,
            chosen=self.sources.chain_chosen,
            driver=driver,
        )
        found += tuple(needs.find_in_network(self.sources.files.get(CONFIG_FILE)))
        return tuple(need for need in found if need.kind != "here" or self._named_hosts)

    @property
    def _named_hosts(self) -> bool:
        """Whether the user said where the code goes, so that no repository may say otherwise."""
        places = ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "ENRICH_CHAIN_JSON")
        elsewhere = any(self.environ.get(name) for name in places)
        return self.sources.hosts_named or elsewhere or self.gateway.program is not None

    def require_trust(self, *, driver: bool = False) -> None:
        """Raise UntrustedError if a run would use what the user has not allowed."""
        unmet = self.unmet(driver=driver)
        if unmet and self.sources.trust_problem:
            raise ConfigError(self.sources.trust_problem)
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
