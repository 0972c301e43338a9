"""How fast a repository is indexed, and how fast the second pass over it is.

Takes the sources of the installed Python's standard library, which every machine has. The user's
folder is a new one, as facts are stored only where there is an installation to seal them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from llmc import engine
from llmc.settings.loading import load_settings


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder, "stdlib")
        source = Path(os.__file__).parent
        shutil.copytree(
            source, repo, ignore=shutil.ignore_patterns("site-packages", "__pycache__", "*.so")
        )
        subprocess.run(["git", "init", "-q", str(repo)], check=True)
        settings = load_settings(repo, environ={"XDG_CONFIG_HOME": f"{folder}/config"})
        for name in ("first pass", "second pass"):
            started = time.perf_counter()
            report = engine.index(repo, settings)
            taken = time.perf_counter() - started
            print(
                f"indexing {name:<16} {taken:5.2f} s for {report.files} files, "
                f"{report.spans} spans, {len(report.skipped)} skipped: "
                f"{report.files / taken:,.0f} files/s"
            )


if __name__ == "__main__":
    main()
