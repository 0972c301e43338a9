"""What the doctor says of a run is no more than it knows, and nothing that a run stumbles over."""

import json
import os
from pathlib import Path

import pytest

from llmc.doctor.examination import Trials, examine
from llmc.doctor.logs import examine_logs
from llmc.doctor.targets import TRIAL_SECONDS
from llmc.doctor.trial import judge_trial
from llmc.models import Attempt, AttemptOutcome
from llmc.records.ledger import metrics_path
from llmc.settings.flags import Flags
from llmc.show.display import record_report, view_report
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI

SMALL, LARGE = "qwen2.5:7b-instruct-q4_K_M", "qwen2.5:14b-instruct-q4_K_M"
NO_TRIAL = Trials(local=False)


def verdict(report):
    """Return the last line that a person reads."""
    return str(view_report(report).renderables[-1])


@pytest.fixture
def host(clean_environ):
    with FakeOllama(models=[SMALL, LARGE]) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = f"attic={fake.url}"
        yield fake


def test_a_run_would_work_where_every_tier_has_replied(repo, clean_environ, host):
    assert verdict(examine(repo, environ=clean_environ)) == "a run would work"


def test_without_a_trial_nobody_knows_that_a_run_would_work(repo, clean_environ, host):
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert (report.works, report.exit_status) == (True, 0)
    assert verdict(report) == (
        "nothing is in the way of a run, but no model was asked for a reply at 7b, 14b"
    )
    assert record_report(report)["unproved"] == ["7b", "14b"]


def test_a_gateway_that_was_not_asked_has_proved_nothing(repo, clean_environ):
    with FakeOpenAI(models=["m"]) as cloud:
        clean_environ |= {"OPENAI_BASE_URL": f"{cloud.url}/v1", "OPENAI_MODEL": "m"}
        gateway = Flags(backend="gateway")
        assert "no model was asked" in verdict(examine(repo, gateway, clean_environ))
        asked = examine(repo, gateway, clean_environ, trials=Trials(cloud=True))
    assert verdict(asked) == "a run would work"


def test_replies_that_are_refused_prove_nothing(repo, clean_environ):
    with FakeOllama(lambda call: faults.Prose(), models=[SMALL, LARGE]) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = fake.url
        report = examine(repo, environ=clean_environ)
    assert "no model gave a usable reply at 7b, 14b, 2 warnings" in verdict(report)


def test_only_the_tier_without_a_reply_is_unproved(repo, clean_environ):
    def answer(call):
        return faults.Prose() if call.model == LARGE else None

    with FakeOllama(answer, models=[SMALL, LARGE]) as fake:
        clean_environ["ENRICH_OLLAMA_HOSTS"] = fake.url
        assert examine(repo, environ=clean_environ).unproved == ("14b",)


def test_a_dummy_key_is_not_blotted_out_of_ordinary_words(repo, clean_environ):
    with FakeOllama(models=[SMALL]) as fake:
        clean_environ |= {"ENRICH_OLLAMA_HOSTS": fake.url, "OPENAI_API_KEY": "ollama"}
        report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert f"ollama pull {LARGE}" in [finding.advice for finding in report.findings]


# -- the time of a trial -------------------------------------------------------------------------


def trial(seconds, **outcome):
    given = AttemptOutcome(Attempt(1, "7b", 0), "ollama", seconds, **outcome)
    return judge_trial(given, "m", "Ollama attic")


def test_a_trial_that_ran_out_of_its_own_time_condemns_no_model():
    finding, usable = trial(TRIAL_SECONDS, failure_type="runtime", detail="no answer in 120 s")
    assert (finding.state, usable) == ("warn", True)
    assert "no reply within 120 s, and a trial waits no longer" in finding.detail


def test_a_call_that_ran_out_of_the_runs_time_does():
    finding, usable = trial(30.0, failure_type="runtime", detail="no answer in 30 s")
    assert (finding.state, usable) == ("fail", False)


def test_the_time_to_load_a_model_is_told_apart(repo, clean_environ, host):
    first = examine(repo, environ=clean_environ)
    again = examine(repo, environ=clean_environ)
    loads = "the time to load the model included"
    told = [[f.detail for f in r.findings if f.name == "trial"] for r in (first, again)]
    assert [loads in detail for detail in told[0]] == [True, True]
    assert sum(loads in detail for detail in told[1]) == 1  # the host keeps the last one loaded


# -- the logs ------------------------------------------------------------------------------------


def _file(repo):
    (repo / "logs").write_text("")


def _link_away(repo):
    (repo / "logs").symlink_to(repo.parent)


def _loop(repo):
    (repo / "logs").symlink_to("logs")


def _folder_for_the_ledger(repo):
    (repo / "logs/run_ledger.log").mkdir(parents=True)


def _pipe_for_the_metrics(repo):
    (repo / "logs").mkdir()
    os.mkfifo(repo / "logs/enrichment_metrics.jsonl")


def _link_for_the_ledger(repo):
    (repo / "logs").mkdir()
    (repo / "logs/run_ledger.log").symlink_to(repo / "small.py")


UNWRITABLE = [
    _file,
    _link_away,
    _loop,
    _folder_for_the_ledger,
    _pipe_for_the_metrics,
    _link_for_the_ledger,
]


@pytest.mark.parametrize("spoil", UNWRITABLE)
def test_logs_that_cannot_be_written_keep_a_run_from_working(repo, clean_environ, host, spoil):
    spoil(repo)
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    [finding] = [f for f in report.findings if f.section == "logs"]
    assert finding.state == "fail"
    assert finding.advice
    assert report.exit_status == 1


def test_a_folder_without_permission_is_found(repo, monkeypatch):
    """As somebody who isn't root sees it."""
    (repo / "logs").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != repo / "logs")
    [finding] = examine_logs(repo / "logs", repo, metrics_path(repo / "logs"))
    assert (finding.state, finding.name) == ("fail", "folder")


def test_an_egress_log_that_cannot_be_written_keeps_prompts_here(repo, clean_environ, host):
    (repo / "logs/egress.jsonl").mkdir(parents=True)
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    [finding] = [f for f in report.findings if f.section == "logs"]
    assert (finding.state, report.works) == ("warn", True)


@pytest.mark.parametrize("there", [True, False])
def test_looking_at_the_logs_writes_nothing(repo, clean_environ, host, there):
    if there:
        (repo / "logs").mkdir()
        (repo / "logs/run_ledger.log").write_text('{"torn')
    before = {path: path.stat().st_mtime_ns for path in repo.rglob("*")}
    report = examine(repo, environ=clean_environ, trials=NO_TRIAL)
    assert {path: path.stat().st_mtime_ns for path in repo.rglob("*")} == before
    [finding] = [f for f in report.findings if f.section == "logs"]
    assert finding.state == ("ok" if there else "info")
    assert json.dumps(record_report(report))
