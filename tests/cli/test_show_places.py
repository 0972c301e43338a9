"""`llmc show` takes a file, a line or lines of it, and says why it has nothing to show."""

import os
import subprocess
import sys

import pytest


def llmc(*words, env, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "llmc", *map(str, words)],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def indexed(repo, clean_environ):
    llmc("index", repo, env=clean_environ)
    return repo


def symbols(result):
    """Return the names of the spans that were shown."""
    assert result.returncode == 0, result.stderr
    heads = [line for line in result.stdout.splitlines() if line.startswith("small.py:")]
    return [line.split()[1] for line in heads]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (":4", ["add"]),
        (":4-6", ["add"]),
        (":5-9", ["add", "greet"]),
        (":1-3", []),
        (":6-999999999999999999999", ["add", "greet", "Counter", "Counter.__init__",
                                     "Counter.tick"]),
        (":4:12", ["add"]),
    ],
)  # fmt: skip
def test_lines_choose_the_spans_that_lie_in_them(indexed, clean_environ, lines, expected):
    shown = llmc("show", f"small.py{lines}", "--repo", indexed, env=clean_environ)
    assert symbols(shown) == expected
    assert shown.stderr == ""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(":0", "counted from 1"), (":0-3", "counted from 1"), (":5-4", "end before they begin")],
)
def test_lines_that_cannot_be_are_refused(indexed, clean_environ, lines, expected):
    result = llmc("show", f"small.py{lines}", "--repo", indexed, env=clean_environ)
    assert result.returncode == 2
    assert expected in result.stderr


def test_a_line_between_spans_is_told_so(indexed, clean_environ):
    result = llmc("show", "small.py:2-3", "--repo", indexed, env=clean_environ)
    assert result.stdout == (
        "no span at lines 2-3 of small.py; all that it has: llmc show small.py\n"
    )


def test_a_file_whose_name_ends_like_a_line_is_found(repo, clean_environ):
    (repo / "odd:7").write_text("#!/usr/bin/env python\ndef one():\n    return 1\n")
    llmc("index", repo, env=clean_environ)
    assert "one" in llmc("show", "odd:7", "--repo", repo, env=clean_environ).stdout


def test_a_path_may_be_relative_to_a_folder_of_the_repository(repo, clean_environ):
    (repo / "deep").mkdir()
    (repo / "deep/x.py").write_text("def one():\n    return 1\n")
    llmc("index", repo, env=clean_environ)
    assert "one" in llmc("show", "x.py:1", env=clean_environ, cwd=repo / "deep").stdout


def test_last_and_a_path_do_not_go_together(indexed, clean_environ):
    result = llmc("show", "small.py", "--last", 2, "--repo", indexed, env=clean_environ)
    assert result.returncode == 2
    assert "--last is for the whole repository" in result.stderr


# -- why not -------------------------------------------------------------------------------------


def _submodule(repo):
    subprocess.run(["git", "init", "-q", repo / "inner"], check=True)
    (repo / "inner/a.py").write_text("def a():\n    return 1\n")


def _link(repo):
    (repo / "link.py").symlink_to("small.py")


def _linked_folder(repo):
    (repo / "real").mkdir()
    (repo / "real/a.py").write_text("def a():\n    return 1\n")
    (repo / "linked").symlink_to("real")


ABSENT = {
    "an unknown language": ("note.R", "it is in no language that llmc knows (.R)"),
    "a name without a suffix": ("LICENSE", "it is in no language that llmc knows"),
    "no such file": ("nowhere.py", "there is no such file"),
    "a file elsewhere": ("/etc/hosts", "it is outside of "),
    "a file above": ("../x.py", "it is outside of "),
    "ignored by git": ("old/a.py", "it is left out by 'old/' in line 2 of .gitignore"),
    "ignored by .ragignore": ("made.py", "it is left out by line 2 of .ragignore"),
    "excluded": ("vendor/a.py", "it is left out by 'vendor/', which is excluded"),
    "a repository of its own": ("inner/a.py", "inner is a repository of its own"),
    "a folder": ("vendor", "it is a folder"),
    "a link": ("link.py", "it is a link to "),
    "behind a link": ("linked/a.py", "linked is a link to "),
    "git's own": (".git/config", "it is one of git's own files"),
    "no plain file": ("pipe.py", "it is no plain file"),
    "unreadable": ("bad.py", "it could not be read: "),
    "new": ("new.py", "it is new, or was changed, since the last llmc index"),
}


