"""What a run is made of, as the engine hands it in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmc.enrichment.examples import Examples
from llmc.events import EventHook
from llmc.records.ledger import Ledger
from llmc.run.attempts import Builder
from llmc.run.lanes import Lanes
from llmc.run.stopping import Stop
from llmc.run.worklist import Rules
from llmc.settings.config import Settings
from llmc.settings.targets import CALL_TIMEOUT_SEC
from llmc.store.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run works with."""

    settings: Settings
    store: Store
    ledger: Ledger
    builder: Builder
    rules: Rules
    hooks: Sequence[EventHook]
    stop: Stop
    examples: Examples | None = None

    @property
    def host_order(self) -> str:
        return self.settings.pace.host_order if self.rules.side_by_side else "failover"

    def reaches(self, tier: str) -> bool:
        """Tell whether a span may get to a tier that there are choices for."""
        settings = self.settings
        return tier != "nano" or settings.backend != "auto" or settings.router.reaches_cloud

    def lay_lanes(self) -> Lanes:
        """Return the lanes of the run: a single one for the batch driver."""
        settings = self.settings
        if self.rules.side_by_side:
            return Lanes.of(settings)
        tries = max(1, settings.pace.retries) * (CALL_TIMEOUT_SEC + settings.pace.retry_wait)
        return Lanes.lay_one(settings, max(tries, settings.gateway.timeout))
