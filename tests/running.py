"""What the tests of a run share: fake hosts, a repository of small spans, and what came of it.

The repository is the one of `tests.driving`: each span carries its name as "mark:NAME", by which
the fake hosts choose their replies and the tests tell who was asked what.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmc import engine
from llmc.backends.builder import AttemptCascade, CallPolicy, CascadeBuilder
from llmc.backends.cascade import BackendCascade
from llmc.events import AttemptFinished, Event, EventHook
from llmc.models import Attempt, RunReport
from llmc.run.stopping import Stop
from llmc.settings.config import Settings
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.presets import TierPreset
from llmc.store.owners import name_folder
from llmc.testing import FakeBackend
from llmc.testing.ollama import FakeOllama
from llmc.testing.script import Script
from tests import driving
from tests.driving import DEAD_URL, LARGE_MODEL, Repo, environment, make_repo, marked, plain

PATIENCE_SEC = 60.0
"""How long anything is waited for; only a run that hangs takes it."""

_Event = TypeVar("_Event")


def repo_of(root: Path, *names: str) -> Repo:
    """Make a repository with one file of flat spans of three lines, which start at 7b."""
    repo = make_repo(root)
    repo.add("src/all.py", *map(plain, names))
    return repo


@contextmanager
def serving(labels: str, script: Script = None, **settings: Any) -> Iterator[dict[str, FakeOllama]]:
    """Run a fake host for each letter, all with the same script."""
    with ExitStack() as stack:
        yield {label: stack.enter_context(FakeOllama(script, **settings)) for label in labels}


def configured(
    repo: Repo,
    hosts: Mapping[str, FakeOllama | str] | None = None,
    env: Mapping[str, str] | None = None,
    **flags: Any,
) -> Settings:
    """Read the settings of a run with this host chain, and no pause before a retry.

    What the repository's files say is taken as the user's own word.
    """
    nobody = {} if hosts else {"OLLAMA_URL": DEAD_URL}
    environ = environment(hosts, {**nobody, **(env or {})})
    return load_settings(repo.root, Flags(**{"retry_wait": 0.0, "trust": True, **flags}), environ)


@dataclass(frozen=True)
class Ran:
    """A run that is over: its report, and what it told."""

    repo: Repo
    report: RunReport
    events: Sequence[Event]

    def told(self, kind: type[_Event]) -> list[_Event]:
        """Return the events of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def written(self) -> driving.Run:
        """The logs and rows, by the names of the spans."""
        return written(self.repo)

    def attempts(self, name: str) -> list[AttemptFinished]:
        """Return the attempts that were made for a span."""
        return [event for event in self.told(AttemptFinished) if event.span.symbol == name]


def enrich(
    repo: Repo,
    settings: Settings,
    *hooks: EventHook,
    script: Callable[..., Any] | None = None,
    stop: Stop | None = None,
) -> Ran:
    """Enrich; with a `script`, by a backend in this process that follows it."""
    events: list[Event] = []
    builder = builder_of(settings, script) if script else None
    report = engine.enrich(
        repo.root, settings, hooks=(events.append, *hooks), builder=builder, stop=stop
    )
    return Ran(repo, report, events)


class _SameBackends(CascadeBuilder):
    def __init__(self, settings: Settings, backends: Sequence[FakeBackend]) -> None:
        super().__init__(settings, CallPolicy())
        self.backends = backends

    def check(self) -> None:
        pass

    def __call__(self, attempt: Attempt) -> AttemptCascade:
        preset = TierPreset(attempt.tier, "fake:7b", None, {})
        cascade = BackendCascade(self.backends)
        return AttemptCascade(cascade, attempt.tier, preset, "fake", "http://fake", "ollama")


def builder_of(settings: Settings, *scripts: Callable[..., Any]) -> CascadeBuilder:
    """Make a builder of which every cascade has the same backends, one for each script."""
    meta = {"backend": "ollama", "model": "fake:7b"}
    return _SameBackends(settings, [FakeBackend(script, meta=meta) for script in scripts])


def written(repo: Repo) -> driving.Run:
    """Return the logs and rows of a repository, by the names of its spans."""
    return driving.Run(repo, 0, "", "", 0.0)


def calls(hosts: Mapping[str, FakeOllama]) -> list[tuple[str, str, str]]:
    """Return (host, tier, span) of every call so far, in order of arrival."""
    found = sorted(
        ((call.started, label, call) for label, host in hosts.items() for call in host.calls),
        key=lambda entry: entry[0],
    )
    return [
        (label, "14b" if call.model == LARGE_MODEL else "7b", marked(call.prompt))
        for _, label, call in found
    ]


def until(found: Callable[[], _Event], what: str) -> _Event:
    """Wait until something is there, and return it."""
    deadline = time.monotonic() + PATIENCE_SEC
    while not (value := found()):
        assert time.monotonic() < deadline, f"still waiting: {what}"
        time.sleep(0.01)
    return value


def pause_at(event: threading.Event) -> None:
    """Wait for an event that the test sets; not for ever."""
    assert event.wait(PATIENCE_SEC), "the test has not let go"


def names(count: int, letters: str = "G") -> list[str]:
    """Name spans after their replies: see `tests.driving.lettered`."""
    return [f"{letters}_{number}" for number in range(count)]


def entry(name: str, **words: object) -> str:
    """Return a chain entry as TOML."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in words.items()]
    return "\n".join(["[[enrichment.chain]]", f'name = "{name}"', *lines, ""])


def on_nth(kind: type[Any], number: int, action: Callable[[Any], object]) -> EventHook:
    """Return a hook that does something at the nth event of a kind."""
    seen = itertools.count(1)

    def hook(event: Event) -> None:
        if isinstance(event, kind) and next(seen) == number:
            action(event)

    return hook


def claims(repo: Repo) -> list[dict[str, Any]]:
    """Return what is left of claims in the index."""
    return repo.query("SELECT * FROM llmc_claims")


def owners(repo: Repo) -> list[str]:
    """Return the files of those at work on the index."""
    folder = name_folder(repo.index)
    return [path.name for path in folder.iterdir()] if folder.exists() else []