@pytest.fixture
def full(repo, clean_environ):
    """A repository with one of each file that is not in its index, and its environment."""
    (repo / ".gitignore").write_text("# built\nold/\n")
    (repo / ".ragignore").write_text("# generated\nmade.*\n")
    for name in ("note.R", "LICENSE", "old/a.py", "made.py", "vendor/a.py"):
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text("def a():\n    return 1\n")
    (repo / "bad.py").write_bytes(b"\xff\xff")
    os.mkfifo(repo / "pipe.py")
    for make in (_submodule, _link, _linked_folder):
        make(repo)
    clean_environ["LLMC_RAG_EXCLUDE"] = "vendor/"
    llmc("index", repo, env=clean_environ)
    (repo / "new.py").write_text("def new():\n    return 1\n")
    return repo


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_not_in_the_index_is_told_with_the_reason(full, clean_environ, name):
    path, expected = ABSENT[name]
    result = llmc("show", path, "--repo", full, env=clean_environ, cwd="/")
    assert result.returncode == 2
    assert f"is not in the index: {expected}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_same_name_elsewhere_is_suggested(full, clean_environ):
    result = llmc("show", "src/small.py", "--repo", full, env=clean_environ, cwd="/")
    assert "did you mean 'small.py'?" in result.stderr


def test_a_file_that_has_changed_is_said(indexed, clean_environ):
    (indexed / "small.py").write_text("def other():\n    return 3\n")
    result = llmc("show", "small.py", "--repo", indexed, env=clean_environ)
    assert "add" in result.stdout
    assert "'small.py' has changed since it was indexed" in result.stderr


def test_a_file_that_was_only_touched_has_not_changed(indexed, clean_environ):
    os.utime(indexed / "small.py", (1, 1))
    assert llmc("show", "small.py", "--repo", indexed, env=clean_environ).stderr == ""


def test_a_file_that_is_gone_is_said(indexed, clean_environ):
    (indexed / "small.py").unlink()
    result = llmc("show", "small.py", "--repo", indexed, env=clean_environ)
    assert "add" in result.stdout
    assert "'small.py' is not there any more" in result.stderr


def test_a_bare_repository_is_told_from_none(tmp_path, clean_environ):
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "x.git"], check=True)
    result = llmc("status", tmp_path / "x.git", env=clean_environ)
    assert result.returncode == 2
    assert "is a bare repository" in result.stderr


# -- in a pipe -----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("show", "small.py"), ("status",), ("doctor", "--no-trial")])
def test_no_line_is_broken_or_filled_up_in_a_pipe(indexed, clean_environ, words):
    def said(columns):
        place = ["--repo", indexed] if words[0] == "show" else [indexed]
        result = llmc(*words, *place, env=clean_environ | {"COLUMNS": columns})
        return result.stdout.splitlines()

    assert len(said("30")) == len(said("500")) > 2
    assert [line for line in said("200") if line != line.rstrip()] == []


@pytest.mark.parametrize(
    "command", ["show small.py --repo", "status", "index", "doctor --no-trial"]
)
def test_a_reader_that_leaves_at_once_is_no_trouble(indexed, clean_environ, command):
    line = f"(sleep 0.5; {sys.executable} -m llmc {command} {indexed}; echo $? >&2) | true"
    result = subprocess.run(
        ["bash", "-c", line], env=clean_environ, capture_output=True, text=True, check=False
    )
    assert result.stderr.splitlines()[-1] == "141"
    assert "Traceback" not in result.stderr
