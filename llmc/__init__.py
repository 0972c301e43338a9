"""Turn a code base into knowledge that search tools and coding agents read.

A repository becomes spans, a span becomes a prompt, a cascade of backends answers it, the reply is
accepted or refused, the store keeps it, and every attempt is accounted for. To read the code, go
in this order: models, errors, reply, routing, cascade, scheduler, run, engine; the rest serves
these.

    from llmc import enrich, index, load_settings, select

    settings = select(load_settings(repo)).settings
    index(repo, settings)
    report = enrich(repo, settings)
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
    "Flags": "settings.config",
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
    "load_settings": "settings.config",
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
    from llmc.settings.config import Flags, Settings, load_settings
    from llmc.store.store import Store


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that `import llmc` stays cheap."""
    if name in _HOMES:
        return getattr(import_module(f"llmc.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'llmc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
