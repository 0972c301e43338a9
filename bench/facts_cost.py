"""What facts add to a cold index: to its CPU, and to its file.

Takes the sources of the installed Python's standard library, or the folders that are named. Each is
indexed several times with facts and without, in turns, as other programs take the machine's time
meanwhile; the least CPU of each is compared. Without a folder of the user's there is nobody to
prove anything, and no facts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llmc import engine
from llmc.models import IndexReport
from llmc.settings.loading import load_settings

ROUNDS = int(os.environ.get("ROUNDS", "3"))
UNWANTED = shutil.ignore_patterns(
    *("site-packages", "test", "tests", "idlelib", "encodings", "pydoc_data", "__pycache__"),
    *("*.so", ".git"),
)


def main() -> None:
    for source in map(Path, sys.argv[1:] or [str(Path(os.__file__).parent)]):
        with tempfile.TemporaryDirectory() as folder:
            repo = Path(folder, "repo")
            shutil.copytree(source, repo, symlinks=True, ignore=UNWANTED)
            subprocess.run(["git", "init", "-q", str(repo)], check=True)
            kinds: dict[str, dict[str, str]] = {"": {}, "facts": {"XDG_CONFIG_HOME": folder}}
            seconds = {kind: float("inf") for kind in kinds}
            sizes: dict[str, int] = {}
            for _ in range(ROUNDS):
                for kind, environ in kinds.items():
                    taken, sizes[kind], report = index(repo, environ)
                    seconds[kind] = min(seconds[kind], taken)
            print(
                f"{source}: {report.files} files, {report.spans} spans: "
                f"{seconds['']:.2f} s of CPU without facts, {seconds['facts']:.2f} s with them "
                f"(+{seconds['facts'] / seconds[''] - 1:.0%}); "
                f"{sizes[''] / 1e6:.1f} MB, {sizes['facts'] / 1e6:.1f} MB "
                f"({sizes['facts'] / sizes['']:.2f} times)"
            )


def index(repo: Path, environ: dict[str, str]) -> tuple[float, int, IndexReport]:
    """Make an index; return the seconds of CPU that it took, its bytes, and what it has."""
    settings = load_settings(repo, environ=environ)
    shutil.rmtree(settings.index_path.parent, ignore_errors=True)
    started = time.process_time()
    report = engine.index(repo, settings)
    return time.process_time() - started, settings.index_path.stat().st_size, report


if __name__ == "__main__":
    main()
