"""What leads away, who says so, and which paths stay; a misspelt word never sends code."""

from __future__ import annotations

import os

import pytest

from llmc.errors import ConfigError
from llmc.net.places import OwnNetwork
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.privacy import KeptPaths, Privacy

NOBODY = Privacy()
OWNER = Privacy(OwnNetwork.of(["10.0.0.0/8", "*.lan", "gpu.host.net", "127.0.0.0/8"]))

AWAY = [
    ("ollama", "http://10.0.0.7:11434", "qwen2.5:7b"),
    ("ollama", "http://attic:11434", "qwen2.5:7b"),
    ("ollama", "http://localhost.evil.net:11434", "m"),
    ("ollama", "http://127.0.0.1@evil.net:11434", "m"),
    ("ollama", "http://localhost:11434", "gpt-oss:120b-cloud"),
    ("ollama", "http://127.0.0.1:11434", "x:cloud"),
    ("openai", "https://api.host.net/v1", "m"),
    ("openai", "http://127.0.0.1:4000/v1", "m"),
    ("command", "/bin/cat", "gemini"),
]
HERE = [
    ("ollama", "http://localhost:11434", "qwen2.5:7b"),
    ("ollama", "http://127.0.0.9:11434", None),
    ("ollama", "http://[::1]:11434", "m"),
    ("llamacpp", "", "model.gguf"),
    ("ollama", "", "m"),
]


@pytest.mark.parametrize("target", AWAY)
def test_what_leads_away(target):
    assert NOBODY.leads_away(*target)


@pytest.mark.parametrize("target", HERE)
def test_what_stays(target):
    assert not NOBODY.leads_away(*target)


@pytest.mark.parametrize(
    "target",
    [
        ("ollama", "http://10.0.0.7:11434", "m"),
        ("ollama", "http://attic.lan:11434", "m"),
        ("openai", "https://gpu.host.net/v1", "m"),
        ("openai", "http://127.0.0.1:4000/v1", "m"),
        ("openai", "http://localhost:4000/v1", "m"),
    ],
)
def test_the_users_own_network_stays(target):
    assert not OWNER.leads_away(*target)


@pytest.mark.parametrize(
    "target",
    [
        ("command", "/bin/cat", "m"),
        ("ollama", "http://10.0.0.7:11434", "x:cloud"),
        ("ollama", "http://10.0.0.7.evil.net:11434", "m"),
        ("openai", "https://evil.net/gpu.host.net", "m"),
    ],
)
def test_what_leads_away_from_the_own_network_too(target):
    assert OWNER.leads_away(*target)


# -- who says so -----------------------------------------------------------------------------------


def settings(repo, environ, **flags):
    return load_settings(repo, Flags(**flags), environ)


@pytest.fixture
def users(clean_environ, tmp_path):
    """Write the user's own settings."""
    clean_environ["XDG_CONFIG_HOME"] = str(tmp_path / "config")

    def write(text):
        file = tmp_path / "config/llmc/config.toml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
        file.chmod(0o600)

    return write


def test_the_environment_declares_the_own_network(repo, clean_environ):
    clean_environ["LLMC_OWN_NETWORK"] = "10.0.0.0/8, attic"
    privacy = settings(repo, clean_environ).privacy
    assert privacy.is_own("http://10.1.2.3:1")
    assert privacy.is_own("http://attic:1")


def test_so_do_the_users_own_settings(repo, clean_environ, users):
    users('[privacy]\nown_network = ["attic"]\nlocal_only = ["secret/"]\n')
    found = settings(repo, clean_environ).privacy
    assert found.is_own("http://attic:1")
    assert KeptPaths(repo, found).covers("secret/a.py")


def test_a_repository_does_not(repo, clean_environ):
    (repo / "llmc.toml").write_text('[privacy]\nown_network = ["evil.net"]\n')
    with pytest.raises(ConfigError, match="can't say which hosts are its user's own"):
        settings(repo, clean_environ)


@pytest.mark.parametrize(
    "text", ["privacy = {}", "[privacy]\nlocal_only = {}", "[privacy]\nlocal_only = [{}, 1]"]
)
def test_what_is_refused_does_not_fill_the_screen(repo, clean_environ, text):
    (repo / "llmc.toml").write_text(text.format(f'"{"x" * 100_000}"'))
    with pytest.raises(ConfigError, match="privacy") as caught:
        settings(repo, clean_environ)
    assert len(str(caught.value)) < 1000


