"""Which cloud is the gateway: the one that the user named, and no other gets its key."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from llmc.errors import ConfigError
from llmc.settings.gateways import GEMINI_BASE_URL, GatewaySettings, choose

AZURE = {
    "AZURE_OPENAI_ENDPOINT": "https://corp.openai.azure.com",
    "AZURE_OPENAI_KEY": "az",
    "AZURE_OPENAI_DEPLOYMENT": "mini",
}
GEMINI = {"GEMINI_API_KEY": "g"}
OPENAI = {"OPENAI_API_KEY": "o"}
LOCAL = {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"}


@pytest.mark.parametrize(
    "environ", [AZURE | GEMINI, AZURE | OPENAI, GEMINI | OPENAI, GEMINI | LOCAL, AZURE | LOCAL]
)
def test_several_clouds_are_none_and_all_are_named(environ: dict[str, str]) -> None:
    endpoint, trouble = choose(environ, None)
    assert endpoint is None
    assert all(name in trouble for name in environ)
    assert "LLMC_GATEWAY" in trouble
    assert "--gateway" in trouble


def test_the_error_shows_no_value() -> None:
    _, trouble = choose({"GEMINI_API_KEY": "planted", "OPENAI_API_KEY": "planted"}, None)
    assert "planted" not in trouble


@pytest.mark.parametrize(
    ("chosen", "host"),
    [("azure", "corp.openai.azure.com"), ("gemini", "googleapis.com"), ("openai", "127.0.0.1")],
)
def test_the_chosen_one_is_taken_with_its_own_key(chosen: str, host: str) -> None:
    endpoint, trouble = choose(AZURE | GEMINI | OPENAI | LOCAL, chosen)
    assert trouble == ""
    assert endpoint
    assert endpoint.key
    assert host in endpoint.url
    assert endpoint.key.get_secret_value() == {"azure": "az", "gemini": "g", "openai": "o"}[chosen]


@pytest.mark.parametrize("key", [{}, {"OPENAI_API_KEY": "g"}])
def test_two_names_for_one_server_and_key_are_not_several(key: dict[str, str]) -> None:
    endpoint, trouble = choose(GEMINI | {"OPENAI_BASE_URL": GEMINI_BASE_URL} | key, None)
    assert trouble == ""
    assert endpoint
    assert endpoint.key == SecretStr("g")


def test_one_server_with_two_keys_is_ambiguous() -> None:
    assert choose(GEMINI | OPENAI | {"OPENAI_BASE_URL": GEMINI_BASE_URL}, None)[0] is None


@pytest.mark.parametrize("missing", AZURE)
def test_incomplete_azure_is_no_cloud_unless_it_is_chosen(missing: str) -> None:
    environ = {name: value for name, value in AZURE.items() if name != missing} | GEMINI
    endpoint, trouble = choose(environ, None)
    assert endpoint
    assert endpoint.url.startswith(GEMINI_BASE_URL)
    endpoint, trouble = choose(environ, "azure")
    assert endpoint is None
    assert missing in trouble
    assert not any(name in trouble for name in AZURE if name != missing)


@pytest.mark.parametrize("chosen", ["gemini", "openai"])
def test_a_chosen_cloud_without_variables_says_which_to_set(chosen: str) -> None:
    endpoint, trouble = choose({}, chosen)
    assert endpoint is None
    assert f"{chosen.upper()}_API_KEY" in trouble


def test_a_choice_that_is_none_names_those_there_are() -> None:
    assert choose(GEMINI, "gemeni") == (
        None,
        "$LLMC_GATEWAY is 'gemeni'; it can be one of azure, gemini, openai",
    )


def settled(environ: dict[str, str], chosen: str | None = None) -> GatewaySettings:
    endpoint, trouble = choose(environ, chosen)
    return GatewaySettings(endpoint=endpoint, trouble=trouble)


def test_the_trouble_is_raised_where_the_server_is_wanted() -> None:
    with pytest.raises(ConfigError, match="more than one gateway"):
        settled(GEMINI | OPENAI).find_server()


@pytest.mark.parametrize("name", ["AZURE_OPENAI_KEY", "GEMINI_API_KEY"])
def test_another_clouds_key_does_not_go_to_the_gateway(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        settled(OPENAI | LOCAL).sign(name, SecretStr("planted"))


def test_an_entry_may_sign_in_at_the_gateway_with_a_key_of_its_own() -> None:
    endpoint = settled(OPENAI).sign("MY_KEY", SecretStr("mine"))
    assert endpoint.key == SecretStr("mine")


def test_a_model_of_the_entry_takes_the_place_of_the_gateways() -> None:
    gateway = settled(GEMINI).for_model("flash")
    assert gateway.endpoint
    assert (gateway.endpoint.model, gateway.endpoint.label, gateway.label) == ("flash",) * 3


def test_azure_asks_its_deployment_whatever_model_is_named() -> None:
    gateway = settled(AZURE).for_model("flash")
    assert gateway.endpoint
    assert (gateway.endpoint.model, gateway.endpoint.label) == ("mini", "mini")
