"""How well claims are told from lies: what people wrote of their code, and the same made false.

    python bench/truth.py [FOLDER ...]

Takes the docstrings of the installed Python's standard library, or the sources in some folders, for
claims that are true: parameters, errors, what is returned, names in backquotes. Each is then made
false: another function's parameter, another error, a return denied or made up, a name that is
nowhere. Prints the share of lies that are refuted (aim: 99 %) and of truths that are (aim: 1 %).
A comment on a parameter whose name is nowhere in the code is no truth: it is counted by itself.
Each claim is judged alone, by the very rules that judge a model's.
"""

from __future__ import annotations

import os
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmc.enrichment.grounds import Ground
from llmc.enrichment.returning import is_left_to_others
from llmc.enrichment.verify import judge_claim
from llmc.errors import IndexingError
from llmc.facts.codec import decode_facts
from llmc.indexer.parsing import parse_file
from llmc.languages import find_language

ERRORS = ("KeyError", "ValueError", "TypeError", "RuntimeError", "OSError", "IndexError")
JAVA_ERRORS = ("IllegalStateException", "UnsupportedOperationException", "IOException")
MOST_FILES = 1500
STALE = "stale comments"
SHOWN = int(os.environ.get("TRUTH_SHOWN", "0"))


@dataclass(frozen=True)
class Claim:
    kind: str
    field: str
    text: str
    name: str = ""


