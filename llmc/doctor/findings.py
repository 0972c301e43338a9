"""What an examination finds, as values; the state of a finding depends on what else works."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

State = Literal["ok", "warn", "fail", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. "fail" means that a run would not work, or not in full.

    `advice` says what to do about it, as a command where there is one; empty if nothing.
    """

    section: str
    name: str
    state: State
    detail: str
    advice: str = ""

    def told(self, hide: Callable[[str], str]) -> Finding:
        """Return the finding with what `hide` takes out of a text left out."""
        return Finding(
            section=hide(self.section),
            name=hide(self.name),
            state=self.state,
            detail=hide(self.detail),
            advice=hide(self.advice),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """All findings in reading order; not `readable` if the configuration made no sense at all.

    `unproved` are the tiers at which no model gave a usable reply when it was tried, or none was.
    """

    findings: tuple[Finding, ...]
    readable: bool = True
    unproved: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether nothing was found that keeps a run from working."""
        return not self.count("fail")

    @property
    def exit_status(self) -> int:
        """0 nothing is in the way of a run, 1 something is, 2 the configuration can't be read."""
        if not self.readable:
            return 2
        return 0 if self.works else 1

    def count(self, state: State) -> int:
        """Return how many findings are in a state."""
        return sum(finding.state == state for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Note:
    """A finding, and the tiers that it leaves without this way to a model if it is a failure.

    With no tiers a failure stands whatever else works.
    """

    finding: Finding
    tiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Examined:
    """What one place was found to be like, and the tiers that it serves."""

    notes: tuple[Note, ...]
    serves: frozenset[str] = frozenset()


def weigh(examined: Iterable[Examined]) -> list[Finding]:
    """Return all findings; a failure where other places serve its tiers is only a warning."""
    places = list(examined)
    served = frozenset[str]().union(*(place.serves for place in places))
    return [_weighed(note, served) for place in places for note in place.notes]


def find_unproved(examined: Iterable[Examined], tiers: Iterable[str]) -> tuple[str, ...]:
    """Return those of the tiers at which no trial had a usable reply."""
    notes = [note for place in examined for note in place.notes]
    good = [n for n in notes if n.finding.name == "trial" and n.finding.state == "ok"]
    proved = {tier for note in good for tier in note.tiers}
    return tuple(tier for tier in dict.fromkeys(tiers) if tier not in proved)


def _weighed(note: Note, served: frozenset[str]) -> Finding:
    spared = note.tiers and served.issuperset(note.tiers)
    if note.finding.state == "fail" and spared:
        return replace(note.finding, state="warn")
    return note.finding


def shorten(text: str, most: int = 300) -> str:
    """Return foreign text as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def tell_seconds(seconds: float) -> str:
    """Return a short time as people write it: 12 ms, 3.4 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"
