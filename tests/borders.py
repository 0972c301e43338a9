"""What the tests of the border share: hosts that lead away although they are here, and secrets.

127.1 is another way to write 127.0.0.1, which the system understands. Our own look at a URL goes by
its text and takes it for a name, as of any host elsewhere; so a fake on loopback can stand for one.
"""

from __future__ import annotations

import json
from typing import Any

from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.driving import Piece, Repo

SECRET = "gh" + "p_" + "16C7e42F292c6912E7710c838347Ae178B4a"


def away(fake: FakeOllama | FakeOpenAI) -> str:
    """Return a fake's address as that of a host that is not this machine."""
    return fake.url.replace("127.0.0.1", "127.1")


def secretive(name: str) -> Piece:
    """Make a span of three lines that starts at 7b and holds a secret."""
    return Piece(name, f'# mark:{name}\ntoken = "{SECRET}"\nvalue = 1\n')


def log(repo: Repo) -> list[dict[str, Any]]:
    """Return what is on record as sent away."""
    path = repo.root / "logs/egress.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def prompts(fake: FakeOllama | FakeOpenAI) -> list[str]:
    """Return the prompts that a fake was sent."""
    return [call.prompt for call in fake.calls]
