"""Whether the account of a run can be written: a run ends before its first call if not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from llmc.doctor.findings import Finding
from llmc.records import egress
from llmc.records.ledger import ledger_path

SECTION = "logs"


def examine_logs(folder: Path, repo: Path, metrics_log: Path) -> list[Finding]:
    """Look at the folder of the logs and at those that are there; nothing is written."""
    ledger = ledger_path(folder)
    try:
        if problem := _folder_problem(folder, repo):
            return [Finding(SECTION, "folder", "fail", *problem)]
        found = [
            Finding(SECTION, log.name, "fail", *problem)
            for log in (ledger, metrics_log)
            if (problem := _file_problem(log))
        ]
        if problem := _file_problem(folder / egress.LOG):
            detail = f"{problem[0]}: no prompt could be sent away from this machine"
            found.append(Finding(SECTION, egress.LOG, "warn", detail, problem[1]))
    except OSError as error:
        return [Finding(SECTION, "folder", "fail", f"{folder}: {error.strerror}")]
    there = folder.is_dir()
    said = f"{folder}: can be written to" if there else f"{folder}: none yet; a run makes it"
    return found or [Finding(SECTION, "folder", "ok" if there else "info", said)]


_Problem = tuple[str, str]
"""What is wrong, and what to do about it."""


def _folder_problem(folder: Path, repo: Path) -> _Problem | None:
    if os.path.lexists(folder) and not folder.is_dir():
        return f"{folder} is no folder, and a run needs it for its logs", "move it away"
    inside = folder.is_relative_to(repo)  # else it is beside an index elsewhere
    if inside and not folder.resolve().is_relative_to(repo.resolve()):
        return f"{folder} leads out of the repository", "replace the link by a folder"
    place = folder
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        advice = f"give yourself permission to write to {place}, or make it writable"
        return f"{place} can't be written to, and a run needs {folder} for its logs", advice
    return None


def _file_problem(log: Path) -> _Problem | None:
    try:
        state = log.lstat()
    except FileNotFoundError:
        return None
    if not (stat.S_ISREG(state.st_mode) or log.resolve() == Path(os.devnull)):
        return f"{log} is no plain file", "move it away"
    if not os.access(log, os.R_OK | os.W_OK):
        return f"{log} can't be written to", f"chmod u+rw {log}"
    return None
