"""A settings file is read once, through no link, in bounded size and time."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from llmc.errors import ConfigError
from llmc.settings.documents import (
    CONFIG_FILE,
    MAX_FIELDS,
    MAX_IN_FLIGHT,
    MAX_NAME,
    MAX_SLOTS,
    MAX_WORD,
    POLICY_FILE,
    PRESET_FILE,
)
from llmc.settings.files import MAX_BYTES, MAX_NODES, read_all, read_file, run_within
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings
from tests.running import entry

NAMES = (CONFIG_FILE, PRESET_FILE, POLICY_FILE)
EMPTY = {CONFIG_FILE: b"", PRESET_FILE: b"", POLICY_FILE: b"{}"}

PATIENCE_SEC = 30.0


def put(repo: Path, name: str, raw: bytes | str) -> Path:
    path = repo / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw.encode() if isinstance(raw, str) else raw)
    return path


def refusal(repo: Path, name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_file(repo, name)
    assert str(repo) in str(caught.value)
    assert len(str(caught.value)) < 2000, "an error must not fill the screen"
    return str(caught.value)


def loading(repo: Path, env: dict[str, str] | None = None, **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(repo, Flags(**flags), env or {})  # type: ignore[arg-type]
    assert len(str(caught.value)) < 2000, "an error must not fill the screen"
    return str(caught.value)


# What is read


def test_a_repository_without_settings_files_has_none(tmp_path: Path) -> None:
    assert read_all(tmp_path) == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_the_hash_of_its_very_bytes(tmp_path: Path, name: str) -> None:
    raw = b"\xef\xbb\xbf" + EMPTY[name]
    put(tmp_path, name, raw)
    file = read_all(tmp_path)[name]
    assert (file.raw, file.sha256) == (raw, hashlib.sha256(raw).hexdigest())
    assert file.document == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path, name, EMPTY[name] + b" " * (MAX_BYTES - len(EMPTY[name])))
    assert read_file(tmp_path, name)
    put(tmp_path, name, EMPTY[name] + b" " * (MAX_BYTES - len(EMPTY[name]) + 1))
    assert "1 MiB" in refusal(tmp_path, name)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, b"# \xff\n")
    assert "UTF-8" in refusal(tmp_path, name)


# What may stand in its place


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "place",
    [
        pytest.param(link_to("/dev/zero"), id="a link to a device"),
        pytest.param(link_to("/nonexistent"), id="a link to nothing"),
        pytest.param(link_to("other"), id="a link to a plain file"),
        pytest.param(os.mkfifo, id="a pipe that nobody fills"),
        pytest.param(Path.mkdir, id="a folder"),
    ],
)
def test_only_a_plain_file_is_opened(
    tmp_path: Path, name: str, place: Callable[[Path], None]
) -> None:
    put(tmp_path, name, "").unlink()
    put(tmp_path, str(Path(name).parent / "other"), EMPTY[name])
    place(tmp_path / name)
    told = refusal(tmp_path, name)
    assert "link" in told or "regular file" in told


@pytest.mark.parametrize("name", [PRESET_FILE, POLICY_FILE])
def test_no_link_is_followed_on_the_way_to_it(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / Path(name).name).write_bytes(EMPTY[name])
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / name).parent.symlink_to(elsewhere)
    assert "is a link" in refusal(repo, name)


# Whatever it holds, reading ends

NESTED = "[" * (MAX_BYTES - 10)
BOMBS = {
    "TOML nested arrays": (CONFIG_FILE, f"x = {NESTED}"),
    "TOML nested tables": (CONFIG_FILE, "x = " + "{a=" * 200_000),
    "TOML dotted key": (CONFIG_FILE, "a" + ".a" * 500_000 + " = 1"),
    "TOML dotted keys": (CONFIG_FILE, ("a" + ".a" * 400 + "=1\n") * 1000),
    "TOML deep table": (CONFIG_FILE, "[a" + ".a" * 400 + "]\nx = 1"),
    "TOML deep value": (CONFIG_FILE, "enrichment.concurrency" + ".a" * 400 + " = 1"),
    "TOML many tables": (CONFIG_FILE, "[[a]]\n" * 170_000),
    "TOML many values": (CONFIG_FILE, f"x = [{'1,' * 500_000}]"),
    "TOML whole number": (CONFIG_FILE, "x = " + "9" * 1_000_000),
    "TOML hexadecimal number": (CONFIG_FILE, "[enrichment]\nconcurrency = 0x" + "f" * 1_000_000),
    "JSON nested arrays": (POLICY_FILE, NESTED),
    "JSON nested objects": (POLICY_FILE, '{"a":' * 170_000),
    "JSON many values": (POLICY_FILE, '{"a": [' + "1," * 500_000 + "1]}"),
    "JSON whole number": (POLICY_FILE, '{"max_retries_per_span": ' + "9" * 1_000_000 + "}"),
    "JSON 5000 digits": (POLICY_FILE, '{"max_retries_per_span": ' + "9" * 4000 + "}"),
    "YAML nested lists": (PRESET_FILE, NESTED),
    "YAML nested blocks": (PRESET_FILE, "- " * 500_000),
    "YAML nested keys": (PRESET_FILE, "? " * 500_000),
    "YAML many values": (PRESET_FILE, f"x: [{'1,' * 500_000}]"),
    "YAML aliases": (
        PRESET_FILE,
        "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in ("ab", "bc", "cd")),
    ),
    "YAML merged alias": (PRESET_FILE, "a: &a {x: 1}\nb: {<<: *a}\n"),
    **{
        f"YAML tag {tag}": (PRESET_FILE, f"model: !!{tag}\n")
        for tag in ("bool maybe", 'int ""', 'float ""', "timestamp soon")
    },
    "YAML number of base 60": (PRESET_FILE, "num_ctx: 1" + ":59" * 300_000),
    "YAML number of base 60 as a key": (PRESET_FILE, "? 1" + ":59" * 300_000 + "\n: x\n"),
    "YAML broken number of base 60": (PRESET_FILE, "x: !!float 1" + ":5" * 300_000),
    "YAML number that is none": (PRESET_FILE, "x: !!float " + "a" * 1_000_000),
    "YAML tag of a megabyte": (PRESET_FILE, "x: !" + "a" * 1_000_000 + " 1\n"),
    "YAML hexadecimal number": (PRESET_FILE, "keep_alive: 0x" + "f" * 1_000_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_is_made_to_blow_up_is_refused(tmp_path: Path, bomb: str) -> None:
    name, text = BOMBS[bomb]
    put(tmp_path, name, text)
    assert "in time" not in refusal(tmp_path, name), "its size or form should tell"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (CONFIG_FILE, "x = [{}]"),
        (PRESET_FILE, "x: [{}]"),
        (POLICY_FILE, '{{"x": [{}]}}'),
    ],
)
def test_the_most_values_are_read_and_no_more(tmp_path: Path, name: str, text: str) -> None:
    put(tmp_path, name, text.format(",".join("1" * (MAX_NODES // 2))))
    assert read_file(tmp_path, name)
    put(tmp_path, name, text.format(",".join("1" * MAX_NODES)))
    assert str(MAX_NODES) in refusal(tmp_path, name)


def test_a_dotted_key_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    name, text = BOMBS["TOML dotted key"]
    put(tmp_path, name, text)
    assert "dots" in refusal(tmp_path, name)


def test_work_that_takes_too_long_is_left_behind() -> None:
    never = threading.Event()
    try:
        with pytest.raises(ConfigError, match="too slow"):
            run_within(0.01, never.wait, "too slow")
    finally:
        never.set()


def test_work_in_time_gives_its_result_or_its_error() -> None:
    assert run_within(PATIENCE_SEC, lambda: 5, "") == 5
    with pytest.raises(ZeroDivisionError):
        run_within(PATIENCE_SEC, lambda: 1 // 0, "")


# Numbers and texts have bounds, wherever they come from


@pytest.mark.parametrize("slots", [0, MAX_SLOTS + 1, 100_000_000])
def test_slots_are_bounded_wherever_they_are_named(tmp_path: Path, slots: int) -> None:
    assert "slots" in loading(tmp_path, slots=slots)
    assert "ENRICH_CONCURRENCY" in loading(tmp_path, {"ENRICH_CONCURRENCY": str(slots)})
    chain = json.dumps([{"name": "a", "slots": slots}])
    assert "slots" in loading(tmp_path, {"ENRICH_CHAIN_JSON": chain})
    put(tmp_path, CONFIG_FILE, entry("a", slots=slots))
    assert "slots" in loading(tmp_path)
    put(tmp_path, CONFIG_FILE, f"[enrichment]\nconcurrency = {slots}\n")
    assert "concurrency" in loading(tmp_path)


def test_the_most_slots_may_be_named(tmp_path: Path) -> None:
    put(tmp_path, CONFIG_FILE, f"[enrichment]\nconcurrency = {MAX_SLOTS}\n")
    assert load_settings(tmp_path, environ={}).pace.concurrency == MAX_SLOTS


def test_the_slots_of_a_chain_are_bounded_in_all(tmp_path: Path) -> None:
    many = MAX_IN_FLIGHT // MAX_SLOTS
    urls = [f"http://127.0.0.1:{port}" for port in range(1000, 1000 + many)]
    entries = [entry(url, url=url, slots=MAX_SLOTS) for url in urls]
    put(tmp_path, CONFIG_FILE, "".join([*entries, entries[0].replace("1000", "1001", 1)]))
    assert load_settings(tmp_path, environ={}).chain
    put(tmp_path, CONFIG_FILE, "".join([*entries, entry("one", url="http://127.0.0.1:1")]))
    assert str(MAX_IN_FLIGHT) in loading(tmp_path)


LONG = "x" * 5000
OUT_OF_BOUNDS = {
    "timeout": entry("a", timeout_seconds=10**10),
    "name": entry("x" * (MAX_NAME + 1)),
    "chain name": entry("a", chain=LONG),
    "model": entry("a", model=LONG),
    "url": entry("a", url=f"http://127.0.0.1/{LONG}"),
    "keep_alive text": entry("a", keep_alive=LONG),
    "keep_alive number": entry("a", keep_alive=10**12),
    "variable": entry("a", api_key_env=LONG.upper()),
    "program": entry("a", provider="command", command=LONG),
    "options": entry("a") + "".join(f"options.a{n} = 1\n" for n in range(MAX_FIELDS + 1)),
    "model as an option": entry("a") + 'options.model = "other"',
    "messages as an option": entry("a") + "options.messages = []",
    "stream as an option": entry("a") + "options.stream = false",
    "format as an option": entry("a") + 'options.format = "x"',
    "cooldown": f"[enrichment]\ncooldown_seconds = {10**10}",
    "estimate": f"[enrichment]\nest_tokens_per_span = {10**10}",
    "default chain": f'[enrichment]\ndefault_chain = "{LONG}"',
    "entries": "".join(entry(f"e{n}") for n in range(300)),
}


@pytest.mark.parametrize("case", OUT_OF_BOUNDS)
def test_what_llmc_toml_says_is_bounded(tmp_path: Path, case: str) -> None:
    path = put(tmp_path, CONFIG_FILE, OUT_OF_BOUNDS[case])
    assert str(path) in loading(tmp_path)


PRESETS_OUT_OF_BOUNDS = [
    f"options: {{num_ctx: {10**10}}}",
    f"num_thread: {10**6}",
    "num_gpu: -2",
    f"model: {LONG}",
    f"fallback_model: {LONG}",
    f"keep_alive: {LONG}",
    "keep_alive: .inf",
    "keep_alive: .nan",
    f"kv_type: {LONG}",
    "kv_type: [q8_0]",
]


@pytest.mark.parametrize("text", PRESETS_OUT_OF_BOUNDS)
def test_what_the_presets_say_is_bounded(tmp_path: Path, text: str) -> None:
    path = put(tmp_path, PRESET_FILE, text)
    assert str(path) in loading(tmp_path)


@pytest.mark.parametrize("value", [-1, 0, 999])
def test_the_odd_numbers_of_presets_are_taken(tmp_path: Path, value: int) -> None:
    put(tmp_path, PRESET_FILE, f"keep_alive: {value}\nnum_gpu: {value}")
    preset = load_settings(tmp_path, environ={}).presets["7b"]
    assert (preset.keep_alive, preset.options["num_gpu"]) == (value, value)


POLICIES_OUT_OF_BOUNDS = [
    {"default_tier": LONG},
    {"fallback_tier": LONG},
    {"max_retries_per_span": 10**12},
    {"promote_if": {"span_line_count_gte": "9" * 4500}},
    {"promote_if": {"schema_failures_gte": 1e300}},
    {"log_fields": [f"field{n}" for n in range(MAX_FIELDS + 1)]},
    {"log_fields": ["x" * (MAX_WORD + 1)]},
]


@pytest.mark.parametrize("policy", POLICIES_OUT_OF_BOUNDS)
def test_what_the_policy_says_is_bounded(tmp_path: Path, policy: object) -> None:
    path = put(tmp_path, POLICY_FILE, json.dumps(policy))
    assert str(path) in loading(tmp_path)


@pytest.mark.parametrize("name", ["ENRICH_CONCURRENCY", "ENRICH_COOLDOWN_SECONDS"])
def test_a_number_of_thousands_of_digits_in_the_environment_is_refused(
    tmp_path: Path, name: str
) -> None:
    assert name in loading(tmp_path, {name: "9" * 5000})
