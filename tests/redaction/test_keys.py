"""A key goes to its own cloud's address, or to the one that its user named with it, nowhere else.

A server on loopback records the headers of every request, whatever asked.
"""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.doctor import examination
from llmc.errors import BackendError, ConfigError
from llmc.models import Attempt
from llmc.net.client import Client
from llmc.net.probe import find_trouble
from llmc.run.lanes import Lanes
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.presets import TIERS
from tests.driving import NO_HOST, drive, make_repo, plain

KEYS = {
    "AZURE_OPENAI_KEY": "planted-azure",
    "GEMINI_API_KEY": "planted-gemini",
    "OPENAI_API_KEY": "planted-openai",
    "AWS_SECRET_ACCESS_KEY": "planted-aws",
}
ITEM = {"lines": [1, 1]}
ENRICHMENT = json.dumps({"summary_120w": "Fine."})
ANSWER = {
    "choices": [{"message": {"content": ENRICHMENT}, "finish_reason": "stop"}],
    "models": [],
    "data": [],
    "response": ENRICHMENT,
    "message": {"content": ENRICHMENT},
    "done": True,
}


@dataclass
class Recorder:
    url: str
    seen: list[str] = field(default_factory=list)

    @property
    def keys(self):
        """Return the values of KEYS that came in any header or path."""
        return {value for value in KEYS.values() if any(value in text for text in self.seen)}


