"""`llmc trust` shows what would be allowed and asks; enrich and doctor ask on the spot."""

from __future__ import annotations

import json
import os
import pty
import select
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from llmc.cli import main
from llmc.settings.documents import CONFIG_FILE
from llmc.settings.environment import DEFAULT_INDEX
from llmc.settings.loading import load_settings
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.running import PATIENCE_SEC, entry

AWAY = "http://away.example:8000/v1"

ON_A_TERMINAL = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))  # so it controls this session: Ctrl-C reaches it
os.execv(sys.executable, [sys.executable, "-m", "llmc", *sys.argv[1:]])
"""


def run(*words: object) -> int:
    return main(["trust", *map(str, words)])


@pytest.mark.usefixtures("at_home")
def test_without_a_terminal_nobody_is_asked_and_nothing_trusted(
    repo: Path, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    assert run(repo) == 2
    told = capsys.readouterr().err
    assert "send your code to http://away.example:8000" in told
    assert "--yes" in told
    assert not own_folder.exists()


@pytest.mark.usefixtures("at_home")
def test_revoked_for_a_program_it_is_told_in_json(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    assert run("--yes", repo) == 0
    capsys.readouterr()
    assert run("--revoke", "--json", repo) == 0
    assert json.loads(capsys.readouterr().out) == {
        "repository": str(repo.resolve()),
        "revoked": True,
    }
    assert run("--revoke", "--json", repo) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("flag", ["--quiet", "--json"])
def test_however_quiet_a_run_is_it_says_whose_address_gave_way(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    with FakeOllama() as mine, FakeOllama() as theirs:
        monkeypatch.setenv("ENRICH_OLLAMA_HOSTS", mine.url)
        (repo / CONFIG_FILE).write_text(entry("x", url=theirs.url, model="their:7b"))
        assert main(["enrich", str(repo), flag]) == 0
    assert capsys.readouterr().err.count("'x' is asked at your own hosts") == 1


@pytest.mark.usefixtures("at_home")
def test_yes_agrees_to_what_is_shown(
    repo: Path, own_environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    assert run("--yes", repo) == 0
    assert "away.example" in capsys.readouterr().err
    assert load_settings(repo, environ=own_environ).sources.trusted
    assert run(repo) == 0


@pytest.mark.usefixtures("at_home")
def test_what_a_chain_asks_that_is_not_chosen_is_shown_too(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / CONFIG_FILE).write_text(entry("a") + entry("x", url=AWAY, chain="other"))
    run(repo)
    assert "away.example" in capsys.readouterr().err


@pytest.mark.usefixtures("at_home")
def test_a_change_is_shown(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    run("--yes", repo)
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY, api_key_env="K\x00".rstrip("\x00")))
    capsys.readouterr()
    assert run(repo) == 2
    assert '+api_key_env = "K"' in capsys.readouterr().err


@pytest.mark.usefixtures("at_home")
def test_what_asks_for_nothing_is_not_stored(
    repo: Path, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(repo) == 0
    assert "asks for nothing" in capsys.readouterr().out
    assert not own_folder.exists()


@pytest.mark.usefixtures("at_home")
def test_list_and_revoke(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    run("--yes", repo)
    capsys.readouterr()
    assert run("--list") == 0
    listed = capsys.readouterr().out
    assert str(repo) in listed
    assert "away.example" in listed
    assert run("--revoke", repo) == 0
    assert run("--revoke", repo) == 2
    capsys.readouterr()
    run("--list", "--json")
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.usefixtures("at_home")
def test_a_repository_that_is_gone_can_be_revoked(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    run("--yes", repo)
    repo.rename(repo.with_name("moved"))
    assert run("--revoke", repo) == 0


@pytest.mark.usefixtures("at_home")
def test_json_tells_and_asks_nothing(
    repo: Path, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    assert run("--json", repo) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["trusted"], [need["kind"] for need in told["asks"]]) == (False, ["host"])
    assert not own_folder.exists()
    assert run("--json", "--yes", repo) == 0


# The question, on a terminal


class Terminal:
    """A command on a terminal of its own; what it says is read as it comes."""

    def __init__(self, env: Mapping[str, str], *words: object) -> None:
        self._main, self._its = pty.openpty()
        self.said = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, *map(str, words)],
            env=env,
            stdin=self._its,
            stdout=self._its,
            stderr=self._its,
            start_new_session=True,
        )

    def type(self, keys: str) -> None:
        os.write(self._main, keys.encode())

    def read_until(self, text: str) -> None:
        while text not in self.said:
            ready, _, _ = select.select([self._main], [], [], PATIENCE_SEC)
            assert ready, self.said
            self.said += os.read(self._main, 4096).decode()

    def end(self) -> int:
        status = self._process.wait(PATIENCE_SEC)
        while select.select([self._main], [], [], 0)[0]:
            self.said += os.read(self._main, 4096).decode()
        return status

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._its)[3] & termios.ECHO)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._main)
        os.close(self._its)


Start = Callable[..., Terminal]


@pytest.fixture
def terminal(own_environ: dict[str, str]) -> Iterator[Start]:
    opened: list[Terminal] = []

    def start(*words: object) -> Terminal:
        opened.append(Terminal(own_environ, *words))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.mark.parametrize(
    ("key", "agreed"), [("y", True), ("Y", True), ("n", False), ("\r", False), ("\x04", False)]
)
def test_one_key_answers(
    terminal: Start, repo: Path, own_environ: dict[str, str], key: str, agreed: bool
) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    asked = terminal("trust", repo)
    asked.read_until("[y/N]")
    asked.type(key)
    assert asked.end() == (0 if agreed else 2)
    assert "send your code to http://away.example:8000" in asked.said
    assert load_settings(repo, environ=own_environ).sources.trusted is agreed
    assert asked.echoes


def test_what_was_typed_ahead_is_no_answer(
    terminal: Start, repo: Path, own_environ: dict[str, str]
) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    asked = terminal("trust", repo)
    asked.type("yyyyy")
    asked.read_until("[y/N]")
    asked.type("n")
    assert asked.end() == 2
    assert not load_settings(repo, environ=own_environ).sources.trusted


def test_ctrl_c_gives_the_terminal_back(
    terminal: Start, repo: Path, own_environ: dict[str, str]
) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    asked = terminal("trust", repo)
    asked.read_until("[y/N]")
    asked.type("\x03")
    assert asked.end() == 130
    assert asked.echoes
    assert not load_settings(repo, environ=own_environ).sources.trusted


@pytest.mark.parametrize(("key", "status"), [("y", 0), ("n", 2)])
def test_enrich_asks_on_the_spot_and_goes_on(
    terminal: Start, repo: Path, own_environ: dict[str, str], key: str, status: int
) -> None:
    with FakeOpenAI() as fake:
        (repo / CONFIG_FILE).write_text(
            entry("x", provider="openai", url=f"{fake.url}/v1", model="m", api_key_env="KEY")
        )
        own_environ["KEY"] = "the-key"
        asked = terminal("enrich", repo)
        asked.read_until("[y/N]")
        assert fake.calls == ()
        asked.type(key)
        assert asked.end() == status
    assert bool(fake.calls) is (key == "y")


def test_a_file_that_changes_while_it_is_asked_about_is_not_trusted(
    terminal: Start, repo: Path, own_environ: dict[str, str]
) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    asked = terminal("enrich", repo)
    asked.read_until("[y/N]")
    (repo / CONFIG_FILE).write_text(entry("x", url="http://worse.example"))
    asked.type("y")
    assert asked.end() == 2
    assert "worse.example" in asked.said
    assert not load_settings(repo, environ=own_environ).sources.trusted


def test_in_json_nobody_is_asked(terminal: Start, repo: Path) -> None:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    asked = terminal("enrich", "--json", repo)
    assert asked.end() == 2
    assert "[y/N]" not in asked.said


@pytest.mark.parametrize(("key", "status"), [("y", 0), ("n", 1)])
@pytest.mark.usefixtures("at_home")
def test_adopt_asks_in_the_same_way_and_takes_nothing_typed_ahead(
    terminal: Start, repo: Path, capsys: pytest.CaptureFixture[str], key: str, status: int
) -> None:
    assert main(["index", str(repo)]) == 0
    with closing(sqlite3.connect(repo / DEFAULT_INDEX)) as index, index:
        index.execute(
            "INSERT INTO enrichments (span_hash, summary) SELECT span_hash, 'x' FROM spans LIMIT 1"
        )
    asked = terminal("adopt", repo)
    asked.type("yyyyy" if key == "n" else "n")
    asked.read_until("[y/N]")
    asked.type(key)
    assert asked.end() == status
    capsys.readouterr()
    assert main(["status", str(repo), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["adopted"] == (key == "y")
