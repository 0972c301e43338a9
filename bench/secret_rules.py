"""What the rules for secrets find in code that people published, which should hold none.

For each of several bodies of source that are on most machines of developers: lines, and findings
per 100,000 lines by rule. Nearly all of them are false alarms, and those that aren't are keys of
tests and documentation. SAMPLE=N prints N findings of each rule, SHOW=RULE all of one. Names of
further folders may follow on the command line.
"""

from __future__ import annotations

import os
import random
import sys
import sysconfig
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from llmc.languages import find_language
from llmc.redaction.secrets import find

SAMPLE = int(os.environ.get("SAMPLE", "0"))
SHOW = os.environ.get("SHOW", "")
MOST_BYTES = 1 << 20
CONFIG = (".json", ".yaml", ".yml", ".toml", ".ini", ".env", ".cfg", ".properties")


def bodies() -> dict[str, Path]:
    """Return the folders of source that are there, by what they are called."""
    found = {
        "Python's standard library": Path(sysconfig.get_path("stdlib")),
        "installed packages": Path(sysconfig.get_path("purelib")),
        "Go's standard library": Path("/usr/local/go/src"),
        "npm": Path("/usr/lib/node_modules"),
        "system's Python packages": Path("/usr/lib/python3"),
        "cloud SDK": Path("/usr/lib/google-cloud-sdk/lib"),
        "C headers": Path("/usr/include"),
    }
    found |= {name: Path(name) for name in sys.argv[1:]}
    return {name: path for name, path in found.items() if path.is_dir()}


def sources(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*")):
        if "site-packages" in path.relative_to(folder).parts or not path.is_file():
            continue
        if find_language(path.name) is None and path.suffix not in CONFIG:
            continue
        if path.stat().st_size <= MOST_BYTES:
            yield path, path.read_text(encoding="utf-8", errors="replace")


def main() -> int:
    for name, folder in bodies().items():
        lines = files = size = 0
        rules: Counter[str] = Counter()
        shown: defaultdict[str, list[str]] = defaultdict(list)
        spent = 0.0
        for path, text in sources(folder):
            started = time.process_time()
            found = find(text)
            spent += time.process_time() - started
            lines, files, size = lines + text.count("\n"), files + 1, size + len(text)
            for hit in found:
                rules[hit.rule] += 1
                number = text.count("\n", 0, hit.start) + 1
                begin = max(text.rfind("\n", 0, hit.start) + 1, hit.start - 50)
                context = text[begin : min(hit.end, hit.start + 60)].replace("\n", "|")
                shown[hit.rule].append(f"{path.relative_to(folder)}:{number}: {context}")
        if not lines:
            continue
        print(f"{name}: {files} files, {lines} lines, {spent / size * 1e9:.0f} ms/MB")
        print(f"  {sum(rules.values()) / lines * 1e5:6.1f} per 100,000 lines in all")
        for rule, count in rules.most_common():
            print(f"  {count / lines * 1e5:6.1f} {rule} ({count})")
            some = shown[rule]
            if rule != SHOW:
                some = random.Random(1).sample(some, min(SAMPLE, count))
            for line in some:
                print(f"           {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
