"""No program of a repository is started in the place of the user's, and none is told too much."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmc.programs.launching import SearchPath, make_git_environ, pick_listed, pick_minimal


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    program(folder / "bin/git")
    program(folder / "git")
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return program(tmp_path / "own/git")


@pytest.mark.parametrize("first", [".", "", "bin", "./bin", "REPO", "REPO/bin", "LINK"])
def test_a_folder_of_the_repository_or_a_relative_one_is_passed_over(
    repo: Path, own: Path, tmp_path: Path, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(repo / "bin")
    monkeypatch.chdir(repo)
    named = first.replace("REPO", str(repo)).replace("LINK", str(tmp_path / "link"))
    search = SearchPath.of({"PATH": f"{named}:{own.parent}"}, repo)
    assert search.find("git") == str(own)
    assert str(search) == str(own.parent)


def test_a_link_to_a_file_of_the_repository_is_passed_over(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links/git").symlink_to(repo / "git")
    assert SearchPath.of({"PATH": str(tmp_path / "links")}, repo).find("git") is None


def test_the_first_that_can_be_executed_is_found(tmp_path: Path) -> None:
    (tmp_path / "folder/git").mkdir(parents=True)
    program(tmp_path / "data/git").chmod(0o644)
    own = program(tmp_path / "own/git")
    folders = [str(tmp_path / name) for name in ("nowhere", "folder", "data", "own")]
    assert SearchPath.of({"PATH": os.pathsep.join(folders)}).find("git") == str(own)


def test_without_a_path_the_systems_own_counts() -> None:
    assert SearchPath.of({}).folders == tuple(os.defpath.split(":"))


def test_a_program_gets_what_every_program_needs_and_no_key() -> None:
    everyday = {"HOME": "/h", "LANG": "C", "LC_ALL": "C", "XDG_CONFIG_HOME": "/c", "TZ": "UTC"}
    secret = {"AWS_SECRET_ACCESS_KEY": "s", "OPENAI_API_KEY": "o", "LD_PRELOAD": "/x.so"}
    search = SearchPath(("/usr/bin",))
    assert pick_minimal(everyday | secret, search) == everyday | {"PATH": "/usr/bin"}


def test_only_listed_variables_that_are_set_are_passed_on() -> None:
    assert pick_listed({"A": "1", "B": "2"}, ["A", "C"]) == {"A": "1"}


def test_git_keeps_its_users_settings_and_is_told_of_no_other_repository() -> None:
    told = make_git_environ(
        {
            "HOME": "/h",
            "GIT_CONFIG_GLOBAL": "/h/git",
            "GIT_CONFIG_COUNT": "0",
            "GIT_DIR": "/other/.git",
            "GIT_INDEX_FILE": "/other/index",
            "GIT_ALLOW_PROTOCOL": "ext",
        }
    )
    assert told["GIT_CONFIG_GLOBAL"] == "/h/git"
    assert told["GIT_ALLOW_PROTOCOL"] == "none"
    assert not told.keys() & {"GIT_DIR", "GIT_INDEX_FILE"}
