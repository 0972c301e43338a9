"""Whatever an untrusted repository's settings say, llmc stays within its bounds.

`llmc.toml`, presets and policy are made up: valid, half valid, hostile. Then every command runs
under an audit hook: no socket beyond loopback, no program but git and nvidia-smi, no file changed
outside of the repository and the user's folder for llmc, no variable of the user in any request.

`LLMC_LONG=1 pytest tests/test_untrusted_repository.py` tries 3,000 repositories instead of 25.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.audited import fingerprint
from tests.siege import CODE, SECRETS, World, machine

LONG = os.environ.get("LLMC_LONG") == "1" or os.environ.get("LLMC_CHAOS") == "1"

ENRICH = ("enrich", ".", "--retries", "1", "--wait-for-hosts", "0", "--limit", "1")
COMMANDS = (
    ("index", "."),
    ("trust", "."),
    ENRICH,
    ("enrich", ".", "--dry-run"),
    ("doctor", ".", "--no-trial"),
    ("status", "."),
    ("show", "a.py"),
    ("driver", "--repo", ".", "--retries", "1", "--retry-wait", "0", "--max-spans", "1"),
    ("adopt", "."),
    ("ledger", "check", "."),
    ("init", "."),  # which trusts what it writes, and nothing that was there
    ENRICH,
)

# -- what a repository may say ---------------------------------------------------------------------

MINE, DECOY = "http://MINE", "http://DECOY"
"""Stand for the user's host, and for another one on loopback that the user never named."""

URLS = (
    MINE,
    DECOY,
    "http://127.0.0.1:9",
    "http://localhost:9",
    "http://LOCALHOST.:9",
    "http://[::1]:9",
    "http://[::ffff:127.0.0.1]:9",
    "http://0.0.0.0:9",
    "http://[::]:9",
    "http://evil.example",
    "https://evil.example:8443/v1",
    "http://192.0.2.7:11434",
    "http://169.254.169.254/latest/meta-data",
    "http://127.0.0.1@evil.example",
    "http://127.0.0.1:80@evil.example/",
    "http://localhost@evil.example",
    "http://user:pass@127.0.0.1:9@evil.example",
    "http://0x7f.1",
    "http://0x7f000001:9",
    "http://2130706433:9",
    "http://0177.0.0.1:9",
    "http://127.1:9",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://[::ffff:192.0.2.7]:9",
    "http://[::ffff:c000:207]",
    "http://[64:ff9b::7f00:1]:9",
    "http://evil.example#@127.0.0.1",
    "http://evil.example?@127.0.0.1",
    "http://evil.example\\@127.0.0.1",
    "http://127.0.0.1\\@evil.example",
    "http://127.0.0.1#.evil.example",
    "http://127.0.0.1%2f@evil.example",
    "http://localhost%00.evil.example",
    "http://\uff4c\uff4fcalhost.evil.example",
    "http://127\u30020\u30020\u30021:9",
    "http://localhost\u2024evil.example",
    "http://evil\u3002example",
    "http://[::1%25eth0]:9",
    "http://[fe80::1]:9",
    "http://127.0.0.1:9\t@evil.example",
    "http://127.0.0.1:9\n.evil.example",
    "http://127.0.0.1:99999999",
    "http://[",
    "http://:9",
    "HTTP://evil.example",
    "file:///etc/passwd",
    "//evil.example",
    "unix:///var/run/docker.sock",
)
MODELS = (
    None,
    "qwen2.5:7b",
    "gpt-oss:120b-cloud",
    "kimi-k2:cloud",
    "KIMI:CLOUD",
    "kimi:cloud ",
    "kimi:cloud\n",
    "evil.example/library/kimi:cloud",
    "../outside.gguf",
    "/etc/hostname",
    "~/.bashrc",
    "link.gguf",
    "a.py",
    "hf.co/evil/model",
)
COMMAND_NAMES = ("tools/x.sh", "./tools/x.sh", "git", "/bin/sh", "sh", "curl", "x.js", "nvidia-smi")
VARIABLES = (None, *SECRETS, "HOME", "PATH", "OPENAI_API_KEY", "ENRICH_OLLAMA_HOSTS", "canary", "")
NUMBERS = (0, 1, 2, -1, 256, 257, 10**8, 10**30, -(10**30), 0.5, 1e308, True, "5", None)
TIERS = ("7b", "14b", "nano", "7B", "cloud")

ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(NUMBERS),
    st.text(max_size=12),
    st.just([]),
    st.just({}),
    st.just([{"url": "http://evil.example"}]),
    st.just({"url": "http://evil.example", "command": "tools/x.sh"}),
)


