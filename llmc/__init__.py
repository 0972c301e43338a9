"""Turn a code base into knowledge that search tools and coding agents read.

A repository becomes spans, a span becomes a prompt, a cascade of backends answers it, the reply is
accepted or refused, the store keeps it, and every attempt is accounted for.

    from llmc import enrich, index, load_settings, select

    settings = select(load_settings(repo)).settings
    index(repo, settings)
    report = enrich(repo, settings)

The rooms, from the bottom up: each imports only from those above it in this list. Inside a room, a
module imports only from those named before it in the docstring of the room's package, which itself
stands over them. To read the code, go down the list.

    models      the values that travel
    errors      everything raised on purpose, in one picture
    redaction   what comes from others, made safe to keep and to show
    files       folders nobody else may write to, locks that die with their process
    programs    the programs that are started, git first among them
    net         HTTP that ends in time
    events      what the engine tells the world while it works
    testing     fakes as product
    languages   a language is a row and its queries
    settings    what a run goes by, and whom it may ask
    store       the index
    facts       what the parser can prove of a span
    indexer     a repository becomes spans
    enrichment  what is asked of a model, and what is accepted
    records     the account of a run
    backends    one file per way to a model, and the cascade
    run         the heart: routing, scheduling, the loop
    engine      the way in; never prints
    doctor      would a run work here?
    show        what a person sees of an index and of a run
    cli         the command lines, the only room that prints; driver: the batch driver's
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AttemptRecord": "models",
    "BackendAdapter": "backends.cascade",
    "BackendCascade": "backends.cascade",
    "BackendError": "errors",
    "ConfigError": "errors",
    "Enrichment": "models",
    "EventHook": "events",
    "Flags": "settings.flags",
    "IndexReport": "models",
    "IndexingError": "errors",
    "LlmcError": "errors",
    "RunReport": "models",
    "Settings": "settings.config",
    "Span": "models",
    "Stop": "run.stopping",
    "Store": "store.store",
    "StoreError": "errors",
    "enrich": "engine",
    "index": "engine",
    "load_settings": "settings.loading",
    "select": "run.selection",
}

__all__ = [
    "AttemptRecord",
    "BackendAdapter",
    "BackendCascade",
    "BackendError",
    "ConfigError",
    "Enrichment",
    "EventHook",
    "Flags",
    "IndexReport",
    "IndexingError",
    "LlmcError",
    "RunReport",
    "Settings",
    "Span",
    "Stop",
    "Store",
    "StoreError",
    "__version__",
    "enrich",
    "index",
    "load_settings",
    "select",
]

if TYPE_CHECKING:
    from llmc.backends.cascade import BackendAdapter, BackendCascade
    from llmc.engine import enrich, index
    from llmc.errors import BackendError, ConfigError, IndexingError, LlmcError, StoreError
    from llmc.events import EventHook
    from llmc.models import AttemptRecord, Enrichment, IndexReport, RunReport, Span
    from llmc.run.selection import select
    from llmc.run.stopping import Stop
    from llmc.settings.config import Settings
    from llmc.settings.flags import Flags
    from llmc.settings.loading import load_settings
    from llmc.store.store import Store


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that `import llmc` stays cheap."""
    if name in _HOMES:
        return getattr(import_module(f"llmc.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'llmc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
