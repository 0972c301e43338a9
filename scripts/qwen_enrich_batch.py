#!/usr/bin/env python3
"""The batch driver: enrich the pending spans of a repository's index, one at a time.

Its flags, environment, files and records are a contract (docs/batch-driver.md). llmc's engine does
the work; what stands here are the rules that are the driver's own, and the cascade of a single
adapter that it has always built for an attempt. The adapters look up `call_qwen` and
`parse_and_validate` here whenever they run, so that people may put others in their place.
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

from llmc import engine
from llmc.backends.builder import AttemptCascade, BackendConfig, let_out, refuse_reply
from llmc.cli.driver.calling import (
    Circumstances,
    call_qwen,
    find_gateway,
    find_gateway_destination,
    surround,
)
from llmc.cli.driver.flags import GATEWAY_DEFAULT_TIMEOUT, make_parser, read_flags
from llmc.cli.driver.places import find_destinations
from llmc.enrichment.reply import read_reply
from llmc.errors import ConfigError, Failure, LlmcError, classify_failure
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
from llmc.files import tilde
from llmc.models import Attempt, Enrichment
from llmc.net.client import Client
from llmc.net.places import spell_address
from llmc.programs.encoding import ensure_utf8
from llmc.records.egress import Destination
from llmc.records.ledger import save_refused_reply
from llmc.redaction.text import describe_place, join_lines, make_plain
from llmc.run import departures, destinations, measures
from llmc.run.gpu import GpuSampler, is_local
from llmc.run.worklist import EXCERPT_CHARS, Rules
from llmc.settings.config import Settings
from llmc.settings.documents import POLICY_FILE
from llmc.settings.environment import copy_environment
from llmc.settings.files import read_file
from llmc.settings.hosts import DEFAULT_URL, Host, find_reachable, make_host, normalise_url
from llmc.settings.loading import load_settings
from llmc.settings.presets import TierPreset, make_preset, name_preset, read_policy
from llmc.settings.targets import Target, take_first
from tools.rag.enrichment_backends import (
    AttemptRecord,
    BackendAdapter,
    BackendCascade,
    BackendError,
)

__all__ = [
    "GATEWAY_DEFAULT_TIMEOUT",
    "PRESET_CACHE",
    "AttemptRecord",
    "BackendAdapter",
    "BackendCascade",
    "BackendError",
    "call_qwen",
    "classify_failure",
    "handle_failure",
    "main",
    "parse_and_validate",
]

_AdapterConfigShim = BackendConfig
_GpuSampler = GpuSampler
_should_sample_local_gpu = is_local
handle_failure = save_refused_reply

PRESET_CACHE: dict[str, TierPreset | Mapping[str, Any]] = {}
"""The presets 7b and 14b. A mapping that was put here (model, options, keep_alive) beats what the
repository says; other entries are those of the repository worked on."""


def parse_and_validate(
    text: str, item: Mapping[str, Any], meta: Mapping[str, Any]
) -> tuple[Enrichment | None, Failure | None]:
    """Read a reply about `item`, and return (result, failure), one of which is None."""
    done_reason, eval_count = meta.get("done_reason"), meta.get("eval_count")
    try:
        return read_reply(text, item["lines"], done_reason=done_reason, eval_count=eval_count), None
    except BackendError as error:
        return None, error.failure


class _Adapter:
    """What both adapters do: a call, whose reply is then read.

    A prompt that leads away leaves without likely secrets, and is noted down. `config` is a
    BackendConfig, anything with some of its attributes, or None.
    """

    model: str
    """What is recorded where the call itself doesn't tell."""

    destination: Destination

    def __init__(self, config: Any, repo_root: Path, args: argparse.Namespace) -> None:
        self.config = BackendConfig() if config is None else config
        self._repo_root = repo_root
        self._args = args
        client = getattr(args, "client", None) or Client()
        settings = _settings(repo_root, args)
        self._around = Circumstances(settings, client, BackendConfig.of(self.config))

    def generate(self, prompt: str, *, item: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Make one attempt. Raises BackendError, StoreError if it can't be noted that it leaves."""
        return let_out(self._attempt, self.destination, self._around.egress, prompt, item)

    def _words(self) -> dict[str, Any]:
        """Return the words of the call."""
        return {
            "verbose": getattr(self._args, "verbose", False),
            "retries": getattr(self._args, "retries", 3),
            "retry_wait": getattr(self._args, "retry_wait", 2.0),
            "gateway_path": getattr(self._args, "gateway_path", None),
            "gateway_timeout": getattr(self._args, "gateway_timeout", GATEWAY_DEFAULT_TIMEOUT),
        }

    def _attempt(self, prompt: str, *, item: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        text, meta = self._call(prompt, item)
        result, failure = parse_and_validate(text, item, meta)
        if meta.get("model") is None:
            meta["model"] = self.model
        if failure:
            hide = self._around.client.redaction
            raise refuse_reply(failure, meta, model=meta["model"], hide=hide)
        return result, meta | {"reply_chars": len(text)}

    def _call(self, prompt: str, item: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Call, and take whatever is raised for a call that failed."""
        try:
            with surround(replace(self._around, item=item, crossed=self.destination)):
                return call_qwen(prompt, self._repo_root, **self._words())
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(str(error) or repr(error), failure_type="runtime") from error


class _OllamaBackendAdapter(_Adapter):
    """Ollama: what `config` says of model, options and keep_alive beats the preset of the tier."""

    def __init__(  # noqa: PLR0913 - an established signature
        self,
        *,
        config: Any,
        repo_root: Path,
        args: argparse.Namespace,
        host_url: str | None,
        host_label: str | None,
        tier_preset: TierPreset | Mapping[str, Any],
        tier_for_attempt: str,
    ) -> None:
        super().__init__(config, repo_root, args)
        around, preset = self._around, make_preset(name_preset(tier_for_attempt), tier_preset)
        self.model = _model_sent(around.config.model, preset, around.settings)
        self.options = {**preset.options, **(around.config.options or {})}
        keep_alive = around.config.keep_alive
        self._keep_alive = preset.keep_alive if keep_alive is None else keep_alive
        self._url = normalise_url(around.config.url or host_url or "")
        self._label = host_label
        self.destination = Destination("ollama", self._url, self.model)

    def describe_host(self) -> str | None:
        """Return the host's label, its address if it has none."""
        return self._label or (spell_address(self._url) if self._url else None)

    def _words(self) -> dict[str, Any]:
        return super()._words() | {
            "backend": "ollama",
            "model_override": self.model,
            "ollama_options": dict(self.options),
            "keep_alive": self._keep_alive,
            "ollama_base_url": self._url,
            "ollama_host_label": self._label,
        }

    def _call(self, prompt: str, item: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        try:
            return super()._call(prompt, item)
        except BackendError as error:
            raise error.having_asked(self.model) from error

    def _attempt(self, prompt: str, *, item: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        result, meta = super()._attempt(prompt, item=item)
        told = {"backend": "ollama", "host": self.describe_host()}
        return result, {"options": self.options, **meta, **told}


class _GatewayBackendAdapter(_Adapter):
    """The gateway: the program of --gateway-path, else the server that the environment names.

    A model in `config` stands for GEMINI_MODEL in its calls, and nowhere else.
    """

    def __init__(self, *, config: Any, repo_root: Path, args: argparse.Namespace) -> None:
        super().__init__(config, repo_root, args)
        gateway = find_gateway(self._around.settings, self._around.config)
        self.model = gateway.label
        self.destination = find_gateway_destination(self._around, gateway)

    def describe_host(self) -> str | None:
        """Return nothing: the records have never named a host for the gateway."""
        return None

    def _words(self) -> dict[str, Any]:
        words = {"backend": "gateway", "model_override": self._around.config.model}
        return super()._words() | words

    def _attempt(self, prompt: str, *, item: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        result, meta = super()._attempt(prompt, item=item)
        return result, meta | {"backend": "gateway"}


def _settings(repo_root: Path, args: argparse.Namespace) -> Settings:
    return getattr(args, "settings", None) or load_settings(Path(repo_root), read_flags(args))


def _model_sent(model: str | None, preset: TierPreset, settings: Settings) -> str:
    """Return the model that Ollama is asked for where an adapter's config says `model`."""
    return model or preset.model or settings.ollama_model or ""


def _presets(settings: Settings) -> dict[str, TierPreset]:
    """Return the presets in force, with those of PRESET_CACHE that people put there."""
    for name, preset in settings.presets.items():
        if not isinstance(PRESET_CACHE.get(name), Mapping):
            PRESET_CACHE[name] = preset
    return {name: make_preset(name, PRESET_CACHE[name]) for name in settings.presets}


def _build_cascade_for_attempt(  # noqa: PLR0913 - an established signature
    *,
    backend: str,
    tier_for_attempt: str,
    repo_root: Path,
    args: argparse.Namespace,
    ollama_host_chain: Sequence[Host | Mapping[str, str | None]],
    current_host_idx: int,
    host_chain_count: int,
) -> AttemptCascade:
    """Return the cascade of one attempt, which holds exactly one adapter.

    `backend` is auto, ollama or gateway; any other word is ollama on localhost. A chain entry for
    the tier configures the adapter: model, options, keep_alive and, if it has one, the url.
    """
    settings = _settings(repo_root, args)
    settings.require_trust(driver=True)
    args = argparse.Namespace(**{**vars(args), "settings": settings})
    name = name_preset(tier_for_attempt)
    in_force = _presets(settings)[name]
    preset = PRESET_CACHE[name]
    host = Host("localhost", DEFAULT_URL)
    if backend in ("auto", "ollama"):
        host = _host_at(min(current_host_idx, host_chain_count - 1), ollama_host_chain)
    target = take_first(settings, tier_for_attempt, host, in_force, backend)
    config = _config(target, tier_for_attempt)
    if target.provider == "gateway":
        gateway = _GatewayBackendAdapter(config=config, repo_root=repo_root, args=args)
        return AttemptCascade(BackendCascade([gateway]), name, preset, None, None, "gateway")
    label = target.label or None
    ollama = _OllamaBackendAdapter(
        config=config,
        repo_root=repo_root,
        args=args,
        host_url=config.url,
        host_label=label,
        tier_preset=preset,
        tier_for_attempt=tier_for_attempt,
    )
    return AttemptCascade(BackendCascade([ollama]), name, preset, label, config.url, "ollama")


def _host_at(index: int, chain: Sequence[Host | Mapping[str, str | None]]) -> Host:
    """Return a host of a chain, one that is nowhere if the chain has none there."""
    return make_host(chain[index]) if index < len(chain) else Host("", "")


def _config(target: Target, tier: str) -> BackendConfig:
    """Return an adapter's config, by the target that it stands for."""
    return BackendConfig(
        target.name,
        target.provider,
        target.model or None,
        tier,
        target.place or None,
        target.options or None,
        target.keep_alive,
        target.key.name if target.key else None,
    )


class _DriverBuilder:
    """What the engine asks for the cascade of each attempt."""

    def __init__(self, settings: Settings, args: argparse.Namespace) -> None:
        self._settings = settings
        self._staying = settings.keep_home()
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

    def hurry(self) -> None:
        """Let the tries of a call go on as they are configured."""

    def cancel(self) -> None:
        self._args.client.cancellation.cancel()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the driver and return its exit status."""
    if argv is None:
        ensure_utf8()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no path or reply fails to print
            stream.reconfigure(errors="backslashreplace")
    args = make_parser().parse_args(argv)
    try:
        repo = Path(tilde.expand(args.repo, copy_environment(), "--repo")).resolve()
    except ConfigError as error:
        _complain(str(error))
        return 1
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
    settings = load_settings(repo, read_flags(args)).change(concurrency=1)
    if not args.dry_run:
        settings.require_trust(driver=True)
        settings = settings.change(trusted=True)  # the engine would ask for what llmc would use
    for sentence in settings.sources.passed_over:
        _complain(sentence)
    args.settings, args.client = (
        settings,
        Client(secrets=settings.secrets, network=settings.network),
    )
    wait, network = settings.health.timeout, settings.network
    if settings.health.enabled and not find_reachable(settings.hosts, wait, network):
        tried = ", ".join(f"{host.label} ({spell_address(host.url)})" for host in settings.hosts)
        _complain(f"no Ollama host answers; tried: {tried or 'none is configured'}")
        return 2
    engine.prepare_folder(settings.logs)
    rules = Rules(
        excerpt_chars=EXCERPT_CHARS,
        nesting=measures.count_driver_nesting,
        maintain=True,
        verify=False,
        sleep=max(0.0, args.sleep),
        batch=max(0, args.batch_size),
        side_by_side=False,
        by_facts=False,
    )
    if args.dry_run:
        for span, tier, prompt in engine.plan(repo, settings, hooks=(_print_event,), rules=rules):
            _say(f"--- {describe_place(span)} [{tier}]")
            print(make_plain(prompt.replace("\r\n", "\n")))
        return 0
    hooks = (_Announcement(find_destinations(settings, _presets(settings))), _print_event)
    builder = _DriverBuilder(settings, args)
    report = engine.enrich(repo, settings, hooks=hooks, builder=builder, rules=rules)
    if report.stopped:
        _complain(report.stopped)
        return 2
    return 130 if report.interrupted else 0


class _Announcement:
    """Says on standard error where code goes, once, before the first call."""

    def __init__(self, where: Destinations) -> None:
        self._where: Destinations | None = where

    def __call__(self, event: Event) -> None:
        if self._where and isinstance(event, SpanStarted):
            for line in destinations.describe(self._where):
                _complain(line)
            self._where = None


def _print_event(event: Event) -> None:
    match event:
        case SpanEnriched(report=report, enrichments_total=total):
            _say(
                f"enriched {describe_place(report.span)} with {report.model} [{report.tier}] "
                f"in {report.wall_sec:.1f} s ({total} in all)"
            )
        case SpanFailed(report=report):
            last = report.last
            _say(
                f"failed {describe_place(report.span)} after {len(report.outcomes)} attempts: "
                f"{last.failure_type}: {last.detail}"
            )
        case FileGone(path=path, spans=spans):
            _say(f"gone {path}: {spans} spans leave the index")
        case Warned(message=message):
            _say(f"warning: {message}")
        case RunFinished(report=report):
            failed = sum(report.failed.values())
            _say(f"{report.enriched} enriched, {failed} failed, {report.left} left")
            for line in departures.tell_departures(report):
                _say(line)
    sys.stdout.flush()


def _say(line: str) -> None:
    print(join_lines(line))


def _complain(line: str) -> None:
    print(join_lines(line), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
