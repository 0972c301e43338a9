"""The fake server itself: what a call asks for, and whether this model can do it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from llmc.testing._generation import Words
from llmc.testing._http import Request
from llmc.testing._responses import Response
from llmc.testing._runners import Demand
from llmc.testing._server import Admitted, FakeServer
from llmc.testing._settings import SettingsArgs
from llmc.testing.ollama._answers import RefusedError
from llmc.testing.ollama._calls import as_chat_request, check_capabilities, read_call
from llmc.testing.ollama._formats import fitted, refusal
from llmc.testing.ollama._lookups import LookUps, Machine
from llmc.testing.ollama._models import TRAINED_CONTEXT, Catalogue, Model, parse_name
from llmc.testing.ollama._options import read_keep_alive, read_options
from llmc.testing.ollama._requests import read
from llmc.testing.ollama._v1 import CHAT_PATH, V1Words, as_chat
from llmc.testing.ollama._words import OllamaWords
from llmc.testing.script import Call, Reply, Script, Scripted, enrichment

REPEAT_LIMIT = 30
"""How often one token may follow itself before Ollama breaks a reply off."""
_V1_WORDS = V1Words()
_REQUESTS = {
    "/api/generate": "GenerateRequest",
    "/api/chat": "ChatRequest",
    CHAT_PATH: "ChatRequest",
}


class FakeOllama(FakeServer):
    """A fake Ollama server; further keyword arguments are the fields of `Settings`.

    `models` are those installed, None for every one. `trained_context` (tokens) is that of models
    given by name alone. `vram` (bytes) is what the GPUs hold, None for enough. `repeat_limit` is
    how often one token may follow itself before the reply is broken off: Ollama's is REPEAT_LIMIT,
    None sends every text as the script has it.
    """

    words = OllamaWords()

    def __init__(
        self,
        script: Script = None,
        *,
        models: Iterable[str | Model] | None = None,
        trained_context: int = TRAINED_CONTEXT,
        vram: int | None = None,
        repeat_limit: int | None = None,
        **settings: Unpack[SettingsArgs],
    ) -> None:
        super().__init__(script, **settings)
        self._repeat_limit = repeat_limit
        self._catalogue = Catalogue(models, trained_context)
        machine = Machine(self.settings.slots, self.settings.context_length, vram)
        self._look_ups = LookUps(self._catalogue, self._runners, machine)

    def _look_up(self, request: Request) -> Response:
        if request.path in _REQUESTS:
            return Response(405, b"405 method not allowed", "text/plain")
        return self._look_ups.answer(request)

    def _open(self, request: Request) -> Admitted | Response | None:
        if request.path not in _REQUESTS or request.method != "POST":
            return None
        try:
            body = request.body
            if request.path == CHAT_PATH:
                body = as_chat_request(body)
            fields = read(body, _REQUESTS[request.path])
            return self._admitted(request, fields)
        except RefusedError as error:
            words = self._words_at(request.path)
            return Response(error.status, words.error(error.status, error.message))

    def _admitted(self, request: Request, fields: Mapping[str, Any]) -> Admitted | Response:
        """Return the call, or the answer of a request that is over at once."""
        name = str(fields.get("model", ""))
        chat = request.path != "/api/generate"
        if parse_name(name) is None:
            refused = (400, "model is required") if chat else (404, f"model '{name}' not found")
            raise RefusedError(*refused)
        model, keep = self._catalogue.find(name), read_keep_alive(fields)
        wants_reply = bool(fields.get("messages") if chat else fields.get("prompt"))
        if model is None:  # the script is asked all the same, and then told that it is missing
            return self._call(request, {**fields, "options": None}, Model(name), wants_reply)
        if not wants_reply and keep is not None and (int(keep) if chat else keep) == 0:
            self._runners.unload(model.file)
            return Response(200, self.words.bare(name, request.path, "unload"))
        check_capabilities(model, name, fields, chat=chat)
        if wants_reply and (why := refusal(fields.get("format"))):
            return self._refused_format(request, fields, why)
        return self._call(request, fields, model, wants_reply)

    def _call(
        self, request: Request, fields: Mapping[str, Any], model: Model, wants_reply: bool
    ) -> Admitted:
        given = model.options, fields.get("options")
        options = read_options(self.settings.context_length, *given)
        keep = read_keep_alive(fields)
        demand = Demand(model.file, model.full_name.shown, options.load, keep)
        context = min(options.load.num_ctx, model.context_length)
        return Admitted(read_call(request, fields, options, context), demand, wants_reply)

    def _refused_format(self, request: Request, fields: Mapping[str, Any], why: str) -> Response:
        """A format is only looked at once the stream has begun."""
        words = self._words_at(request.path)
        if fields.get("stream", True):
            line = words.stream_error(why)
            return Response(200, content_type=words.stream_type, lines=(line,))
        return Response(500, words.error(500, why))

    def _is_installed(self, model: str) -> bool:
        return self._catalogue.find(model) is not None

    def _scripted(self, call: Call) -> Scripted:
        if call.index is None and self._is_installed(call.model):
            return Reply("", done_reason="load")
        return super()._scripted(call)

    def _default_text(self, call: Call) -> str:
        body = call.body or {}
        wanted = as_chat(dict(body))["format"] if call.path == CHAT_PATH else body.get("format")
        said = enrichment(call.prompt)
        if isinstance(wanted, dict):  # which may ask for it under its short name
            said["summary"] = said["summary_120w"]
        return json.dumps(fitted(wanted, said))

    def _words_for(self, call: Call) -> Words:
        return self._words_at(call.path)

    def _words_at(self, path: str) -> Words:
        return _V1_WORDS if path == CHAT_PATH else self.words
