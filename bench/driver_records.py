"""Compare what the batch driver of two commits records for the same 200 spans.

    python bench/driver_records.py BEFORE [AFTER]      # AFTER: the working tree, if not named

Both run against the same script of replies: every kind of failure, promotions, walks down the
chain of hosts, a cloud tier. What no two runs share (times, durations, loads) is left out; what is
left has to be the same to the byte: metrics, ledger, saved replies and the rows of the index.
Exit status 1, and a diff, where it isn't.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from llmc.testing import faults
from llmc.testing.ollama import Call, FakeOllama, Reply
from llmc.testing.script import Scripted

ROOT = Path(__file__).resolve().parent.parent
SPANS = 200
GOOD = json.dumps({"summary_120w": "Does what it says.", "inputs": ["value"], "tags": ["a", "b"]})
ANSWERS: dict[str, Scripted] = {
    "G": Reply(text=GOOD),
    "V": Reply(text='{"surprise": 1}'),
    "P": Reply(text='{"summary_120w": oops}'),
    "T": Reply(text='{"summary_120w": "breaks o'),
    "D": Reply(text=GOOD[:-4], done_reason="length"),
    "R": faults.NotJson(),
    "E": faults.HttpStatus(500),
}
SCRIPTS = (
    "G",
    "VG",
    "VVG",
    "VVV",
    "PG",
    "PPP",
    "TG",
    "TTT",
    "RG",
    "RRR",
    "DG",
    "VPG",
    "EG",
    "RVTP",
)
VOLATILE = re.compile(
    r'"(timestamp|duration_sec|wall_ms|tok_s|rss_mib|created_at|updated_at|started|ended|mtime|'
    r"gpu_util|gpu_util_max|vram_mib|vram_avg_mib|num_thread|failed_at|retry_at|owner)"
    r'": ?("[^"]*"|[^,}]*)'
)
GATEWAY = f"""#!/bin/sh
grep -q 'mark:fail' && exit 3
cat <<'END'
{GOOD}
END
"""


def function(number: int) -> str:
    """Return a span: short, long, deep enough for the cloud, or with the nesting of 14b."""
    letters = SCRIPTS[number % len(SCRIPTS)]
    name = f"# mark:{'fail' if number % 3 == 0 else ''}{letters}_{number}"
    body = "".join(f"    value = {step}\n" for step in range((3, 70, 130)[number % 3]))
    deep = "    return " + "{" * 7 + "}" * 7 + "\n" if number % 7 == 0 else "    return None\n"
    return f"def work_{number}():\n    {name}\n{body}{deep}"


class Replies:
    """For each span the letters of its name, one a call; the last one repeats."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def __call__(self, call: Call) -> Scripted:
        found = re.search(r"mark:(?:fail)?([A-Z]+)_(\d+)", call.prompt)
        assert found, call.prompt
        number = self._seen[found[0]]
        self._seen[found[0]] += 1
        return ANSWERS[found[1][min(number, len(found[1]) - 1)]]


def make_repository(repo: Path, commit: str) -> None:
    """Write files, a policy, a preset and a gateway program, and have a commit index them."""
    repo.mkdir()
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    for start in range(0, SPANS, 20):
        texts = [function(number) for number in range(start, start + 20)]
        (repo / f"module_{start:03}.py").write_text("\n\n".join(texts))
    (repo / "router").mkdir()
    (repo / "router/policy.json").write_text('{"log_fields": ["team"]}')
    (repo / "presets").mkdir()
    (repo / "presets/enrich_7b_ollama.yaml").write_text("options:\n  num_thread: 4\n")
    gateway = repo.parent / "gateway.sh"
    gateway.write_text(GATEWAY)
    gateway.chmod(0o755)
    with tree(commit) as code:
        command = [sys.executable, "-m", "llmc", "index", str(repo)]
        environ = {"PATH": os.environ["PATH"], "HOME": str(repo.parent), "PYTHONPATH": str(code)}
        subprocess.run(command, env=environ, cwd=code, check=True, capture_output=True)


@contextmanager
def tree(commit: str | None) -> Iterator[Path]:
    """Check a commit out for a while; None is the working tree."""
    if commit is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(place), commit], check=True)
        try:
            yield place
        finally:
            subprocess.run([*git, "remove", "--force", str(place)], check=True)


def records(commit: str | None, made: Path, repo: Path) -> list[str]:
    """Run the driver of a commit in a copy of a repository; return all it left, line by line."""
    shutil.rmtree(repo, ignore_errors=True)
    shutil.copytree(made, repo)
    with tree(commit) as code, FakeOllama(Replies()) as first, FakeOllama(Replies()) as second:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(repo.parent),
            "PYTHONPATH": str(code),
            "ENRICH_OLLAMA_HOSTS": f"attic={first.url},cellar={second.url}",
        }
        words = [str(code / "scripts/qwen_enrich_batch.py"), "--repo", str(repo)]
        flags = ["--retry-wait", "0", "--gateway-path", str(repo.parent / "gateway.sh")]
        command = [sys.executable, *words, *flags]
        done = subprocess.run(command, env=environ, check=False, capture_output=True)
        if done.returncode:
            sys.exit(f"{commit or 'the working tree'}: {done.stderr.decode()}")
        calls = [f"{len(first.calls)} and {len(second.calls)} calls"]
    return calls + list(left(repo))


def left(repo: Path) -> Iterator[str]:
    """Yield what a run left, without what no two runs share."""
    for name in ("enrichment_metrics.jsonl", "run_ledger.log"):
        for line in (repo / "logs" / name).read_text().splitlines():
            yield VOLATILE.sub(r'"\1": …', line)
    for path in sorted((repo / "logs/failed_enrichments").iterdir()):
        yield f"{path.name.rpartition('_')[0]}: {path.read_text()}"
    with closing(sqlite3.connect(repo / ".rag/index_v2.db")) as database:
        database.row_factory = sqlite3.Row
        for table in ("files", "spans", "enrichments", "llmc_outcomes"):
            for row in database.execute(f"SELECT * FROM {table} ORDER BY 1"):
                yield VOLATILE.sub(r'"\1": …', json.dumps(dict(row), default=str))


def main() -> int:
    if not 2 <= len(sys.argv) <= 3:
        print(__doc__)
        return 2
    before, after = sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None
    with tempfile.TemporaryDirectory() as folder:
        made, repo = Path(folder) / "made", Path(folder) / "repo"
        make_repository(made, before)
        old, new = records(before, made, repo), records(after, made, repo)
    differences = list(difflib.unified_diff(old, new, before, after or "working tree", n=0))
    print("\n".join(differences[:60]))
    kinds = Counter(found for line in old for found in re.findall(r'"reason": "(\w+)"', line))
    print(f"{len(old)} lines of {SPANS} spans ({dict(kinds)}), {len(differences)} that differ")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
