"""Models have names; where a named one is, and who may run it, is settled before anything else."""

import json
import re
from pathlib import Path

import pytest

from llmc.errors import ConfigError
from llmc.settings import catalogue
from llmc.settings.catalogue import MODELS, locate, require_model
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.targets import list_targets

BETTER = require_model(catalogue.BETTER)


@pytest.fixture
def environ(clean_environ, tmp_path):
    return clean_environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def here(environ):
    """A file in the better model's place, of its size, without its content."""
    path = catalogue.find_folder(environ) / BETTER.file
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(BETTER.size)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_parts_of_a_model_are_all_of_it(model):
    assert sum(part.size for part in model.parts) == model.size
    hashes = [model.sha256, *(h for part in model.parts for h in (part.wheel, part.sha256))]
    assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in hashes)


def test_no_two_models_share_a_name_or_a_file():
    assert len({model.name for model in MODELS}) == len({model.file for model in MODELS}) == 2


def test_the_small_models_pin_is_that_of_the_installation():
    pins = (Path(__file__).parents[2] / "requirements/model.txt").read_text()
    [part] = require_model("smollm2-135m").parts
    assert f"{part.package}=={part.version} " in pins
    assert f"sha256:{part.wheel}" in pins


def test_a_name_that_nobody_has_is_told_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'gpt'; there are: smollm2-135m, qwen2\.5-coder-0\.5b"):
        require_model("gpt")


def test_models_are_kept_in_the_users_cache():
    assert catalogue.find_folder({"HOME": "/home/ann"}) == Path("/home/ann/.cache/llmc/models")
    named = {"HOME": "/home/ann", "XDG_CACHE_HOME": "/big"}
    assert catalogue.find_folder(named) == Path("/big/llmc/models")
    relative = {"HOME": "/home/ann", "XDG_CACHE_HOME": "big"}
    assert catalogue.find_folder(relative) == Path("/home/ann/.cache/llmc/models")
    with pytest.raises(ConfigError, match=r"neither \$XDG_CACHE_HOME nor \$HOME"):
        catalogue.find_folder({})


def test_a_model_that_is_here_is_found(here, environ):
    assert locate(BETTER, environ) == here


def test_a_file_that_others_may_write_to_is_not_run(here, environ):
    here.chmod(0o666)
    with pytest.raises(ConfigError, match="may be written to by others"):
        locate(BETTER, environ)


def test_a_file_of_another_size_is_not_run(here, environ):
    with here.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ConfigError, match=r"has 100 bytes.*put it right with: llmc model get"):
        catalogue.require(BETTER, environ)


def test_a_link_is_not_taken_for_a_model(here, environ):
    here.rename(here.with_name("real"))
    here.symlink_to(here.with_name("real"))
    with pytest.raises(ConfigError, match="is no regular file"):
        locate(BETTER, environ)


def write(repo, model):
    text = f'[[enrichment.chain]]\nname = "n"\nprovider = "llamacpp"\nmodel = "{model}"\n'
    (repo / "llmc.toml").write_text(text)


def test_an_entry_may_name_a_model_of_the_catalogue(repo, environ, here):
    write(repo, BETTER.name)
    [target] = list_targets(load_settings(repo, None, environ))["7b"]
    assert (target.place, target.model, target.shown) == (str(here), BETTER.name, BETTER.name)


def test_an_entry_whose_model_is_not_here_says_how_to_get_it(repo, environ):
    write(repo, BETTER.name)
    [target] = list_targets(load_settings(repo, None, environ))["7b"]
    assert "is not here yet" in target.problem
    assert "llmc model get qwen2.5-coder-0.5b" in target.problem


def test_a_repository_needs_no_word_for_a_model_of_the_catalogue_as_for_a_file(repo, environ):
    write(repo, BETTER.name)
    assert load_settings(repo, None, environ).find_unmet() == ()
    write(repo, "model.gguf")
    assert [need.kind for need in load_settings(repo, None, environ).find_unmet()] == ["model file"]


def test_a_file_of_the_repository_does_not_pass_for_a_model_of_the_catalogue(repo, environ, here):
    (repo / BETTER.name).write_bytes(b"GGUF")
    write(repo, BETTER.name)
    [target] = list_targets(load_settings(repo, None, environ))["7b"]
    assert target.place == str(here)


def load(repo, environ, **flags):
    return load_settings(repo, Flags(**flags), environ)


def test_a_model_of_the_command_line_does_it_all(repo, environ, here):
    environ["ENRICH_CHAIN_JSON"] = json.dumps([{"name": "x", "url": "http://attic:11434"}])
    (repo / "router").mkdir()
    (repo / "router/policy.json").write_text('{"fallback_tier": "32b"}')
    targets = list_targets(load(repo, environ, in_process=BETTER.name))
    del targets["nano"]
    assert "32b" in targets
    assert {(t.provider, t.place) for tier in targets.values() for t in tier} == {
        ("llamacpp", str(here))
    }


def test_a_file_of_the_command_line_is_one_where_the_user_stands(
    repo, environ, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    settings = load(repo, environ, in_process="mine.gguf")
    assert list_targets(settings)["14b"][0].place == str(tmp_path / "mine.gguf")
    assert settings.find_unmet() == ()


def test_a_model_that_is_neither_name_nor_file_is_told(repo, environ):
    with pytest.raises(ConfigError, match="--model 'nowhere': there is no such file"):
        load(repo, environ, in_process="nowhere")


@pytest.mark.parametrize("flags", [{"chain": "home"}, {"backend": "ollama"}])
def test_a_model_goes_with_no_other_way(repo, environ, flags):
    with pytest.raises(ConfigError, match="leave --chain and other backends out"):
        load(repo, environ, in_process=BETTER.name, **flags)
