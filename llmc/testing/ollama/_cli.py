"""The command line of the fake servers: print the URL, serve, print the counts at the end."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence

from llmc.testing.faults import FAULTS, QUICK_FAILURES, sometimes
from llmc.testing.ollama._models import TRAINED_CONTEXT
from llmc.testing.ollama._server import FakeOllama

DESCRIPTION = """\
Serve a fake Ollama on loopback. The first line of output is its URL; Ctrl-C or SIGTERM ends it and
prints its counts as JSON. While it runs, GET /_fake/stats and /_fake/calls (no part of Ollama) give
the counts and the record of each call."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m llmc.testing.ollama`."""
    parser = argparse.ArgumentParser(prog="python -m llmc.testing.ollama", description=DESCRIPTION)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to bind (default: loopback only)")
    add("--port", type=int, default=0, help="port to bind; 0, the default, takes a free one")
    add("--slots", type=int, help="calls of one model worked on at once (default: no limit)")
    add("--max-queue", type=int, default=512, help="calls that may wait for a load; more get a 503")
    add("--latency", type=float, default=0.0, help="seconds per reply")
    add("--tokens-per-second", type=float, help="pace of the reply (default: at once)")
    add("--swap-seconds", type=float, default=0.0, help="seconds to load a model")
    add("--max-loaded", type=int, default=1, help="models in memory at once")
    add("--context-length", type=int, default=4096, help="context in tokens without num_ctx")
    add("--trained-context", type=int, default=TRAINED_CONTEXT, help="most that num_ctx can be")
    add("--repeat-limit", type=int, help="repeats of a token that end a reply (default: none do)")
    add("--model", action="append", help="installed model, repeatable (default: every model is)")
    add("--fail", type=float, default=0.0, help="share of the calls that fail, 0 to 1")
    add("--seed", type=int, default=0, help="decides which calls fail, and how")
    add(
        "--fault",
        action="append",
        choices=sorted(FAULTS),
        metavar="NAME",
        help=f"how they fail, repeatable, of: {', '.join(FAULTS)} (default: "
        f"any of these but {', '.join(name for name in FAULTS if name not in QUICK_FAILURES)})",
    )
    add("--no-bodies", action="store_true", help="record calls without their bodies (less memory)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a fake Ollama until a signal ends it; return the exit status."""
    args = build_parser().parse_args(argv)
    kinds = [FAULTS[name] for name in args.fault] if args.fault else None
    try:
        script = sometimes(args.fail, seed=args.seed, faults=kinds) if args.fail else None
        fake = FakeOllama(
            script,
            host=args.host,
            port=args.port,
            slots=args.slots,
            max_queue=args.max_queue,
            latency=args.latency,
            tokens_per_second=args.tokens_per_second,
            models=args.model,
            swap_seconds=args.swap_seconds,
            max_loaded=args.max_loaded,
            context_length=args.context_length,
            trained_context=args.trained_context,
            repeat_limit=args.repeat_limit,
            keep_bodies=not args.no_bodies,
        ).start()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"cannot serve: {error}\n")
        return 2
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    sys.stdout.write(f"{fake.url}\n")
    sys.stdout.flush()
    stop.wait()
    fake.close()
    sys.stdout.write(json.dumps(fake.stats()) + "\n")
    return 0
