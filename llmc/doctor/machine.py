"""What a run needs of this machine: git, the index and room for it, a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from llmc.doctor.findings import Finding
from llmc.errors import ConfigError, CorruptIndexError, StoreError
from llmc.indexer.files import find_source_files
from llmc.models import IndexPlace
from llmc.programs.launching import NEUTRAL_FOLDER, SearchPath
from llmc.run.gpu import QUERY_TIMEOUT_SEC
from llmc.store.database.opening import connect_untouched, find_damage
from llmc.store.store import Store

CHECK_SECONDS = 20.0
LITTLE_SPACE = 500 * 2**20
"""Bytes: an index of 100,000 spans with enrichments takes a few hundred MiB."""

_GPU_QUERY = ("--query-gpu=name,memory.total,memory.used,driver_version",)


def examine_repository(repo: Path, exclude: str, environ: Mapping[str, str]) -> list[Finding]:
    """Look at git and the ignore rules."""
    try:
        count = len(find_source_files(repo, exclude, environ))
    except ConfigError as error:
        return [Finding("repository", "git", "fail", str(error))]
    if not count:
        return [
            Finding("repository", "source files", "warn", "no file of a language that llmc knows")
        ]
    return [
        Finding(
            "repository",
            "source files",
            "ok",
            f"{count:,} to be indexed; git and the ignore rules work",
        )
    ]


def examine_index(place: IndexPlace) -> list[Finding]:
    """Look at the index without leaving a trace, and at the room for it."""
    path = place.path
    try:
        return [*_index(place), *_room(path)]
    except OSError as error:
        detail = f"{path} cannot be looked at: {error.strerror}"
        return [Finding("index", "index", "fail", detail)]


def _room(path: Path) -> list[Finding]:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        detail = f"{folder} is not a folder that can be written to"
        advice = "correct its permissions, or name another place in LLMC_RAG_INDEX_PATH"
        return [Finding("index", "folder", "fail", detail, advice)]
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:,.1f} GiB free"
    if free < LITTLE_SPACE:
        advice = "free some: what is stored stays safe, but a full disk stops a run"
        return [Finding("index", "disk", "warn", text, advice)]
    return [Finding("index", "disk", "ok", text)]


def _index(place: IndexPlace) -> list[Finding]:
    path = place.path
    if not os.path.lexists(path):
        return [Finding("index", "index", "info", f"{path}: none yet; a run makes it")]
    if path.exists() and not os.access(path, os.W_OK):
        detail = f"{path} is read-only"
        return [Finding("index", "index", "fail", detail, f"chmod u+w {path}")]
    return [_contents(place)]


def _contents(place: IndexPlace) -> Finding:
    path = place.path
    try:
        connection = connect_untouched(place)
        with Store(path, connection) as store:
            broken = find_damage(connection, path, CHECK_SECONDS)
            if broken:
                advice = f"make a copy, then: sqlite3 {path} .recover; or move it away"
                return Finding("index", "index", "fail", f"{path} is damaged: {broken}", advice)
            totals = store.counts.count_all()
    except CorruptIndexError as error:
        advice = "a run moves it aside, makes a new one and carries over what can still be read"
        return Finding("index", "index", "warn", str(error), advice)
    except StoreError as error:
        return Finding("index", "index", "fail", str(error))
    except TimeoutError as error:
        return Finding("index", "index", "info", f"{error}; the rest was not looked at")
    failed = sum(totals.failed.values())
    detail = f"{path}: sound; {totals.files:,} files, {totals.spans:,} spans, "
    detail += f"{totals.enriched:,} enriched, {totals.pending:,} pending, {failed:,} failed"
    return Finding("index", "index", "ok", detail)


def examine_gpu(search: SearchPath) -> Finding:
    """Look at the GPUs of this machine, as the nvidia-smi found by `search` tells them."""
    program = search.find("nvidia-smi")
    if program is None:
        detail = "no NVIDIA GPU found (there is no nvidia-smi)"
        return Finding("this machine", "GPU", "info", detail)
    try:
        result = subprocess.run(
            [program, *_GPU_QUERY, "--format=csv,noheader,nounits"],
            cwd=NEUTRAL_FOLDER,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=QUERY_TIMEOUT_SEC,
            check=True,
        )
        shown = [_gpu(line) for line in result.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        detail = f"nvidia-smi does not work: {type(error).__name__}"
        return Finding("this machine", "GPU", "warn", detail, "nvidia-smi")
    if not shown:
        return Finding("this machine", "GPU", "info", "nvidia-smi names none")
    return Finding("this machine", "GPU", "ok", "; ".join(shown))


def _gpu(line: str) -> str:
    name, total, used, driver = (part.strip() for part in line.rsplit(",", 3))
    known = used.isdecimal() and total.isdecimal()  # a part of a GPU (MIG) says [N/A]
    memory = f"{int(used) / 1024:.1f} of {int(total) / 1024:.1f} GiB used" if known else "in parts"
    return f"{name}, {memory}, driver {driver}"
