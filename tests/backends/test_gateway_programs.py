"""A gateway program gets what every program needs and what its user lists, and is the one meant."""

import json
import os

import pytest

from llmc import cli
from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.errors import BackendError, ConfigError
from llmc.models import Attempt
from llmc.settings.chains import read_table
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from tests.driving import NO_HOST, drive, make_repo, plain

SECRET = {"AWS_SECRET_ACCESS_KEY": "planted-aws", "MY_TOKEN": "planted-mine"}
TELLING = """#!/bin/sh
env > "{told}"
echo "$0" > "{told}.name"
cat > /dev/null
echo '{{"summary_120w": "Fine."}}'
"""


def telling(path, told):
    """Write a program that tells its environment and its name, and answers well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TELLING.format(told=told))
    path.chmod(0o755)
    return path


@pytest.fixture
def told(tmp_path):
    return tmp_path / "told"


@pytest.fixture
def program(tmp_path, told):
    return telling(tmp_path / "own/gateway", told)


def environment_of(told):
    return dict(line.partition("=")[::2] for line in told.read_text().splitlines())


def ask(repo, environ, entry=None, **flags):
    if entry:
        environ = environ | {"ENRICH_CHAIN_JSON": json.dumps([{"name": "e", **entry}])}
    settings = load_settings(repo, Flags(**flags), environ)
    [backend] = CascadeBuilder(settings, CallPolicy())(Attempt(1, "7b", 0)).cascade.backends
    return backend.generate("prompt", item={"lines": [1, 1]})


def entry_of(program, **more):
    return {"provider": "command", "command": str(program), **more}


def test_an_entrys_program_gets_no_key(repo, clean_environ, program, told):
    ask(repo, clean_environ | SECRET | {"LC_ALL": "C", "GEMINI_MODEL": "g"}, entry_of(program))
    given = environment_of(told)
    assert "planted" not in told.read_text()
    assert given["HOME"] == clean_environ["HOME"]
    assert (given["LC_ALL"], given["GEMINI_MODEL"], given["LLM_DISABLED"]) == ("C", "g", "false")


def test_an_entrys_program_gets_what_the_entry_lists(repo, clean_environ, program, told):
    ask(repo, clean_environ | SECRET, entry_of(program, env=["MY_TOKEN", "NOT_SET"]))
    assert environment_of(told)["MY_TOKEN"] == "planted-mine"
    assert "planted-aws" not in told.read_text()


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_the_gateways_program_gets_what_its_user_lists(repo, clean_environ, program, told, by):
    flags, more = {"gateway_env": ("MY_TOKEN",)}, {}
    if by == "variable":
        flags, more = {}, {"LLMC_GATEWAY_ENV": " MY_TOKEN , OTHER,"}
    environ = clean_environ | SECRET | more
    ask(repo, environ, backend="gateway", gateway_path=str(program), **flags)
    assert environment_of(told)["MY_TOKEN"] == "planted-mine"
    assert "planted-aws" not in told.read_text()


def test_what_the_gateways_program_gets_is_not_for_an_entrys(repo, clean_environ, program, told):
    environ = clean_environ | SECRET | {"LLMC_GATEWAY_ENV": "MY_TOKEN"}
    ask(repo, environ, entry_of(program))
    assert "planted" not in told.read_text()


@pytest.mark.parametrize("name", ["MY_TOKEN=planted", "a b", "1ST"])
def test_a_name_that_is_none_is_refused_and_no_value_shown(repo, clean_environ, name):
    with pytest.raises(ConfigError, match="without their values") as caught:
        load_settings(repo, Flags(gateway_env=(name,)), clean_environ)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [('env = ["A=planted"]', "without their values"), ("env = 7", "without their values")],
)
def test_a_wrong_list_in_an_entry_is_refused(repo, clean_environ, key, said):
    text = f'[[enrichment.chain]]\nname = "e"\nprovider = "command"\ncommand = "x"\n{key}\n'
    (repo / "llmc.toml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_settings(repo, Flags(), clean_environ)
    assert "planted" not in str(caught.value)


def test_a_list_for_another_provider_is_refused():
    with pytest.raises(ConfigError, match="env is for provider command"):
        read_table(None, json.dumps([{"name": "e", "env": ["A"]}]))


def test_the_label_comes_from_the_users_environment(repo, clean_environ, program):
    azure = {f"AZURE_OPENAI_{part}": "x" for part in ("ENDPOINT", "KEY", "DEPLOYMENT")}
    environ = clean_environ | azure | {"GEMINI_MODEL": "flash"}
    _, meta = ask(repo, environ, entry_of(program, model="other"))
    assert meta["model"] == "x"
    _, meta = ask(repo, clean_environ | {"GEMINI_MODEL": "flash"}, entry_of(program))
    assert meta["model"] == "flash"


def test_the_path_of_a_program_leads_into_no_repository(repo, clean_environ, program, told):
    path = f".:{repo}/bin::{clean_environ['PATH']}"
    ask(repo, clean_environ | {"PATH": path}, entry_of(program))
    assert environment_of(told)["PATH"] == clean_environ["PATH"]


def test_the_repositorys_own_node_is_not_run(repo, clean_environ, tmp_path, told):
    theirs = telling(repo / "node", tmp_path / "theirs")
    mine = telling(tmp_path / "own/node", told)
    path = f".:{repo}:{mine.parent}:{clean_environ['PATH']}"
    (repo / "gateway.js").write_text("")
    ask(repo, clean_environ | {"PATH": path}, entry_of("gateway.js"))
    assert told.exists()
    assert not (tmp_path / "theirs").exists()
    with pytest.raises(BackendError, match="no `node` on the PATH"):
        ask(repo, clean_environ | {"PATH": str(theirs.parent)}, entry_of("gateway.js"))


def test_a_bare_name_is_the_users_program_if_there_is_one(repo, clean_environ, program, tmp_path):
    telling(repo / "gateway", tmp_path / "theirs")
    environ = clean_environ | {"PATH": f"{program.parent}:{clean_environ['PATH']}"}
    ask(repo, environ, backend="gateway", gateway_path="gateway")
    assert not (tmp_path / "theirs").exists()
    ask(repo, clean_environ, entry_of("gateway"))
    assert (tmp_path / "theirs").exists()


@pytest.mark.parametrize("name", ["gateway", "./gateway", "bin/gateway", "gateway.js"])
def test_a_flag_means_the_program_where_the_user_stands(
    repo, clean_environ, tmp_path, told, monkeypatch, name
):
    telling(repo / name, tmp_path / "theirs")
    telling(tmp_path / "here" / name, told)
    node = telling(tmp_path / "own/node", tmp_path / "node")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", f"{node.parent}:{os.environ['PATH']}")
    words = ["--backend", "gateway", "--gateway-path", name, "--limit", "1", "--quiet"]
    node.write_text('#!/bin/sh\nexec sh "$1"\n')
    assert cli.main(["enrich", str(repo), *words]) == 0
    assert told.exists()
    assert not (tmp_path / "theirs").exists()


def test_the_drivers_program_keeps_the_whole_environment(tmp_path, program, told):
    repo = make_repo(tmp_path / "repo", plain("one"))
    run = drive(repo, "--api", "--gateway-path", program, env=NO_HOST | SECRET)
    assert run.status == 0
    assert environment_of(told).items() >= SECRET.items()


@pytest.mark.parametrize("place", ["repo", "elsewhere"])
def test_the_drivers_relative_program_is_in_the_repository_or_where_one_stands(
    tmp_path, told, place
):
    """The driver is run from the folder above the repository."""
    repo = make_repo(tmp_path / "repo", plain("one"))
    name = "bin/gateway"
    telling((repo.root if place == "repo" else tmp_path) / name, told)
    assert drive(repo, "--api", "--gateway-path", name, env=NO_HOST).status == 0
    assert told.exists()
