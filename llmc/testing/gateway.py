"""A fake gateway program: reads a prompt from stdin, notes the call, answers from a list.

`write_gateway(path, replies)` writes the program: JavaScript for `node PATH --api` if the name ends
in .js, else an executable Python script. Beside it lie PATH.json (what to answer; it may be edited
between calls), PATH.log (one JSON line per call) and PATH.calls/ (one empty file per call, by which
calls that run at once agree on their numbers). Neither program touches the network.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmc.testing._programs import JAVASCRIPT, PYTHON

WATCHED = (
    "GEMINI_MODEL",
    "LLM_DISABLED",
    "NEXT_PUBLIC_LLM_DISABLED",
    "LLM_GATEWAY_DISABLE_RAG",
)
"""The environment variables whose values are noted."""


@dataclass(frozen=True)
class GatewayReply:
    """What the program does in one call.

    It sleeps, writes `stdout` (bytes need not be UTF-8; None: a valid enrichment that depends on
    the prompt) and `stderr`, and exits with `exit_code`. With `read_stdin` False it ends without
    taking the prompt, and notes none.
    """

    stdout: str | bytes | None = None
    exit_code: int = 0
    sleep: float = 0.0
    stderr: str = ""
    read_stdin: bool = True


@dataclass(frozen=True)
class GatewayCall:
    """One line of the log; `env` holds the watched variables, None for those not set."""

    number: int
    time: float
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str | None]
    prompt_chars: int
    prompt_sha256: str
    prompt: str | None


def write_gateway(
    path: str | Path,
    replies: Iterable[GatewayReply | str | bytes] = (),
    *,
    default: GatewayReply | str | bytes = GatewayReply(),
    keep_prompts: bool = True,
) -> Path:
    """Write the program and return its absolute path.

    Call number n gets the n-th reply, later calls the default. A bare text or bytes is a reply
    with that output. With `keep_prompts` False only length and hash of a prompt are noted.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    plan = {
        "replies": [_encoded(reply) for reply in replies],
        "default": _encoded(default),
        "keep_prompts": keep_prompts,
        "watched": WATCHED,
    }
    _beside(path, ".json").write_text(json.dumps(plan, indent=1), encoding="utf-8")
    _beside(path, ".log").write_text("", encoding="utf-8")
    _beside(path, ".calls").mkdir(exist_ok=True)
    for ticket in _beside(path, ".calls").iterdir():
        ticket.unlink()
    if path.suffix == ".js":
        program = f"#!/usr/bin/env node\n{JAVASCRIPT}"
    else:
        program = f"#!{sys.executable} -IS\n{PYTHON}"
    path.write_text(program, encoding="utf-8")
    path.chmod(0o755)
    return path


def gateway_calls(path: str | Path) -> list[GatewayCall]:
    """Read the calls that the program at `path` has noted, in order of their numbers."""
    lines = _beside(Path(path).absolute(), ".log").read_text(encoding="utf-8").splitlines()
    calls = [json.loads(line) for line in lines]
    return [
        GatewayCall(**{**call, "argv": tuple(call["argv"])})
        for call in sorted(calls, key=lambda call: int(call["number"]))
    ]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _encoded(reply: GatewayReply | str | bytes) -> dict[str, Any]:
    if isinstance(reply, str | bytes):
        reply = GatewayReply(stdout=reply)
    output = reply.stdout.encode() if isinstance(reply.stdout, str) else reply.stdout
    return {
        "stdout_base64": None if output is None else base64.b64encode(output).decode(),
        "exit_code": reply.exit_code,
        "sleep": reply.sleep,
        "stderr": reply.stderr,
        "read_stdin": reply.read_stdin,
    }
