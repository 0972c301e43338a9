"""Where a command works: no bare repository, and one that can't be written to."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmc.settings.environment import find_logs
from llmc.testing.ollama import FakeOllama

ROOT = Path(__file__).parents[2]
GOOD = {"summary_120w": "Does what it says."}


def llmc(*words, env, **how):
    command = [sys.executable, "-m", "llmc", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120, **how
    )


@pytest.mark.parametrize("below", ["", "refs"])
def test_a_bare_repository_is_refused_with_what_to_do(tmp_path, clean_environ, below):
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    result = llmc("index", bare / below, env=clean_environ)
    assert result.returncode == 2
    assert f"{bare} is a bare repository" in result.stderr
    assert f"git clone {bare}" in result.stderr


def bind_root() -> None:
    """Take from root, before a program starts, the power to write where nobody may."""
    ctypes.CDLL(None).prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


def test_a_repository_that_cannot_be_written_to_has_its_logs_beside_its_index(
    repo, tmp_path, clean_environ
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    how = {"preexec_fn": bind_root} if os.geteuid() == 0 else {}
    repo.chmod(0o555)
    with FakeOllama(lambda call: GOOD) as fake:
        env = clean_environ | {
            "ENRICH_OLLAMA_HOSTS": fake.url,
            "LLMC_RAG_INDEX_PATH": str(elsewhere / "index.db"),
        }
        result = llmc("enrich", repo, "--limit", 2, env=env, **how)
    assert result.returncode == 0, result.stderr
    assert f"can't be written to; the logs are in {elsewhere / 'logs'}" in result.stderr
    lines = (elsewhere / "logs/enrichment_metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["schema_ok"] for line in lines] == [True, True]
    assert len((elsewhere / "logs/run_ledger.log").read_text().splitlines()) == 2
    assert not (repo / "logs").exists()
    checked = llmc("ledger", "check", repo, env=env, **how)
    assert "logs and index agree" in checked.stdout, checked.stderr


def test_logs_stay_in_a_repository_that_can_be_written_to(repo, tmp_path):
    assert find_logs(repo, tmp_path / "index.db") == repo / "logs"