def read_grounds(folder: Path) -> list[Ground]:
    """Return every function with a comment below a folder."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if find_language(path.name)
        and path.is_file()
        and "site-packages" not in path.relative_to(folder).parts
    )
    read, known = [], set()
    for path in files[:MOST_FILES]:
        name = path.relative_to(folder).as_posix()
        try:
            parsed = parse_file(folder, name)
        except IndexingError:
            continue
        raw = path.read_bytes()
        text = raw.decode("utf-8", "replace")
        known.update(re.findall(r"\w+", name))
        for span in parsed.spans:
            facts = decode_facts(span.facts)
            known.update(re.findall(r"\w+", span.symbol))
            if facts is None:
                continue
            known.update(facts.members)
            known.update(entry.name for entry in facts.parameters or ())
            if facts.doc and facts.kind in ("function", "method"):
                source = raw[span.byte_start : span.byte_end].decode("utf-8", "replace")
                read.append((facts, source, span.symbol, parsed.lang, text))
    names = frozenset(known)
    return [Ground(*entry, known=names) for entry in read]


def find_claims(ground: Ground) -> Iterator[Claim]:
    """Yield what a docstring in one of the known styles claims."""
    doc = ground.facts.doc or ""
    yield from _sections(doc)
    for match in re.finditer(r":param\s+(?:[^:\n]*\s)?\*{0,2}(\w+):[ \t]*(\S[^\n]*)", doc):
        yield Claim("parameter", "inputs", f"{match[1]}: {match[2]}", match[1])
    for match in re.finditer(r"@param\s+(?:\{[^}\n]*\}\s+)?(\w+)\s+-?\s*([^\n@]*)", doc):
        yield Claim("parameter", "inputs", f"{match[1]}: {match[2]}", match[1])
    for match in re.finditer(
        r"(?::raises?\s+|@throws\s+|@exception\s+)\{?([A-Z]\w*)\}?:?\s+([^\n]+)", doc
    ):
        yield Claim("error", "pitfalls", f"raises {match[1]} {match[2]}", match[1])
    for match in re.finditer(r"(?::returns?:|@returns?)\s+([^\n]+)", doc):
        yield Claim("return", "outputs", match[1])
    first = re.split(r"(?<=[.!?])\s", " ".join(doc.split()))[0]
    if re.match(rf"(?:{re.escape(ground.name)} )?[Rr]eturns? (?:an? |the )", first):
        yield Claim("return", "summary_120w", re.sub("^Return ", "Returns ", first))
    for match in re.finditer(r"[^.\n]*`{1,2}([A-Za-z]\w*(?:_\w+)+)`{1,2}[^.\n]*\.", doc):
        yield Claim("name", "summary_120w", match[0].strip(), match[1])


_NUMPY = re.compile(
    r"^[ \t]*(\w[\w ]*)\n[ \t]*-{4,}[ \t]*\n(.*?)(?=\n[ \t]*\n[ \t]*\w[\w ]*\n[ \t]*-{4,}|\Z)",
    re.MULTILINE | re.DOTALL,
)
_GOOGLE = re.compile(
    r"^[ \t]*(Args|Arguments|Raises|Returns):[ \t]*\n((?:[ \t]+[^\n]*\n?|\n)*)", re.MULTILINE
)
_MARGIN = re.compile(r"^([ \t]*)\S", re.MULTILINE)


def _sections(doc: str) -> Iterator[Claim]:
    """Yield the claims of numpy's and Google's sections."""
    for title, body in _NUMPY.findall(doc):
        margin = min(map(len, _MARGIN.findall(body)), default=0)
        entry = rf"^[ \t]{{{margin}}}(\S[^\n]*)\n((?:[ \t]{{{margin + 1},}}[^\n]*\n?)*)"
        for head, rest in re.findall(entry, f"{body}\n", re.MULTILINE):
            meaning = " ".join(rest.split())
            if title == "Parameters" and (match := re.match(r"\*{0,2}(\w+)\s*(?::|$)", head)):
                yield Claim("parameter", "inputs", f"{match[1]}: {meaning}", match[1])
            elif title == "Raises" and re.fullmatch(r"[A-Z]\w+", head.strip()):
                yield Claim("error", "pitfalls", f"raises {head.strip()} {meaning}", head.strip())
            elif title == "Returns":
                yield Claim("return", "outputs", f"{head}: {meaning}")
    for title, body in _GOOGLE.findall(doc):
        margin = min(map(len, _MARGIN.findall(body)), default=0)
        entry = rf"^[ \t]{{{margin}}}\*{{0,2}}(\w+)(?: ?\([^)\n]*\))?:[ \t]+([^\n]+)"
        for name, meaning in re.findall(entry, body, re.MULTILINE):
            if title.startswith("Arg"):
                yield Claim("parameter", "inputs", f"{name}: {meaning}", name)
            elif title == "Raises" and name[0].isupper():
                yield Claim("error", "pitfalls", f"raises {name} {meaning}", name)


def make_lie(claim: Claim, ground: Ground, names: list[str], chance: random.Random) -> Claim | None:
    """Return a claim made false, None where that can't be done for sure."""
    facts = ground.facts
    if claim.kind == "parameter":
        own = {name for entry in facts.parameters or () for name in (entry.name, *entry.names)}
        others = [name for name in chance.sample(names, min(8, len(names))) if name not in own]
        if not others or claim.name not in own:
            return None
        open_ended = any(entry.kind == "keywords" for entry in facts.parameters or ())
        taken_apart = any(entry.names for entry in facts.parameters or ())
        kind = "with **kwargs" if open_ended else claim.kind
        kind = "beside a pattern" if taken_apart else kind
        return Claim(kind, claim.field, claim.text.replace(claim.name, others[0], 1))
    if claim.kind == "error":
        said = set(
            re.findall(
                r"\b[A-Z]\w+\b",
                f"NotImplementedError {facts.doc} {' '.join(e.error or '' for e in facts.raises)}",
            )
        )
        errors = ERRORS if ground.language == "python" else JAVA_ERRORS
        others = [e for e in errors if e not in said and e not in ground.code_names]
        proven = any((entry.error or "").endswith(claim.name) for entry in facts.raises)
        if not others or not proven:
            return None
        return Claim(
            claim.kind, claim.field, claim.text.replace(claim.name, chance.choice(others), 1)
        )
    if claim.kind == "return":
        if facts.returns.what == "value" and not is_left_to_others(ground):
            return Claim(claim.kind, "outputs", "Returns nothing.")
        return None
    name = claim.name
    return Claim(claim.kind, claim.field, claim.text.replace(name, f"q{name[::-1]}_of"))


