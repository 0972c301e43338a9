"""How good the prompt is: replies of the small model to spans of a real library.

Two kinds of prompt on the same spans, the same model and the same bound on tokens:
- ours: what never changes first, the span last, the reply constrained by a schema of the span's
  own, nothing asked that the parser proves;
- the old kind: path, rules and line numbers before the code, evidence demanded from the model,
  no schema.

For each: replies that are valid at the first try, tokens written and prompt tokens evaluated per
span (the first one aside), spans per minute; at the end the ratios. SPANS=N takes another number
than 100.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmc import engine
from llmc.backends.builder import BackendConfig, CallPolicy
from llmc.backends.llamacpp import MAX_TOKENS, LlamaCppBackend
from llmc.enrichment import prompts
from llmc.enrichment.answers import translate
from llmc.enrichment.asking import Question, build_request, make_brief
from llmc.enrichment.reply import find_schema, read_reply
from llmc.errors import BackendError, IndexingError
from llmc.facts.codec import decode_facts
from llmc.facts.values import Facts
from llmc.indexer.parsing import parse_file
from llmc.models import Span
from llmc.net.deadlines import Cancellation
from llmc.run.sources import read_source
from llmc.settings.loading import load_settings
from llmc.store.store import Store

SPANS = int(os.environ.get("SPANS", "100"))
LIBRARY = Path(urllib.__file__).parent

OLD_RULES = """\
Rules:
- Answer with JSON only, with the keys summary_120w, inputs, outputs, side_effects, pitfalls,
  usage_snippet, evidence, tags, model, schema_version.
- summary_120w has at most 120 words. inputs, outputs, side_effects, pitfalls are lists of strings.
- usage_snippet has at most 12 lines, or is null.
- evidence has an entry {"field": ..., "lines": [first, last]} for every field that is not empty;
  its lines lie between FIRST and LAST.
- schema_version is "enrichment.v1", tags is [].
"""


@dataclass
class Tally:
    """What one kind of prompt came to."""

    name: str
    valid: int = 0
    spans: int = 0
    written: list[int] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, valid: bool, meta: dict[str, Any]) -> None:
        self.spans += 1
        self.valid += valid
        self.written.append(meta["eval_count"])
        self.evaluated.append(meta["prompt_eval_count"] - (meta["prompt_cached_count"] or 0))

    def row(self) -> tuple[float, float, float, float]:
        later = self.evaluated[1:] or self.evaluated
        return (
            self.valid / self.spans * 100,
            sum(self.written) / self.spans,
            sum(later) / len(later),
            self.spans / self.seconds * 60,
        )


def old_prompt(span: Span, code: str) -> str:
    rules = OLD_RULES.replace("FIRST", str(span.start_line)).replace("LAST", str(span.end_line))
    numbered = "\n".join(
        f"{number}: {line}" for number, line in enumerate(code.splitlines(), span.start_line)
    )
    return (
        f"File {span.path}, lines {span.start_line}-{span.end_line}\n{rules}\n"
        f"Code of {span.symbol}:\n{numbered}\n"
    )


def ask_new(backend: LlamaCppBackend, span: Span, code: str) -> tuple[str, dict[str, Any]]:
    model = backend._model()
    facts = find_facts(code)
    request = build_request(span, Question(code, span.symbol, span.lang, span.kind, facts))
    prompt = make_brief(request) if model.brief else request
    form = {"name": "enrichment", "schema": find_schema(prompt, brief=model.brief)}
    words = {
        "messages": prompts.make_chat_messages(prompts.fit(prompt, backend.options, MAX_TOKENS)),
        "max_tokens": MAX_TOKENS,
        "response_format": {"type": "json_schema", "json_schema": form},
    }
    answer = model.chat({**SAMPLING, **words}, lambda: False)
    return answer["text"], answer["meta"]


def find_facts(code: str) -> Facts | None:
    """Return what the parser proves of a span whose text stands alone in a file."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "span.py").write_text(code)
        try:
            [found, *_] = parse_file(Path(folder), "span.py").spans
        except (IndexingError, ValueError):  # a method that is indented, for one
            return None
    return decode_facts(found.facts)


def ask_old(backend: LlamaCppBackend, span: Span, code: str) -> tuple[str, dict[str, Any]]:
    content = old_prompt(span, code)[: 3 * (4096 - MAX_TOKENS)]
    request = {"messages": [{"role": "user", "content": content}], "max_tokens": MAX_TOKENS}
    answer = backend._model()._server.handle_chat_completions({**SAMPLING, **request})
    timings, choice = answer["timings"], answer["choices"][0]
    meta = {
        "eval_count": timings["predicted_n"],
        "prompt_eval_count": timings["prompt_n"] + timings["cache_n"],
        "prompt_cached_count": timings["cache_n"],
        "done_reason": choice["finish_reason"],
    }
    return choice["message"]["content"], meta


SAMPLING = {"temperature": 0.0, "repeat_penalty": 1.1, "repeat_last_n": 48}
Ask = Callable[[LlamaCppBackend, Span, str], tuple[str, dict[str, Any]]]


def tally(name: str, ask: Ask, backend: LlamaCppBackend, spans: list[tuple[Span, str]]) -> Tally:
    found = Tally(name)
    started = time.perf_counter()
    for number, (span, code) in enumerate(spans):
        if number and not number % 20:
            print(f"{name}: {found.valid} of {number} valid so far", file=sys.stderr)
        text, meta = ask(backend, span, code)
        try:
            read_reply(
                text,
                (span.start_line, span.end_line),
                done_reason=meta["done_reason"],
                require_summary=True,
                translate=translate,
            )
            found.add(True, meta)
        except BackendError:
            found.add(False, meta)
    found.seconds = time.perf_counter() - started
    return found


def library_spans(repo: Path) -> list[tuple[Span, str]]:
    shutil.copytree(LIBRARY, repo, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    settings = load_settings(repo, environ={})
    engine.index(repo, settings)
    with Store.open(settings.index_path) as store:
        spans = store.spans.list_pending(0, SPANS)
    return [(span, code) for span in spans if (code := read_source(repo, span))]


def main() -> None:
    backend = LlamaCppBackend(
        BackendConfig("bench", "llamacpp"),
        Path.cwd(),
        None,
        {},
        policy=CallPolicy(),
        cancellation=Cancellation(),
    )
    backend.prepare()
    with tempfile.TemporaryDirectory() as folder:
        spans = library_spans(Path(folder, "urllib"))
    kinds = [tally("ours", ask_new, backend, spans), tally("old kind", ask_old, backend, spans)]
    print(f"{len(spans)} spans of urllib, SmolLM2-135M-Instruct")
    print(f"{'prompt':<10}{'valid at first try':>20}{'tokens written':>16}", end="")
    print(f"{'prompt tokens evaluated':>25}{'spans/min':>11}")
    for kind in kinds:
        valid, written, evaluated, pace = kind.row()
        print(f"{kind.name:<10}{valid:>18.0f} %{written:>16.0f}{evaluated:>25.0f}{pace:>11.1f}")
    ratios = [a / b if b else float("inf") for a, b in zip(*(k.row() for k in kinds), strict=True)]
    valid, written, evaluated, pace = ratios
    print(f"{'ratio':<10}{valid:>20.2f}{written:>16.2f}{evaluated:>25.2f}{pace:>11.2f}")
    own = sum(len(code) / 3.5 for _, code in spans) / len(spans)
    print(f"the spans' own code has about {own:.0f} tokens on average (at 3.5 characters each)")


if __name__ == "__main__":
    main()