def usually(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what belongs there, but now and then anything."""
    return st.integers(0, 11).flatmap(lambda chance: good if chance else ODD)


ENTRIES = st.fixed_dictionaries(
    {"name": usually(st.sampled_from(["one", "two", "Ollama", "a\nb", "\x1b[2J", "\u202egolb"]))},
    optional={
        "chain": usually(st.sampled_from(["default", "other"])),
        "provider": usually(
            st.sampled_from(["ollama", "openai", "gateway", "gemini", "command", "llamacpp"])
        ),
        "model": usually(st.sampled_from(MODELS)),
        "url": usually(st.sampled_from(URLS)),
        "routing_tier": usually(st.sampled_from(TIERS)),
        "timeout_seconds": usually(st.sampled_from([1.0, 5.0])),
        "keep_alive": usually(st.sampled_from(["15m", 0, -1])),
        "slots": usually(st.sampled_from(NUMBERS)),
        "enabled": usually(st.booleans()),
        "api_key_env": usually(st.sampled_from(VARIABLES)),
        "command": usually(st.sampled_from(COMMAND_NAMES)),
        "options": usually(
            st.dictionaries(
                st.sampled_from(["num_ctx", "num_gpu", "lora", "base_url"]),
                st.sampled_from([*NUMBERS, "http://evil.example", "/etc/passwd"]),
                max_size=3,
            )
        ),
        "proxy": st.sampled_from(URLS),
        "ca_file": st.just("/etc/hostname"),
    },
).map(lambda entry: {key: value for key, value in entry.items() if value is not None})

DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "enrichment": usually(
            st.fixed_dictionaries(
                {"chain": usually(st.lists(ENTRIES, max_size=3))},
                optional={
                    "default_chain": usually(st.sampled_from(["default", "other"])),
                    "concurrency": usually(st.sampled_from(NUMBERS)),
                    "cooldown_seconds": usually(st.sampled_from([0, 1, 10**18])),
                    "est_tokens_per_span": usually(st.sampled_from(NUMBERS)),
                },
            )
        ),
        "privacy": usually(
            st.fixed_dictionaries(
                {},
                optional={
                    "local_only": usually(st.just(["src/"])),
                    "own_network": usually(st.just(["*", "0.0.0.0/0", "evil.example"])),
                    "redact": st.booleans(),
                },
            )
        ),
        "network": st.just({"own": ["0.0.0.0/0", "::/0", "*"], "proxy": "http://evil.example"}),
        "keys": st.just({"evil.example": "CANARY"}),
        "programs": st.just({"environment": ["CANARY"], "allow": ["tools/x.sh"]}),
    },
)
PRESETS = st.fixed_dictionaries(
    {},
    optional={
        "model": usually(st.sampled_from(MODELS)),
        "fallback_model": usually(st.sampled_from(MODELS)),
        "keep_alive": usually(st.sampled_from(["15m", 0, -1, None])),
        "kv_type": usually(st.just("q8_0")),
        "url": st.sampled_from(URLS),
        "options": usually(
            st.dictionaries(
                st.sampled_from(["num_ctx", "num_batch", "num_gpu", "num_thread"]),
                st.sampled_from([*NUMBERS, "auto", "auto_vram"]),
                max_size=4,
            )
        ),
    },
)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "default_tier": usually(st.sampled_from(TIERS)),
        "fallback_tier": usually(st.sampled_from(TIERS)),
        "max_retries_per_span": usually(st.sampled_from(NUMBERS)),
        "promote_if": usually(
            st.dictionaries(
                st.sampled_from(["span_line_count_gte", "schema_failures_gte"]),
                st.sampled_from(NUMBERS),
            )
        ),
        "log_fields": usually(st.just(["path", "../../x", "\x1b"])),
    },
)
RAW = st.sampled_from(
    [
        "",
        "\x00",
        "\ufeff",
        "[" * 5000,
        "{" * 5000,
        "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "!!python/object/apply:os.system ['touch pwned']",
        "!!python/name:os.system",
        "model: !!binary aGVsbG8=",
        "when = 2020-01-01\n[enrichment]\nconcurrency = 2020-01-01\n",
        "[enrichment]\nconcurrency = nan\n",
        '[[enrichment.chain]]\nname = "x"\nurl = "http://evil.example"\n' * 50,
    ]
)


def toml(value: Any) -> str:
    """Return a value as inline TOML; what TOML can't say becomes a text."""
    if isinstance(value, dict):
        words = ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items())
        return f"{{ {words} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if value is None:
        return '""'
    if isinstance(value, str):
        return json.dumps(value.encode("utf-8", "replace").decode()).replace("\x7f", "\\u007f")
    return json.dumps(value)


LINKED = (
    ".rag",
    ".rag/index_v2.db",
    ".rag/index_v2.db-wal",
    ".rag/index_v2.db-journal",
    ".rag/index_v2.db-shm",
    ".rag/index_v2.db.reserve",
    ".rag/index_v2.db.runs",
    ".rag/.gitignore",
    "logs",
    "logs/.gitignore",
    "logs/run_ledger.log",
    "logs/enrichment_metrics.jsonl",
    "logs/egress.jsonl",
    "logs/failed_enrichments",
    "llmc.toml",
    "presets",
    "router",
    ".ragignore",
    ".gitignore",
    ".llmc-local",
    "a.py",
)
TARGETS = (
    "../../.ssh",
    "../../.ssh/authorized_keys",
    "../../.ssh/new",
    "../../new",
    "../../.bashrc",
    "..",
    "/proc/self/fd/1",
    "/dev/null",
    "a.py",
    "nowhere",
)


