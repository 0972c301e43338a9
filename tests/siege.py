"""A user's machine under siege: a home to lose, secrets in the environment, servers that listen.

What an attacker brings comes by `git clone`, or lies there as unpacked; each command runs under the
audit hook of `tests.audited`, and whoever is asked anything is one of two fake hosts: the user's
own, and one that the user never named.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmc.testing.ollama import CallRecord, FakeOllama
from llmc.testing.script import Script
from tests import audited
from tests.audited import Done, Job

CODE = "def add(left, right):\n    return left + right\n"

Files = Mapping[str, str | bytes]
Links = Mapping[str, str]

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "canary-aws",
    "GITHUB_TOKEN": "canary-github",
    "CANARY": "canary-other",
    "SSH_AUTH_SOCK": "/nowhere/canary-agent",
}


@dataclass(frozen=True)
class World:
    """A user's machine: their home, their host, another server, and a repository to fill."""

    root: Path
    mine: FakeOllama
    decoy: FakeOllama

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def repo(self) -> Path:
        return self.home / "work/repo"

    @property
    def upstream(self) -> Path:
        """Where the attacker commits."""
        return self.root / "upstream"

    def push(self, files: Files, links: Links | None = None) -> None:
        """Commit files and links upstream, all that is in there besides."""
        if not self.upstream.exists():
            subprocess.run(["git", "init", "-q", self.upstream], check=True)
        for name, content in files.items():
            place = self.upstream / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        for name, target in (links or {}).items():
            (self.upstream / name).parent.mkdir(parents=True, exist_ok=True)
            (self.upstream / name).symlink_to(target)
        git(self.upstream, "add", "-fA")
        git(self.upstream, "commit", "-qm", "more")

    def clone(self, files: Files, links: Links | None = None) -> None:
        """Have the user clone a repository of these files and links."""
        self.push({"a.py": CODE, **files}, links)
        git(self.home / "work", "clone", "-q", str(self.upstream), "repo")

    def environ(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the user's environment, with their secrets in it."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "TMPDIR": str(self.root / "scratch"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "ENRICH_HEALTHCHECK_TIMEOUT_SECONDS": "1",
            **SECRETS,
            **more,
        }

    def named(self, way: str = "hosts") -> dict[str, str]:
        """Return the user's word on where code goes, in one of the ways to give it."""
        entries = [
            {"name": tier, "model": "m", "url": self.mine.url, "routing_tier": tier}
            for tier in ("7b", "14b", "nano")
        ]
        return {
            "hosts": {"ENRICH_OLLAMA_HOSTS": f"mine={self.mine.url}"},
            "one host": {"OLLAMA_URL": self.mine.url},
            # The driver would ask whether the default host is there, which these don't replace.
            "a chain": {
                "ENRICH_CHAIN_JSON": json.dumps(entries),
                "ENRICH_HEALTHCHECK_ENABLED": "0",
            },
            "chains": {
                "ENRICH_CHAIN_JSON": json.dumps({"chains": {"default": entries, "2": entries}}),
                "ENRICH_HEALTHCHECK_ENABLED": "0",
            },
        }[way]

    def run(
        self,
        *commands: tuple[str, ...],
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Done:
        """Run commands in the repository or another folder, under the hook.

        Without an `env`, the user has named their host as people do.
        """
        writable = [self.repo, self.home / ".config/llmc", self.root / "scratch"]
        job = Job(commands, folder or self.repo, self.environ(env or self.named()), writable)
        return audited.run(job)

    def told(self, before: Mapping[str, int]) -> dict[str, list[CallRecord]]:
        """Return what each server was asked since so many requests."""
        servers = {"mine": self.mine, "decoy": self.decoy}
        return {name: list(host.requests[before[name] :]) for name, host in servers.items()}


@contextmanager
def machine(root: Path, script: Script = None) -> Iterator[World]:
    """Set a machine up below a folder; `script` is what the user's own host answers."""
    for folder in ("home/.ssh", "home/.config", "home/work", "scratch"):
        (root / folder).mkdir(parents=True)
    (root / "home/.ssh/authorized_keys").write_text("none\n")
    (root / "home/.bashrc").write_text("true\n")
    (root / "home/work/outside.gguf").write_text("GGUF")
    with FakeOllama(script) as mine, FakeOllama() as decoy:
        yield World(root, mine, decoy)


def git(folder: Path, *words: str) -> None:
    """Run git as somebody; a submodule may come from a folder."""
    who = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)
