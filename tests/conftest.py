"""What several tests need: a repository to work on, and an environment without ours."""

import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, settings

from llmc.errors import ConfigError
from llmc.settings.catalogue import BETTER, locate, require_model

# No verdict by time: other work on the machine may make any example slow.
settings.register_profile("noisy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("noisy")

CODE = '''\
"""A small module."""


def add(left, right):
    """Return the sum of two numbers."""
    return left + right


def greet(name):
    """Print a greeting."""
    print(f"Hello, {name}!")


class Counter:
    """Counts."""

    def __init__(self):
        self.count = 1 - 1

    def tick(self):
        self.count += 1
'''

OURS = ("ENRICH_", "OLLAMA_", "ATHENA_", "ROUTER_", "AZURE_", "GEMINI_", "OPENAI_", "LLM", "RAG_")


USERS = dict(os.environ)
"""The environment of whoever runs the tests."""


@pytest.fixture(autouse=True, scope="session")
def user_folder(tmp_path_factory):
    """A home for what llmc keeps about its user, so that no test writes into the real one."""
    folder = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield folder / "llmc"


@pytest.fixture
def better_model():
    """The file of the better model, where its user has fetched it."""
    try:
        path = locate(require_model(BETTER), USERS)
    except ConfigError as error:
        pytest.skip(str(error))
    return path or pytest.skip(f"it is not here; fetch it: llmc model get {BETTER}")


@pytest.fixture
def clean_environ():
    """An environment in which nothing is configured."""
    return {key: value for key, value in os.environ.items() if not key.startswith(OURS)} | {
        "OLLAMA_URL": "http://127.0.0.1:9",  # the discard port: nothing answers
        "COLUMNS": "100",
    }


@pytest.fixture
def repo(tmp_path):
    """A git repository with one Python file: add, greet, Counter and its two methods.

    None of them is so plain that it would be written by rule.
    """
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / "small.py").write_text(CODE)
    return root


@pytest.fixture
def own_folder(tmp_path):
    """A user's folder that no other test writes to; it need not be there."""
    return tmp_path / "config/llmc"


@pytest.fixture
def own_environ(clean_environ, own_folder):
    """An environment with that folder in which nothing is configured, not even a dead host."""
    del clean_environ["OLLAMA_URL"]
    return clean_environ | {"XDG_CONFIG_HOME": str(own_folder.parent)}


@pytest.fixture
def at_home(own_environ, monkeypatch):
    """That environment for the commands that run in this process."""
    for name in set(os.environ) - set(own_environ):
        monkeypatch.delenv(name)
    for name, value in own_environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no disk can be mounted here: that takes root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)
