#!/usr/bin/env python3
"""The batch driver: enrich the pending spans of a repository's index, one at a time.

Its flags, environment, files and records are a contract (docs/batch-driver.md). llmc's engine does
the work; what stands here are the flags, the rules that are the driver's own, and the cascade of a
single adapter that it has always built for an attempt.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmc import departures, destinations, engine, routing
from llmc.backends import AttemptCascade, BackendConfig, CallPolicy, let_out
from llmc.backends.command import CommandBackend
from llmc.backends.ollama import OllamaBackend
from llmc.backends.openai import OpenAIBackend
from llmc.chains import ChainEntry
from llmc.config import Flags, Settings, load_settings
from llmc.documents import POLICY_FILE
from llmc.egress import Egress
from llmc.errors import ConfigError, LlmcError, classify_failure
from llmc.events import (
    Destinations,
    Event,
    FileGone,
    RunFinished,
    SpanEnriched,
    SpanFailed,
    SpanStarted,
    Warned,
)
from llmc.gateways import Endpoint, GatewaySettings
from llmc.gpu import GpuSampler, is_local
from llmc.hosts import DEFAULT_URL, Host, reachable
from llmc.ledger import save_refused_reply
from llmc.models import Attempt, Enrichment
from llmc.presets import TierPreset, preset_for, read_policy
from llmc.programs import SearchPath
from llmc.reply import read
from llmc.settings_files import read_file
from llmc.text import place, plain, unbroken
from llmc.transport import Client, address
from llmc.work import EXCERPT_CHARS, Rules
from tools.rag.enrichment_backends import (
    AttemptRecord,
    BackendAdapter,
    BackendCascade,
    BackendError,
)

__all__ = [
    "PRESET_CACHE",
    "AttemptRecord",
    "BackendAdapter",
    "BackendCascade",
    "BackendError",
    "classify_failure",
    "handle_failure",
    "main",
    "parse_and_validate",
]

_AdapterConfigShim = BackendConfig
_GpuSampler = GpuSampler
_should_sample_local_gpu = is_local
handle_failure = save_refused_reply
parse_and_validate = read

PRESET_CACHE: dict[Path, Mapping[str, TierPreset]] = {}
"""The tier presets of each repository worked on."""

HTTP_TIMEOUT_SEC = 180.0


class _OllamaBackendAdapter(OllamaBackend):
    """Ollama; a prompt for a host that is not the user's own leaves without likely secrets."""

    def __init__(self, config: BackendConfig, egress: Egress, **words: Any) -> None:
        super().__init__(config, **words)
        self._egress = egress

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[Enrichment, dict[str, Any]]:
        """Make one attempt."""
        return let_out(super().generate, self.destination, self._egress, prompt, item)


class _GatewayBackendAdapter:
    """The gateway: the program of --gateway-path, else the server that the environment names."""

    def __init__(
        self,
        config: BackendConfig,
        gateway: GatewaySettings,
        *,
        cwd: Path,
        search: SearchPath,
        client: Client,
        egress: Egress,
    ) -> None:
        self._config = config
        self._egress = egress
        self._gateway = gateway
        self._cwd = cwd
        self._search = search
        self._client = client

    @property
    def config(self) -> BackendConfig:
        return self._config

    def describe_host(self) -> str | None:
        """Return nothing: the records have never named a host for the gateway."""
        return None

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[Enrichment, dict[str, Any]]:
        """Make one attempt: one process, or one HTTP call."""
        backend: CommandBackend | OpenAIBackend
        policy = CallPolicy(timeout=self._gateway.timeout, require_summary=False)
        if program := self._gateway.program:
            if program.is_file() and not (self._cwd / program).is_file():
                program = program.absolute()  # it is only where the caller stands
            backend = CommandBackend(
                self._config,
                str(program),
                self._gateway,
                cwd=self._cwd,
                search=self._search,
                policy=policy,
                cancellation=self._client.cancellation,
            )
        else:
            try:
                server = self._gateway.server()
            except ConfigError as error:
                raise BackendError(str(error), failure_type="runtime") from None
            backend = OpenAIBackend(self._config, server, policy=policy, client=self._client)
        return let_out(backend.generate, backend.destination, self._egress, prompt, item)


