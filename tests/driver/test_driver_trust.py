"""The batch driver obeys the same rule: what the repository asks for needs its user's word."""

import pytest

from llmc.settings import trust
from llmc.settings.documents import CONFIG_FILE, PRESET_FILE
from llmc.settings.files import read_all
from llmc.testing.gateway import gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.driving import NO_HOST, deep, drive, make_repo, plain
from tests.running import entry


@pytest.fixture
def home(tmp_path):
    """The environment of a user of this test alone."""
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def own(tmp_path):
    return make_repo(tmp_path / "repo", plain("small"))


KEYED = {"provider": "openai", "model": "m", "api_key_env": "SECRET"}


def test_it_ends_with_status_2_before_anyone_is_asked(own, home):
    with FakeOllama() as mine, FakeOpenAI() as theirs:
        own.write(CONFIG_FILE, entry("x", url=f"{theirs.url}/v1", **KEYED))
        run = drive(own, hosts={"A": mine}, env=home | {"SECRET": "s"})
        assert (run.status, mine.requests, theirs.calls) == (2, (), ())
    for part in ("$SECRET", theirs.url, "'x'", f"llmc trust {own.root}"):
        assert part in run.stderr
    assert run.ledger == {}


@pytest.mark.parametrize("way", ["the flag", "llmc trust"])
def test_trusted_it_goes_where_the_file_says(own, home, tmp_path, way):
    with FakeOllama() as mine, FakeOllama() as theirs:
        own.write(CONFIG_FILE, entry("x", url=theirs.url, model="their:7b"))
        if way == "llmc trust":
            trust.grant(tmp_path / "config/llmc", own.root, read_all(own.root), [])
        flags = ["--trust"] if way == "the flag" else []
        run = drive(own, *flags, hosts={"A": mine}, env=home)
        assert run.status == 0
        assert ([call.model for call in theirs.calls], mine.calls) == (["their:7b"], ())


def test_the_flag_stores_nothing(own, home, tmp_path):
    with FakeOllama() as mine:
        own.write(CONFIG_FILE, entry("x", url=mine.url))
        drive(own, "--trust", env=home)
    assert not (tmp_path / "config").exists()


def test_an_untrusted_url_here_gives_way_to_the_users_host(own, home):
    with FakeOllama() as mine, FakeOllama() as theirs:
        own.write(CONFIG_FILE, entry("x", url=theirs.url, model="their:7b"))
        run = drive(own, hosts={"A": mine}, env=home)
    assert ([call.model for call in mine.calls], theirs.calls) == (["their:7b"], ())
    assert "'x' is asked at your own hosts" in run.stderr


def test_it_holds_where_no_host_was_named(own, home):
    with FakeOllama() as theirs:
        own.write(CONFIG_FILE, entry("x", url=theirs.url))
        run = drive(own, env=home | {"ENRICH_HEALTHCHECK_ENABLED": "0"})
    assert run.status == 0
    assert len(theirs.calls) == 1


@pytest.mark.parametrize("backend", ["--api", "--local"])
def test_the_chain_counts_whatever_the_backend(own, home, backend):
    own.write(CONFIG_FILE, entry("x", url="http://away.example", model="m"))
    run = drive(own, backend, env=home | NO_HOST)
    assert run.status == 2
    assert "away.example" in run.stderr


def test_an_entry_of_any_provider_does_not_choose_the_gateways_model(tmp_path, home):
    own = make_repo(tmp_path / "repo", deep("deep"))
    own.write(CONFIG_FILE, entry("x", model="dearest", routing_tier="nano"))
    gateway = write_gateway(tmp_path / "gateway")
    run = drive(own, "--gateway-path", gateway, env=home | NO_HOST)
    assert run.status == 2
    assert "dearest" in run.stderr
    assert gateway_calls(gateway) == []


@pytest.mark.parametrize(("flags", "status"), [([], 2), (["--trust"], 0), (["--api"], 0)])
def test_a_cloud_model_of_the_presets_needs_trust_without_llmc_toml_too(own, home, flags, status):
    own.write(PRESET_FILE, "model: glm:cloud\n")
    with FakeOllama() as mine:
        run = drive(own, *flags, hosts={"A": mine}, env=home)
    assert run.status == status
    assert ("is not trusted" in run.stderr) is (status == 2)
    assert ("glm:cloud" in run.stderr) is ("--api" not in flags)


def test_a_dry_run_asks_nobody_and_needs_no_trust(own, home):
    own.write(CONFIG_FILE, entry("x", url="http://away.example"))
    with FakeOllama() as mine:
        run = drive(own, "--dry-run", hosts={"A": mine}, env=home)
    assert run.status == 0
    assert "mark:small" in run.stdout


def test_a_program_that_the_driver_never_runs_is_not_asked_about(own, home):
    """It takes a model and options of an entry, whatever its provider: here there are none."""
    own.write(CONFIG_FILE, entry("x", provider="command", command="./x.sh", env=["HOME"]))
    with FakeOllama() as mine:
        run = drive(own, hosts={"A": mine}, env=home)
    assert (run.status, len(mine.calls)) == (0, 1)


def test_what_it_takes_of_such_an_entry_is_named_and_its_program_is_not(own, home):
    program = entry("x", provider="command", command="./x.sh", env=["HOME"], model="glm:cloud")
    own.write(CONFIG_FILE, program)
    with FakeOllama() as mine:
        run = drive(own, hosts={"A": mine}, env=home)
    assert (run.status, mine.requests) == (2, ())
    assert "glm:cloud" in run.stderr
    assert "x.sh" not in run.stderr
    assert "$HOME" not in run.stderr


def test_the_gateways_tier_takes_a_model_of_such_an_entry_and_no_program(tmp_path, home):
    own = make_repo(tmp_path / "repo", deep("deep"))
    program = entry("x", provider="command", command="./x.sh", model="dear", routing_tier="nano")
    own.write(CONFIG_FILE, program)
    run = drive(own, env=home | NO_HOST)
    assert run.status == 2
    assert "use your own gateway, with the model 'dear'" in run.stderr
    assert "x.sh" not in run.stderr
