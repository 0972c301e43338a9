"""A span becomes a prompt: what never changes first, the span last.

The instruction and the worked example are byte-identical from span to span, so a server's prefix
cache serves them; a chat server gets the example as turns of its own. Nothing is asked of the model
that the program knows: no line numbers, no citations of the whole span, no schema tags.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Self

from llmc.models import Span
from llmc.redaction import secrets
from llmc.redaction.text import make_quotable

Message = dict[str, str]

CHARS_PER_TOKEN = 3
"""A cautious estimate for source code, which runs at 3 to 4 characters a token."""

_NOT_ASCII = bytes(range(128, 256))

_CLOSE_TOKENS = 8
"""How close a cut comes to what there is room for."""

ROUTING_CHARS_PER_TOKEN = 4
"""The estimate that the router and the records go by."""

_NOTE_CHARS = 60
"""Room for the note that says how many lines are not shown."""

SYSTEM = """\
You explain source code to developers who search a code base. You are shown one function, class or \
document section. Reply with one JSON object and nothing else:
summary_120w: what it does and why one would use it, in plain words, at most 120 words
inputs: list of parameters or other things it reads, each "name: meaning"
outputs: list of what it returns or produces
side_effects: list of what it changes outside itself (files, network, state); [] if nothing
pitfalls: list of ways a caller can go wrong; [] if none
usage_snippet: a short example of use, or null
Say only what the text shows."""

_EXAMPLE_TURN = """\
python function `append_line` in store/journal.py