def test_no_home_is_no_settings_of_the_users(repo):
    assert settings(repo, {"PATH": os.environ["PATH"]}).privacy == Privacy()


MISSPELT = [
    '[privacy]\nlocal_olny = ["a/"]',
    '[privacy]\nlocalonly = ["a/"]',
    '[privacy]\nlocal-only = ["a/"]',
    '[privacy]\nLOCAL_ONLY = ["a/"]',
    '[privacy]\npaths = ["a/"]',
    '[Privacy]\nlocal_only = ["a/"]',
    '[privcy]\nlocal_only = ["a/"]',
    '[private]\nlocal_only = ["a/"]',
    'local_only = ["a/"]',
    '[enrichment]\nlocal_only = ["a/"]',
    '[enrichment.privacy]\nlocal_only = ["a/"]',
    'privacy = ["a/"]',
    '[privacy]\nlocal_only = "a/"',
    "[privacy]\nlocal_only = [1]",
    '[privacy]\nlocal_only = ["a*b*c*d*e*f"]',
]


@pytest.mark.parametrize("text", MISSPELT)
def test_a_misspelt_setting_is_an_error(repo, clean_environ, text):
    (repo / "llmc.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"llmc\.toml"):
        settings(repo, clean_environ)


def test_an_error_says_what_was_meant(repo, clean_environ):
    (repo / "llmc.toml").write_text('[privacy]\nlocal_onyl = ["a/"]')
    with pytest.raises(ConfigError, match="did you mean 'local_only'"):
        settings(repo, clean_environ)


# -- the paths -------------------------------------------------------------------------------------


def kept(repo, clean_environ):
    return KeptPaths(repo, settings(repo, clean_environ).privacy)


def test_lines_are_read_as_in_gitignore(repo, clean_environ):
    (repo / "llmc.toml").write_text('[privacy]\nlocal_only = ["billing/", "*.pem.py", "/top.py"]')
    paths = kept(repo, clean_environ)
    stays = ["billing/a.py", "x/billing/y/a.py", "x/key.pem.py", "top.py"]
    leaves = ["billing.py", "x/top.py", "a.py", "bill/a.py"]
    assert [path for path in stays + leaves if paths.covers(path)] == stays


def test_a_file_in_the_root_says_it_too(repo, clean_environ):
    (repo / ".llmc-local").write_text("# ours\nbilling/\n!billing/public.py\n")
    paths = kept(repo, clean_environ)
    assert [paths.covers(f"billing/{name}.py") for name in ("a", "public")] == [True, False]


def test_one_source_does_not_take_back_what_another_one_says(repo, clean_environ, users):
    users('[privacy]\nlocal_only = ["billing/"]')
    (repo / ".llmc-local").write_text("!billing/\n")
    (repo / "llmc.toml").write_text('[privacy]\nlocal_only = ["!billing/", "!*"]')
    assert kept(repo, clean_environ).covers("billing/a.py")


@pytest.mark.parametrize(
    "path", ["./billing/a.py", "x/../billing/a.py", "billing//a.py", "billing/a\nb.py", "link/a.py"]
)
def test_no_other_way_of_writing_a_path_gets_around_it(repo, clean_environ, path):
    (repo / "billing").mkdir()
    (repo / "link").symlink_to("billing")
    (repo / ".llmc-local").write_text("billing/\n")
    assert kept(repo, clean_environ).covers(path)


@pytest.mark.parametrize("kind", ["link out", "dangling", "folder", "pipe", "big", "bytes"])
def test_a_file_that_cannot_be_read_is_an_error_and_not_an_empty_one(
    repo, clean_environ, tmp_path, kind
):
    file = repo / ".llmc-local"
    outside = tmp_path / "outside"
    outside.write_text("x\n")
    {
        "link out": lambda: file.symlink_to(outside),
        "dangling": lambda: file.symlink_to("nowhere"),
        "folder": file.mkdir,
        "pipe": lambda: os.mkfifo(file),
        "big": lambda: file.write_bytes(b"#" * (1024 * 1024 + 1)),
        "bytes": lambda: file.write_bytes(b"\xff\xfe"),
    }[kind]()
    with pytest.raises(ConfigError, match=r"\.llmc-local"):
        settings(repo, clean_environ)
