"""`call_qwen`: one attempt's call at a model, over the same transports as everything else.

Its words are a contract, and people put functions of their own in its place. What a call goes by
beyond them (settings, connections, a chain entry's address and key) therefore comes from around it:
an adapter that calls it says so by `surround`. Called by itself it reads the settings anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmc.backends.builder import BackendConfig, CallPolicy, let_out
from llmc.backends.command import CommandBackend
from llmc.backends.ollama import OllamaBackend
from llmc.backends.openai import OpenAIBackend
from llmc.cli.driver.flags import GATEWAY_DEFAULT_TIMEOUT
from llmc.errors import BackendError, ConfigError
from llmc.net.client import Client
from llmc.records.egress import Destination, Egress
from llmc.settings.config import Settings
from llmc.settings.flags import Flags
from llmc.settings.gateways import Endpoint, GatewaySettings
from llmc.settings.hosts import Host, normalise_url
from llmc.settings.loading import load_settings
from llmc.settings.presets import TierPreset

_OLLAMA = CallPolicy(timeout=180.0, structured=False, require_summary=False)
"""What holds for every try at an Ollama host."""

Answer = tuple[str, dict[str, Any]]
"""The reply's text, unread, and what is known of how it came about."""

Asked = OllamaBackend | OpenAIBackend | CommandBackend


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a call goes by that its words don't say.

    `config` is that of its adapter, `item` describes the span, and `crossed` is where the prompt
    may go as it is: what leaves on the way there was seen to.
    """

    settings: Settings
    client: Client
    config: BackendConfig = field(default_factory=BackendConfig)
    item: Mapping[str, Any] = field(default_factory=dict)
    crossed: Destination | None = None

    @property
    def egress(self) -> Egress:
        return Egress(self.settings.repo, self.settings.privacy, self.settings.logs)


_current: ContextVar[Circumstances | None] = ContextVar("surroundings", default=None)


@contextmanager
def surround(by: Circumstances) -> Iterator[None]:
    """Have `call_qwen` go by these surroundings, on this thread, until the end of the block."""
    token = _current.set(by)
    try:
        yield
    finally:
        _current.reset(token)


def call_qwen(  # noqa: PLR0913 - an established signature
    prompt: str,
    repo_root: Path,
    *,
    backend: str = "auto",
    verbose: bool = False,
    retries: int = 3,
    retry_wait: float = 2.0,
    gateway_path: str | Path | None = None,
    gateway_timeout: float = GATEWAY_DEFAULT_TIMEOUT,
    model_override: str | None = None,
    ollama_options: Mapping[str, Any] | None = None,
    keep_alive: str | float | None = None,
    ollama_base_url: str | None = None,
    ollama_host_label: str | None = None,
) -> Answer:
    """Ask a model once and return its reply, unread.

    `backend` is gateway, else Ollama is asked. `retries` and `retry_wait` (seconds) are the HTTP
    tries at an Ollama host; the gateway has one of `gateway_timeout` seconds. `ollama_base_url` is
    the first configured host if it is None, `model_override` $OLLAMA_MODEL or the preset's model if
    it is None or empty; a None `keep_alive` is not sent.

    Unless its surroundings did so, it sees to what leaves: likely secrets don't, spans that are to
    stay don't, and the rest is noted down.
    Raises BackendError if no reply came, ConfigError, StoreError.
    """
    by = _current.get() or _read_anew(Path(repo_root), gateway_path)
    asked: Asked
    if backend == "gateway":
        gateway = find_gateway(by.settings, replace(by.config, model=model_override))
        program = Path(gateway_path) if gateway_path else None
        gateway = replace(gateway, program=program, timeout=gateway_timeout, debug=verbose)
        asked = make_gateway_backend(by, gateway, model_override)
    else:
        host = Host(ollama_host_label or "", normalise_url(ollama_base_url or ""))
        if ollama_base_url is None and by.settings.hosts:
            first = by.settings.hosts[0]
            host = Host(host.label or first.label, first.url)
        policy = replace(_OLLAMA, tries=max(1, retries), retry_wait=retry_wait)
        preset = TierPreset("", model_override, keep_alive, ollama_options or {})
        asked = _ollama_backend(by, host, preset, policy)
    if asked.destination == by.crossed:
        return asked.ask(prompt)
    return let_out(
        lambda letter, **_: asked.ask(letter), asked.destination, by.egress, prompt, by.item
    )


def _ollama_backend(
    by: Circumstances, host: Host, preset: TierPreset, policy: CallPolicy
) -> OllamaBackend:
    return OllamaBackend(
        BackendConfig(provider="ollama", url=host.url or None),
        preset,
        label=host.label or None,
        default_model=by.settings.ollama_model,
        policy=policy,
        client=by.client,
    )


def _read_anew(repo: Path, gateway_path: str | Path | None) -> Circumstances:
    """Return the surroundings of a call that nobody prepared. Raises ConfigError."""
    path = str(gateway_path) if gateway_path else None
    settings = load_settings(repo, Flags(gateway_path=path, whole_environ=True, lenient=True))
    settings.require_trust(driver=True)
    return Circumstances(settings, Client(network=settings.network))


def find_gateway(settings: Settings, config: BackendConfig) -> GatewaySettings:
    """Return the gateway as a chain entry would have it: its model, its address and its key.

    Raises ConfigError if the key is not there, or is another cloud's.
    """
    gateway = settings.gateway.for_model(config.model)
    if config.url:
        endpoint = Endpoint(
            f"{config.url.rstrip('/')}/chat/completions",
            config.model or gateway.label,
            gateway.label,
            settings.find_key(config),
            key_name=config.api_key_env or "",
        )
        return replace(gateway, endpoint=endpoint)
    if gateway.endpoint:
        key = settings.find_key(config)
        return replace(gateway, endpoint=gateway.sign(config.api_key_env, key))
    return gateway


def make_gateway_backend(
    by: Circumstances, gateway: GatewaySettings, model: str | None
) -> CommandBackend | OpenAIBackend:
    """Return the program of --gateway-path, else the server that the environment names.

    Raises BackendError if there is neither.
    """
    config = replace(by.config, model=model)
    policy = CallPolicy(timeout=gateway.timeout, require_summary=False)
    if program := gateway.program:
        repo = by.settings.repo
        if program.is_file() and not (repo / program).is_file():
            program = program.absolute()  # it is only where the caller stands
        return CommandBackend(
            config,
            str(program),
            gateway,
            cwd=repo,
            search=by.settings.search,
            policy=policy,
            cancellation=by.client.cancellation,
        )
    try:
        server = gateway.find_server()
    except ConfigError as error:
        raise BackendError(str(error), failure_type="runtime") from None
    return OpenAIBackend(config, server, policy=policy, client=by.client)


def find_gateway_destination(by: Circumstances, gateway: GatewaySettings) -> Destination:
    """Return where the gateway sends prompts: nowhere if there is none."""
    if not gateway.configured:
        return Destination("openai", "", gateway.label)
    return make_gateway_backend(by, gateway, by.config.model).destination
