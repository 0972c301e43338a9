"""A request for a reply as a call: what it may ask of its model, and what of its prompt is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmc.testing._http import Request
from llmc.testing.ollama._answers import RefusedError
from llmc.testing.ollama._context import Reading, joined, read_chat, read_text
from llmc.testing.ollama._json import decode, encode
from llmc.testing.ollama._models import Model
from llmc.testing.ollama._options import Options
from llmc.testing.ollama._v1 import as_chat
from llmc.testing.script import Call

REPLY_CONTEXTS = 10
"""How many contexts long Ollama lets a reply become that has no limit of its own."""


def read_call(request: Request, fields: Mapping[str, Any], options: Options, context: int) -> Call:
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


def check_capabilities(model: Model, name: str, fields: Mapping[str, Any], *, chat: bool) -> None:
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


def as_chat_request(body: bytes) -> bytes:
    """Return the body of /api/chat for one of /v1/chat/completions."""
    try:
        asked = decode(body)
        if not asked.get("messages"):
            raise RefusedError(400, "[] is too short - 'messages'")
        return encode(as_chat(asked))
    except (ValueError, AttributeError, TypeError) as error:
        raise RefusedError(400, str(error)) from error


def _read(fields: Mapping[str, Any], options: Options, context: int) -> tuple[str, Reading]:
    """Return the prompt of a call, and what of it is read."""
    if "messages" in fields or "prompt" not in fields:
        messages = [message or {} for message in fields.get("messages", ())]
        return joined(messages), read_chat(messages, options.load.num_ctx, context)
    prompt = str(fields["prompt"])
    return prompt, read_text(str(fields.get("system", "")) + prompt, context)
