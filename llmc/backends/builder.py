"""Ways of reaching a model: one file each, and the builder that picks them for an attempt.

`CascadeBuilder` is asked for every attempt. Configured chain entries of the attempt's tier form
the cascade; a tier without entries gets the one backend that the mode names: the Ollama host at
the attempt's place in the host chain, the gateway, or the model in process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from llmc.backends._base import AttemptCascade, BackendConfig, CallPolicy, count, refused
from llmc.backends._border import Sender, guard, let_out
from llmc.backends.cascade import BackendCascade
from llmc.errors import ConfigError
from llmc.models import Attempt
from llmc.net.client import Client
from llmc.records.egress import Egress
from llmc.settings.chains import ChainEntry, begin_at
from llmc.settings.config import Settings
from llmc.settings.gateways import Endpoint, GatewaySettings
from llmc.settings.presets import TierPreset, choose_preset

__all__ = [
    "AttemptCascade",
    "BackendConfig",
    "CallPolicy",
    "CascadeBuilder",
    "count",
    "let_out",
    "refused",
]

CONNECT_TIMEOUT_SEC = 10.0
"""A host that takes longer to accept a connection counts as not there."""


class CascadeBuilder:
    """Builds the cascade of each attempt from the settings; shares what is costly to make.

    A backend that leads away is put behind the border, unless what it is to be sent is nobody's
    code (`guarded` off). Raises UntrustedError for settings with anything in them that the user has
    not allowed.
    """

    def __init__(self, settings: Settings, policy: CallPolicy, *, guarded: bool = True) -> None:
        settings.require_trust()
        self.settings = settings
        self.policy = policy
        self._egress = Egress(settings.repo, settings.privacy) if guarded else None
        self._client = Client(connect_timeout=CONNECT_TIMEOUT_SEC, secrets=settings.secrets)
        self._built: dict[tuple[str, int, int], AttemptCascade] = {}

    def __call__(self, attempt: Attempt) -> AttemptCascade:
        """Return the cascade for one attempt. Raises ConfigError."""
        if attempt.kept:
            return self._staying(replace(attempt, kept=False))
        key = (attempt.tier, attempt.host_index, attempt.first_entry)
        built = self._built.get(key)
        if built is None:
            built = self._built[key] = self._build(attempt)
        return built

    @cached_property
    def _staying(self) -> CascadeBuilder:
        """The builder for spans that must stay."""
        builder = CascadeBuilder(self.settings.staying(), self.policy)
        builder._client = self._client
        return builder

    def _build(self, attempt: Attempt) -> AttemptCascade:
        settings = self.settings
        preset = choose_preset(settings.presets, attempt.tier)
        entries = settings.entries(attempt.tier) if settings.backend == "auto" else ()
        if entries:
            entries = begin_at(entries, attempt.first_entry)
            asked = [self._for_entry(entry, preset, attempt) for entry in entries]
            selected = _family(entries[0].provider)
        else:
            selected = self._selected(attempt.tier)
            asked = [self._default(selected, preset, attempt)]
        backends = [guard(backend, self._egress) if self._egress else backend for backend in asked]
        host = self._host(attempt.host_index) if selected == "ollama" else (None, None)
        if entries and entries[0].url and selected == "ollama":
            host = (entries[0].name, entries[0].url)
        return AttemptCascade(BackendCascade(backends), preset.name, preset, *host, selected)

    def check(self) -> None:
        """Load what can be wrong before the first attempt: the model in process, keys, programs.

        Raises ConfigError.
        """
        for tier in ("7b", "14b", "nano"):
            if tier == "nano" and self.settings.backend == "auto" and not self._has_nano():
                continue
            for backend in self(Attempt(1, tier, 0)).cascade.backends:
                prepare = getattr(backend, "prepare", None)
                if prepare:
                    prepare()

    def cancel(self) -> None:
        """End every call under way and refuse later ones."""
        self._client.cancellation.cancel()

    def _has_nano(self) -> bool:
        return bool(self.settings.entries("nano")) or self.settings.gateway.configured

    def _selected(self, tier: str) -> str:
        if self.settings.backend == "auto":
            return "gateway" if tier == "nano" else "ollama"
        return self.settings.backend

    def _host(self, index: int) -> tuple[str | None, str | None]:
        if not self.settings.hosts:
            return None, None
        host = self.settings.hosts[min(index, len(self.settings.hosts) - 1)]
        return host.label, host.url

    def _default(self, selected: str, preset: TierPreset, attempt: Attempt) -> Sender:
        if selected == "embedded":
            return self._llamacpp(
                None, {}, BackendConfig("embedded", "llamacpp", tier=attempt.tier)
            )
        if selected == "gateway":
            gateway = self.settings.gateway
            if gateway.program:
                config = BackendConfig("gateway", "command")
                return self._command(str(gateway.program), gateway, config)
            endpoint = self._truthful(gateway.server())
            return self._openai(endpoint, BackendConfig("gateway", "openai"))
        label, url = self._host(attempt.host_index)
        config = BackendConfig(f"ollama-{label}", "ollama", tier=attempt.tier, url=url)
        return self._ollama(preset, label, config, None)

    def _for_entry(self, entry: ChainEntry, preset: TierPreset, attempt: Attempt) -> Sender:
        config = BackendConfig(
            name=entry.name,
            provider=entry.provider,
            model=entry.model,
            tier=entry.routing_tier,
            url=entry.url.rstrip("/") if entry.url else None,
            options=entry.options or None,
            keep_alive=entry.keep_alive,
        )
        if entry.provider == "ollama":
            label, url = self._host(attempt.host_index)
            if entry.url:
                label = entry.name
            else:
                config = config.with_url(url)
            return self._ollama(preset, label, config, entry.timeout_seconds)
        if entry.provider == "llamacpp":
            return self._llamacpp(entry.model, entry.options, config, entry.timeout_seconds)
        if entry.provider == "command":
            gateway = self.settings.gateway_of(entry)
            return self._command(entry.command or "", gateway, config, entry.timeout_seconds)
        return self._openai(self.endpoint(entry), config, entry.timeout_seconds)

    def endpoint(self, entry: ChainEntry) -> Endpoint:
        """Return the server that an entry with provider openai asks. Raises ConfigError."""
        key = self.settings.key(entry)
        if entry.url:
            model = entry.model or "default"
            url = f"{entry.url.rstrip('/')}/chat/completions"
            return Endpoint(url, model, model, key, key_name=entry.api_key_env or "")
        gateway = self.settings.gateway.for_model(entry.model)
        try:
            return self._truthful(gateway.signed(entry.api_key_env, key))
        except ConfigError as error:
            raise ConfigError(
                f"chain entry {entry.name!r} has no url, so it asks the gateway: {error}"
            ) from None

    @staticmethod
    def _truthful(endpoint: Endpoint) -> Endpoint:
        """Record the model that is asked, not the label that the batch driver's contract names."""
        return replace(endpoint, label=endpoint.model)

    def _ollama(
        self,
        preset: TierPreset,
        label: str | None,
        config: BackendConfig,
        timeout: float | None,
    ) -> Sender:
        from llmc.backends.ollama import OllamaBackend

        default = self.settings.ollama_model
        return OllamaBackend(
            replace(config, model=config.model or preset.model or default),  # for the records
            preset,
            label=label,
            default_model=default,
            policy=self.policy.with_timeout(timeout),
            client=self._client,
        )

    def _openai(
        self, endpoint: Endpoint, config: BackendConfig, timeout: float | None = None
    ) -> Sender:
        from llmc.backends.openai import OpenAIBackend

        return OpenAIBackend(
            config,
            endpoint,
            policy=self.policy.with_timeout(timeout or self.settings.gateway.timeout),
            client=self._client,
        )

    def _command(
        self,
        program: str,
        gateway: GatewaySettings,
        config: BackendConfig,
        timeout: float | None = None,
    ) -> Sender:
        from llmc.backends.command import CommandBackend

        return CommandBackend(
            config,
            program,
            gateway,
            cwd=self.settings.repo,
            search=self.settings.search,
            policy=self.policy.with_timeout(timeout or gateway.timeout),
            cancellation=self._client.cancellation,
        )

    def _llamacpp(
        self,
        model: str | None,
        options: Mapping[str, Any],
        config: BackendConfig,
        timeout: float | None = None,
    ) -> Sender:
        from llmc.backends.llamacpp import LlamaCppBackend

        return LlamaCppBackend(
            config,
            self.settings.repo,
            model,
            options,
            policy=self.policy.with_timeout(timeout),
            cancellation=self._client.cancellation,
        )


def _family(provider: str) -> str:
    return {"ollama": "ollama", "llamacpp": "embedded"}.get(provider, "gateway")
