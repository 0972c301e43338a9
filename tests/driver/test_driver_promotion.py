"""Where each attempt of a span goes, from end to end (SPEC §6 to §8).

Each name says which outcomes its span meets: V validation, P parse, T truncation, R runtime,
G good. The expected paths of the tables are written out by hand from the rules; those of the large
run come from `walk`, a naive model of the rules that shares nothing with the product.
"""

import hashlib
import itertools
import json
from collections import Counter
from typing import Any

import pytest

from llmc.testing.gateway import GatewayReply, write_gateway
from llmc.testing.ollama import FakeOllama
from tests.driving import (
    DEAD_URL,
    LETTERS,
    PARSE,
    TRUNCATION,
    VALIDATION,
    Piece,
    deep,
    drive,
    json_lines,
    lettered,
    make_repo,
    marked,
    plain,
    trace,
)

WAIT = 0.7
MANY = {"max_retries_per_span": 8}


def walked(root, pieces, *flags, policy=None, env=None, gateway=None, labels="AB", wait=0):
    """Enrich the spans; return the run, and the path of each as the hosts and gateway saw it."""
    repo = make_repo(root, *pieces)
    if policy:
        repo.write("router/policy.json", json.dumps(policy))
    answers = lettered(*(piece.name for piece in pieces))
    hosts = {label: FakeOllama(answers).start() for label in labels}
    words = ["--gateway-path", gateway] if gateway else []
    try:
        run = drive(repo, *words, *flags, "--retry-wait", wait, hosts=hosts, env=env)
    finally:
        for host in hosts.values():
            host.close()
    return run, {piece.name: trace(piece.name, hosts, gateway) for piece in pieces}


def scenario(paths, *flags, **settings):
    """Make a fixture that enriches the spans of a table of paths in one run."""

    @pytest.fixture(scope="module")
    def fixture(tmp_path_factory):
        pieces = [plain(name) for name in paths]
        return walked(tmp_path_factory.mktemp("paths") / "repo", pieces, *flags, **settings)

    return fixture


# -- router on, two hosts ------------------------------------------------------------------------

ON = {
    "G_on": "7b@A",
    "VG_on": "7b@A 7b@A",
    "VVG_on": "7b@A 7b@A 14b@A",
    "VVVG_on": "7b@A 7b@A 14b@A 7b@B",
    "VVVV_on": "7b@A 7b@A 14b@A 7b@B",
    "PPPP_on": "7b@A 14b@A 7b@B 14b@B",
    "TTTT_on": "7b@A 14b@A 7b@B 14b@B",
    "RRRR_on": "7b@A 14b@A 7b@B 14b@B",
    "VPPP_on": "7b@A 7b@A 14b@A 7b@B",
    "VRPP_on": "7b@A 7b@A 14b@A 7b@B",
    "PVVV_on": "7b@A 14b@A 7b@B 14b@B",
    "RVVG_on": "7b@A 14b@A 7b@B 14b@B",
    "VPVG_on": "7b@A 7b@A 14b@A 7b@B",
}
run_on = scenario(ON)


@pytest.mark.parametrize("name", ON)
def test_the_path_with_the_router_on(run_on, name):
    assert run_on[1][name] == ON[name]


LONG_ON = {
    "PPPPPPPP_long": "7b@A 14b@A 7b@B 14b@B 14b@B 14b@B 14b@B 14b@B",
    "RRRRRRRR_long": "7b@A 14b@A 7b@B 14b@B 14b@B 14b@B 14b@B 14b@B",
    "VVVVVVVV_long": "7b@A 7b@A 14b@A 7b@B 14b@B 14b@B 14b@B 14b@B",
    "VPPVPPPP_long": "7b@A 7b@A 14b@A 7b@B 14b@B 14b@B 14b@B 14b@B",
    "PVVVVVVV_long": "7b@A 14b@A 7b@B 14b@B 14b@B 14b@B 14b@B 14b@B",
    "RVVVVVVV_long": "7b@A 14b@A 7b@B 14b@B 14b@B 14b@B 14b@B 14b@B",
}
run_long = scenario(LONG_ON, "--retries", 8, policy=MANY)


@pytest.mark.parametrize("name", LONG_ON)
def test_after_the_last_host_it_stays_on_14b_until_attempts_run_out(run_long, name):
    assert run_long[1][name] == LONG_ON[name]


