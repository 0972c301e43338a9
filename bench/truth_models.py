"""What models claim of real code, asked in the former way and in today's: the facts judge.

    python bench/truth_models.py [--functions N] [--model NAME ...]

Functions of the installed standard library are chosen by a hash, one of a module, the same for all.
Each is put to each model twice, in turns, with a context of its own for either way: by the prompt
that the batch driver has (a worked example, the established fields, one schema for all), and by the
request that is made from facts. Printed are, for what would be stored: functions with a claim that
the facts refute, parameters that are missing, words of the prompt, texts that end at the schema's
bound in the middle of a line; and of the models: tokens and CPU seconds for each function, retries
included. TRUTH_SHOWN=N shows so many false claims.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmc.backends.builder import BackendConfig, CallPolicy
from llmc.backends.llamacpp import LlamaCppBackend
from llmc.enrichment import prompts
from llmc.enrichment.asking import Question, build_request
from llmc.enrichment.grounds import Ground
from llmc.enrichment.reply import build_schema
from llmc.enrichment.verify import verify
from llmc.enrichment.wording import read_tokens
from llmc.errors import BackendError, ConfigError, IndexingError
from llmc.facts.codec import decode_facts
from llmc.facts.values import Facts
from llmc.indexer.parsing import parse_file
from llmc.models import Enrichment, Span, Verdict
from llmc.net.deadlines import Cancellation
from llmc.settings.catalogue import BETTER, require, require_model

LIBRARY = Path(os.__file__).parent
LEFT_OUT = {"test", "tests", "site-packages", "__pycache__", "idlelib", "lib2to3"}
LEAST_LINES, MOST_LINES = 4, 60
RETRIES = 3
CONTEXT = 4096
SHOWN = int(os.environ.get("TRUTH_SHOWN", "0"))


@dataclass(frozen=True)
class Function:
    """A function of the library, and all that claims about it may rest on."""

    span: Span
    code: str
    facts: Facts
    file: str
    known: frozenset[str]

    @property
    def question(self) -> Question:
        span = self.span
        around = read_tokens(self.file), self.known
        return Question(self.code, span.symbol, span.lang, span.kind, self.facts, *around)

    def make_ground(self, prompt: str) -> Ground:
        span = self.span
        words = (span.symbol, span.lang, self.file)
        return Ground(self.facts, self.code, *words, known=self.known, prompt=prompt)


@dataclass
class Tally:
    """What one way of asking came to; of functions, parameters and texts there are numbers."""

    functions: int = 0
    failed: int = 0
    said_false: int = 0
    stored_false: int = 0
    parameters: int = 0
    missing: int = 0
    parroted: int = 0
    entries: int = 0
    cut: int = 0
    tokens: int = 0
    seconds: float = 0.0
    shown: list[str] = field(default_factory=list)


def choose_functions(count: int) -> list[Function]:
    """Return one function of each of so many modules, whatever it does."""
    paths = [
        path
        for path in LIBRARY.rglob("*.py")
        if not LEFT_OUT & set(path.relative_to(LIBRARY).parts)
    ]
    texts = (path.read_text("utf-8", "replace") for path in paths)
    known = frozenset(
        name for text in texts for name in re.findall(r"\b(?:def|class)\s+(\w+)", text)
    )
    chosen: list[Function] = []
    for path in sorted(paths, key=lambda path: _rank(path.relative_to(LIBRARY).as_posix())):
        if found := min(
            _read(path, known), key=lambda entry: _rank(entry.span.symbol), default=None
        ):
            chosen.append(found)
        if len(chosen) == count:
            break
    return chosen


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _read(path: Path, known: frozenset[str]) -> Iterator[Function]:
    place = path.relative_to(LIBRARY).as_posix()
    try:
        parsed = parse_file(LIBRARY, place)
    except IndexingError:
        return
    raw = path.read_bytes()
    for found in parsed.spans:
        facts = decode_facts(found.facts)
        lines = found.end_line - found.start_line + 1
        if facts is None or found.kind not in ("function", "method"):
            continue
        if not LEAST_LINES <= lines <= MOST_LINES:
            continue
        names = ("symbol", "kind", "start_line", "end_line", "byte_start", "byte_end")
        values = {name: getattr(found, name) for name in (*names, "span_hash", "doc_hint")}
        code = raw[found.byte_start : found.byte_end].decode("utf-8", "replace")
        span = Span(id=1, path=place, lang=parsed.lang, **values)
        yield Function(span, code, facts, raw.decode("utf-8", "replace"), known)


@dataclass(frozen=True)
class Way:
    """A way of asking: how a prompt is made, and who is asked."""

    name: str
    build: Callable[[Function], prompts.Prompt]
    backend: LlamaCppBackend
    is_by_facts: bool

    def bound(self, name: str, *, brief: bool) -> int | None:
        """Return the characters at which a text of a field is cut."""
        if self.is_by_facts:
            return None
        properties = build_schema(brief=brief)["properties"]
        entry = properties[name]
        return int(entry.get("items", entry).get("maxLength", 0)) or None

    def ask(self, function: Function, tally: Tally) -> None:
        """Ask as a run does, again where a reply is refused, and count what comes of it."""
        span, prompt = function.span, self.build(function)
        item = {"lines": [span.start_line, span.end_line], "path": span.path, "lang": span.lang}
        item |= {"span_hash": span.span_hash, "symbol": span.symbol, "kind": span.kind}
        tally.functions += 1
        started = time.process_time()
        said: tuple[Verdict, ...] = ()
        enrichment, refused = None, False
        for number in range(1, RETRIES + 1):
            try:
                enrichment, meta = self.backend.generate(prompt, item={**item, "attempt": number})
            except BackendError as error:
                tally.tokens += error.usage.completion_tokens or 0
                refused |= "its summary is false" in str(error)
                continue
            tally.tokens += meta["eval_count"] or 0
            said = meta.get("verdicts", ())
            break
        tally.seconds += time.process_time() - started
        if enrichment is None:
            tally.failed += 1
            tally.said_false += refused
            return
        tally.said_false += self._judge(enrichment, said, function, tally) or refused

    def _judge(
        self, stored: Enrichment, said: tuple[Verdict, ...], function: Function, tally: Tally
    ) -> bool:
        """Count what is stored; tell whether any of what was said is false."""
        prompt = self.build(function)
        ground = function.make_ground(str(prompt).replace(prompt.turn, ""))
        verdicts = verify(stored, ground)
        false = [verdict for verdict in verdicts if verdict.ruling == "refuted"]
        dropped = [verdict for verdict in said if verdict.ruling == "refuted"]
        tally.stored_false += bool(false)
        tally.parroted += any(verdict.kind == "parroting" for verdict in false)
        listed = {
            name.lstrip("*&") for text in stored.inputs for name in re.findall(r"^\W*(\w+)", text)
        }
        names = function.question.names
        tally.parameters += len(names)
        tally.missing += sum(name not in listed for name in names)
        brief = self.backend._model().brief
        for name in ("summary_120w", "inputs", "outputs", "side_effects", "pitfalls"):
            value = getattr(stored, name)
            bound = self.bound(name, brief=brief)
            for text in [value] if isinstance(value, str) else value:
                tally.entries += 1
                tally.cut += is_cut(text, bound)
        symbol = function.span.symbol
        tally.shown += [f"{symbol}: {f.field} {f.claim[:90]!r} <- {f.reason}" for f in false]
        return bool(false or dropped)


def is_cut(text: str, bound: int | None) -> bool:
    """Tell whether a text ends because there was no more room, and not with a sentence."""
    return bound is not None and len(text) >= bound and text[-1].isalnum()


def measure(name: str, functions: list[Function]) -> None:
    """Ask a model about all functions, in both ways by turns, and print what came of it."""
    ways = (
        Way(
            "before", lambda one: prompts.build(one.span, one.code), _backend(name, CONTEXT), False
        ),
        Way(
            "today",
            lambda one: build_request(one.span, one.question),
            _backend(name, CONTEXT + 256, strict=True),
            True,
        ),
    )
    tallies = {way.name: Tally() for way in ways}
    for way in ways:
        way.backend.prepare()
    for number, function in enumerate(functions):
        for way in ways if number % 2 else ways[::-1]:
            way.ask(function, tallies[way.name])
    print(f"{ways[0].backend._model().name}, {len(functions)} functions", flush=True)
    before, today = (tallies[way.name] for way in ways)
    print(f"  {'':38}{'before':>12}{'today':>12}")
    for label, value in _ROWS:
        print(f"  {label:38}{value(before):>12}{value(today):>12}")
    for label, ratio in (
        ("tokens, today / before", today.tokens / max(1, before.tokens)),
        ("CPU seconds, today / before", today.seconds / max(0.001, before.seconds)),
    ):
        print(f"  {label:38}{ratio:>24.2f}")
    for way in ways:
        for line in tallies[way.name].shown[:SHOWN]:
            print(f"  {way.name}: {line}")


_ROWS: tuple[tuple[str, Callable[[Tally], str]], ...] = (
    ("no reply accepted", lambda t: f"{t.failed}"),
    ("with a false claim, as said", lambda t: f"{t.said_false}"),
    ("with a false claim, as stored", lambda t: f"{t.stored_false}"),
    ("with words of the prompt, as stored", lambda t: f"{t.parroted}"),
    ("parameters missing", lambda t: f"{t.missing}/{t.parameters}"),
    ("texts cut at the schema's bound", lambda t: f"{t.cut}/{t.entries}"),
    ("tokens for a function", lambda t: f"{t.tokens / max(1, t.functions):.0f}"),
    ("CPU seconds for a function", lambda t: f"{t.seconds / max(1, t.functions):.1f}"),
)


def _backend(name: str, context: int, *, strict: bool = False) -> LlamaCppBackend:
    """Return a model with a context of its own, so that its constant prefix stays evaluated."""
    options: dict[str, Any] = {"num_ctx": context}
    return LlamaCppBackend(
        BackendConfig(f"bench {context}", "llamacpp"),
        Path.cwd(),
        name,
        options,
        policy=CallPolicy(require_summary=strict),
        cancellation=Cancellation(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--functions", type=int, default=50)
    parser.add_argument("--model", action="append")
    told = parser.parse_args()
    functions = choose_functions(told.functions)
    for name in told.model or ("smollm2-135m", BETTER):
        try:
            measure(str(require(require_model(name), os.environ)), functions)
        except ConfigError as error:
            print(error)


if __name__ == "__main__":
    main()
