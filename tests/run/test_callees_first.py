"""Callees come first and are told to their callers, to models that gain from it."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from llmc import engine
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.testing.ollama import FakeOllama
from tests.borders import away, prompts
from tests.running import entry

SHOP = """\
from shop.shelf import take as fetch
from shop import shelf


def sell(name):
    price = shelf.take(name)
    return pack(price)


def pack(price):
    return wrap(price, print)


def wrap(price, again):
    return unknown(price)
"""
SHELF = "def take(name):\n    return sell_back(name)\n"
CYCLE = "def ping(n):\n    return pong(n)\n\n\ndef pong(n):\n    return ping(n)\n"
FILES = {"shop/a.py": SHOP, "shop/shelf.py": SHELF}


@pytest.fixture
def repo(tmp_path):
    repo = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    write(repo, FILES)
    return repo


def write(repo, files):
    for path, text in files.items():
        (repo / path).parent.mkdir(exist_ok=True)
        (repo / path).write_text(text)


def name_of(prompt):
    return re.search(r"`([\w.]+)` in ", prompt)[1]


def reply(call):
    name = name_of(call.prompt)
    return json.dumps({"summary": f"Says what {name} is.", "parameters": {}, "returns": "it"})


def run(repo, tmp_path, url, settings="", **flags):
    environ = {
        "OLLAMA_URL": url,
        "XDG_CONFIG_HOME": str(tmp_path / "home"),
        "PATH": "/usr/bin:/bin",
    }
    if settings:
        (repo / "llmc.toml").write_text(settings)
    loaded = load_settings(repo, Flags(retry_wait=0.0, trust=True, ask_all=True, **flags), environ)
    engine.index(repo, loaded)
    return engine.enrich(repo, loaded)


def ask(repo, tmp_path, settings="", **flags):
    """Enrich with one host and return its prompts by span, in the order that they came in."""
    with FakeOllama(reply) as fake:
        report = run(repo, tmp_path, fake.url, settings, **flags)
    assert report.failed == {}
    return {name_of(call.prompt): call.prompt for call in fake.calls}


def test_what_is_called_is_asked_about_before_its_caller(repo, tmp_path):
    order = list(ask(repo, tmp_path))
    assert order.index("wrap") < order.index("pack") < order.index("sell")


def test_a_caller_is_told_what_was_said_of_its_callees_in_the_same_run(repo, tmp_path):
    asked = ask(repo, tmp_path)
    assert '- `wrap`: "Says what wrap is."' in asked["pack"]
    assert '- `pack`: "Says what pack is."' in asked["sell"]
    assert "It calls" not in asked["wrap"]


def test_what_only_looks_like_a_call_of_another_is_not_told(repo, tmp_path):
    text = (
        "def wrap(price):\n    return price + 1\n\n\n"
        "def talk(price):\n    # wrap(1)\n    return price + 'wrap(2)'\n\n\n"
        "def lend(wrap):\n    return wrap(3) + 1\n"
    )
    write(repo, {"shop/b.py": text})
    asked = ask(repo, tmp_path)
    assert "It calls" not in asked["talk"]
    assert "It calls" not in asked["lend"]


def test_what_an_earlier_run_stored_is_told_too(repo, tmp_path):
    ask(repo, tmp_path)
    (repo / "shop/a.py").write_text(SHOP.replace("return pack(price)", "return pack(price + 1)"))
    [prompt] = ask(repo, tmp_path).values()
    assert '- `take`: "Says what take is."' in prompt
    assert '- `pack`: "Says what pack is."' in prompt


def test_a_class_still_comes_before_its_members(repo, tmp_path):
    write(repo, {"shop/b.py": "class Till:\n    def ring_up(self):\n        return 1\n"})
    order = list(ask(repo, tmp_path))
    assert order.index("Till") < order.index("Till.ring_up")


def test_a_cycle_is_enriched_like_anything(repo, tmp_path):
    write(repo, {"shop/cycle.py": CYCLE})
    assert {"ping", "pong"} <= ask(repo, tmp_path).keys()


@pytest.mark.parametrize("model", ["qwen2.5-coder:0.5b", "smollm2:135m"])
def test_a_small_model_is_told_nothing(repo, tmp_path, model):
    settings = entry("here", provider="ollama", model=model)
    with FakeOllama(reply, models=[model]) as fake:
        run(repo, tmp_path, fake.url, settings)
    assert {call.model for call in fake.calls} == {model}
    assert not any("It calls" in call.prompt for call in fake.calls)


def test_a_setting_says_otherwise(repo, tmp_path):
    asked = ask(repo, tmp_path, "[enrichment]\ncallees = false\n")
    assert next(iter(asked)) == "sell"
    assert not any("It calls" in prompt for prompt in asked.values())


def test_a_setting_has_small_models_told_too(repo, tmp_path):
    settings = "[enrichment]\ncallees = true\n" + entry("here", model="smollm2:135m")
    with FakeOllama(reply, models=["smollm2:135m"]) as fake:
        run(repo, tmp_path, fake.url, settings)
    assert any("It calls" in call.prompt for call in fake.calls)


def test_what_another_installation_stored_is_not_told(repo, tmp_path):
    ask(repo, tmp_path)
    (repo / "shop/a.py").write_text(SHOP.replace("return pack(price)", "return pack(price + 1)"))
    [prompt] = ask(repo, tmp_path / "another").values()
    assert "It calls" not in prompt


def test_what_must_stay_is_not_told_to_a_cloud(repo, tmp_path):
    (repo / ".llmc-local").write_text("shop/shelf.py\n")
    with FakeOllama(reply) as here:
        run(repo, tmp_path, here.url)
        (repo / "shop/a.py").write_text(SHOP.replace("return pack(price)", "return pack(7)"))
    with FakeOllama(reply) as there:
        run(repo, tmp_path, away(there))
    [prompt] = prompts(there)
    assert name_of(prompt) == "sell"
    assert "Says what pack is." in prompt
    assert "Says what take is." not in prompt