ONE_HOST = {
    "PPP_one": "7b@A 14b@A 14b@A",
    "VVV_one": "7b@A 7b@A 14b@A",
    "RRR_one": "7b@A 14b@A 14b@A",
}
run_one = scenario(ONE_HOST, labels="A")


@pytest.mark.parametrize("name", ONE_HOST)
def test_the_path_on_a_single_host(run_one, name):
    assert run_one[1][name] == ONE_HOST[name]


# -- router off, two hosts -----------------------------------------------------------------------

OFF = {
    "G_off": "7b@A",
    "PPPPP_off": "7b@A 7b@B 7b@B 7b@B 7b@B",
    "TTTTT_off": "7b@A 7b@B 7b@B 7b@B 7b@B",
    "RRRRR_off": "7b@A 7b@B 7b@B 7b@B 7b@B",
    "VVVVV_off": "7b@A 7b@B 14b@B 14b@B 14b@B",
    "VPPPP_off": "7b@A 7b@B 7b@B 7b@B 7b@B",
    "VPVPP_off": "7b@A 7b@B 7b@B 14b@B 14b@B",
    "VRVRR_off": "7b@A 7b@B 7b@B 14b@B 14b@B",
}
run_off = scenario(OFF, "--router", "off", "--retries", 5, policy={"max_retries_per_span": 5})


@pytest.mark.parametrize("name", OFF)
def test_the_path_with_the_router_off(run_off, name):
    assert run_off[1][name] == OFF[name]


def test_any_kind_triggers_a_promotion_that_validation_failures_have_earned(tmp_path):
    """Router off, three hosts: after VV the promoted span rotates at 14b back to 7b."""
    _, paths = walked(
        tmp_path / "repo",
        [plain("VVPPP_x"), plain("VVTTT_x")],
        *("--router", "off", "--retries", 5),
        policy={"max_retries_per_span": 5},
        labels="ABC",
    )
    assert paths["VVPPP_x"] == "7b@A 7b@B 14b@B 7b@C 14b@C"
    assert paths["VVTTT_x"] == "7b@A 7b@B 14b@B 7b@C 14b@C"


# -- the policy ----------------------------------------------------------------------------------


def test_one_validation_failure_can_be_enough(tmp_path):
    policy = {"promote_if": {"schema_failures_gte": 1}}
    _, paths = walked(tmp_path / "repo", [plain("VVVV_x")], policy=policy)
    assert paths["VVVV_x"] == "7b@A 14b@A 7b@B 14b@B"


def test_a_null_bound_on_validation_failures_is_two(tmp_path):
    policy = {"promote_if": {"schema_failures_gte": None}}
    _, paths = walked(tmp_path / "repo", [plain("VVVV_x")], policy=policy)
    assert paths["VVVV_x"] == "7b@A 7b@A 14b@A 7b@B"


def test_with_a_high_bound_a_validation_failure_repeats_tier_and_host(tmp_path):
    policy = {"promote_if": {"schema_failures_gte": "9"}}
    _, paths = walked(tmp_path / "repo", [plain("VVVV_x")], policy=policy)
    assert paths["VVVV_x"] == "7b@A 7b@A 7b@A 7b@A"


def test_a_long_span_starts_at_the_fallback_tier_and_rotates_there(tmp_path):
    policy = {"promote_if": {"span_line_count_gte": 10}}
    _, paths = walked(tmp_path / "repo", [plain("VPVP_x", lines=10)], policy=policy)
    assert paths["VPVP_x"] == "14b@A 14b@B 14b@B 14b@B"


def test_a_long_span_is_promoted_by_its_first_validation_failure(tmp_path):
    """The fallback tier is no tier to start at, so the span starts at the default tier."""
    policy = {"promote_if": {"span_line_count_gte": 10}, "fallback_tier": "Huge"}
    run, paths = walked(
        tmp_path / "repo", [plain("VG_x", lines=10), plain("VG_y", lines=9)], policy=policy
    )
    assert paths == {"VG_x": "7b@A 7b@A", "VG_y": "7b@A 7b@A"}
    assert [run.ledger[name]["promo"] for name in paths] == ["7b->huge", "7b->7b"]


