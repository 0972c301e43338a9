"""A provider of one's own is one class and one row: the code of docs/backends.md, as it stands."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmc import engine
from llmc.doctor.examination import Trials, examine
from llmc.errors import ConfigError, UntrustedError
from llmc.run.selection import select
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from llmc.settings.providers import PROVIDERS
from llmc.settings.targets import list_targets
from llmc.testing.script import enrichment_text

PAGE = Path(__file__).resolve().parents[2] / "docs/backends.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def plain():
    """Run the page's code, as somebody does who imports it; the row is gone after the test."""
    exec(compile(BLOCKS[0], str(PAGE), "exec"), {"__name__": "plain_backend"})
    yield
    del PROVIDERS["plain"]


@contextmanager
def plain_server(status=200, word=enrichment_text):
    """Serve such a server on loopback; yield its URL and the questions it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(question)
            body = json.dumps({"text": word(question["prompt"])}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chain_of(url):
    entry = {"name": "shed", "provider": "plain", "url": f"{url}/complete", "model": "some-model"}
    return json.dumps([entry])


def load(repo, environ, url, **flags):
    environ = environ | {"ENRICH_CHAIN_JSON": chain_of(url)}
    return load_settings(repo, Flags(retry_wait=0.0, **flags), environ)


@pytest.mark.usefixtures("plain")
def test_a_run_enriches_by_it_from_end_to_end(repo, clean_environ):
    with plain_server() as (url, asked):
        selection = select(load(repo, clean_environ, url))
        engine.index(repo, selection.settings)
        report = engine.enrich(repo, selection.settings)
    assert report.enriched == len(asked) == 5
    assert f"backend   7b: shed (plain, some-model, {url})" in selection.lines
    assert selection.destinations.hosts == (url,)
    metrics = (repo / "logs/enrichment_metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["model"] for line in metrics} == {"some-model"}
    assert {question["model"] for question in asked} == {"some-model"}


@pytest.mark.usefixtures("plain")
def test_the_doctor_looks_at_it_and_tries_it(repo, clean_environ):
    with plain_server() as (url, asked):
        environ = clean_environ | {"ENRICH_CHAIN_JSON": chain_of(url)}
        report = examine(repo, Flags(), environ)
        assert len(asked) == 1
        examine(repo, Flags(), environ, trials=Trials(local=False))
        assert len(asked) == 1
    found = {f.name: f for f in report.findings if f.section == "plain shed"}
    assert found["settings"].detail == f"some-model at {url}"
    assert (found["trial"].state, found["trial"].detail.split(":")[0]) == ("ok", "some-model")
    assert report.exit_status == 0


@pytest.mark.usefixtures("plain")
def test_a_server_that_breaks_is_a_failed_attempt_with_its_words(repo, clean_environ):
    with plain_server(500, lambda _: "out of tea") as (url, _):
        report = examine(repo, Flags(), clean_environ | {"ENRICH_CHAIN_JSON": chain_of(url)})
    [trial] = [finding for finding in report.findings if finding.name == "trial"]
    assert trial.state == "fail"
    assert "HTTP 500" in trial.detail


@pytest.mark.usefixtures("plain")
def test_a_reply_is_accepted_or_refused_as_any_other(repo, clean_environ):
    with plain_server(word=lambda _: "no JSON at all") as (url, asked):
        settings = select(load(repo, clean_environ, url, limit=1, retries=1)).settings
        engine.index(repo, settings)
        report = engine.enrich(repo, settings)
    assert report.enriched == 0
    assert asked
    assert set(report.failed) <= {"parse", "truncation"}


@pytest.mark.usefixtures("plain")
def test_a_repository_may_not_choose_it_without_its_users_word(repo, clean_environ):
    (repo / "llmc.toml").write_text(
        '[[enrichment.chain]]\nname = "x"\nprovider = "plain"\nmodel = "m"\n'
    )
    with pytest.raises(UntrustedError, match="through the provider 'plain'"):
        select(load_settings(repo, Flags(), clean_environ))


@pytest.mark.usefixtures("plain")
def test_an_entry_that_names_no_place_for_it_is_an_error(repo, clean_environ):
    environ = clean_environ | {"ENRICH_CHAIN_JSON": '[{"name": "shed", "provider": "plain"}]'}
    with pytest.raises(ConfigError, match="'shed': provider plain needs url"):
        select(load_settings(repo, Flags(), environ))


@pytest.mark.usefixtures("plain")
def test_it_is_given_the_key_of_its_entry(repo, clean_environ):
    entry = {"name": "shed", "provider": "plain", "url": "http://h:1", "api_key_env": "SHED_KEY"}
    environ = clean_environ | {"SHED_KEY": "s3cret", "ENRICH_CHAIN_JSON": json.dumps([entry])}
    [target] = list_targets(load_settings(repo, Flags(), environ))["7b"]
    assert target.key.secret.get_secret_value() == "s3cret"


@pytest.mark.usefixtures("plain")
def test_what_leads_away_is_noted_down_before_it_goes(repo, clean_environ):
    with plain_server() as (url, asked):
        settings = select(load(repo, clean_environ, url, limit=1)).settings
        engine.index(repo, settings)
        engine.enrich(repo, settings)
    [line] = (repo / "logs/egress.jsonl").read_text().splitlines()
    assert json.loads(line)["host"] == url
    assert len(asked) == 1


def test_without_its_row_it_is_no_provider(repo, clean_environ):
    with pytest.raises(ConfigError, match="allowed: ollama, openai, command, llamacpp"):
        load(repo, clean_environ, "http://127.0.0.1:1")


def test_it_takes_about_thirty_lines():
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 35
