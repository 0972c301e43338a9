"""What of a prompt a model gets to read.

A chat that is longer than num_ctx loses whole messages: the oldest of those that are not the
system's first, the last one never. What is still too long loses its middle when the model reads it,
at the context it was loaded with, which is never more than it was trained for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmc.testing.script import count_tokens

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Reading:
    """The tokens that were read, whether any were left out, and the whole messages among those."""

    tokens: int
    cut: bool
    turns_dropped: int = 0


def read_text(text: str, context: int) -> Reading:
    """Return what is read of a plain prompt, in a context of so many tokens."""
    tokens = count_tokens(text)
    return Reading(min(tokens, context), tokens > context)


def read_chat(messages: Messages, num_ctx: int, context: int) -> Reading:
    """Return what is read of a chat; messages go by `num_ctx`, as asked, tokens by `context`."""
    kept = _kept(messages, num_ctx)
    read = read_text(joined(kept), context)
    dropped = len(messages) - len(kept)
    return Reading(read.tokens, read.cut or dropped > 0, dropped)


def joined(messages: Messages) -> str:
    """Return the texts of all messages."""
    return "\n".join(str(message.get("content") or "") for message in messages)


def _kept(messages: Messages, num_ctx: int) -> list[Mapping[str, Any]]:
    """Return the messages that stay: the last, and before it all that fit with the system's."""
    system: list[Mapping[str, Any]] = []
    first = len(messages) - 1
    for place in reversed(range(first)):
        system = [each for each in messages[:place] if each.get("role") == "system"]
        if count_tokens(joined([*system, *messages[place:]])) > num_ctx:
            break
        first = place
    return [*system, *messages[first:]]