def test_the_router_off_knows_no_long_spans(tmp_path):
    policy = {"promote_if": {"span_line_count_gte": 10}}
    _, paths = walked(
        tmp_path / "repo", [plain("VVG_x", lines=10)], "--router", "off", policy=policy, labels="A"
    )
    assert paths["VVG_x"] == "7b@A 7b@A 14b@A"


def test_a_fallback_tier_of_7b_lets_14b_come_down(tmp_path):
    _, paths = walked(
        tmp_path / "repo", [plain("PPPP_x", lines=61)], policy={"fallback_tier": "7B"}
    )
    assert paths["PPPP_x"] == "14b@A 7b@A 14b@B 7b@B"


# -- how many attempts ---------------------------------------------------------------------------

LIMITS: dict[str, tuple[Any, ...]] = {
    "three by default": ([], None, "A", 3),
    "two per host with the router on": ([], None, "ABC", 6),
    "one per host with the router off": (["--router", "off"], None, "ABCD", 4),
    "the default policy bounds --retries": (["--retries", 7], None, "A", 3),
    "--retries bounds the policy": (["--retries", 2], {"max_retries_per_span": 9}, "A", 2),
    "a policy without a bound gives --retries": (["--retries", 5], {"log_fields": []}, "A", 5),
    "so does a bound of 0": (["--retries", 5], {"max_retries_per_span": 0}, "A", 5),
    "so does null": (["--retries", 5], {"max_retries_per_span": None}, "A", 5),
    "a numeric string counts": (["--retries", 9], {"max_retries_per_span": "4"}, "A", 4),
    "at least one": (["--retries", -1, "--router", "off"], None, "A", 1),
}


@pytest.mark.parametrize("case", LIMITS)
def test_the_number_of_attempts(tmp_path, case):
    flags, policy, labels, expected = LIMITS[case]
    run, paths = walked(tmp_path / "repo", [plain("P_x")], *flags, policy=policy, labels=labels)
    assert run.ledger["P_x"]["attempts"] == expected == len(paths["P_x"].split())


@pytest.mark.parametrize(("flags", "expected"), [([], 3), (["--retries", 2], 2)])
def test_the_gateway_has_the_base_number_whatever_the_hosts(tmp_path, flags, expected):
    gateway = write_gateway(tmp_path / "gateway", default=PARSE)
    _, paths = walked(
        tmp_path / "repo", [plain("P_one")], "--api", *flags, gateway=gateway, labels="ABC"
    )
    assert paths["P_one"].split() == ["nano"] * expected


# -- waits ---------------------------------------------------------------------------------------


def gaps(tmp_path, name):
    """Tell for each attempt after the first whether it came after the wait."""
    repo = make_repo(tmp_path / "repo", plain(name))
    answers = lettered(name)
    with FakeOllama(answers) as first, FakeOllama(answers) as second:
        drive(repo, "--retry-wait", WAIT, hosts={"A": first, "B": second})
        calls = sorted(call.started for call in first.calls + second.calls)
    pauses = [later - earlier for earlier, later in itertools.pairwise(calls)]
    return ["waits" if pause >= WAIT else "at once" for pause in pauses]


def test_a_promotion_does_not_wait_and_a_rotation_does(tmp_path):
    assert gaps(tmp_path, "PPPP_x") == ["at once", "waits", "at once"]


def test_a_runtime_failure_waits_as_others_do(tmp_path):
    assert gaps(tmp_path, "RRRR_x") == ["at once", "waits", "at once"]


def test_a_repetition_of_tier_and_host_waits(tmp_path):
    assert gaps(tmp_path, "VG_x") == ["waits"]


# -- nano and the gateway ------------------------------------------------------------------------


def by_gateway(tmp_path, pieces, replies, *flags, **settings):
    gateway = write_gateway(tmp_path / "gateway", default=replies)
    return walked(tmp_path / "repo", pieces, *flags, gateway=gateway, **settings)


NANO_FAILURES = {
    "runtime": GatewayReply(exit_code=1),
    "parse": PARSE,
    "truncation": TRUNCATION,
}


@pytest.mark.parametrize("kind", NANO_FAILURES)
def test_a_start_at_nano_comes_back_to_nano_at_each_host(tmp_path, kind):
    _, paths = by_gateway(tmp_path, [deep("PPPP_x")], NANO_FAILURES[kind])
    assert paths["PPPP_x"] == "nano 14b@A nano 14b@B"