def _build_cascade_for_attempt(  # noqa: PLR0913 - an established signature
    *,
    backend: str,
    tier_for_attempt: str,
    repo_root: Path,
    args: argparse.Namespace,
    ollama_host_chain: Sequence[Host],
    current_host_idx: int,
    host_chain_count: int,
) -> AttemptCascade:
    """Return the cascade of one attempt, which holds exactly one adapter.

    `backend` is auto, ollama or gateway; any other word is ollama on localhost. A chain entry for
    the tier configures the adapter: model, options, keep_alive and, if it has one, the url.
    """
    settings: Settings = getattr(args, "settings", None) or load_settings(repo_root, _flags(args))
    settings.require_trust(driver=True)
    client: Client = getattr(args, "client", None) or Client()
    presets = PRESET_CACHE.setdefault(Path(repo_root), settings.presets)
    preset = preset_for(presets, tier_for_attempt)
    entry = next(iter(settings.entries(tier_for_attempt)), None)
    if backend == "gateway" or (backend == "auto" and tier_for_attempt == "nano"):
        gateway = _gateway_adapter(settings, entry, tier_for_attempt, Path(repo_root), client)
        return AttemptCascade(BackendCascade([gateway]), preset.name, preset, None, None, "gateway")
    host = Host("localhost", DEFAULT_URL)
    if backend in ("auto", "ollama"):
        index = min(current_host_idx, host_chain_count - 1)
        host = ollama_host_chain[index] if index < len(ollama_host_chain) else Host("", "")
    url = (entry.url.rstrip("/") if entry and entry.url else host.url) or None
    config = _config(entry, "ollama", tier_for_attempt, name=f"ollama-{host.label}", url=url)
    ollama = _OllamaBackendAdapter(
        config if config.model is not None else replace(config, model=preset.model),
        Egress(settings.repo, settings.privacy),
        preset=preset,
        label=host.label or None,
        default_model=settings.ollama_model,
        policy=CallPolicy(
            tries=max(1, args.retries),
            retry_wait=args.retry_wait,
            timeout=HTTP_TIMEOUT_SEC,
            structured=False,
            require_summary=False,
        ),
        client=client,
    )
    return AttemptCascade(
        BackendCascade([ollama]), preset.name, preset, host.label or None, url, "ollama"
    )


def _config(
    entry: ChainEntry | None, provider: str, tier: str, *, name: str, url: str | None
) -> BackendConfig:
    """Return the adapter's config: what the chain entry says, if there is one."""
    if entry is None:
        return BackendConfig(name=name, provider=provider, tier=tier, url=url)
    return BackendConfig(
        name=entry.name,
        provider=provider,
        model=entry.model,
        tier=tier,
        url=url,
        options=entry.options or None,
        keep_alive=entry.keep_alive,
    )


def _gateway_adapter(
    settings: Settings, entry: ChainEntry | None, tier: str, repo: Path, client: Client
) -> _GatewayBackendAdapter:
    url = entry.url if entry else None
    config = _config(entry, "gateway", tier, name="gateway", url=url)
    gateway = settings.gateway.for_model(config.model)
    if entry and url:
        endpoint = Endpoint(
            f"{url.rstrip('/')}/chat/completions",
            entry.model or gateway.label,
            gateway.label,
            settings.key(entry),
            key_name=entry.api_key_env or "",
        )
        gateway = replace(gateway, endpoint=endpoint)
    elif entry and gateway.endpoint:
        key = settings.key(entry)
        gateway = replace(gateway, endpoint=gateway.signed(entry.api_key_env, key))
    egress = Egress(settings.repo, settings.privacy)
    return _GatewayBackendAdapter(
        config, gateway, cwd=repo, search=settings.search, client=client, egress=egress
    )