@contextmanager
def recording(status=200, location=None):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            recorder.seen.append(f"{self.path}\n{self.headers}")
            body = json.dumps(ANSWER).encode()
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.do_POST()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    recorder = Recorder(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server():
    with recording() as recorder:
        yield recorder


def settings_of(repo, environ, entry=None, **flags):
    if entry:
        environ = environ | {
            "ENRICH_CHAIN_JSON": json.dumps([{"name": "e", "model": "m", **entry}])
        }
    return load_settings(repo, Flags(**flags), environ)


def ask(settings, tier="7b"):
    """Make one call of each backend of a tier."""
    for backend in CascadeBuilder(settings, CallPolicy())(Attempt(1, tier, 0)).cascade.backends:
        backend.generate("prompt", item=ITEM)


@pytest.mark.parametrize("provider", ["ollama", "openai"])
def test_an_entry_that_names_no_key_sends_none(repo, clean_environ, server, provider):
    ask(settings_of(repo, clean_environ | KEYS, {"provider": provider, "url": server.url}))
    assert server.seen
    assert server.keys == set()


def test_an_entry_sends_the_key_that_it_names(repo, clean_environ, server):
    entry = {"provider": "openai", "url": server.url, "api_key_env": "AWS_SECRET_ACCESS_KEY"}
    ask(settings_of(repo, clean_environ | KEYS, entry))
    assert server.keys == {"planted-aws"}


def test_the_gateway_gets_the_key_beside_its_address_only(repo, clean_environ, server):
    environ = clean_environ | KEYS | {"OPENAI_BASE_URL": server.url, "LLMC_GATEWAY": "openai"}
    ask(settings_of(repo, environ, backend="gateway"))
    assert server.keys == {"planted-openai"}


def test_azure_gets_its_own_key_only(repo, clean_environ, server):
    azure = {"AZURE_OPENAI_ENDPOINT": server.url, "AZURE_OPENAI_DEPLOYMENT": "mini"}
    environ = clean_environ | KEYS | azure | {"LLMC_GATEWAY": "azure"}
    ask(settings_of(repo, environ, backend="gateway"))
    assert server.keys == {"planted-azure"}


def test_an_address_without_a_key_of_its_own_gets_none(repo, clean_environ, server):
    keys = {name: value for name, value in KEYS.items() if name != "OPENAI_API_KEY"}
    environ = clean_environ | keys | {"OPENAI_BASE_URL": server.url, "LLMC_GATEWAY": "openai"}
    ask(settings_of(repo, environ, backend="gateway"))
    assert server.seen
    assert server.keys == set()


@pytest.mark.parametrize("name", ["GEMINI_API_KEY", "AZURE_OPENAI_KEY"])
def test_an_entry_without_url_takes_no_other_clouds_key_to_the_gateway(
    repo, clean_environ, server, name
):
    environ = clean_environ | KEYS | {"OPENAI_BASE_URL": server.url, "LLMC_GATEWAY": "openai"}
    settings = settings_of(repo, environ, {"provider": "openai", "api_key_env": name})
    with pytest.raises(ConfigError, match=f"'e'.*{name}"):
        ask(settings)
    assert server.seen == []


def test_the_driver_takes_no_other_clouds_key_to_the_gateway(tmp_path, server):
    repo = make_repo(tmp_path / "repo", plain("one"))
    entry = [{"name": "e", "provider": "openai", "api_key_env": "GEMINI_API_KEY"}]
    environ = NO_HOST | KEYS | {"OPENAI_BASE_URL": server.url, "LLMC_GATEWAY": "openai"}
    run = drive(repo, "--api", env=environ | {"ENRICH_CHAIN_JSON": json.dumps(entry)})
    assert run.status == 2
    assert server.seen == []


def test_the_drivers_entry_that_names_no_key_sends_none(tmp_path, server):
    repo = make_repo(tmp_path / "repo", plain("one"))
    entry = {"name": "e", "provider": "openai", "url": server.url}
    chain = [entry | {"routing_tier": tier} for tier in TIERS]
    environ = NO_HOST | KEYS | {"ENRICH_CHAIN_JSON": json.dumps(chain)}
    drive(repo, "--api", "--retries", 1, env=environ)
    assert server.seen
    assert server.keys == set()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_takes_neither_key_nor_code_elsewhere(repo, clean_environ, server, status):
    with recording(status, f"{server.url}/v1/chat/completions") as first:
        entry = {"provider": "openai", "url": first.url, "api_key_env": "OPENAI_API_KEY"}
        with pytest.raises(BackendError):
            ask(settings_of(repo, clean_environ | KEYS, entry))
        assert first.keys == {"planted-openai"}
    assert server.seen == []


def test_the_doctor_takes_keys_where_a_run_does(repo, clean_environ, server):
    with recording() as other:
        chain = [
            {"name": "a", "provider": "openai", "url": server.url, "model": "m"},
            {"name": "b", "url": server.url, "model": "m", "routing_tier": "14b"},
            {
                "name": "c",
                "provider": "openai",
                "url": other.url,
                "model": "m",
                "api_key_env": "AWS_SECRET_ACCESS_KEY",
            },
        ]
        environ = clean_environ | KEYS | {"ENRICH_CHAIN_JSON": json.dumps(chain)}
        examination.examine(repo, Flags(), environ, trials=examination.Trials(cloud=True))
        assert other.keys == {"planted-aws"}
    assert server.seen
    assert server.keys == set()


def test_the_doctor_follows_no_redirect(repo, clean_environ, server):
    with recording(302, server.url) as first:
        entry = {"name": "e", "provider": "openai", "url": first.url, "model": "m"}
        chain = json.dumps([entry | {"api_key_env": "OPENAI_API_KEY"}])
        examination.examine(repo, Flags(), clean_environ | KEYS | {"ENRICH_CHAIN_JSON": chain})
        assert first.keys == {"planted-openai"}
    assert server.seen == []


def test_a_look_whether_a_host_is_back_carries_no_key(repo, clean_environ, server):
    entry = {"provider": "openai", "url": server.url, "api_key_env": "OPENAI_API_KEY"}
    lanes = Lanes.of(settings_of(repo, clean_environ | KEYS, entry))
    [probe] = {lane.probe for lane in lanes.lanes if lane.probe and server.url in lane.probe}
    assert find_trouble(Client(), probe, 5.0, any_status=True) is None
    assert server.seen
    assert server.keys == set()


def test_a_password_in_a_wrong_url_is_not_in_the_error(repo, clean_environ):
    with pytest.raises(ConfigError) as caught:
        settings_of(repo, clean_environ, {"url": "ftp://user:planted@box:1/x"})
    assert "box:1" in str(caught.value)
    assert "planted" not in str(caught.value)
