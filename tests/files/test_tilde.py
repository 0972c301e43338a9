"""`~` is a home in every path setting, not a folder of that name in the repository."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from llmc.errors import ConfigError
from llmc.files import home, tilde
from llmc.settings.environment import find_index_path, locate_index
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings

ME = pwd.getpwuid(os.getuid())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("~/x", "/home/ann/x"),
        ("~", "/home/ann"),
        (f"~{ME.pw_name}/x", f"{ME.pw_dir}/x"),
        ("./~/x", "./~/x"),
        ("a/~/x", "a/~/x"),
        ("", ""),
    ],
)
def test_it_stands_for_a_home_at_the_beginning_only(text: str, meant: str) -> None:
    assert tilde.expand(text, {"HOME": "/home/ann"}, "--log") == meant


def test_without_home_the_user_has_still_one() -> None:
    assert tilde.expand("~/x", {}, "--log") == f"{ME.pw_dir}/x"


def test_nobodys_home_is_an_error_that_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"--log is '~nosuchuser/x'.*\./~nosuchuser/x"):
        tilde.expand("~nosuchuser/x", {}, "--log")


@pytest.mark.parametrize("name", ["LLMC_RAG_INDEX_PATH", "EMBEDDING_INDEX_PATH"])
def test_the_index_may_be_at_home(tmp_path: Path, name: str) -> None:
    environ = {name: "~/index.db", "HOME": "/home/ann"}
    assert find_index_path(tmp_path, environ) == Path("/home/ann/index.db")
    assert locate_index(tmp_path, environ).path == Path("/home/ann/index.db")
    assert load_settings(tmp_path, environ=environ).index_path == Path("/home/ann/index.db")


def test_flags_may_name_it(tmp_path: Path) -> None:
    flags = Flags(log="~/m.jsonl", gateway_path="~/gateway.js")
    settings = load_settings(tmp_path, flags, {"HOME": "/home/ann"})
    assert settings.metrics_log == Path("/home/ann/m.jsonl")
    assert settings.gateway.program == Path("/home/ann/gateway.js")


@pytest.mark.parametrize(("provider", "key"), [("llamacpp", "model"), ("command", "command")])
def test_an_entry_may_name_it(tmp_path: Path, provider: str, key: str) -> None:
    (tmp_path / "llmc.toml").write_text(
        f'[[enrichment.chain]]\nname = "n"\nprovider = "{provider}"\n{key} = "~/x"\n'
    )
    [entry] = load_settings(tmp_path, environ={"HOME": "/home/ann"}).chain
    assert getattr(entry, key) == "/home/ann/x"


def test_an_entry_that_names_nobodys_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "llmc.toml").write_text(
        '[[enrichment.chain]]\nname = "n"\nprovider = "llamacpp"\nmodel = "~nosuchuser/x"\n'
    )
    with pytest.raises(ConfigError, match=r"entry 'n': model is '~nosuchuser/x'"):
        load_settings(tmp_path, environ={"HOME": "/home/ann"})


def test_a_model_of_ollamas_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "llmc.toml").write_text('[[enrichment.chain]]\nname = "n"\nmodel = "~m"\n')
    assert load_settings(tmp_path, environ={"HOME": "/home/ann"}).chain[0].model == "~m"


def test_the_users_own_folder_may_be_named_by_it() -> None:
    environ = {"XDG_CONFIG_HOME": "~/cfg", "HOME": "/home/ann"}
    assert home.find_folder(environ) == Path("/home/ann/cfg/llmc")