class _DriverBuilder:
    """What the engine asks for the cascade of each attempt."""

    def __init__(self, settings: Settings, args: argparse.Namespace) -> None:
        self._settings = settings
        self._staying = settings.staying()
        self._args = args

    def __call__(self, attempt: Attempt) -> AttemptCascade:
        settings = self._staying if attempt.kept else self._settings
        hosts = settings.hosts
        return _build_cascade_for_attempt(
            backend=self._settings.backend,
            tier_for_attempt=attempt.tier,
            repo_root=self._settings.repo,
            args=argparse.Namespace(**{**vars(self._args), "settings": settings}),
            ollama_host_chain=hosts,
            current_host_idx=attempt.host_index,
            host_chain_count=max(1, len(hosts)),
        )

    def check(self) -> None:
        """Find nothing wrong: what is missing fails the one span that needs it."""

    def cancel(self) -> None:
        self._args.client.cancellation.cancel()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the driver and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no path or reply fails to print
            stream.reconfigure(errors="backslashreplace")
    args = _parser().parse_args(argv)
    repo = Path(args.repo).resolve()
    if not (repo / ".git").exists():
        _complain(f"{repo} is not a git repository: it has no .git")
        return 1
    try:
        read_policy(read_file(repo, POLICY_FILE), args.retries)
    except ConfigError as error:
        _complain(str(error))
        return 1
    try:
        return _run(repo, args)
    except LlmcError as error:
        _complain(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; a flush at exit would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(repo: Path, args: argparse.Namespace) -> int:
    PRESET_CACHE.clear()
    settings = replace(load_settings(repo, _flags(args)), concurrency=1)
    if not args.dry_run:
        settings.require_trust(driver=True)
        settings = replace(settings, trusted=True)  # the engine would ask for what llmc would use
    for sentence in settings.passed_over:
        _complain(sentence)
    args.settings, args.client = settings, Client()
    if settings.health_check and not reachable(settings.hosts, settings.health_timeout):
        tried = ", ".join(f"{host.label} ({address(host.url)})" for host in settings.hosts)
        _complain(f"no Ollama host answers; tried: {tried or 'none is configured'}")
        return 2
    engine.make_folder(settings.logs)
    rules = Rules(
        excerpt_chars=EXCERPT_CHARS,
        nesting=routing.driver_nesting,
        maintain=True,
        verify=False,
        sleep=max(0.0, args.sleep),
        batch=max(0, args.batch_size),
        side_by_side=False,
    )
    if args.dry_run:
        for span, tier, prompt in engine.plan(repo, settings, hooks=(_print_event,), rules=rules):
            _say(f"--- {place(span)} [{tier}]")
            print(plain(prompt.replace("\r\n", "\n")))
        return 0
    hooks = (_Announcement(_destinations(settings)), _print_event)
    builder = _DriverBuilder(settings, args)
    report = engine.enrich(repo, settings, hooks=hooks, builder=builder, rules=rules)
    if report.stopped:
        _complain(report.stopped)
        return 2
    return 130 if report.interrupted else 0


def _destinations(settings: Settings) -> Destinations:
    """Return where a run may take code, by the entries that its adapters go by.

    Raises ConfigError if it may need the built-in gateway, and the variables name several.
    """
    gateway = settings.gateway
    urls: list[str] = []
    servers: list[str] = []
    models: list[str | None] = []
    programs: list[str] = []
    for tier in settings.tiers:
        entry = next(iter(settings.entries(tier)), None)
        if settings.backend == "gateway" or (settings.backend == "auto" and tier == "nano"):
            if settings.backend == "auto" and not settings.router.reaches_cloud:
                continue
            if gateway.program:
                programs.append(str(gateway.program))
            elif entry and entry.url:
                servers.append(entry.url)
            elif gateway.endpoint or gateway.trouble:
                servers.append(gateway.server().url)
        else:
            urls += [entry.url] if entry and entry.url else [host.url for host in settings.hosts]
            preset = preset_for(settings.presets, tier).model
            models.append((entry and entry.model) or preset or settings.ollama_model)
    hosts = tuple(dict.fromkeys(map(address, urls + servers)))
    return Destinations(
        hosts,
        tuple(dict.fromkeys(programs)),
        cloud_models=destinations.cloud_models(models),
        relays=destinations.relays(settings, map(address, servers)),
        own=destinations.own(settings, hosts),
        exposed=destinations.exposed(settings, hosts),
    )


class _Announcement:
    """Says on standard error where code goes, once, before the first call."""

    def __init__(self, where: Destinations) -> None:
        self._where: Destinations | None = where

    def __call__(self, event: Event) -> None:
        if self._where and isinstance(event, SpanStarted):
            for line in destinations.lines(self._where):
                _complain(line)
            self._where = None


def _print_event(event: Event) -> None:
    match event:
        case SpanEnriched(report=report, enrichments_total=total):
            _say(
                f"enriched {place(report.span)} with {report.model} [{report.tier}] "
                f"in {report.wall_sec:.1f} s ({total} in all)"
            )
        case SpanFailed(report=report):
            last = report.last
            _say(
                f"failed {place(report.span)} after {len(report.outcomes)} attempts: "
                f"{last.failure_type}: {last.detail}"
            )
        case FileGone(path=path, spans=spans):
            _say(f"gone {path}: {spans} spans leave the index")
        case Warned(message=message):
            _say(f"warning: {message}")
        case RunFinished(report=report):
            failed = sum(report.failed.values())
            _say(f"{report.enriched} enriched, {failed} failed, {report.left} left")
            for line in departures.lines(report):
                _say(line)
    sys.stdout.flush()


def _say(line: str) -> None:
    print(unbroken(line))


def _complain(line: str) -> None:
    print(unbroken(line), file=sys.stderr)


def _flags(args: argparse.Namespace) -> Flags:
    backend = getattr(args, "backend", "auto")
    if getattr(args, "api", False):
        backend = "gateway"
    elif getattr(args, "local", False):
        backend = "ollama"
    return Flags(
        backend=backend,
        limit=getattr(args, "max_spans", 0),
        router=getattr(args, "router", None),
        start_tier=getattr(args, "start_tier", None),
        headroom=getattr(args, "max_tokens_headroom", None),
        retries=getattr(args, "retries", 3),
        retry_wait=getattr(args, "retry_wait", 2.0),
        cooldown=getattr(args, "cooldown", None),
        model=getattr(args, "model", None),
        fallback_model=getattr(args, "fallback_model", None),
        gateway_path=getattr(args, "gateway_path", None),
        gateway_timeout=getattr(args, "gateway_timeout", 300.0),
        whole_environ=True,
        schema_version=getattr(args, "schema_version", "enrichment.v1"),
        log=getattr(args, "log", None),
        verbose=getattr(args, "verbose", False),
        trust=getattr(args, "trust", False),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qwen_enrich_batch.py",
        description="Enrich the pending spans of a repository's index, one at a time.",
    )
    add = parser.add_argument
    add("--repo", default=".", help="repository root (default: the current folder)")
    add("--batch-size", type=int, default=5, help="spans planned at a time (default 5)")
    add("--max-spans", type=int, default=0, help="stop after N successes; 0: no limit")
    add("--log", help="metrics file (default REPO/logs/enrichment_metrics.jsonl)")
    add("--model", default="qwen2.5:7b", help="name recorded where the model has none")
    add("--schema-version", default="enrichment.v1", help="version stored with each enrichment")
    add("--sleep", type=float, default=0.0, help="seconds between spans")
    add("--cooldown", type=int, help="skip files changed in the last N seconds (default 0)")
    add("--retries", type=int, default=3, help="attempts per span, and HTTP tries per attempt")
    add("--retry-wait", type=float, default=2.0, help="seconds before a retry")
    add("--dry-run", action="store_true", help="print the prompts, call nothing")
    add("--verbose", action="store_true", help="have the gateway program say more")
    add("--backend", choices=("auto", "ollama", "gateway"), default="auto")
    add("--api", action="store_true", help="same as --backend gateway; beats --local")
    add("--local", action="store_true", help="same as --backend ollama")
    add("--gateway-path", help="gateway program; without it the built-in gateway is used")
    add("--gateway-timeout", type=float, default=300.0, help="seconds per gateway call")
    add("--fallback-model", help="name recorded for a failure without one ($RAG_FALLBACK_MODEL)")
    add("--no-gateway-fallback", action="store_true", help="accepted, without effect")
    add("--router", choices=("on", "off"), help="default: $ROUTER_ENABLED, else on")
    add(
        "--start-tier",
        choices=("auto", "7b", "14b", "nano"),
        help="default: $ROUTER_DEFAULT_TIER, else auto",
    )
    add("--trust", action="store_true", help="take the repository's settings as your own word")
    add("--max-tokens-headroom", type=int, help="default: $ROUTER_MAX_TOKENS_HEADROOM, else 4000")
    return parser


if __name__ == "__main__":
    sys.exit(main())
