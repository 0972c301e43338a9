"""Base URLs as people write them: taken as they are meant, or refused with what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmc.errors import ConfigError
from llmc.settings.addresses import read_azure_uri, read_base_url, tidy_ollama_url
from llmc.settings.chains import read_table
from llmc.settings.documents import CONFIG_FILE
from llmc.settings.files import read_file
from llmc.settings.gateways import choose
from llmc.settings.loading import load_settings

AZURE_URI = (
    "https://corp.openai.azure.com/openai/deployments/mini/chat/completions?api-version=2025-01-01"
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("attic", "http://attic:11434"),
        ("attic:8080", "http://attic:8080"),
        ("http://attic", "http://attic"),
        ("https://ollama.example/", "https://ollama.example"),
        ("  attic:1/ ", "http://attic:1"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
        ("http://[::]:11434", "http://[::1]:11434"),
        ("http://attic:11434/v1", "http://attic:11434"),
        ("http://attic:11434/v1/chat/completions", "http://attic:11434"),
        ("http://attic:11434/api/generate", "http://attic:11434"),
        ("http://attic:11434/api/", "http://attic:11434"),
        ("http://proxy/ollama/api/chat", "http://proxy/ollama"),
        ("http://proxy/apiary", "http://proxy/apiary"),
        ("http://[broken", "http://[broken"),
        ("", ""),
    ],
)
def test_an_ollama_host_is_taken_as_it_is_meant(text: str, meant: str) -> None:
    assert tidy_ollama_url(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("http://localhost:8080/v1", "http://localhost:8080/v1"),
        (" http://localhost:8080/v1/ ", "http://localhost:8080/v1"),
        ("http://localhost:8080/v1/chat/completions", "http://localhost:8080/v1"),
        ("http://localhost:8080/v1/completions/", "http://localhost:8080/v1"),
        ("http://localhost:8080/v1/models", "http://localhost:8080/v1"),
        ("http://0.0.0.0:8000/v1", "http://127.0.0.1:8000/v1"),
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("http://proxy/v1/chat/completions?team=x", "http://proxy/v1?team=x"),
        ("https://corp.openai.azure.com/openai/v1", "https://corp.openai.azure.com/openai/v1"),
    ],
)
def test_a_base_url_is_taken_as_it_is_meant(text: str, meant: str) -> None:
    assert read_base_url(text, "OPENAI_BASE_URL") == meant


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("my-box", "http://my-box"),
        ("192.168.1.2:8000/v1", "http://192.168.1.2:8000/v1"),
        ("[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("llm.example.com/v1", "write https://llm.example.com/v1"),
        ("ftp://box", "http://localhost:8080/v1"),
        ("http:/box", "http://localhost:8080/v1"),
        ("http//box", "http://localhost:8080/v1"),
        ("http://box:port/v1", "http://localhost:8080/v1"),
        ("http://box:0", "http://localhost:8080/v1"),
        ("http://", "http://localhost:8080/v1"),
        ("'http://box'", "http://localhost:8080/v1"),
        ("http://my box/v1", "blank"),
        ("http://box/v1#x", "http://box/v1"),
        (AZURE_URI, "AZURE_OPENAI_DEPLOYMENT=mini"),
        (AZURE_URI, "AZURE_OPENAI_ENDPOINT=https://corp.openai.azure.com"),
    ],
)
def test_what_is_no_base_url_is_refused_with_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_base_url(text, "OPENAI_BASE_URL")
    assert "OPENAI_BASE_URL" in str(caught.value)
    assert advice in str(caught.value)


def test_a_query_stays_at_the_end_of_a_call() -> None:
    environ = {"OPENAI_BASE_URL": "http://proxy/v1/?team=x", "OPENAI_MODEL": "m"}
    endpoint, _ = choose(environ, None)
    assert endpoint
    assert endpoint.url == "http://proxy/v1/chat/completions?team=x"


def test_a_refusal_shows_the_address_and_no_password_or_key() -> None:
    with pytest.raises(ConfigError) as caught:
        read_base_url("http://ann:planted1@box:8000/v1/chat?key=planted2#x", "OPENAI_BASE_URL")
    assert "box:8000/v1/chat?key=" in str(caught.value)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https://corp.openai.azure.com/", ("https://corp.openai.azure.com", "", "")),
        ("corp.openai.azure.com", ("https://corp.openai.azure.com", "", "")),
        ("https://corp.openai.azure.com/openai/v1/", ("https://corp.openai.azure.com", "", "")),
        (AZURE_URI, ("https://corp.openai.azure.com", "mini", "2025-01-01")),
        ("https://hub.corp/ai/openai/deployments/m", ("https://hub.corp/ai", "m", "")),
    ],
)
def test_azures_target_uri_is_taken_apart(text: str, meant: tuple[str, str, str]) -> None:
    assert read_azure_uri(text, "AZURE_OPENAI_ENDPOINT") == meant


def test_azures_target_uri_and_a_key_are_enough() -> None:
    environ = {"AZURE_OPENAI_ENDPOINT": AZURE_URI, "AZURE_OPENAI_KEY": "planted"}
    endpoint, trouble = choose(environ, None)
    assert trouble == ""
    assert endpoint
    assert (endpoint.url, endpoint.model) == (AZURE_URI, "mini")


def test_two_deployments_are_refused() -> None:
    environ = {
        "AZURE_OPENAI_ENDPOINT": AZURE_URI,
        "AZURE_OPENAI_KEY": "planted",
        "AZURE_OPENAI_DEPLOYMENT": "maxi",
    }
    endpoint, trouble = choose(environ, None)
    assert endpoint is None
    assert "'mini'" in trouble
    assert "'maxi'" in trouble


def test_a_base_url_that_is_none_is_in_nobodys_way_until_the_gateway_is_wanted(
    tmp_path: Path,
) -> None:
    gateway = load_settings(tmp_path, environ={"OPENAI_BASE_URL": "localhost:1/v1"}).gateway
    with pytest.raises(ConfigError, match="write http://localhost:1/v1"):
        gateway.find_server()


@pytest.mark.parametrize(
    ("provider", "url", "meant"),
    [
        ("openai", "http://0.0.0.0:8000/v1/chat/completions", "http://127.0.0.1:8000/v1"),
        ("ollama", "http://0.0.0.0:11434/api/generate", "http://127.0.0.1:11434"),
        ("ollama", "http://attic:11434/v1/", "http://attic:11434"),
    ],
)
def test_an_entrys_url_is_taken_as_it_is_meant(
    tmp_path: Path, provider: str, url: str, meant: str
) -> None:
    assert _entry_url(tmp_path, provider, url) == meant


@pytest.mark.parametrize(
    ("provider", "url", "advice"),
    [
        ("openai", AZURE_URI, "AZURE_OPENAI_DEPLOYMENT=mini"),
        ("openai", "http://box:port/v1", "'http://box:port/v1'"),
        ("ollama", "attic:11434", "http://attic:11434"),
    ],
)
def test_an_entrys_url_that_is_none_is_refused_with_what_to_write(
    tmp_path: Path, provider: str, url: str, advice: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _entry_url(tmp_path, provider, url)
    assert "enrichment.chain[0]" in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("http:/127.0.0.1:11434", "http//127.0.0.1:11434", "htp://127.0.0.1", "file:///etc"),
        *('"http://127.0.0.1"', "http://a:1 http://b:2", "http://127.0.0.1:99999", "http://:80"),
        *("http://a:0", "http://[::1:5"),
    ],
)
@pytest.mark.parametrize("name", ["OLLAMA_URL", "ENRICH_OLLAMA_HOSTS"])
def test_a_host_that_is_none_is_refused_with_its_name(tmp_path: Path, name: str, url: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is .*such as http://localhost:11434"):
        load_settings(tmp_path, environ={name: url})


def test_a_password_in_a_host_that_is_none_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, environ={"OLLAMA_URL": "htp://me:sesame-84@there:11434"})
    assert "sesame" not in str(caught.value)


def test_a_host_with_a_scheme_and_no_port_is_asked_at_80_and_that_is_said(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={"OLLAMA_URL": "http://attic"})
    assert [host.url for host in settings.hosts] == ["http://attic"]
    assert any("11434" in warning for warning in settings.sources.warnings)


def _entry_url(repo: Path, provider: str, url: str) -> str | None:
    (repo / CONFIG_FILE).write_text(
        f'[[enrichment.chain]]\nname = "n"\nprovider = "{provider}"\nurl = "{url}"\n'
    )
    return read_table(read_file(repo, CONFIG_FILE)).entries[0].url
