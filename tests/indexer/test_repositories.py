"""Repositories of other kinds: inside another one, without files, of another user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from llmc import engine
from llmc.errors import ConfigError
from llmc.events import Warned
from llmc.indexer.files import Nested, find_source_files, survey
from llmc.settings.loading import load_settings


def git(*words: str | Path, env: dict[str, str]) -> None:
    mine = {"GIT_CONFIG_GLOBAL": os.devnull, "EMAIL": "a@example.com"}
    settings = ("-c", "protocol.file.allow=always", "-c", "user.name=a")
    subprocess.run(["git", *settings, *words], env=env | mine, check=True, capture_output=True)


@pytest.fixture
def other(tmp_path: Path, clean_environ: dict[str, str]) -> Path:
    """Another repository, with two source files and one that is none."""
    root = tmp_path / "other"
    git("init", "-q", root, env=clean_environ)
    for name in ("a.py", "b.md", "c.bin"):
        (root / name).write_text("# x\n")
    git("-C", root, "add", "-A", env=clean_environ)
    git("-C", root, "commit", "-qm", "x", env=clean_environ)
    return root


def test_a_submodule_is_named_with_the_number_of_its_files(repo, other, clean_environ):
    git("-C", repo, "submodule", "add", "-q", other, "lib/sub", env=clean_environ)
    files, nested = survey(repo, "", clean_environ)
    assert files == ["small.py"]
    assert nested == [Nested("lib/sub", is_submodule=True, files=2)]


def test_so_is_a_repository_that_merely_lies_in_it(repo, other, clean_environ):
    other.rename(repo / "nested")
    assert survey(repo, "", clean_environ)[1] == [Nested("nested", is_submodule=False, files=2)]


@pytest.mark.parametrize("exclude", ["nested/", "nes*"])
def test_one_that_is_excluded_is_not_mentioned(repo, other, clean_environ, exclude):
    other.rename(repo / "nested")
    assert survey(repo, exclude, clean_environ)[1] == []


def test_one_without_files_or_not_fetched_is_not_mentioned(repo, clean_environ):
    git("init", "-q", repo / "empty", env=clean_environ)
    (repo / "folder").mkdir()
    assert survey(repo, "", clean_environ)[1] == []


def test_index_says_what_was_left_out_and_how_to_index_it(repo, other, clean_environ):
    other.rename(repo / "nested")
    told = []
    engine.index(repo, load_settings(repo, environ=clean_environ), hooks=[told.append])
    [warned] = [event.message for event in told if isinstance(event, Warned)]
    assert warned == (
        "left out: 2 files in nested repository nested; index it by itself: "
        f"llmc index {repo / 'nested'}"
    )


def test_a_bare_repository_is_called_that(other, tmp_path, clean_environ):
    git("clone", "-q", "--bare", other, tmp_path / "bare.git", env=clean_environ)
    with pytest.raises(ConfigError, match=r"is a bare repository.*git clone"):
        find_source_files(tmp_path / "bare.git", "", clean_environ)


def test_so_is_one_under_the_name_of_a_work_trees(other, tmp_path, clean_environ):
    git("clone", "-q", "--bare", other, tmp_path / "w/.git", env=clean_environ)
    with pytest.raises(ConfigError, match="is a bare repository"):
        find_source_files(tmp_path / "w", "", clean_environ)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_of_a_repository_of_another_user_gits_own_remedy_is_told(repo, clean_environ):
    os.chown(repo, 12345, -1)
    os.chown(repo / ".git", 12345, -1)
    with pytest.raises(ConfigError) as caught:
        find_source_files(repo, "", clean_environ)
    assert str(caught.value).endswith(f"git config --global --add safe.directory {repo}")
