"""What must stay is asked only of what stays, and left where there is no such thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.errors import BackendError
from llmc.events import SpanKept
from llmc.models import Attempt, SpanMetrics
from llmc.run import routing
from llmc.settings.presets import TIERS, RouterPolicy, RouterSettings
from llmc.testing.gateway import gateway_calls, write_gateway
from llmc.testing.ollama import FakeOllama
from llmc.testing.openai import FakeOpenAI
from tests.borders import away, log, prompts
from tests.driving import NO_HOST, drive, make_repo, marked, plain
from tests.running import configured, enrich, entry

NONSENSE = "nonsense {"


@pytest.fixture
def repo(tmp_path):
    """Six spans, of which half are to stay."""
    repo = make_repo(tmp_path / "repo")
    repo.add("src/all.py", *(plain(f"free_{n}") for n in range(3)))
    repo.add("billing/all.py", *(plain(f"kept_{n}") for n in range(3)))
    (repo.root / ".llmc-local").write_text("billing/\n")
    return repo


def chained(repo, *entries):
    (repo.root / "llmc.toml").write_text("\n".join(entries))


def asked(fake):
    """Return the names of the spans that a fake was asked about."""
    return {marked(prompt) for prompt in prompts(fake)}


def names(kind):
    return {f"{kind}_{n}" for n in range(3)}


# -- a run of the command --------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["spread", "failover"])
@pytest.mark.parametrize("first", ["here", "away"])
def test_of_several_hosts_only_those_that_stay_are_asked(repo, order, first):
    with FakeOllama() as here, FakeOllama() as there:
        hosts = {"away": away(there), "here": here.url}
        chosen = dict(sorted(hosts.items(), reverse=first == "here"))
        ran = enrich(repo, configured(repo, chosen, host_order=order))
    assert ran.report.enriched == 6
    assert not asked(there) & names("kept")
    assert asked(here) >= names("kept")


@pytest.mark.parametrize("order", ["spread", "failover"])
def test_a_span_that_fails_here_does_not_go_elsewhere(repo, order):
    with FakeOllama(lambda _: NONSENSE) as here, FakeOllama() as there:
        hosts = {"here": here.url, "away": away(there)}
        ran = enrich(repo, configured(repo, hosts, host_order=order))
    assert not asked(there) & names("kept")
    assert sum(ran.report.failed.values()) >= 3


def test_no_promotion_to_a_tier_that_leads_away(repo):
    with FakeOllama(lambda _: NONSENSE) as here, FakeOllama() as there:
        chained(
            repo,
            entry("small", url=here.url, model="m"),
            entry("large", url=away(there), model="n", routing_tier="14b"),
        )
        ran = enrich(repo, configured(repo))
    assert asked(there) == names("free")
    tiers = {e.outcome.attempt.tier for name in names("kept") for e in ran.attempts(name)}
    assert tiers == {"7b"}


def test_no_start_at_a_tier_that_leads_away(repo):
    with FakeOllama() as here, FakeOllama() as there:
        chained(
            repo,
            entry("small", url=away(there), model="m"),
            entry("large", url=here.url, model="n", routing_tier="14b"),
        )
        ran = enrich(repo, configured(repo))
    assert ran.report.enriched == 6
    assert (asked(here), asked(there)) == (names("kept"), names("free"))


def test_an_entry_behind_one_that_fails_is_asked_only_if_it_stays(repo):
    with FakeOllama(lambda _: NONSENSE) as here, FakeOpenAI() as cloud, FakeOllama() as last:
        chained(
            repo,
            entry("here", url=here.url, model="m"),
            entry("cloud", provider="openai", url=f"{cloud.url}/v1", model="c"),
            entry("last", url=last.url, model="l"),
        )
        ran = enrich(repo, configured(repo, retries=1, router="off"))
    assert ran.report.enriched == 6
    assert (asked(cloud), asked(last)) == (names("free"), names("kept"))


def test_a_model_that_ollama_hands_on_is_not_asked(repo):
    with FakeOllama() as here:
        chained(repo, *(
            entry(f"c{tier}", url=here.url, model="big:cloud", routing_tier=tier)
            for tier in ("7b", "14b")
        ))  # fmt: skip
        ran = enrich(repo, configured(repo))
    assert asked(here) == names("free")
    assert ran.report.kept == 3


AWAY = ["gateway", "program", "host", "entries"]


def leading_away(kind, repo, fake, program):
    """Return the settings of a run of which every target leads away."""
    if kind == "gateway":
        env = {"OPENAI_BASE_URL": f"{fake.url}/v1"}
        return configured(repo, env=env, backend="gateway")
    if kind == "program":
        return configured(repo, backend="gateway", gateway_path=str(program))
    if kind == "host":
        return configured(repo, {"a": away(fake)})
    chained(repo, entry("x", url=away(fake)), entry("y", url=away(fake), routing_tier="14b"))
    return configured(repo)


@pytest.mark.parametrize("kind", AWAY)
def test_where_nothing_stays_a_span_is_left_and_told(repo, tmp_path, kind):
    program = write_gateway(tmp_path / "gateway")
    with FakeOpenAI() if kind == "gateway" else FakeOllama() as fake:
        ran = enrich(repo, leading_away(kind, repo, fake, program))
        sent = asked(fake) | {marked(call.prompt) for call in gateway_calls(program)}
    assert sent == names("free")
    assert (ran.report.enriched, ran.report.kept, ran.report.left) == (3, 3, 3)
    assert ran.report.stopped is None
    assert {event.span.symbol for event in ran.told(SpanKept)} == names("kept")


def test_what_was_left_is_done_once_something_stays(repo):
    with FakeOllama() as fake:
        enrich(repo, configured(repo, {"a": away(fake)}))
        ran = enrich(repo, configured(repo, {"a": away(fake)}, {"LLMC_OWN_NETWORK": "127.1"}))
    assert (ran.report.enriched, ran.report.kept) == (3, 0)
    assert not {line["path"] for line in log(repo)} & {"billing/all.py"}


# -- the batch driver ------------------------------------------------------------------------------


def test_the_driver_asks_only_hosts_that_stay(repo):
    with FakeOllama(lambda _: NONSENSE) as here, FakeOllama() as there:
        run = drive(repo, hosts={"away": away(there), "here": here.url})
    assert run.status == 0
    assert (asked(there), asked(here)) == (names("free"), names("kept"))


@pytest.mark.parametrize("kind", ["server", "program"])
def test_the_driver_leaves_what_must_stay(repo, tmp_path, kind):
    program = write_gateway(tmp_path / "gateway")
    flags = ["--api", *(["--gateway-path", program] if kind == "program" else [])]
    with FakeOpenAI() as fake:
        run = drive(repo, *flags, env={**NO_HOST, "OPENAI_BASE_URL": f"{fake.url}/v1"})
        sent = asked(fake) | {marked(call.prompt) for call in gateway_calls(program)}
    assert (run.status, sent) == (0, names("free"))
    assert "3 spans stay here by local_only" in run.stdout


def test_the_driver_does_not_promote_to_the_cloud(repo):
    with FakeOllama(lambda _: NONSENSE) as here, FakeOpenAI() as cloud:
        (repo.root / "router").mkdir()
        (repo.root / "router/policy.json").write_text('{"fallback_tier": "nano"}')
        drive(repo, hosts={"a": here.url}, env={"OPENAI_BASE_URL": f"{cloud.url}/v1"})
    assert asked(cloud) == names("free")


# -- the second look -------------------------------------------------------------------------------


def test_the_border_refuses_what_should_not_have_come_there(repo):
    with FakeOllama() as fake:
        settings = configured(repo, {"a": away(fake)})
        cascade = CascadeBuilder(settings, CallPolicy())(Attempt(1, "7b", 0)).cascade
        item = {"path": "billing/all.py", "lines": [1, 3], "span_hash": "sha256:0"}
        with pytest.raises(BackendError, match="stays here by local_only"):
            cascade.generate_for_span("mark:x", item=item)
    assert (prompts(fake), log(repo)) == ([], [])


# -- the pure part ---------------------------------------------------------------------------------

ANY_TIER = st.sampled_from([*TIERS, "70b"])


@given(
    among=st.frozensets(ANY_TIER, min_size=1),
    start=st.sampled_from(["auto", *TIERS]),
    policy=st.builds(RouterPolicy, default_tier=ANY_TIER, fallback_tier=ANY_TIER),
    enabled=st.booleans(),
    lines=st.integers(1, 500),
    nodes=st.integers(0, 5000),
    outcomes=st.lists(
        st.sampled_from(["runtime", "parse", "validation", "truncation"]), max_size=9
    ),
    backend=st.sampled_from(["auto", "ollama"]),
)
def test_a_span_that_must_stay_never_gets_to_another_tier(
    among, start, policy, enabled, lines, nodes, outcomes, backend
):
    state = routing.start(
        SpanMetrics(lines, 2, nodes, 1, 100, 1200),
        RouterSettings(policy=policy, enabled=enabled, start_tier=start),
        backend=backend,
        hosts=2,
        retries=5,
        among=among,
    )
    for failure in outcomes:
        attempt = state.offer()
        assert attempt is None or (attempt.tier in among and attempt.kept)
        state = state.advance(failure)
    assert state.tier in among
