"""Embeddings: vectors of length 1 that depend on nothing but the text and the model."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from typing import Any

from llmc.testing._http import Request
from llmc.testing._responses import Response
from llmc.testing._runners import Demand, QueueIsFullError, Runners, RunnersClosedError
from llmc.testing.faults import QUEUE_FULL
from llmc.testing.ollama._answers import RefusedError, found, json_response
from llmc.testing.ollama._models import Catalogue, Model, parse_name
from llmc.testing.ollama._options import read_keep_alive, read_options
from llmc.testing.ollama._requests import read
from llmc.testing.script import CHARS_PER_TOKEN, count_tokens


class Embeddings:
    """Answers /api/embed and its forerunner /api/embeddings; both load the model."""

    def __init__(self, catalogue: Catalogue, runners: Runners, context_length: int) -> None:
        self._catalogue = catalogue
        self._runners = runners
        self._context_length = context_length

    def embed(self, request: Request) -> Response:
        """Answer /api/embed: a vector for each text, which is cut to the context."""
        started = time.monotonic()
        asked = read(request.body, "EmbedRequest")
        texts = _texts(asked.get("input", []))
        model = found(self._catalogue, str(asked.get("model", "")))
        demand = self._demand(model, asked)
        loading = self._load(demand)
        context = min(demand.options.num_ctx, model.context_length)
        if asked.get("truncate") is False and any(count_tokens(text) > context for text in texts):
            raise RefusedError(400, "input exceeds maximum context length")
        cut = [text[: context * CHARS_PER_TOKEN] for text in texts]
        size = int(asked.get("dimensions") or 0)
        answer = {
            "model": asked["model"],
            "embeddings": [_vector(text, model, size) for text in cut],
        }
        if texts:
            answer |= {
                "total_duration": int((time.monotonic() - started) * 1e9),
                "load_duration": int(loading * 1e9),
                "prompt_eval_count": sum(map(count_tokens, cut)),
            }
        return json_response(answer)

    def embeddings(self, request: Request) -> Response:
        """Answer /api/embeddings: one vector."""
        asked = read(request.body, "EmbeddingRequest")
        name, prompt = str(asked.get("model", "")), asked.get("prompt")
        if parse_name(name) is None:
            raise RefusedError(400, "model is required")
        model = self._catalogue.find(name)
        if model is None:
            raise RefusedError(404, f'model "{name}" not found, try pulling it first')
        self._load(self._demand(model, asked))
        vector = _vector(prompt, model) if prompt else []
        return json_response({"embedding": vector})

    def _demand(self, model: Model, asked: Mapping[str, Any]) -> Demand:
        options = read_options(self._context_length, model.options, asked.get("options"))
        return Demand(model.file, model.full_name.shown, options.load, read_keep_alive(asked))

    def _load(self, demand: Demand) -> float:
        """Have a model loaded; return the seconds that took."""
        started = time.monotonic()
        try:
            lease = self._runners.enter(demand)
        except QueueIsFullError as error:
            raise RefusedError(503, QUEUE_FULL) from error
        except RunnersClosedError as error:
            raise RefusedError(499, "request canceled") from error
        time.sleep(lease.load_seconds)
        self._runners.leave(lease)
        return time.monotonic() - started


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RefusedError(400, "invalid input type")
    return [text for text in texts if text or texts is given]


def _vector(text: str, model: Model, size: int = 0) -> list[float]:
    """Make up a vector, of at most `size` numbers if that is above 0."""
    size = min(size if size > 0 else model.embedding_length, model.embedding_length)
    raw = hashlib.shake_128(f"{model.file}|{text}".encode("utf-8", "replace")).digest(size)
    values = [byte - 127.5 for byte in raw]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]
