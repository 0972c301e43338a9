"""`llmc init` writes a first llmc.toml that works as it stands, and trusts it."""

import json
import os
import re
import tomllib

import pytest

from llmc import cli
from llmc.errors import ConfigError
from llmc.settings import starter
from llmc.settings.chains import read_table
from llmc.settings.documents import CONFIG_FILE
from llmc.settings.files import read_file
from llmc.settings.flags import Flags
from llmc.settings.hosts import Host
from llmc.settings.keys import refuse_unknown
from llmc.settings.loading import load_settings
from llmc.testing.ollama import FakeOllama

SMALL, LARGE = "qwen2.5-coder:7b", "qwen2.5:14b"


@pytest.fixture
def environ(clean_environ, monkeypatch, tmp_path):
    """This process's environment, with nothing configured in it, and a user's folder of its own."""
    for name in list(os.environ):
        if name not in clean_environ:
            monkeypatch.delenv(name)
    monkeypatch.setenv("OLLAMA_URL", clean_environ["OLLAMA_URL"])
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return monkeypatch


@pytest.fixture
def host(environ):
    with FakeOllama(models=[SMALL, LARGE, "nomic-embed-text:latest"]) as fake:
        environ.setenv("ENRICH_OLLAMA_HOSTS", f"attic={fake.url}")
        yield fake


def named(*models):
    return [{"name": name, "details": {"parameter_size": size}} for name, size in models]


@pytest.mark.parametrize(
    ("listed", "small", "large"),
    [
        (named(("a", "1.5B"), ("b", "7.6B"), ("c", "14.8B"), ("d", "72B")), "b", "c"),
        (named(("only", "3B")), "only", "only"),
        (named(("a", "3B"), ("b", "32B")), "a", "b"),
        (named(("a:7b", ""), ("b:494m", ""), ("mixtral:8x7b", "")), "a:7b", "a:7b"),
        (named(("coder", "7.6B"), (starter.TIERS["7b"][1], "7.6B")), starter.TIERS["7b"][1], None),
        (named(("nomic-embed-text", "7B"), ("gpt-oss:20b-cloud", ""), ("x", "9B")), "x", "x"),
        (named(('a"\nurl = "http://evil', "7B"), ("ok", "70B")), "ok", "ok"),
        ([{"name": 7}, {"name": "x", "details": []}, {}], None, None),
    ],
)
def test_each_tier_gets_the_model_nearest_in_size(listed, small, large):
    found = starter.choose_models(listed)
    assert found.get("7b") == small
    assert large is None or found["14b"] == large


def test_the_file_is_read_back_as_it_was_meant(repo, host, capsys):
    assert cli.main(["init", str(repo)]) == 0
    entries = read_table(read_file(repo, CONFIG_FILE)).entries
    assert [(e.name, e.url, e.model, e.routing_tier) for e in entries] == [
        ("attic-7b", host.url, SMALL, "7b"),
        ("attic-14b", host.url, LARGE, "14b"),
    ]
    said = capsys.readouterr().out
    assert str(repo / CONFIG_FILE) in said
    assert f"attic ({host.url})" in said
    assert "llmc doctor" in said


def test_a_run_works_with_it_and_asks_nothing(repo, host, environ, capsys):
    cli.main(["init", str(repo)])
    environ.delenv("ENRICH_OLLAMA_HOSTS")
    assert load_settings(repo).sources.trusted
    assert cli.main(["enrich", str(repo), "--quiet"]) == 0
    assert {call.model for call in host.calls} <= {SMALL, LARGE}
    assert "5 enriched, 0 failed, 0 left" in capsys.readouterr().out


def test_what_is_written_where_no_host_offers_a_model_is_trusted_too(repo, environ):
    cli.main(["init", str(repo)])
    assert load_settings(repo).sources.trusted


def test_what_is_written_is_trusted_and_no_change_of_it(repo, host):
    cli.main(["init", str(repo)])
    path = repo / CONFIG_FILE
    path.write_text(path.read_text().replace(host.url, "http://192.0.2.1"))
    assert not load_settings(repo).sources.trusted


