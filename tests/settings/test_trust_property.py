"""Whatever an untrusted repository's settings say, nothing of it leaves or runs, seen from below.

An audit hook of the interpreter sees every connection, look-up of a name, process and file opened
for writing, whoever asks for it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.doctor import examination
from llmc.doctor.targets import list_tiers
from llmc.errors import LlmcError, UntrustedError
from llmc.models import Attempt
from llmc.run.selection import select
from llmc.settings.documents import CONFIG_FILE, POLICY_FILE, PRESET_FILE
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings

DEAD = "http://127.0.0.1:9"
URLS = [
    DEAD,
    f"{DEAD}/v1",
    "http://localhost:9",
    "http://[::1]:9",
    "http://away.example",
    "https://away.example/v1",
    "http://127.0.0.1@away.example",
    "http://127.0.0.1.away.example",
    f"{DEAD}#@away.example",
    f"{DEAD}?x=http://away.example",
    "http://127.0.0.1\\@away.example",
    "http://127.0.0.1\t.away.example",
    "http://192.0.2.1:9",
    "http://0x7f.1:9",
]
MODELS = ["qwen2.5:7b", "glm:cloud", "gpt-oss:120b-CLOUD ", "m.gguf", "../m.gguf", ""]
MAYBE: dict[str, st.SearchStrategy[Any]] = {
    "provider": st.sampled_from(["ollama", "openai", "gateway", "gemini", "command", "llamacpp"]),
    "url": st.sampled_from(URLS),
    "model": st.sampled_from(MODELS),
    "routing_tier": st.sampled_from(["7b", "14b", "nano"]),
    "command": st.sampled_from(["./run.sh", "sh", "run.js"]),
    "api_key_env": st.sampled_from(["SECRET", "PATH"]),
    "slots": st.integers(1, 256),
    "enabled": st.booleans(),
    "chain": st.sampled_from(["default", "other"]),
}
ENTRIES = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["a", "b"])}, optional=MAYBE), max_size=4
)
PRESETS = st.fixed_dictionaries(
    {},
    optional={"model": st.sampled_from(MODELS), "fallback_model": st.sampled_from([None, *MODELS])},
)
TIERS = st.sampled_from(["7b", "14b", "nano", "another"])
POLICIES = st.fixed_dictionaries({}, optional={"default_tier": TIERS, "fallback_tier": TIERS})
FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "backend": st.sampled_from(["auto", "ollama", "gateway"]),
        "chain": st.sampled_from(["default", "other"]),
    },
)

_seen: list[tuple[str, object]] | None = None


def _watch(name: str, args: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if name in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.exec", "os.system"):
        host = args[1][0] if name == "socket.connect" else args[0]
        _seen.append((name, host))
    elif name == "open" and not isinstance(args[0], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
        _seen.append((name, args[0]))


sys.addaudithook(_watch)


@contextmanager
def watched() -> Iterator[list[tuple[str, object]]]:
    global _seen  # noqa: PLW0603 - a hook can't be taken out again, only told not to look
    found: list[tuple[str, object]] = []
    _seen = found
    try:
        yield found
    finally:
        _seen = None


def is_harmless(what: str, of: object, folder: Path) -> bool:
    if what == "open":  # for writing: what a run records of itself, and what is the user's
        return Path(str(of)).is_relative_to(folder)
    if what.startswith("socket."):
        with suppress(ValueError):
            return ipaddress.ip_address(str(of)).is_loopback
        return of == "localhost"
    return what == "subprocess.Popen" and Path(str(of)).name in ("git", "nvidia-smi")


def attempt_everything(repo: Path, environ: dict[str, str], flags: dict[str, Any]) -> None:
    """Do what a run does, up to a call by the cascade of each tier that a span may get to."""
    known = load_settings(repo, Flags(retries=1, retry_wait=0, **flags), environ)
    settings = select(known).settings
    builder = CascadeBuilder(settings, CallPolicy(retry_wait=0, timeout=5))
    policy = settings.router.policy
    for tier in {*list_tiers(settings), policy.default_tier, policy.fallback_tier}:
        with suppress(LlmcError):
            item = {"lines": (1, 2), "attempt": 1, "path": "a.py"}
            builder(Attempt(1, tier, 0)).cascade.generate_for_span("a prompt", item=item)


@dataclass(frozen=True)
class Said:
    """What a repository's three files say."""

    entries: list[dict[str, Any]]
    presets: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)

    def write(self, repo: Path) -> None:
        for name, text in {
            CONFIG_FILE: "".join(
                "[[enrichment.chain]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in e.items())
                for e in self.entries
            ),
            PRESET_FILE: json.dumps(self.presets),  # which is YAML too
            POLICY_FILE: json.dumps(self.policy),
        }.items():
            (repo / name).parent.mkdir(parents=True, exist_ok=True)
            (repo / name).write_text(text)


def check(folder: Path, said: Said, named: dict[str, str], flags: dict[str, Any]) -> None:
    """Try a run in an untrusted repository, and see that nothing leaves and nothing runs."""
    environ = {
        "PATH": os.environ["PATH"],
        "XDG_CONFIG_HOME": str(folder / "config"),
        "ENRICH_HEALTHCHECK_ENABLED": "0",
        "OPENAI_API_KEY": "the user's key",
        "SECRET": "the user's secret",
        **named,
    }
    said.write(folder / "repo")
    with watched() as seen:
        try:
            attempt_everything(folder / "repo", environ, flags)
        except UntrustedError:
            assert examination.examine(folder / "repo", Flags(**flags), environ).exit_status == 2
        except LlmcError:
            pass  # no way to a model, or a wrong setting
    gateway = flags.get("backend") == "gateway"  # which is the user's word
    asked = [
        s
        for s in seen
        if not is_harmless(*s, folder) and not (gateway and s[1] == "api.openai.com")
    ]
    assert asked == []
    if named and not gateway:
        assert {of for what, of in seen if what == "socket.connect"} <= {"127.0.0.2"}


OWN_HOST = {"ENRICH_OLLAMA_HOSTS": "http://127.0.0.2:9"}


@pytest.mark.parametrize("named", [{}, OWN_HOST], ids=["no host named", "a host named"])
@pytest.mark.parametrize("provider", ["ollama", "openai"])
@pytest.mark.parametrize("url", URLS)
def test_no_address_leads_away(
    tmp_path: Path, url: str, provider: str, named: dict[str, str]
) -> None:
    check(tmp_path, Said([{"name": "a", "provider": provider, "url": url}]), named, {})


@pytest.mark.parametrize("named", [{}, OWN_HOST], ids=["no host named", "a host named"])
@tuned(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(Said, ENTRIES, PRESETS, POLICIES), FLAGS)
def test_nothing_leaves_and_nothing_runs(
    tmp_path: Path, named: dict[str, str], said: Said, flags: dict[str, Any]
) -> None:
    check(tmp_path, said, named, flags)
