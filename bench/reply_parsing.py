"""How long it takes to read a reply, whatever it holds.

Ordinary replies first, then hostile ones of 100 KB, each of a kind that some part of the reading
could stumble over. For each kind the median and the 99th percentile of many readings, in
milliseconds of CPU, and what became of it. READINGS=N takes another number than 1000.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator

from llmc.enrichment.reply import read_reply
from llmc.errors import BackendError

READINGS = int(os.environ.get("READINGS", "1000"))
SIZE = 100_000
LINES = (10, 60)

ORDINARY = {
    "summary_120w": "Reads the configuration file and merges it with the defaults, so that a caller"
    " gets one complete set of values. Unknown keys are reported and otherwise left alone.",
    "inputs": ["path: the file to read", "defaults: values for what the file leaves out"],
    "outputs": ["the merged values, by key"],
    "side_effects": ["writes a line to the log for each unknown key"],
    "pitfalls": ["a missing file counts as an empty one", "values are not checked for their type"],
    "usage_snippet": 'values = merged(Path("app.toml"), DEFAULTS)\nprint(values["port"])',
}
CITED = {**ORDINARY, "evidence": [{"field": name, "lines": [10, 20]} for name in ORDINARY]}


def filled(before: str, item: str, after: str) -> str:
    """Return as many items as make 100 KB, with what stands around them."""
    count = (SIZE - len(before) - len(after)) // (len(item) + 1)
    return before + ",".join([item] * count) + after


def distinct(before: str, item: str, after: str) -> str:
    count = (SIZE - len(before) - len(after)) // (len(item) + 4)
    return before + ",".join(item.replace("N", f"{n:04}") for n in range(count)) + after


def kinds() -> Iterator[tuple[str, str]]:
    """Yield the replies by name; the last ones have 100,000 characters."""
    yield "ordinary", json.dumps(ORDINARY, indent=2)
    yield "ordinary, with evidence", json.dumps(CITED)
    yield "ordinary, fenced in prose", f"Here it is:\n```json\n{json.dumps(ORDINARY)}\n```\n"
    yield "prose", "It reads a file and merges it. " * (SIZE // 31)
    yield "opening braces", "{" * SIZE
    yield "closing braces", "}" * SIZE
    yield "pairs of braces", "{}" * (SIZE // 2)
    yield "nested lists", '{"model": ' + "[" * SIZE
    yield "nested objects", '{"a":' * (SIZE // 5)
    yield "nested as deep as JSON goes", '{"inputs": ' + "[" * 900 + "]" * 900 + "}"
    yield "one long summary", json.dumps({"summary_120w": "word " * (SIZE // 5)})
    yield "one long key", json.dumps({"k" * SIZE: 1})
    yield "one long number", '{"summary_120w": ' + "9" * SIZE + "}"
    yield "one long fraction", '{"summary_120w": 0.' + "7" * SIZE + "}"
    yield "numbers of 4300 digits", filled('{"inputs":[', "7" * 4300, "]}")
    yield "short strings", filled('{"inputs":[', '"a"', "]}")
    yield "blank strings", filled('{"tags":[', '" "', "]}")
    yield "strings beyond ASCII", filled('{"tags":[', '"é"', "]}")
    yield "lone surrogates", filled('{"inputs":[', '"\\ud800"', "]}")
    yield "empty objects as evidence", filled('{"evidence":[', "{}", "]}")
    yield "empty lists as evidence", filled('{"evidence":[', "[]", "]}")
    yield "evidence", filled('{"evidence":[', '{"field":"inputs","lines":[10,20]}', "]}")
    yield "evidence of true", filled('{"evidence":[', '{"field":"inputs","lines":[true,1]}', "]}")
    yield "evidence outside", filled('{"evidence":[', '{"field":"inputs","lines":[1,2]}', "]}")
    yield "evidence for tags", filled('{"evidence":[', '{"field":"tags","lines":[1,2]}', "]}")
    yield "unknown keys", distinct("{", '"N":1', "}")
    yield "the same key", filled("{", '"inputs":[1]', "}")
    yield "a summary of numbers", filled('{"summary_120w":[', "9e99", "]}")
    yield "a summary of lists", filled('{"summary_120w":[', "[]", "]}")
    yield "a snippet of objects", filled('{"usage_snippet":[', "{}", "]}")
    yield "a snippet of line ends", json.dumps({"usage_snippet": "a" + "\n" * (SIZE // 2) + "b"})
    yield "a snippet of lines", '{"usage_snippet":"' + "\\u2028a" * (SIZE // 7) + '"}'
    yield "escapes", '{"summary_120w":"' + "\\u0041" * (SIZE // 6) + '"}'
    yield "quotes", '"' * SIZE
    yield "backslashes", '{"summary_120w":"' + "\\" * SIZE + '"}'
    yield "white space", "{" + " " * SIZE + "}"
    yield "NUL characters", '{"summary_120w":"' + "\x00" * SIZE + '"}'


def reading(text: str) -> tuple[float, str]:
    """Return how many seconds of CPU one reading took, and what came of it."""
    outcome = "accepted"
    started = time.thread_time()
    try:
        read_reply(text, LINES)
    except BackendError as error:
        outcome = error.failure_type or ""
    return time.thread_time() - started, outcome


def main() -> None:
    worst = 0.0
    for name, text in kinds():
        reading(text)
        taken, outcomes = zip(*(reading(text) for _ in range(READINGS)), strict=True)
        ordered = sorted(taken)
        p50, p99 = (ordered[math.ceil(len(ordered) * share) - 1] * 1000 for share in (0.5, 0.99))
        worst = max(worst, p99)
        print(
            f"reading  {name:<28} p50 {p50:7.3f} ms, p99 {p99:7.3f} ms  "
            f"{len(text):>7} chars, {outcomes[0]}"
        )
    print(f"reading  {'the slowest kind':<28} p99 {worst:.3f} ms")


if __name__ == "__main__":
    main()
