"""The record of what leaves: a line in logs/egress.jsonl before each prompt that is sent away.

It is written by the thread that sends, just before it does, where all other records are the main
thread's: what left must be on record even if the process is killed the next moment. The file is
only ever appended to, under a lock. If the line can't be written, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmc.errors import BackendError
from llmc.models import Departure
from llmc.net.places import address
from llmc.records import jsonl
from llmc.records.ledger import guarded
from llmc.settings.privacy import KeptPaths, Privacy

LOG = "egress.jsonl"
PURPOSE = "enrich"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a backend sends prompts: a URL, or a program, and the model there."""

    provider: str
    place: str
    model: str

    @property
    def host(self) -> str:
        """The address without path, password or key; a program by its name."""
        return self.place if self.provider == "command" else address(self.place)


@dataclass(frozen=True, slots=True)
class Egress:
    """The border of a repository: what crosses it is looked at and noted down.

    `logs` is the folder of the notes if it isn't the repository's.
    """

    repo: Path
    privacy: Privacy
    logs: Path | None = None
    _kept: KeptPaths = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_kept", KeptPaths(self.repo, self.privacy))

    def leads_away(self, to: Destination) -> bool:
        """Tell whether prompts cross the border on their way there."""
        return self.privacy.leads_away(to.provider, to.place, to.model)

    def refuse_kept(self, to: Destination, item: Mapping[str, Any]) -> None:
        """Let no span leave that is to stay. Where targets are chosen this is seen to before.

        Raises BackendError.
        """
        path = str(item.get("path", ""))
        if self._kept.covers(path):
            raise BackendError(
                f"{path!r} stays here by local_only, and {to.host} leads away; not sent",
                failure_type="runtime",
            )

    def note(
        self, to: Destination, prompt: str, blotted: int, item: Mapping[str, Any]
    ) -> Departure:
        """Write down that a prompt is about to leave. Raises StoreError."""
        departure = Departure(
            to.host, to.model, len(prompt.encode("utf-8", "surrogatepass")), blotted
        )
        record = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "purpose": PURPOSE,
            "host": departure.host,
            "model": departure.model,
            "span_hash": item.get("span_hash"),
            "path": item.get("path"),
            "bytes": departure.size,
            "blotted": departure.blotted,
        }
        log = (self.logs or self.repo / "logs") / LOG
        jsonl.append(log, [record], within=guarded(log, self.repo))
        return departure
