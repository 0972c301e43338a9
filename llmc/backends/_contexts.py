"""How much of a prompt an Ollama host really reads, and what was learned of that.

A server cuts what is too long and says nothing: it clamps num_ctx to what the model was trained
for, drops whole turns of a chat, and forgets the beginning while it writes. Only the counts of its
answer tell. What was found out of a host and model is remembered for the rest of the process: the
attempts of one span don't send the same long prompt again.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmc.enrichment.prompts import estimate_tokens, fit
from llmc.net.client import Client

USUAL_CONTEXT = 4096
"""What Ollama gives a model where no one says otherwise."""

LEAST_TRAINED = 2048
"""No model that writes code was trained for less: what fits in that needs no question."""

LEAST_SHARE = 0.65
"""The estimate of a prompt's tokens is seldom so far above what is read of the whole of it."""

MAX_PROMPTS = 500
"""Prompts that were cut, of one host and model, that are remembered."""

_WORD = re.compile(r"[A-Za-z]+")


@dataclass(slots=True)
class _Known:
    """What is known of one model on one host; `room` has the context that a prompt needed."""

    trained: int | None = None
    given: int | None = None
    room: dict[int, int] = field(default_factory=dict)


_known: dict[tuple[str, str], _Known] = {}
_lock = threading.Lock()


class Context:
    """The context of one model on one host, in tokens, as asked for and as it really is."""

    def __init__(self, url: str, model: str, options: Mapping[str, Any]) -> None:
        with _lock:
            self._known = _known.setdefault((url, model), _Known())
        asked = options.get("num_ctx")
        self._asked = asked if isinstance(asked, int) and asked > 0 else None
        self._url, self._model = url, model

    @property
    def size(self) -> int:
        """The tokens that prompt and reply have between them."""
        asked = self._asked or self._known.given or USUAL_CONTEXT
        return min(asked, self._known.trained or asked)

    def learn(self, client: Client, prompt: str, reply_tokens: int, timeout: float) -> None:
        """Ask what the model was trained for, once, if this prompt may be too long for it.

        Raises RequestError.
        """
        if self._known.trained is not None:
            return
        if self._asked is not None and self._asked <= LEAST_TRAINED:
            return
        if len(prompt) + reply_tokens <= LEAST_TRAINED:
            return
        if estimate_tokens(prompt) + reply_tokens <= LEAST_TRAINED:
            return
        body = json.dumps({"model": self._model}).encode()
        headers = {"Content-Type": "application/json"}
        with client.request(
            "POST", f"{self._url}/api/show", body=body, headers=headers, timeout=timeout
        ) as exchange:
            found = _read(exchange.read()) if exchange.status < 300 else {}
        self._known.given = _given(found.get("parameters"))
        self._known.trained = _trained(found.get("model_info"))

    def fit(self, prompt: str, reply_tokens: int) -> str:
        """Cut a prompt to what the context leaves beside the reply, and to what is known of it."""
        size = min(self.size, self._known.room.get(hash(prompt), self.size))
        return fit(prompt, {"num_ctx": size}, min(reply_tokens, max(size // 2, 1)))

    def fit_less(self, prompt: str, fitted: str, reply_tokens: int) -> str | None:
        """Return a prompt shorter than the one that was too long, and remember; None if none is."""
        size = min(self.size, self._known.room.get(hash(prompt), self.size))
        while size > 64:
            size = size * 2 // 3
            shorter = fit(prompt, {"num_ctx": size}, min(reply_tokens, size // 2))
            if len(shorter) < len(fitted):
                with _lock:
                    if len(self._known.room) >= MAX_PROMPTS:
                        self._known.room.clear()
                    self._known.room[hash(prompt)] = size
                return shorter
        return None

    def limit(self, tokens: int) -> None:
        """Know that the server takes no more than so many tokens."""
        self._known.trained = min(tokens, self._known.trained or tokens)

    def lost(self, prompt: str, meta: Mapping[str, Any]) -> str:
        """Return what the counts of an answer show to have been lost of its prompt, if anything."""
        read, written = meta.get("prompt_eval_count"), meta.get("eval_count")
        if not isinstance(read, int) or isinstance(read, bool) or read <= 0:
            return ""
        if read >= self.size:
            return f"the server cut the prompt to num_ctx {self.size}"
        if isinstance(written, int) and read + written >= self.size:
            return f"the server forgot the prompt's beginning to stay within num_ctx {self.size}"
        if self._lacks_turns(prompt, read):
            return f"the server read {read} tokens of a prompt of {len(prompt)} characters"
        return ""

    def _lacks_turns(self, prompt: str, read: int) -> bool:
        """Tell whether so few tokens were read that whole turns must have been dropped."""
        if read * 5 < len(prompt) and read < 0.8 * len(_WORD.findall(prompt)):
            return True
        if len(prompt) <= self.size:  # a token has a character at least
            return False
        estimate = estimate_tokens(prompt)
        return estimate > self.size and read < LEAST_SHARE * estimate


def count_lost_lines(prompt: str, read: int) -> int:
    """Estimate the lines of a prompt that a server did not read, at least one."""
    lost = 1 - read / max(read + 1, estimate_tokens(prompt))
    return max(1, round(lost * (prompt.count("\n") + 1)))


def _read(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _trained(info: object) -> int:
    """Return the context that a model was trained for, 0 if its figures don't tell."""
    figures = info.items() if isinstance(info, dict) else ()
    found = [n for name, n in figures if str(name).endswith(".context_length")]
    return next((n for n in found if isinstance(n, int) and n >= 64), 0)


def _given(parameters: object) -> int | None:
    """Return the context that a model's own file asks for."""
    found = re.search(r"^num_ctx\s+(\d{2,9})\s*$", str(parameters)[:10_000], re.MULTILINE)
    return int(found[1]) if found else None