```python
def append_line(path, text, *, sync=False):
    if "\\n" in text:
        raise ValueError("one line only")
    with open(path, "a", encoding="utf-8") as journal:
        journal.write(text + "\\n")
        if sync:
            os.fsync(journal.fileno())
    return len(text) + 1
```"""

EXAMPLE_SUMMARY = (
    "Appends one line of text to a journal file, creating the file if needed. With sync it also "
    "forces the data to disk, so that the line survives a crash."
)

_EXAMPLE_REPLY = json.dumps(
    {
        "summary_120w": EXAMPLE_SUMMARY,
        "inputs": [
            "path: the journal file",
            "text: the line, without a line break",
            "sync: force the data to disk",
        ],
        "outputs": ["number of characters written, line break included"],
        "side_effects": ["creates or extends the file at path"],
        "pitfalls": ["raises ValueError if text contains a line break"],
        "usage_snippet": 'append_line("run.log", "started", sync=True)',
    }
)


FINGERPRINT = f"{SYSTEM}\n{_EXAMPLE_TURN}\n{_EXAMPLE_REPLY}"
"""What is the same in every prompt: when it changes, a span that failed may well succeed."""


_CONSTANT = f"{SYSTEM}\n\n{_EXAMPLE_TURN}\n\n{_EXAMPLE_REPLY}"
_END = "\n\n"
_FENCES = re.compile("```+")


class Prompt(str):
    """A whole prompt as text, which also knows its chat turns and how to become shorter.

    `cut_lines` counts the lines of code left out to make it fit; `turn` is what is said of this
    span, after what is `_constant`.
    """

    __slots__ = ("_code", "_constant", "_head", "_lang", "cut_lines", "turn")

    _code: str
    _constant: str
    _head: str
    _lang: str
    cut_lines: int
    turn: str

    def __new__(cls, head: str, lang: str, code: str, cut_lines: int = 0) -> Self:
        return cls._make(_CONSTANT, head, lang, code, cut_lines)

    @classmethod
    def _make(
        cls, constant: str, head: str, lang: str, code: str, cut_lines: int, *, form: str = ""
    ) -> Self:
        turn = f"{_turn(head, lang, code, cut_lines)}{form}"
        prompt = super().__new__(cls, f"{constant}{_END}{turn}{_END}")
        prompt._head, prompt._lang, prompt._code = head, lang, code
        prompt._constant, prompt.turn, prompt.cut_lines = constant, turn, cut_lines
        return prompt

    def make_messages(self) -> list[Message]:
        """Return the prompt as chat turns; the worked example is the first exchange."""
        return [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": _EXAMPLE_TURN},
            {"role": "assistant", "content": _EXAMPLE_REPLY},
            {"role": "user", "content": self.turn},
        ]

    def _remake(self, head: str, code: str, cut_lines: int) -> Prompt:
        return Prompt(head, self._lang, code, cut_lines)

    def fit(self, tokens: float, chars_per_token: int = CHARS_PER_TOKEN) -> Prompt:
        """Return the prompt cut to about `tokens`, code at a line boundary; itself if it fits.

        At least 200 characters of code stay, so a very small budget is exceeded.
        """
        excess = len(self) - int(tokens * chars_per_token)
        if excess <= 0:
            return self
        room = max(200, len(self._code) - excess - _NOTE_CHARS)
        kept = self._code[:room]
        boundary = kept.rfind("\n")
        kept = kept[:boundary] if boundary > room // 2 else kept
        lost = max(1, _line_count(self._code) - _line_count(kept))
        shorter = self._remake(self._head, kept, self.cut_lines + lost)
        return shorter if len(shorter) < len(self) else self

    def blot(self) -> tuple[Prompt, int]:
        """Return the prompt without likely secrets in code, path and symbol; and their number.

        Line breaks stay. To be done before `fit`, which might cut a secret in two.
        """
        head, in_head = secrets.blot(self._head)
        code, in_code = secrets.blot(self._code)
        count = in_head + in_code
        return (self._remake(head, code, self.cut_lines) if count else self), count


def build(span: Span, code: str) -> Prompt:
    """Return the prompt for a span whose source text is `code`."""
    return Prompt(*make_head(span), code)


def make_head(span: Span) -> tuple[str, str]:
    """Return the line that says what a span is, and its language.

    Whatever a repository calls its files and headings, each name stays in its place in that line:
    what follows a line break in one would read as ours.
    """
    lang, kind, symbol, path = map(make_quotable, (span.lang, span.kind, span.symbol, span.path))
    return f"{lang} {kind} `{symbol}` in {path}", lang


def find_source(prompt: str) -> str:
    """Return the source text that a prompt shows; of a plain string, nothing is known."""
    return prompt._code if isinstance(prompt, Prompt) else ""


def make_chat_messages(prompt: str) -> list[Message]:
    """Return any prompt as chat turns; a plain string is one user turn."""
    if isinstance(prompt, Prompt):
        return prompt.make_messages()
    return [{"role": "user", "content": prompt}]


def blot_prompt(prompt: str) -> tuple[str, int]:
    """Return any prompt without its likely secrets, and their number."""
    return prompt.blot() if isinstance(prompt, Prompt) else secrets.blot(prompt)


def fit(
    prompt: str,
    options: Mapping[str, object],
    reply_tokens: int,
    chars_per_token: int | None = None,
) -> str:
    """Cut a prompt to what `num_ctx` of a model's options leaves beside the reply.

    Without `chars_per_token` it goes by how dense the text is.
    """
    context = options.get("num_ctx")
    if not isinstance(prompt, Prompt) or not isinstance(context, int):
        return prompt
    tokens = max(context - reply_tokens, context // 4)
    if chars_per_token is not None:
        return prompt.fit(tokens, chars_per_token)
    if len(prompt) <= tokens or estimate_tokens(prompt) <= tokens:
        return prompt
    fitted, low, high = prompt.fit(tokens), 0, tokens
    if estimate_tokens(fitted) <= tokens:
        return fitted
    best = prompt.fit(0)
    while high - low > _CLOSE_TOKENS:
        middle = (low + high) // 2
        fitted = prompt.fit(middle)
        if estimate_tokens(fitted) <= tokens:
            best, low = fitted, middle
        else:
            high = middle
    return best


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text from above: many models take digits and what is no ASCII one
    by one, and the commas between numbers too.
    """
    raw = text.encode("utf-8", "replace")
    others = 0 if text.isascii() else len(text) - len(raw.translate(None, _NOT_ASCII))
    digits = len(raw) - len(raw.translate(None, b"0123456789"))
    dense = others + digits + min(digits, raw.count(b","))
    return -(-(len(text) + (CHARS_PER_TOKEN - 1) * dense) // CHARS_PER_TOKEN)


def _line_count(code: str) -> int:
    return code.rstrip("\n").count("\n") + 1


def _turn(head: str, lang: str, code: str, cut_lines: int) -> str:
    note = f"\n[... {cut_lines} more lines are not shown]" if cut_lines else ""
    fence = "```"
    if "`" in code and fence in code:
        fence = max(_FENCES.findall(code)) + "`"
    return f"{head}\n\n{fence}{lang}\n{code}{note}\n{fence}"
