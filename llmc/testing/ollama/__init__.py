"""A fake Ollama: the real protocol on a real socket, with no model behind it.

    with FakeOllama([Reply("{}"), faults.HttpStatus(500)], slots=2) as fake:
        ...                       # point the code under test at fake.url
    assert [call.model for call in fake.calls] == [...]

From a shell: `python -m llmc.testing.ollama --help`. What it was compared with, and what it leaves
out, stands in docs/testing.md.

Modules, each built on those before it: _context, _formats, _json, _models, _answers, _v1, _words,
_options, _calls, _requests, _embeddings, _library, _lookups, _server, _cli, __main__.
"""

from __future__ import annotations

from llmc.testing._records import CallRecord
from llmc.testing._settings import Settings
from llmc.testing.ollama._models import Model
from llmc.testing.ollama._options import keep_alive_seconds
from llmc.testing.ollama._server import REPEAT_LIMIT, FakeOllama
from llmc.testing.script import Call, Reply, Script

__all__ = [
    "REPEAT_LIMIT",
    "Call",
    "CallRecord",
    "FakeOllama",
    "Model",
    "Reply",
    "Script",
    "Settings",
    "keep_alive_seconds",
]
