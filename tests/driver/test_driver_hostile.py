"""The batch driver against what servers, programs, sources and repositories may put in its way."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmc.testing import faults
from llmc.testing.gateway import gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama, Reply
from llmc.testing.script import Scripted
from tests.driving import NO_HOST, Piece, Replies, Repo, drive, make_repo, plain

RED = "\x1b[31m"


@pytest.fixture
def host() -> Iterator[FakeOllama]:
    """A host that always answers well."""
    with FakeOllama() as fake:
        yield fake


def is_harmless(text: str) -> bool:
    """Tell if nothing in a text is control for a terminal."""
    return all(char == "\n" or char.isprintable() for char in text)


ERRORS = {
    "half a surrogate pair": faults.HttpStatus(500, "RED \ud800 evil"),
    "half a pair in a reply": faults.HttpStatus(200, body=b'{"error": "\\ud800"}\n'),
    "escapes": faults.HttpStatus(500, f"{RED}RED\x07\x9b"),
    "escapes in a bare body": faults.HttpStatus(500, body=b"\x1b[31mRED \xff raw"),
    "a stream's error": faults.StreamError(f"{RED}RED \ud800"),
    "an unknown key": Reply(text=json.dumps({f"{RED}\ud800key": 1})),
}


@pytest.mark.parametrize("answer", ERRORS.values(), ids=ERRORS.keys())
def test_what_a_server_says_of_a_failure_is_printed_as_text(
    tmp_path: Path, answer: Scripted
) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"), plain("two"))
    with FakeOllama(lambda call: answer) as fake:
        run = drive(repo, "--retries", 1, hosts={"a": fake})
    assert run.status == 0
    assert run.stdout.count("failed src/") == 2
    assert is_harmless(run.stdout)
    assert len(run.ledger) == len(run.metrics) == 2


def test_a_server_cannot_fake_a_line(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    said = {"error": "oops\nenriched src/one.py:1-3 one with m [7b]"}
    answer = faults.HttpStatus(200, body=json.dumps(said) + "\n")
    with FakeOllama(lambda call: answer) as fake:
        run = drive(repo, "--retries", 1, hosts={"a": fake})
    failed, end = run.stdout.splitlines()
    assert failed.startswith("failed src/one.py:1-3 one after ")
    assert failed.endswith("oops enriched src/one.py:1-3 one with m [7b]")
    assert end == "0 enriched, 1 failed, 0 left"


def test_a_host_s_label_is_printed_as_text(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    run = drive(repo, env={"ENRICH_OLLAMA_HOSTS": f"at{RED}tic=http://127.0.0.1:9"})
    assert run.status == 2
    assert "no Ollama host answers; tried: at\ufffd[31mtic" in run.stderr
    assert is_harmless(run.stderr)


def test_a_symbol_is_printed_as_text(tmp_path: Path, host: FakeOllama) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    repo.execute("UPDATE spans SET symbol = ?", f"o\n{RED}ne")
    run = drive(repo, hosts={"a": host})
    assert run.stdout.startswith("enriched src/one.py:1-3 o \ufffd[31mne with ")
    assert is_harmless(run.stdout)


def test_a_prompt_is_printed_as_text(tmp_path: Path, host: FakeOllama) -> None:
    source = Piece("one", f"# mark:one {RED}\r\n# two  spaces\r\n")
    repo = make_repo(tmp_path / "repo", source)
    run = drive(repo, "--dry-run", hosts={"a": host})
    assert "# mark:one \ufffd[31m\n# two  spaces\n" in run.stdout
    assert is_harmless(run.stdout)


def test_what_cannot_be_encoded_for_the_output_is_escaped(tmp_path: Path, host: FakeOllama) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    repo.execute("UPDATE spans SET symbol = ?", "ñandú")
    env = {"PYTHONIOENCODING": "ascii"}
    run = drive(repo, "--repo", repo.root, hosts={"a": host}, env=env, bare=True)
    assert run.status == 0
    assert "src/one.py:1-3 \\xf1and\\xfa with" in run.stdout


def test_a_log_that_is_a_link_is_refused_before_the_first_call(
    tmp_path: Path, host: FakeOllama
) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    bashrc = tmp_path / "bashrc"
    bashrc.write_text("# mine\n")
    (repo.root / "logs").mkdir()
    (repo.root / "logs/run_ledger.log").symlink_to(bashrc)
    run = drive(repo, hosts={"a": host})
    assert run.status == 2
    assert "a link stands in its place: remove that" in run.stderr
    assert (bashrc.read_text(), host.calls) == ("# mine\n", ())


@pytest.mark.parametrize("place", ["logs", "logs/failed_enrichments"])
def test_a_folder_that_leads_out_gets_nothing_written(tmp_path: Path, place: str) -> None:
    repo = make_repo(tmp_path / "repo", plain("P_1"))
    (tmp_path / "outside").mkdir()
    (repo.root / place).parent.mkdir(exist_ok=True)
    (repo.root / place).symlink_to(tmp_path / "outside")
    with FakeOllama(Replies({"P_1": ['{"summary_120w": oops}']})) as fake:
        run = drive(repo, "--retries", 1, hosts={"a": fake})
    assert run.status == 2
    assert "leads out of the repository" in run.stderr
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_pipe_as_the_log_is_refused_and_not_waited_for(tmp_path: Path, host: FakeOllama) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    os.mkfifo(tmp_path / "pipe")
    run = drive(repo, "--log", tmp_path / "pipe", hosts={"a": host})
    assert run.status == 2
    assert "pipe: it is no file" in run.stderr
    assert host.calls == ()


def program(path: Path, text: str) -> Path:
    """Write a gateway program for the shell."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def through(repo: Repo, gateway: Path, *flags: object) -> str:
    """Run the driver with a gateway program; return what it printed."""
    words = ("--api", "--gateway-path", gateway, "--retries", 1, *flags)
    run = drive(repo, *words, env=NO_HOST)
    assert run.status == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("text", ["exec yes", "exec yes >&2"], ids=["output", "errors"])
def test_a_program_that_prints_without_end_is_ended(tmp_path: Path, text: str) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    said = through(repo, program(tmp_path / "gateway", text), "--gateway-timeout", 60)
    assert "printed more than 64 MiB" in said


def test_a_long_prompt_and_a_long_answer_pass_each_other(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    gateway = program(
        tmp_path / "gateway",
        "head -c 1000000 /dev/zero | tr '\\0' ' '; head -c 1000000 /dev/zero >&2\n"
        """cat > /dev/null; echo '{"summary_120w": "Adds."}'""",
    )
    assert "1 enriched, 0 failed" in through(repo, gateway)


def test_a_program_that_ends_its_output_and_lives_on_is_ended(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    gateway = program(tmp_path / "gateway", "exec >&- 2>&-; sleep 600")
    assert "gave no answer in 1 s" in through(repo, gateway, "--gateway-timeout", 1)


def test_what_a_program_says_of_its_failure_is_printed_as_text(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    gateway = program(tmp_path / "gateway", "printf '\\033[31mRED\\nenriched x\\377' >&2; exit 3")
    said = through(repo, gateway)
    assert "exited with status 3: \ufffd[31mRED enriched x\ufffd" in said
    assert is_harmless(said)


def test_a_model_s_name_is_printed_as_text(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", plain("one"))
    gateway = write_gateway(tmp_path / "gateway")
    env = {**NO_HOST, "GEMINI_MODEL": f"m{RED}"}
    run = drive(repo, "--api", "--gateway-path", gateway, env=env)
    assert len(gateway_calls(gateway)) == 1
    assert "with m\ufffd[31m [" in run.stdout
