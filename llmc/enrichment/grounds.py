"""What claims are judged by, and what is found of one."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property

from llmc.enrichment import wording
from llmc.facts.values import Facts, Parameter
from llmc.models import Ruling

FUNCTIONS = frozenset({"function", "method"})
_OPEN = re.compile(r"[-\[/*%+.@]|\b(?:import|with|for|in|await|assert|new)\b")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of a claim: `kind` is the rule, `reason` is for people."""

    ruling: Ruling
    kind: str
    reason: str


@dataclass(frozen=True)
class Ground:
    """A span with all that a claim about it may rest on.

    `source` is its text, `file` that of its file, or `nearby` the names in it; `known` are names of
    the rest of the index, and
    `prompt` is what the model was told beside the source: words from there are no knowledge.
    """

    facts: Facts
    source: str
    symbol: str = ""
    language: str = "python"
    file: str = ""
    known: Container[str] = frozenset()
    nearby: Container[str] = frozenset()
    prompt: str = ""

    @cached_property
    def name(self) -> str:
        return self.symbol.rpartition(".")[2].partition("(")[0]

    @cached_property
    def code(self) -> str:
        """The source without the comment in it, which may claim anything."""
        doc = self.facts.doc
        return self.source.replace(doc.rstrip("…"), "") if doc else self.source

    @cached_property
    def code_names(self) -> frozenset[str]:
        return wording.read_tokens(self.code)

    @cached_property
    def names(self) -> tuple[Container[str], ...]:
        """All names that a claim may use, the nearest first."""
        own = frozenset(re.findall(r"[\w$]+", self.symbol))
        return self.code_names, own, wording.read_tokens(self.file), self.nearby, self.known

    @property
    def is_function(self) -> bool:
        return self.facts.kind in FUNCTIONS

    @cached_property
    def is_closed(self) -> bool:
        """Whether it does only what stands in it, as it calls nothing.

        Operators may still raise: only a text without subscripts, arithmetic and attributes is
        closed.
        """
        if self.facts.calls or not self.facts.sound:
            return False
        body = self.code.partition("\n")[2] or self.code.partition(":")[2]
        return not _OPEN.search(body)

    @cached_property
    def arguments(self) -> tuple[Parameter, ...] | None:
        """The parameters that a caller gives; None where they aren't all known."""
        facts = self.facts
        if facts.parameters is None or not facts.sound or "parameters" in facts.more:
            return None
        return tuple(entry for entry in facts.parameters if entry.kind != "receiver")


def refute(kind: str, reason: str) -> Finding:
    return Finding("refuted", kind, reason)


def prove(kind: str, reason: str) -> Finding:
    return Finding("proven", kind, reason)


def leave(kind: str, reason: str) -> Finding:
    return Finding("not provable", kind, reason)