def test_a_validation_failure_at_nano_repeats_nano_first(tmp_path):
    _, paths = by_gateway(
        tmp_path, [deep("PPPP_x")], VALIDATION, "--retries", 6, policy={"default_tier": "7b"}
    )
    assert paths["PPPP_x"] == "nano nano 14b@A nano 14b@B 14b@B"


def test_a_fallback_tier_of_nano_never_rotates_from_nano(tmp_path):
    _, paths = by_gateway(tmp_path, [plain("PP_x")], PARSE, policy={"fallback_tier": "nano"})
    assert paths["PP_x"] == "7b@A nano nano nano"


def test_at_ollama_a_fallback_tier_of_nano_is_a_tier_like_others(tmp_path):
    run, paths = walked(
        tmp_path / "repo",
        [plain("PPPP_x")],
        *("--backend", "ollama"),
        policy={"fallback_tier": "nano"},
    )
    assert paths["PPPP_x"] == "7b@A 7b@A 7b@B 7b@B"
    assert run.ledger["PPPP_x"]["promo"] == "7b->nano"


@pytest.mark.parametrize(
    ("kind", "tiers"),
    [("runtime", "7b 14b 14b"), ("parse", "7b 14b 14b"), ("validation", "7b 7b 14b")],
)
def test_the_gateway_never_moves_the_host(tmp_path, kind, tiers):
    reply = {**NANO_FAILURES, "validation": VALIDATION}[kind]
    run, paths = by_gateway(tmp_path, [plain("P_one")], reply, "--api")
    assert paths["P_one"] == "nano nano nano"
    details = run.metrics["P_one"]["attempt_details"]
    assert [attempt["tier"] for attempt in details] == tiers.split()


def test_with_the_router_off_the_gateway_keeps_its_tier(tmp_path):
    run, _ = by_gateway(tmp_path, [plain("P_one")], PARSE, "--api", "--router", "off")
    assert run.ledger["P_one"]["promo"] == "7b->7b"


def test_every_span_begins_at_the_first_host(tmp_path):
    _, paths = walked(tmp_path / "repo", [plain("PPG_x"), plain("G_y")])
    assert paths == {"PPG_x": "7b@A 14b@A 7b@B", "G_y": "7b@A"}


# -- three hosts, the first of them down, 200 spans ----------------------------------------------

HOSTS = "ABC"
OUTCOMES = "GGGVVPPTRR"


def outcome(name, tier, host, number):
    """Decide what becomes of an attempt: no two spans meet the same."""
    if host == "A" and tier != "nano":
        return "R"
    mark = hashlib.sha256(f"{name} {tier} {host} {number}".encode()).digest()
    return OUTCOMES[mark[0] % len(OUTCOMES)]


def walk(name, start):
    """Follow SPEC §7 and §8 for router on, backend auto and the default policy, step by step.

    Returns [(tier, host, outcome)].
    """
    attempts = max(3, len(HOSTS) * 2)
    tier, host, invalid = start, 0, 0
    path = []
    asked = Counter()
    while len(path) < attempts:
        where = "nano" if tier == "nano" else tier + HOSTS[host]
        result = outcome(name, tier, HOSTS[host], asked[where])
        asked[where] += 1
        path.append((tier, HOSTS[host], result))
        if result == "G":
            break
        on_ollama = tier != "nano"
        more_hosts = host < len(HOSTS) - 1
        if result == "R":
            if tier != "14b":
                tier = "14b"
            elif on_ollama and more_hosts:
                host, tier = host + 1, start
            continue
        if result == "V":
            invalid += 1
        if tier != "14b" and (invalid >= 2 or result in "PT"):
            tier = "14b"
        elif tier == "14b" and on_ollama and more_hosts:
            host, tier = host + 1, start
    return path


