"""An archive can hold a whole `.git`, settings and all: looking at it runs none of its programs.

Each trap is sprung by plain git, which shows that it works, and not by ours.
"""

import os
import resource
import subprocess
from pathlib import Path

import pytest

from llmc.errors import ConfigError
from llmc.indexer.files import Ignored, find_source_files
from llmc.programs.git import Git
from llmc.programs.launching import SearchPath

CODE = "def f():\n    return 1\n"


def git(repo, *words, check=True, **environ):
    return subprocess.run(
        ["git", "-C", repo, "-c", "user.name=x", "-c", "user.email=x@x", *words],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
        check=check,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture
def trap(tmp_path):
    """A program that leaves a mark when it is run, and the mark."""
    mark = tmp_path / "mark"
    program = tmp_path / "trap.sh"
    program.write_text(f"#!/bin/sh\necho $0 $* >> {mark}\nexit 1\n")
    program.chmod(0o755)
    return program, mark


@pytest.fixture
def repo(tmp_path):
    root = tmp_path / "hostile"
    root.mkdir()
    git(root, "init", "-q")
    for path in ("a.py", "in/b.py", "out/c.py"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(CODE)
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    return root


def looked_at(repo):
    """Ask all that is asked of a repository."""
    try:
        found = find_source_files(repo, environ=dict(os.environ))
    except ConfigError:
        found = []
    Ignored(repo, environ=dict(os.environ)).find_matching(["a.py", "x.log", "out/c.py"])
    return found


def test_a_program_that_is_to_watch_the_files_is_not_run(repo, trap):
    program, mark = trap
    git(repo, "config", "core.fsmonitor", str(program))
    git(repo, "status")
    assert mark.exists(), "the trap works"
    mark.unlink()
    assert looked_at(repo) == ["a.py", "in/b.py", "out/c.py"]
    assert not mark.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"remote.origin.url": "ext::TRAP", "protocol.ext.allow": "always"},
        {"remote.origin.url": "ssh://box/x", "core.sshCommand": "TRAP"},
        {"remote.origin.url": ".", "remote.origin.uploadpack": "TRAP"},
        {"remote.origin.url": "x", "remote.origin.vcs": "trap", "protocol.allow": "always"},
    ],
    ids=["ext", "ssh", "upload-pack", "helper"],
)
def test_no_promised_object_is_fetched(repo, trap, settings, monkeypatch):
    """A sparse index leaves out folders, and a missing tree of one would be fetched to list it."""
    program, mark = trap
    program.with_name("git-remote-trap").symlink_to(program)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    git(repo, "sparse-checkout", "set", "--cone", "--sparse-index", "in")
    tree = git(repo, "rev-parse", "HEAD:out").strip()
    for name, value in {
        **settings,
        "extensions.partialClone": "origin",
        "core.repositoryformatversion": "1",
        "remote.origin.promisor": "true",
    }.items():
        git(repo, "config", name, value.replace("TRAP", str(program)))
    (repo / ".git/objects" / tree[:2] / tree[2:]).unlink()
    git(repo, "ls-files", check=False, PATH=os.environ["PATH"])
    assert mark.exists(), "the trap works"
    mark.unlink()
    assert looked_at(repo) == ["a.py", "in/b.py"]
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["core.hooksPath", "core.pager", "pager.ls-files", "alias.ls-files"]
)
def test_no_other_program_of_the_settings_is_run(repo, trap, name):
    program, mark = trap
    hooks = program.with_name("hooks")
    hooks.mkdir()
    for hook in ("post-index-change", "reference-transaction"):
        (hooks / hook).symlink_to(program)
    value = {"core.hooksPath": str(hooks), "alias.ls-files": f"!{program}"}.get(name, str(program))
    git(repo, "config", name, value)
    assert looked_at(repo) == ["a.py", "in/b.py", "out/c.py"]
    assert not mark.exists()


@pytest.mark.parametrize("folder", [".", "", "bin", "REPO/bin"])
def test_the_repositorys_own_git_is_not_run(repo, trap, folder, monkeypatch):
    program, mark = trap
    (repo / "bin").mkdir()
    for place in ("git", "bin/git"):
        (repo / place).write_bytes(program.read_bytes())
        (repo / place).chmod(0o755)
    monkeypatch.chdir(repo)
    monkeypatch.setenv("PATH", f"{folder.replace('REPO', str(repo))}:{os.environ['PATH']}")
    subprocess.run(["git", "--version"], check=False, capture_output=True)
    assert mark.exists(), "the trap works"
    mark.unlink()
    assert "a.py" in looked_at(repo)
    assert not mark.exists()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the bound is Linux's")
def test_a_file_of_git_that_never_ends_does_not_eat_all_memory(repo):
    (repo / ".git/commondir").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="Out of memory"):
        find_source_files(repo, environ=dict(os.environ))


def test_no_library_of_the_repository_is_loaded(repo, monkeypatch):
    """Many have an empty part in this variable, which means the folder that they stand in."""
    (repo / "libc.so.6").write_text("not a library")
    monkeypatch.chdir(repo)
    monkeypatch.setenv("LD_LIBRARY_PATH", ":/nonexistent")
    with pytest.raises(subprocess.CalledProcessError):
        git(".", "status", LD_LIBRARY_PATH=":/nonexistent")
    assert find_source_files(Path(), environ=dict(os.environ)) == ["a.py", "in/b.py", "out/c.py"]


def test_a_work_tree_elsewhere_brings_in_no_file_of_it(repo, tmp_path):
    elsewhere = tmp_path / "private"
    elsewhere.mkdir()
    (elsewhere / "secret.py").write_text(CODE)
    for tree in (elsewhere, tmp_path):
        git(repo, "config", "core.worktree", str(tree))
        assert not any("secret" in path for path in looked_at(repo))


def test_a_hooks_variables_do_not_take_git_to_another_repository(repo, tmp_path, monkeypatch):
    """Git sets them for its hooks, and one of those may run llmc on another repository."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    (repo / ".gitignore").write_text("c.py\n")
    git(repo, "rm", "-q", "--cached", "out/c.py")
    assert looked_at(repo) == ["a.py", "in/b.py"]


def test_the_users_own_ignore_rules_hold(repo, tmp_path, monkeypatch):
    (tmp_path / "ignore").write_text("mine.py\n")
    (tmp_path / "config").write_text(f"[core]\n\texcludesFile = {tmp_path}/ignore\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    (repo / "mine.py").write_text(CODE)
    assert "mine.py" not in looked_at(repo)


def test_without_any_git_outside_the_repository_the_error_says_why(repo):
    (repo / "git").write_text("#!/bin/sh\n")
    (repo / "git").chmod(0o755)
    assert SearchPath.of({"PATH": str(repo)}, repo).find("git") is None
    with pytest.raises(ConfigError, match="don't count"):
        find_source_files(repo, environ={"PATH": f"{repo}:."})


def test_git_that_gives_no_answer_is_ended_in_time(repo, tmp_path):
    """As one does whose settings include a pipe that nobody fills."""
    os.mkfifo(repo / ".git/pipe")
    git(repo, "config", "include.path", "pipe")
    with pytest.raises(ConfigError, match=r"gave no answer about .* within 0\.2 s"):
        Git(repo, dict(os.environ))("ls-files", seconds=0.2)
