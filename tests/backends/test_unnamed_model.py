"""A server is not sent the model name "default" where it has others."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from llmc.backends._unnamed import check_named
from llmc.backends.builder import BackendConfig, CallPolicy
from llmc.backends.openai import OpenAIBackend
from llmc.errors import ConfigError
from llmc.net.client import Client
from llmc.settings.gateways import UNNAMED_MODEL, Endpoint, choose
from llmc.testing.openai import FakeOpenAI


def endpoint(url: str, model: str = UNNAMED_MODEL, key: str | None = None) -> Endpoint:
    secret = SecretStr(key) if key else None
    return Endpoint(f"{url}/v1/chat/completions", model, model, secret)


def test_without_openai_model_none_is_named() -> None:
    found, _ = choose({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, None)
    assert found
    assert found.model == UNNAMED_MODEL


@pytest.mark.parametrize("key", [None, "planted-key"])
def test_the_run_is_refused_with_the_list_of_what_the_server_has(key: str | None) -> None:
    with FakeOpenAI(models=["qwen-7b", "qwen-14b"], api_key=key) as fake:
        backend = OpenAIBackend(
            BackendConfig("g", "openai"),
            endpoint(fake.url, key=key),
            policy=CallPolicy(),
            client=Client(),
        )
        with pytest.raises(ConfigError, match=r"set OPENAI_MODEL to one of its: qwen-7b, qwen-14b"):
            backend.prepare()


def test_a_named_model_is_not_looked_up() -> None:
    with FakeOpenAI(models=["qwen-7b"]) as fake:
        check_named(Client(), endpoint(fake.url, "other"))
        assert not fake.requests


def test_a_server_that_knows_the_name_is_asked() -> None:
    with FakeOpenAI(models=["qwen-7b", UNNAMED_MODEL]) as fake:
        check_named(Client(), endpoint(fake.url))


def test_a_server_that_lists_none_or_is_not_there_is_left_to_the_run() -> None:
    with FakeOpenAI(models=[]) as fake:
        check_named(Client(), endpoint(fake.url))
    check_named(Client(), endpoint(fake.url))
