"""Run every bench, one after the other; `python bench/run.py NAME ...` runs some."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    names = sys.argv[1:] or sorted(p.stem for p in HERE.glob("[a-z]*.py") if p.stem != "run")
    status = 0
    for name in names:
        print(f"== {name}", flush=True)
        status |= subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=False).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
