"""The batch driver's flags, which are a contract: see docs/batch-driver.md."""

from __future__ import annotations

import argparse

from llmc.settings.flags import Flags

GATEWAY_DEFAULT_TIMEOUT = 300.0
"""Seconds of a call at the gateway."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the driver's command line."""
    made = argparse.ArgumentParser(
        prog="qwen_enrich_batch.py",
        description="Enrich the pending spans of a repository's index, one at a time.",
    )
    add = made.add_argument
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
    add(
        "--gateway-timeout",
        type=float,
        default=GATEWAY_DEFAULT_TIMEOUT,
        help="seconds per gateway call",
    )
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
    return made


def read_flags(args: object) -> Flags:
    """Return what parsed flags say; those that a caller left out are as by default."""
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
        gateway_timeout=getattr(args, "gateway_timeout", GATEWAY_DEFAULT_TIMEOUT),
        whole_environ=True,
        lenient=True,
        schema_version=getattr(args, "schema_version", "enrichment.v1"),
        log=getattr(args, "log", None),
        verbose=getattr(args, "verbose", False),
        trust=getattr(args, "trust", False),
    )
