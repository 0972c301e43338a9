"""Which files of a repository are listed, in which order, and which are ignored, with real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from llmc.errors import ConfigError
from llmc.indexer.files import Ignored, find_source_files


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "--quiet")
    return folder


def write(folder: Path, *paths: str, text: str = "x = 1\n") -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def test_code_comes_first_then_tests_then_documents(repo: Path) -> None:
    code = ["a/contest.py", "b.go", "latest.py", "z.py"]
    tests = [
        "a/x.test.ts",
        "conftest.py",
        "src/__tests__/q.js",
        "test_z.py",
        "tests/h.py",
        "u_test.go",
    ]
    documents = ["README.md", "docs/a.md", "tests/README.md"]
    write(repo, *documents, *tests, *code)
    assert find_source_files(repo) == code + tests + documents


def test_tracked_and_new_files_are_listed_once(repo: Path) -> None:
    write(repo, "tracked.py", "new.py")
    git(repo, "add", "tracked.py")
    assert find_source_files(repo) == ["new.py", "tracked.py"]


def test_only_files_in_a_known_language_are_listed(repo: Path) -> None:
    write(repo, "a.py", "b.json", "LICENSE")
    write(repo, "run", text="#!/usr/bin/env bash\n:\n")
    assert find_source_files(repo) == ["a.py", "run"]


def test_names_with_blanks_and_other_letters_are_listed(repo: Path) -> None:
    write(repo, "a b.py", "é\n.py", ":(x).py")
    assert find_source_files(repo) == [":(x).py", "a b.py", "é\n.py"]


def test_a_file_deleted_from_the_work_tree_is_left_out(repo: Path) -> None:
    write(repo, "a.py", "gone.py")
    git(repo, "add", "--all")
    (repo / "gone.py").unlink()
    assert find_source_files(repo) == ["a.py"]


def test_a_file_that_git_ignores_is_left_out(repo: Path) -> None:
    write(repo, "a.py", "build/b.py")
    write(repo, ".gitignore", text="build/\n")
    assert find_source_files(repo) == ["a.py"]


def test_ragignore_is_read_as_a_gitignore(repo: Path) -> None:
    write(repo, "a.py", "gen/b.py", "gen/keep.py", "deep/gen/c.py", "old.py")
    write(repo, ".ragignore", text="# remark\n/gen/*\n!gen/keep.py\nold.py\n")
    assert find_source_files(repo) == ["a.py", "deep/gen/c.py", "gen/keep.py"]


def test_a_ragignore_that_is_not_text_is_a_config_error(repo: Path) -> None:
    (repo / ".ragignore").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"\.ragignore.*UTF-8"):
        find_source_files(repo)


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("", ["a.py", "gen/b.py", "gen/sub/c.py", "genuine.py"]),
        ("gen/", ["a.py", "genuine.py"]),
        ("gen*", ["a.py"]),
        ("*/c.py", ["a.py", "gen/b.py", "genuine.py"]),
        ("c.py", ["a.py", "gen/b.py", "gen/sub/c.py", "genuine.py"]),
        (" a.py , gen/sub/ ,,", ["gen/b.py", "genuine.py"]),
    ],
)
def test_exclude_takes_prefixes_and_patterns(repo: Path, exclude: str, left: list[str]) -> None:
    write(repo, "a.py", "gen/b.py", "gen/sub/c.py", "genuine.py")
    assert find_source_files(repo, exclude) == left


def test_links_are_left_out(repo: Path) -> None:
    write(repo, "a.py")
    (repo / "link.py").symlink_to("a.py")
    git(repo, "add", "--all")
    assert find_source_files(repo) == ["a.py"]


def test_a_folder_replaced_by_a_link_out_of_the_repository_is_left_out(repo: Path) -> None:
    write(repo, "a.py", "sub/b.py")
    git(repo, "add", "--all")
    (repo / "sub").rename(repo.parent / "outside")
    (repo / "sub").symlink_to(repo.parent / "outside")
    assert find_source_files(repo) == ["a.py"]


def test_a_repository_inside_is_left_out(repo: Path) -> None:
    write(repo, "a.py", "inner/b.py")
    git(repo / "inner", "init", "--quiet")
    assert find_source_files(repo) == ["a.py"]


def test_a_folder_of_a_repository_is_listed_from_there(repo: Path) -> None:
    write(repo, "a.py", "sub/b.py")
    assert find_source_files(repo / "sub") == ["b.py"]


def test_a_folder_without_git_is_a_config_error_that_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    with pytest.raises(ConfigError, match=rf"{tmp_path}.*git init"):
        find_source_files(tmp_path)


def test_a_machine_without_git_is_told_so(repo: Path) -> None:
    with pytest.raises(ConfigError, match=r"git is needed .*install it"):
        find_source_files(repo, environ={"PATH": str(repo)})


def test_ignored_takes_all_three_rules_together(repo: Path) -> None:
    write(repo, ".gitignore", text="*.log\nbuild/\n")
    write(repo, ".ragignore", text="vendor/\n")
    paths = ["a.py", "x.log", "build/b.py", "vendor/c.py", "gen/d.py"]
    ignored = Ignored(repo, "gen/")
    assert ignored.find_matching(paths) == {"x.log", "build/b.py", "vendor/c.py", "gen/d.py"}
    assert [path for path in paths if not ignored(path)] == ["a.py"]


def test_what_git_tracks_is_not_ignored_by_git(repo: Path) -> None:
    write(repo, "kept.log")
    git(repo, "add", "kept.log")
    write(repo, ".gitignore", text="*.log\n")
    assert not Ignored(repo)("kept.log")


def test_paths_that_lead_out_count_as_ignored_and_spoil_no_other(repo: Path) -> None:
    (repo / "link").symlink_to(repo.parent)
    write(repo, ".gitignore", text="*.log\n")
    paths = ["a.py", "link/b.py", "x.log", "../c.py", "d.py"]
    assert Ignored(repo).find_matching(paths) == {"link/b.py", "x.log", "../c.py"}


def test_a_path_that_begins_like_a_git_pattern_is_taken_as_it_is(repo: Path) -> None:
    write(repo, ".gitignore", text="*.log\n")
    assert Ignored(repo).find_matching([":(x).log", ":(x).py"]) == {":(x).log"}


def test_without_a_repository_the_other_rules_still_hold(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path, ".gitignore", text="*.log\n")
    write(tmp_path, ".ragignore", text="vendor/\n")
    assert Ignored(tmp_path, "*.md").find_matching(["a.log", "vendor/b.py", "c.md"]) == {
        "vendor/b.py",
        "c.md",
    }


def test_nothing_asked_is_nothing_ignored(repo: Path) -> None:
    assert Ignored(repo).find_matching([]) == set()