def test_what_another_file_asks_for_is_not_trusted_with_it(repo, host, capsys):
    (repo / "presets").mkdir()
    (repo / "presets/enrich_7b_ollama.yaml").write_text("model: gpt-oss:120b-cloud\n")
    assert cli.main(["init", str(repo)]) == 2
    assert "gpt-oss:120b-cloud" in capsys.readouterr().out
    assert not load_settings(repo).sources.trusted


@pytest.mark.parametrize("kind", ["file", "dangling link", "link"])
def test_nothing_is_written_over(repo, environ, tmp_path, kind, capsys):
    path, outside = repo / CONFIG_FILE, tmp_path / "outside"
    if kind == "file":
        path.write_text("# mine\n")
    else:
        path.symlink_to(outside)
    if kind == "link":
        outside.write_text("# theirs\n")
    before = path.read_bytes() if path.exists() else None
    assert cli.main(["init", str(repo)]) == 2
    assert "there already" in capsys.readouterr().err
    assert (path.read_bytes() if path.exists() else None) == before
    with pytest.raises(ConfigError, match="there already"):
        starter.write(repo, "x")


def test_without_any_host_the_file_has_examples_only(repo, environ, capsys):
    assert cli.main(["init", str(repo)]) == 0
    assert read_table(read_file(repo, CONFIG_FILE)).entries == ()
    assert "127.0.0.1:9" in capsys.readouterr().out


def test_a_host_without_models_is_told_what_to_do(repo, environ, capsys):
    with FakeOllama(models=[]) as fake:
        environ.setenv("OLLAMA_URL", fake.url)
        assert cli.main(["init", str(repo)]) == 0
    assert "ollama pull" in capsys.readouterr().out


@pytest.mark.parametrize("keys", [[], ["GEMINI_API_KEY"]])
def test_every_example_is_right_once_its_marks_are_gone(repo, keys):
    text = re.sub(r"^# (?=[a-z_]+ = |\[)", "", starter.compose([], keys), flags=re.MULTILINE)
    (repo / CONFIG_FILE).write_text(text)
    file = read_file(repo, CONFIG_FILE)
    providers = [entry.provider for entry in read_table(file).entries]
    assert providers == ["ollama", "llamacpp", "openai"]
    refuse_unknown(file)


def test_every_key_has_its_comment():
    answer = starter.Answer(Host("a", "http://a"), {"7b": "m"})
    lines = [*starter.compose([answer], []).splitlines(), *starter.compose([], []).splitlines()]
    keys = [line.removeprefix("# ") for line in lines if re.match(r"(# )?[a-z_]+ = ", line)]
    assert len(keys) > 40
    assert [key for key in keys if "  # " not in key] == []


def test_no_value_of_a_key_and_no_password_is_written(repo, environ):
    environ.setenv("GEMINI_API_KEY", "planted-key")
    with FakeOllama(models=[SMALL]) as fake:
        hidden = fake.url.replace("://", "://user:planted-word@")
        environ.setenv("ENRICH_OLLAMA_HOSTS", f"a={hidden},b={fake.url}")
        cli.main(["init", str(repo)])
    text = (repo / CONFIG_FILE).read_text()
    assert "GEMINI_API_KEY" in text
    assert "planted" not in text
    assert [entry["name"] for entry in tomllib.loads(text)["enrichment"]["chain"]] == [
        "b-7b",
        "b-14b",
    ]


def test_json_tells_programs_what_was_written(repo, host, capsys):
    cli.main(["init", str(repo), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["hosts"] == {"attic": {"7b": SMALL, "14b": LARGE}}
    assert told["trusted"] is True


def test_a_label_becomes_a_plain_name(repo):
    answer = starter.Answer(Host('my "box"\n', "http://a"), {"7b": "m"})
    text = starter.compose([answer], [])
    assert tomllib.loads(text)["enrichment"]["chain"][0]["name"] == "my-box--7b"


def test_flags_and_environment_still_win(repo, host, environ):
    cli.main(["init", str(repo)])
    assert load_settings(repo, Flags(slots=3)).pace.concurrency == 3
