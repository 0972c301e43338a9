"""`llmc enrich --dry-run`: what would be asked, on standard output."""

from __future__ import annotations

from llmc import engine
from llmc.cli.common import print_json
from llmc.redaction.text import join_lines, make_plain
from llmc.run.selection import drop_unasked_cloud
from llmc.settings.config import Settings
from llmc.store.provenance import Source, mark_sources

_WORDS: dict[str, Source] = {"path": "repository", "symbol": "repository", "prompt": "repository"}


def print_plan(settings: Settings, *, as_json: bool) -> int:
    """Print the prompt of each span that a run would begin with; return the exit status."""
    settings = drop_unasked_cloud(settings)
    planned = engine.plan(settings.repo, settings)
    if as_json:
        entries = [
            {"path": span.path, "symbol": span.symbol, "tier": tier, "prompt": prompt}
            for span, tier, prompt in planned
        ]
        print_json([mark_sources(entry, _WORDS) for entry in entries])
        return 0
    for span, tier, prompt in planned:
        print(join_lines(f"--- {span.path}:{span.start_line} {span.symbol} ({tier})"))
        print(make_plain(prompt.replace("\r\n", "\n")))
    return 0
