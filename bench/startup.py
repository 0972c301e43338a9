"""How long a user waits before anything happens.

Prints the median and the worst of N starts of `llmc --help`, and of `llmc status` on an index of
this repository. Each start is a process of its own; the first one is not counted.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = 15


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def report(name: str, command: list[str]) -> None:
    seconds(command)
    taken = [seconds(command) for _ in range(RUNS)]
    print(
        f"startup  {name:<16} median {statistics.median(taken) * 1000:4.0f} ms, "
        f"worst {max(taken) * 1000:4.0f} ms of {RUNS}"
    )


def main() -> None:
    llmc = str(Path(sys.executable).with_name("llmc"))
    report("python -c pass", [sys.executable, "-c", "pass"])
    report("llmc --help", [llmc, "--help"])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "-q", str(ROOT), folder], check=True)
        subprocess.run([llmc, "index", folder], check=True, capture_output=True)
        report("llmc status", [llmc, "status", folder])


if __name__ == "__main__":
    main()