def mixed_piece(number):
    name = f"mixed_{number}"
    if number % 40 == 7:
        return deep(name), "nano"
    if number % 10 == 3:
        return Piece(name, f"# mark:{name} f(x) g(y)\n"), "14b"
    if number % 10 == 5:
        return plain(name, lines=101), "14b"
    return plain(name), "7b"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The run, the expected path of each span, and the hosts as they saw it."""
    folder = tmp_path_factory.mktemp("mixed")
    pieces, starts = zip(*(mixed_piece(number) for number in range(200)), strict=True)
    expected = {
        piece.name: walk(piece.name, start) for piece, start in zip(pieces, starts, strict=True)
    }
    repo = make_repo(folder / "repo")
    for first in range(0, 200, 10):
        repo.add(f"src/{first:03}.py", *pieces[first : first + 10])
    at_gateway = [
        {"G": GatewayReply(), "V": VALIDATION, "P": PARSE, "T": TRUNCATION}.get(
            result, GatewayReply(exit_code=1)
        )
        for path in expected.values()
        for tier, _, result in path
        if tier == "nano"
    ]
    gateway = write_gateway(folder / "gateway", at_gateway)

    def answers(label):
        def answer(call):
            name, tier = marked(call.prompt), "14b" if "14b" in call.model else "7b"
            return LETTERS[outcome(name, tier, label, call.seen)]

        return answer

    with FakeOllama(answers("B")) as second, FakeOllama(answers("C")) as third:
        hosts = {"A": DEAD_URL, "B": second, "C": third}
        run = drive(repo, "--gateway-path", gateway, hosts=hosts)
        yield run, expected, {"B": second, "C": third}, gateway


def test_the_mixed_run_meets_all_there_is(mixed):
    """Lest the others prove nothing: each kind ends a span, and spans end at every host."""
    _, expected, _, _ = mixed
    assert len(expected) == 200
    assert {path[-1][2] for path in expected.values()} == set("GVPTR")
    assert {path[-1][:2] for path in expected.values()} >= {
        ("nano", "A"), ("7b", "B"), ("14b", "B"), ("7b", "C"), ("14b", "C")
    }  # fmt: skip


def test_the_calls_of_the_mixed_run_are_those_of_the_model(mixed):
    _, expected, hosts, gateway = mixed
    for name, path in expected.items():
        steps = ["nano" if tier == "nano" else f"{tier}@{host}" for tier, host, _ in path]
        visible = [step for step in steps if not step.endswith("@A")]
        assert trace(name, hosts, gateway).split() == visible, name


def test_the_ledger_of_the_mixed_run_says_how_each_span_ended(mixed):
    run, expected, _, _ = mixed
    words = {"V": "validation", "P": "parse", "T": "truncation", "R": "runtime", "G": "success"}
    assert list(run.ledger) == list(expected)
    for name, path in expected.items():
        record, (tier, _, last) = run.ledger[name], path[-1]
        assert record["router_tier"] == tier, name
        assert record["attempts"] == len(path), name
        assert record["promo"] == (f"{path[0][0]}->{tier}" if len(path) > 1 else "none"), name
        assert record["reason"] == words[last], name
        assert record["result"] == ("pass" if last == "G" else "fail"), name


def test_ledger_and_metrics_let_a_reader_reconstruct_each_path(mixed):
    run, expected, _, _ = mixed
    kinds = {"validation": "V", "parse": "P", "truncation": "T", "runtime": "R", None: "G"}
    metrics = json_lines(run.repo.root / "logs/enrichment_metrics.jsonl")
    by_hash = {record["span_hash"]: record for record in metrics}
    for line in json_lines(run.repo.root / "logs/run_ledger.log"):
        details = by_hash[line["task_id"]]["attempt_details"]
        path = [(step["tier"], step["host"], kinds[step["failure_type"]]) for step in details]
        wanted = expected[run.repo.name(line["task_id"])]
        assert path == [
            (tier, None if tier == "nano" else host, result) for tier, host, result in wanted
        ]


def test_the_rows_of_the_mixed_run_are_those_of_its_successes(mixed):
    run, expected, _, _ = mixed
    assert set(run.rows) == {name for name, path in expected.items() if path[-1][2] == "G"}


def test_the_saved_replies_of_the_mixed_run_are_its_unreadable_ends(mixed):
    run, expected, _, _ = mixed
    unreadable = {name for name, path in expected.items() if path[-1][2] in "PT"}
    assert {run.repo.name(file.rsplit("_", 1)[0]) for file in run.saved} == unreadable


def test_the_mixed_run_ends_well(mixed):
    assert mixed[0].status == 0
