"""The lanes that settings give: which hosts there are, their slots, and who serves a tier."""

import pytest

from llmc.backends.builder import CallPolicy, CascadeBuilder
from llmc.models import Attempt
from llmc.run.lanes import Lanes
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings


def lanes_of(repo, environ, toml="", **flags):
    if toml:
        (repo / "llmc.toml").write_text(toml)
    return Lanes.of(load_settings(repo, Flags(trust=True, **flags), environ))


def served(lanes, tier):
    """Return, for each choice of a tier, the (host, model, slots) it asks in turn."""
    return [
        [(lanes.lanes[step.lane].name, step.model, step.slots) for step in choice.steps]
        for choice in lanes.choices[tier]
    ]


def entry(name, **words):
    lines = [f'{key} = "{v}"' if isinstance(v, str) else f"{key} = {v}" for key, v in words.items()]
    return "\n".join(["[[enrichment.chain]]", f'name = "{name}"', *lines, ""])


@pytest.fixture
def three_hosts(clean_environ):
    return clean_environ | {"ENRICH_OLLAMA_HOSTS": "a=http://a:1,b=http://b:1,c=http://c:1"}


def test_every_host_of_the_chain_serves_both_local_tiers(repo, three_hosts):
    lanes = lanes_of(repo, three_hosts)
    small, large = "qwen2.5:7b-instruct-q4_K_M", "qwen2.5:14b-instruct-q4_K_M"
    assert served(lanes, "7b") == [[(name, small, 1)] for name in "abc"]
    assert served(lanes, "14b") == [[(name, large, 1)] for name in "abc"]
    assert [choice.host_index for choice in lanes.choices["7b"]] == [0, 1, 2]


def test_the_flag_gives_every_host_so_many_slots(repo, three_hosts):
    lanes = lanes_of(repo, three_hosts | {"ENRICH_CONCURRENCY": "2"}, slots=4)
    assert [lane.slots for lane in lanes.lanes[:3]] == [4, 4, 4]


def test_an_entry_with_slots_beats_the_flag(repo, clean_environ):
    toml = entry("x", url="http://x:1", slots=2) + entry("y", url="http://y:1")
    lanes = lanes_of(repo, clean_environ, toml, slots=5)
    assert [[step[2] for step in choice] for choice in served(lanes, "7b")] == [[2, 5], [5, 2]]


def test_each_entry_of_a_tier_may_begin_its_cascade(repo, clean_environ):
    toml = "".join(entry(name, url=f"http://{name}:1", model="m") for name in "xyz")
    lanes = lanes_of(repo, clean_environ, toml)
    asked = [[name for name, _, _ in choice] for choice in served(lanes, "7b")]
    assert asked == [["x", "y", "z"], ["y", "z", "x"], ["z", "x", "y"]]
    assert [choice.first_entry for choice in lanes.choices["7b"]] == [0, 1, 2]


def test_two_entries_on_one_address_are_one_lane(repo, clean_environ):
    toml = entry("small", url="http://x:1", model="s") + entry(
        "large", url="http://x:1/", model="l", routing_tier="14b", slots=3
    )
    lanes = lanes_of(repo, clean_environ, toml)
    assert lanes.choices["7b"][0].lane == lanes.choices["14b"][0].lane
    assert lanes.lanes[0].slots == 3
    assert (served(lanes, "7b"), served(lanes, "14b")) == (
        [[("small", "s", 1)]],
        [[("small", "l", 3)]],
    )


def test_an_entry_without_a_url_is_on_every_host_of_the_chain(repo, three_hosts):
    lanes = lanes_of(repo, three_hosts, entry("any", model="m"))
    assert served(lanes, "7b") == [[(name, "m", 1)] for name in "abc"]
    assert [choice.host_index for choice in lanes.choices["7b"]] == [0, 1, 2]


def test_the_model_in_process_has_one_slot_whatever_is_asked(repo, clean_environ):
    lanes = lanes_of(repo, clean_environ, backend="embedded", slots=8)
    assert served(lanes, "7b") == served(lanes, "14b") == [[("in process", "packaged model", 1)]]
    assert not lanes.lanes[0].one_model