@dataclass(frozen=True)
class Repository:
    """What a repository brings along: texts of its settings files, and links by their places."""

    toml: str | None = None
    presets: str | None = None
    policy: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)

    def files(self, urls: Mapping[str, str]) -> dict[str, str]:
        """Return the settings files, with real addresses for the places that stand for them."""
        found = {
            "llmc.toml": self.toml,
            "presets/enrich_7b_ollama.yaml": self.presets,
            "router/policy.json": self.policy,
        }
        texts = {name: text for name, text in found.items() if text is not None}
        for word, url in urls.items():
            texts = {name: text.replace(word, url) for name, text in texts.items()}
        return texts


def written(documents: st.SearchStrategy[Any], form: Any) -> st.SearchStrategy[str | None]:
    """Draw a settings file's text, none, or one that is hardly a settings file."""
    texts = documents.map(form)
    return st.integers(0, 9).flatmap(lambda n: st.none() if n < 2 else RAW if n == 2 else texts)


REPOSITORIES = st.builds(
    Repository,
    toml=written(
        DOCUMENTS,
        lambda found: "".join(f"{key} = {toml(value)}\n" for key, value in found.items()),
    ),
    presets=written(PRESETS, json.dumps),
    policy=written(POLICIES, json.dumps),
    links=st.one_of(
        st.just({}),
        st.dictionaries(st.sampled_from(LINKED), st.sampled_from(TARGETS), max_size=2),
    ),
)


OTHER_CHAIN = f"""
[enrichment]
default_chain = "other"
[[enrichment.chain]]
name = "x"
chain = "other"
model = "m"
url = "{DECOY}"
"""
"""Would have the run take another chain than the one that the user named."""


# -- what happens ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A machine with a small repository; made once, as each example fills it anew."""
    with machine(tmp_path_factory.mktemp("world")) as made:
        template = made.root / "template"
        (template / "tools").mkdir(parents=True)
        (template / "a.py").write_text(CODE)
        (template / "tools/x.sh").write_text("#!/bin/sh\ntouch pwned\n")
        (template / "tools/x.sh").chmod(0o755)
        (template / "link.gguf").symlink_to(made.home / ".bashrc")
        subprocess.run(["git", "init", "-q", template], check=True)
        yield made


def fill(world: World, repository: Repository) -> dict[str, str]:
    """Make the repository anew; a link takes the place of what is there. Return its settings."""
    files = repository.files({MINE: world.mine.url, DECOY: world.decoy.url})
    shutil.rmtree(world.repo, ignore_errors=True)
    shutil.copytree(world.root / "template", world.repo, symlinks=True)
    for name, text in files.items():
        (world.repo / name).parent.mkdir(exist_ok=True)
        (world.repo / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    for name, target in repository.links.items():
        place = world.repo / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        if not place.parent.is_symlink():
            place.parent.mkdir(exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(target)
    return files


def faults(world: World, repository: Repository, hosts: str = "hosts") -> list[str]:
    """Run every command in an untrusted repository, and return what it may not do but did."""
    files = fill(world, repository)
    requests = {"mine": len(world.mine.requests), "decoy": len(world.decoy.requests)}
    outside = (world.repo, world.home / ".config/llmc")
    before = fingerprint(world.home, outside)
    done = world.run(*COMMANDS, env=world.named(hosts))
    found = list(done.breaches)
    after = fingerprint(world.home, outside)
    changed = sorted({name for name, _ in before.items() ^ after.items()})
    found += [f"{name} of the user was changed" for name in changed]
    if (world.repo / "pwned").exists():
        found.append("the repository's program ran")
    told = world.told(requests)
    said = repr([(call.path, call.headers, call.body) for call in told["mine"] + told["decoy"]])
    found += [f"${name} was sent" for name, value in SECRETS.items() if value in said]
    found += [f"asked for {call.model!r}" for call in told["mine"] if "cloud" in call.model.lower()]
    if any(call.index is not None for call in told["decoy"]):
        found.append("code went to a host that the user did not name")
    if any(status not in (0, 1, 2) for status in done.statuses):
        found.append(f"exit statuses {done.statuses}")
    if found:
        found += [f"{name}:\n{text}" for name, text in files.items()]
        found += [f"links: {dict(repository.links)}", done.printed]
    return found


@settings(
    max_examples=3000 if LONG else 25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    repository=REPOSITORIES,
    hosts=st.sampled_from(["hosts", "one host", "a chain", "chains"]),
)
@example(Repository(), "hosts")
@example(Repository(links={"logs": "../../.ssh"}), "hosts")
@example(Repository(links={".rag": "../../.ssh"}), "hosts")
@example(Repository(OTHER_CHAIN), "a chain")
@example(Repository(OTHER_CHAIN), "chains")
def test_an_untrusted_repository_stays_within_its_bounds(
    world: World, repository: Repository, hosts: str
) -> None:
    found = faults(world, repository, hosts)
    assert not found, "\n".join(found)