def is_stale(claim: Claim, ground: Ground) -> bool:
    """Tell whether a comment names a parameter that has another name by now, or never was.

    Told by the words of the code, not by what was proven of it.
    """
    given = ground.facts.parameters or ()
    is_open = any(entry.kind in ("rest", "keywords") or entry.names for entry in given)
    words = set(re.findall(r"\w+", ground.code))
    return claim.kind == "parameter" and not is_open and not {claim.name, "arguments"} & words


def measure(folder: Path) -> None:
    chance = random.Random(7)
    grounds = read_grounds(folder)
    by_file: dict[str, list[str]] = defaultdict(list)
    for ground in grounds:
        by_file[ground.file] += [
            name
            for entry in ground.facts.parameters or ()
            if entry.kind != "receiver"
            for name in entry.names or (entry.name,)
        ]
    truths: Counter[tuple[str, str]] = Counter()
    lies: Counter[tuple[str, str]] = Counter()
    for ground in grounds:
        names = sorted(set(by_file[ground.file]))
        for claim in find_claims(ground):
            verdict = judge_claim(claim.field, claim.text, ground)
            if is_stale(claim, ground):
                truths[STALE, verdict.ruling] += 1
                continue
            truths[claim.kind, verdict.ruling] += 1
            if verdict.ruling == "refuted":
                _show("TRUTH", ground, claim, verdict.reason)
            if (lie := make_lie(claim, ground, names, chance)) is not None:
                verdict = judge_claim(lie.field, lie.text, ground)
                lies[lie.kind, verdict.ruling] += 1
                if verdict.ruling != "refuted":
                    _show("LIE", ground, lie, f"{verdict.ruling}: {verdict.reason}")
        if ground.facts.returns.what == "nothing" and not is_left_to_others(ground):
            verdict = judge_claim("outputs", "the number of items written", ground)
            kind = "made up, decorated" if ground.facts.decorators else "return made up"
            lies[kind, verdict.ruling] += 1
    _report(f"{folder}: {len(grounds)} functions", truths, lies)


def _report(head: str, truths: Counter[tuple[str, str]], lies: Counter[tuple[str, str]]) -> None:
    print(head)
    print(
        f"  {'':18}{'truths':>8}{'proven':>9}{'refuted':>9}{'lies':>8}{'refuted':>9}{'proven':>9}"
    )
    kinds = sorted({kind for kind, _ in (*truths, *lies)})
    for kind in (*kinds, "", _DECIDABLE):
        row = []
        for counted, columns in ((truths, ("proven", "refuted")), (lies, ("refuted", "proven"))):
            chosen = {key: n for key, n in counted.items() if _is_of(kind, key[0])}
            total = sum(chosen.values())
            row.append(f"{total:>8}")
            for ruling in columns:
                share = (
                    sum(n for key, n in chosen.items() if key[1] == ruling) / total if total else 0
                )
                row.append(f"{share:>8.2%} ")
        print(f"  {kind or 'all':18}{''.join(row)}")


def _is_of(row: str, kind: str) -> bool:
    return not row or row == kind or (row == _DECIDABLE and kind not in _OPEN)


_OPEN = ("with **kwargs", "beside a pattern", "made up, decorated", STALE)
"""Kinds of lies that no text of the span alone can tell: what a decorator gives back, which names a
callee knows that gets all keywords, what a comment calls an argument that is taken apart at once;
and what was true once."""

_DECIDABLE = "all decidable"
_shown: Counter[str] = Counter()


def _show(what: str, ground: Ground, claim: Claim, reason: str) -> None:
    key = f"{what} {claim.kind}"
    _shown[key] += 1
    if _shown[key] <= SHOWN:
        print(f"{key} {ground.symbol}: {claim.text[:100]!r} <- {reason}")


def main() -> None:
    for folder in sys.argv[1:] or [str(Path(os.__file__).parent)]:
        measure(Path(folder))


if __name__ == "__main__":
    main()
