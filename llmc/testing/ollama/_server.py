"""The fake server itself: what a call asks for, and whether this model can do it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from llmc.testing._exchange import Words
from llmc.testing._http import Request
from llmc.testing._runners import Demand
from llmc.testing._server import Admitted, FakeServer, Response
from llmc.testing._settings import SettingsArgs
from llmc.testing.ollama._context import Reading, joined, read_chat, read_text
from llmc.testing.ollama._formats import fitted, refusal
from llmc.testing.ollama._json import decode, encode
from llmc.testing.ollama._lookups import LookUps, Machine
from llmc.testing.ollama._models import TRAINED_CONTEXT, Catalogue, Model, parse_name
from llmc.testing.ollama._requests import (
    Options,
    RefusedError,
    read,
    read_keep_alive,
    read_options,
)
from llmc.testing.ollama._v1 import CHAT_PATH, V1Words, as_chat
from llmc.testing.ollama._words import OllamaWords
from llmc.testing.script import Call, Reply, Script, Scripted, enrichment

REPEAT_LIMIT = 30
"""How often one token may follow itself before Ollama breaks a reply off."""
REPLY_CONTEXTS = 10
"""How many contexts long Ollama lets a reply become that has no limit of its own."""
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
                body = _translated(body)
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
            raise RefusedError(*((400, "model is required") if chat else _missing(name)))
        model = self._catalogue.find(name)
        wants_reply = bool(fields.get("messages") if chat else fields.get("prompt"))
        if model is not None:
            keep = read_keep_alive(fields)
            if not wants_reply and keep is not None and (int(keep) if chat else keep) == 0:
                self._runners.unload(model.file)
                return Response(200, self.words.bare(name, request.path, "unload"))
            _check_capabilities(model, name, fields, chat=chat)
            if wants_reply and (why := refusal(fields.get("format"))):
                return self._refused_format(request, fields, why)
        model = model or Model(name)
        options = read_options(self.settings.context_length, model.options, fields.get("options"))
        keep = read_keep_alive(fields)
        demand = Demand(model.file, model.full_name.shown, options.load, keep)
        call = _call(request, fields, options, min(options.load.num_ctx, model.context_length))
        return Admitted(call, demand, wants_reply)

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
        return json.dumps(fitted(wanted, enrichment(call.prompt)))

    def _words_for(self, call: Call) -> Words:
        return self._words_at(call.path)

    def _words_at(self, path: str) -> Words:
        return _V1_WORDS if path == CHAT_PATH else self.words


def _call(request: Request, fields: Mapping[str, Any], options: Options, context: int) -> Call:
    """Return the call to a model that runs with a context of so many tokens."""
    prompt, reading = _read(fields, options, context)
    most = REPLY_CONTEXTS * context
    limit = most if options.num_predict < 0 else min(options.num_predict, most)
    return Call(
        index=None,
        method=request.method,
        path=request.path,
        headers=request.headers,
        body=decode(request.body),
        model=str(fields["model"]),
        prompt=prompt,
        stream=bool(fields.get("stream", True)),
        prompt_tokens=reading.tokens,
        prompt_cut=reading.cut,
        turns_dropped=reading.turns_dropped,
        context=context,
        max_tokens=limit or None,
    )


def _missing(name: str) -> tuple[int, str]:
    return 404, f"model '{name}' not found"


def _translated(body: bytes) -> bytes:
    """Return the body of /api/chat for one of /v1/chat/completions."""
    try:
        asked = decode(body)
        if not asked.get("messages"):
            raise RefusedError(400, "[] is too short - 'messages'")
        return encode(as_chat(asked))
    except (ValueError, AttributeError, TypeError) as error:
        raise RefusedError(400, str(error)) from error


def _check_capabilities(model: Model, name: str, fields: Mapping[str, Any], *, chat: bool) -> None:
    """Refuse what the model cannot do."""
    think, able = fields.get("think"), model.capabilities
    if not chat and isinstance(think, str):
        raise RefusedError(400, f'think value "{think}" is not supported for this model')
    if "completion" not in able:
        what = "chat" if chat else "generate"
        raise RefusedError(400, f'"{name}" does not support {what}')
    wanted = {"tools": fields.get("tools"), "insert": fields.get("suffix"), "thinking": think}
    lacking = [what for what, asked in wanted.items() if asked and what not in able]
    if lacking:
        raise RefusedError(400, f"{model.full_name.full} does not support " + "\n".join(lacking))
    if chat and isinstance(think, str):
        raise RefusedError(400, f'think value "{think}" is not supported for this model')


def _read(fields: Mapping[str, Any], options: Options, context: int) -> tuple[str, Reading]:
    """Return the prompt of a call, and what of it is read."""
    if "messages" in fields or "prompt" not in fields:
        messages = [message or {} for message in fields.get("messages", ())]
        return joined(messages), read_chat(messages, options.load.num_ctx, context)
    prompt = str(fields["prompt"])
    return prompt, read_text(str(fields.get("system", "")) + prompt, context)
