"""The models of a fake Ollama: how they are named, what they are made of, which are there.

A name is host/namespace/model:tag with defaults for all but the model, in letters of any case. Two
names may stand for one file (a copy): they share its runner.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

MODEL_BYTES = 4_683_087_332
TRAINED_CONTEXT = 32_768
KV_BYTES_PER_TOKEN = 28 * 1024
"""What a model of 1.5B keeps in memory for each token of its context."""

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAME = re.compile(
    rf"(?:(?:(?:\w+://)?(?P<host>[A-Za-z0-9_][A-Za-z0-9_.:-]{{0,349}})/)?"
    rf"(?P<namespace>[A-Za-z0-9_][A-Za-z0-9_-]{{0,79}})/)?(?P<model>{_PART})(?::(?P<tag>{_PART}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Name:
    """A model name with all its parts."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def full(self) -> str:
        """All parts, as errors name a model."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def shown(self) -> str:
        """The parts that are no defaults, and the tag, as lists name a model."""
        return self.full.removeprefix(f"{_HOST}/").removeprefix(f"{_NAMESPACE}/")

    @property
    def key(self) -> str:
        """The same for every way to write the name."""
        return self.full.lower()


def parse_name(text: str) -> Name | None:
    """Read a name; None if it is malformed."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    host, namespace, model, tag = found.groups()
    return Name(host or _HOST, namespace or _NAMESPACE, model, tag or _TAG)


@dataclass(frozen=True, slots=True)
class Model:
    """An installed model.

    `blob` names the file behind it (default: one of its own); names with the same blob share a
    runner. `context_length` is what it was trained for, in tokens: a larger num_ctx is cut down to
    it. `options` are its own defaults for a call's options; `size` is in bytes.
    """

    name: str
    blob: str = ""
    context_length: int = TRAINED_CONTEXT
    capabilities: tuple[str, ...] = ("completion",)
    options: Mapping[str, Any] = field(default_factory=dict)
    embedding_length: int = 768
    family: str = "fake"
    parameter_size: str = ""
    template: str = "{{ .Prompt }}"
    size: int = MODEL_BYTES
    modified_at: datetime = datetime(2025, 1, 1, tzinfo=UTC)

    @property
    def full_name(self) -> Name:
        """The name with all its parts; raise ValueError if it is malformed."""
        name = parse_name(self.name)
        if name is None:
            raise ValueError(f"{self.name!r} is no model name; write NAME:TAG")
        return name

    @property
    def file(self) -> str:
        """What names the file behind the model."""
        return self.blob or self.full_name.key

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.file.encode()).hexdigest()

    @property
    def details(self) -> dict[str, Any]:
        size = re.search(r"(\d+(?:\.\d+)?)b", self.name.lower())
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": self.parameter_size or (f"{size.group(1)}B" if size else "7B"),
            "quantization_level": "Q4_K_M",
        }

    @property
    def info(self) -> dict[str, Any]:
        """The figures that /api/show gives under model_info."""
        return {
            "general.architecture": self.family,
            f"{self.family}.context_length": self.context_length,
            f"{self.family}.embedding_length": self.embedding_length,
        }


class Catalogue:
    """The models that are there, safe to share among threads.

    With `models` None every well-formed name is installed, and listed once it was asked for.
    """

    def __init__(self, models: Iterable[str | Model] | None, trained_context: int) -> None:
        self._lock = threading.Lock()
        self._open = models is None
        self._trained_context = trained_context
        self._models: dict[str, Model] = {}
        self._deleted: set[str] = set()
        for model in models or ():
            entry = self._plain(model) if isinstance(model, str) else model
            self._models[entry.full_name.key] = entry

    def find(self, text: str) -> Model | None:
        """Return the model of that name, in any case, None if it is not there."""
        name = parse_name(text)
        if name is None:
            return None
        with self._lock:
            if name.key not in self._models and self._open and name.key not in self._deleted:
                self._models[name.key] = self._plain(text)
            return self._models.get(name.key)

    def listed(self) -> list[Model]:
        """Return all models, the newest first."""
        with self._lock:
            models = list(self._models.values())
        return sorted(models, key=lambda model: model.modified_at, reverse=True)

    def copy(self, model: Model, name: str) -> None:
        """Give a model a second name."""
        copied = replace(model, name=name, blob=model.file, modified_at=datetime.now(UTC))
        with self._lock:
            self._models[copied.full_name.key] = copied

    def delete(self, model: Model) -> None:
        """Remove a name; its copies stay."""
        with self._lock:
            self._models.pop(model.full_name.key, None)
            self._deleted.add(model.full_name.key)

    def _plain(self, name: str) -> Model:
        return Model(name, context_length=self._trained_context)