def test_only_ollama_hosts_hold_one_model_at_a_time(repo, clean_environ):
    toml = entry("o", url="http://o:1") + entry("v", provider="openai", url="http://v:1/v1")
    assert [lane.one_model for lane in lanes_of(repo, clean_environ, toml).lanes[:2]] == [
        True,
        False,
    ]


def test_hosts_of_the_same_name_are_told_apart(repo, clean_environ):
    hosts = {"ENRICH_OLLAMA_HOSTS": "gpu=http://a:1,gpu=http://b:1"}
    names = [lane.name for lane in lanes_of(repo, clean_environ | hosts).lanes[:2]]
    assert names == ["gpu (http://a:1)", "gpu (http://b:1)"]


def test_a_key_or_password_in_an_address_is_in_no_name(repo, clean_environ):
    hosts = {"ENRICH_OLLAMA_HOSTS": "gpu=http://me:hunter22@a:1,gpu=http://me:hunter22@b:1"}
    assert "hunter22" not in str(
        [lane.name for lane in lanes_of(repo, clean_environ | hosts).lanes]
    )


def test_a_tier_that_nothing_serves_has_a_lane_all_the_same(repo, clean_environ):
    lanes = lanes_of(repo, clean_environ)
    assert len(lanes.choices["nano"]) == 1


def test_an_entrys_timeout_bounds_its_step(repo, clean_environ):
    toml = entry("x", url="http://x:1", timeout_seconds=20.0) + entry("y", url="http://y:1")
    choice = lanes_of(repo, clean_environ, toml).choices["7b"][0]
    assert choice.timeout == 6 * (20 + 180)


def test_a_step_may_take_longer_where_more_calls_stand_in_line(repo, clean_environ):
    toml = entry("x", url="http://x:1", timeout_seconds=20.0, slots=4)
    [step] = lanes_of(repo, clean_environ, toml).choices["7b"][0].steps
    for_slot, while_busy, its_turn, reply = 20, 20, 4 * 20, 20
    assert step.longest == for_slot + while_busy + 2 * (its_turn + reply)


def test_a_tier_that_only_the_policy_knows_is_served_like_the_small_one(repo, three_hosts):
    (repo / "router").mkdir()
    (repo / "router/policy.json").write_text('{"fallback_tier": "huge"}')
    lanes = lanes_of(repo, three_hosts)
    assert served(lanes, "huge") == served(lanes, "7b")


def test_work_is_spread_over_like_entries_only_and_the_others_stay_behind_them(repo, clean_environ):
    toml = (
        entry("x", url="http://x:1")
        + entry("y", url="http://y:1", model="other")
        + entry("cloud", provider="openai", url="https://c/v1", model="big")
    )
    lanes = lanes_of(repo, clean_environ, toml)
    asked = [[name for name, _, _ in choice] for choice in served(lanes, "7b")]
    assert asked == [["x", "y", "cloud"], ["y", "x", "cloud"], ["cloud", "x", "y"]]
    assert [choice.fallback for choice in lanes.choices["7b"]] == [False, False, True]


def test_servers_are_alike_only_with_the_same_model(repo, clean_environ):
    toml = "".join(
        entry(name, provider="openai", url=f"http://{name}:1/v1", model=model)
        for name, model in (("p", "m"), ("q", "m"), ("r", "larger"))
    )
    lanes = lanes_of(repo, clean_environ, toml)
    assert [choice.fallback for choice in lanes.choices["7b"]] == [False, False, True]


def test_an_entry_without_a_url_and_without_any_host_still_has_a_choice(repo, clean_environ):
    toml = entry("any", model="m")
    lanes = lanes_of(repo, clean_environ | {"OLLAMA_URL": ""}, toml)
    assert len(lanes.choices["7b"]) == 1


def test_the_builder_asks_in_the_order_that_the_lanes_have(repo, clean_environ):
    toml = "".join(entry(name, url=f"http://{name}:1") for name in "xyz")
    (repo / "llmc.toml").write_text(toml)
    settings = load_settings(repo, Flags(trust=True), clean_environ)
    lanes, builder = Lanes.of(settings), CascadeBuilder(settings, CallPolicy())
    for choice in lanes.choices["7b"]:
        built = builder(Attempt(1, "7b", 0, first_entry=choice.first_entry))
        names = [backend.config.name for backend in built.cascade.backends]
        assert names == [lanes.lanes[step.lane].name for step in choice.steps]
        assert built.host_label == names[0]
