"""A proxy, and certificates of one's own, only on the user's word."""

import pytest

from llmc.errors import ConfigError, UntrustedError
from llmc.net.places import read_place
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.needs import find_in_files
from llmc.testing.openai import FakeOpenAI

PROXIED = {
    "HTTPS_PROXY": "http://proxy.example:3128",
    "http_proxy": "proxy.example:3129",
    "NO_PROXY": "attic.example, 10.0.0.0/8",
    "OPENAI_BASE_URL": "https://api.example/v1",
}


@pytest.fixture
def load(repo, clean_environ):
    def load(toml="", *, trust=False, proxy=None, **env):
        if toml:
            (repo / "llmc.toml").write_text(toml)
        return load_settings(repo, Flags(trust=trust, proxy=proxy), {**clean_environ, **env})

    return load


def proxy_of(settings, url="https://api.example/v1"):
    found = settings.network.find_proxy(read_place(url))
    return found.place if found else ("", "", None)


def test_a_proxy_of_the_environment_is_not_used_and_that_is_said_once(load):
    settings = load(**PROXIED)
    assert settings.network.proxies == {}
    [said] = [text for text in settings.sources.warnings if "PROXY" in text]
    for word in ("$HTTPS_PROXY", "$HTTP_PROXY", "--proxy", "trust_env = true"):
        assert word in said


def test_nothing_is_said_of_it_where_everything_is_on_this_machine(load):
    here = {**PROXIED, "OPENAI_BASE_URL": "http://localhost:8080/v1"}
    assert not any("PROXY" in text for text in load(**here).sources.warnings)


def test_the_flag_has_the_environments_proxies_used(load):
    settings = load(proxy="env", **PROXIED)
    assert proxy_of(settings) == ("http", "proxy.example", 3128)
    assert proxy_of(settings, "http://api.example") == ("http", "proxy.example", 3129)
    assert proxy_of(settings, "https://attic.example") == ("", "", None)
    assert not any("PROXY" in text for text in settings.sources.warnings)


def test_the_flag_may_name_a_proxy_itself(load):
    settings = load(proxy="http://other.example:8080", **PROXIED)
    assert proxy_of(settings) == ("http", "other.example", 8080)


def test_the_users_own_file_has_them_used(load, clean_environ, tmp_path):
    home = tmp_path / "settings"
    (home / "llmc").mkdir(parents=True, mode=0o700)
    (home / "llmc/config.toml").write_text("[network]\ntrust_env = true\n")
    settings = load(XDG_CONFIG_HOME=str(home), **PROXIED)
    assert proxy_of(settings) == ("http", "proxy.example", 3128)


def test_a_repository_has_them_used_only_if_it_is_trusted(load):
    toml = "[network]\ntrust_env = true\n"
    assert load(toml, **PROXIED).network.proxies == {}
    with pytest.raises(UntrustedError, match="by the proxies of your environment"):
        load(toml, **PROXIED).require_trust()
    trusted = load(toml, trust=True, **PROXIED)
    trusted.require_trust()
    assert proxy_of(trusted) == ("http", "proxy.example", 3128)


def test_a_repositorys_certificates_need_trust(load, repo):
    settings = load('[network]\nca_file = "ca.pem"\n')
    assert settings.network.ca_file is None
    [need] = settings.unmet()
    assert need == find_in_files(settings.sources.files)[0]
    assert (need.kind, need.value) == ("certificates", "ca.pem")


def test_a_file_without_certificates_is_refused(load, repo):
    (repo / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        load('[network]\nca_file = "ca.pem"\n', trust=True)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("network = 1", "not a setting"),
        ("[network]\ntrust_env = 1", "true or false"),
        ("[network]\nca_file = 1", "path"),
        ("[network]\nproxy = 'x'", "trust_env, ca_file"),
    ],
)
def test_what_is_no_setting_of_the_network_is_refused(load, toml, says):
    with pytest.raises(ConfigError, match=says):
        load(toml, trust=True)


@pytest.mark.parametrize("url", ["socks5://me:pass-w0rd@proxy:1", "http://"])
def test_what_is_no_proxy_is_refused_without_its_password(load, url):
    with pytest.raises(ConfigError, match="http://HOST:PORT") as caught:
        load(proxy=url, **PROXIED)
    assert "w0rd" not in str(caught.value)


def test_a_proxys_password_is_known_as_a_secret(load):
    settings = load(proxy="http://me:pass-w0rd-99@proxy.example:1", **PROXIED)
    assert "w0rd" not in repr(settings.network)


def test_a_run_asks_by_the_proxy(load, repo):
    from llmc.backends.builder import CallPolicy, CascadeBuilder
    from llmc.models import Attempt

    with FakeOpenAI() as fake:
        env = {"OPENAI_BASE_URL": "http://api.example/v1", "OPENAI_MODEL": "m"}
        settings = load(proxy=fake.url, **env)
        builder = CascadeBuilder(settings, CallPolicy(timeout=10.0))
        [backend] = builder(Attempt(1, "nano", 0)).cascade.backends
        backend.generate("def f(): ...", item={"lines": [1, 2], "path": "a.py"})
        [request] = fake.requests
    assert request.path == "http://api.example/v1/chat/completions"
