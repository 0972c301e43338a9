"""What a server lost of a prompt is noticed, and never stored as if it had been read."""

import itertools

import pytest

from llmc.backends.builder import BackendConfig, CallPolicy
from llmc.backends.ollama import OllamaBackend
from llmc.enrichment import prompts
from llmc.enrichment.prompts import estimate_tokens, fit
from llmc.errors import BackendError
from llmc.models import Span
from llmc.net.client import Client
from llmc.settings.presets import TierPreset
from llmc.testing import faults
from llmc.testing.ollama import FakeOllama, Model, Reply

GOOD = '{"summary_120w": "Returns number i of a fixed table."}'
NAMES = (f"qwen:{number}b" for number in itertools.count(7))
ITEM = {"lines": [3, 900], "path": "m.py", "attempt": 1}


def prompt_of(code):
    return prompts.build(Span(1, "m.py", "python", "f", "function", 3, 900, 0, 9, "sha256:x"), code)


LONG = prompt_of("def f(i):\n" + "    total = total + first_part(i) * second_part(i)\n" * 300)
SHORT = prompt_of("def f(i):\n    return i\n")


def backend(url, model, *, num_ctx: int | None = 8192, timeout=20.0, **policy):
    options = {} if num_ctx is None else {"num_ctx": num_ctx}
    return OllamaBackend(
        BackendConfig("host", "ollama", url=url),
        TierPreset("7b", model, "15m", options),
        label="attic",
        default_model=None,
        policy=CallPolicy(timeout=timeout, retry_wait=0.0, **policy),
        client=Client(),
    )


def paths(fake):
    return [request.path for request in fake.requests]


def test_a_prompt_is_cut_to_what_the_model_was_trained_for():
    name = next(NAMES)
    with FakeOllama(lambda call: GOOD, models=[Model(name, context_length=2048)]) as fake:
        _, meta = backend(fake.url, name).generate(LONG, item=ITEM)
        assert not any(call.call.prompt_cut for call in fake.calls)
        assert paths(fake) == ["/api/show", "/api/chat"]
    assert meta["cut_lines"] > 100
    assert meta["prompt_eval_count"] < 2048


def test_a_host_is_asked_once_what_a_model_was_trained_for():
    name = next(NAMES)
    with FakeOllama(lambda call: GOOD, models=[Model(name, context_length=2048)]) as fake:
        for _ in range(3):
            backend(fake.url, name).generate(LONG, item=ITEM)
        assert paths(fake).count("/api/show") == 1


def test_a_prompt_that_fits_any_model_asks_nothing_first():
    name = next(NAMES)
    with FakeOllama(lambda call: GOOD) as fake:
        backend(fake.url, name).generate(SHORT, item=ITEM)
        assert paths(fake) == ["/api/chat"]


def test_a_prompt_that_was_read_to_the_brim_is_sent_shorter_once_only():
    name = next(NAMES)

    def script(call):
        return Reply(text=GOOD, prompt_eval_count=8192 if len(call.prompt) > 8000 else None)

    with FakeOllama(script) as fake:
        _, first = backend(fake.url, name).generate(LONG, item=ITEM)
        sent = len(fake.calls)
        _, second = backend(fake.url, name).generate(LONG, item=ITEM)
        assert sent > 1
        assert len(fake.calls) == sent + 1
        assert len(fake.calls[-1].call.prompt) <= 8000
    assert first["cut_lines"] == second["cut_lines"] > 0


def test_a_context_that_shifted_while_the_reply_was_written_is_no_success():
    name = next(NAMES)
    reply = Reply(text=GOOD, prompt_eval_count=1900, eval_count=200)
    with FakeOllama(lambda call: reply) as fake, pytest.raises(BackendError) as caught:
        backend(fake.url, name, num_ctx=2048).generate(SHORT, item=ITEM)
    assert caught.value.failure[0] == "truncation"
    assert "num_ctx 2048" in caught.value.failure[1]


def test_turns_that_a_server_dropped_are_no_success():
    name = next(NAMES)
    reply = Reply(text=GOOD, eval_count=5)
    with FakeOllama(lambda call: reply) as fake, pytest.raises(BackendError) as caught:
        backend(fake.url, name, num_ctx=350).generate(SHORT, item=ITEM)
    assert caught.value.failure[0] == "truncation"
    assert "read" in caught.value.failure[1]


def test_a_context_that_nobody_named_is_the_usual_one():
    name = next(NAMES)
    with FakeOllama(lambda call: GOOD) as fake:
        _, meta = backend(fake.url, name, num_ctx=None).generate(LONG, item=ITEM)
        assert not any(call.call.prompt_cut for call in fake.calls)
    assert meta["prompt_eval_count"] < 4096
    assert meta["cut_lines"] > 0


def test_a_limit_that_a_refusal_names_is_kept_to():
    name = next(NAMES)

    def script(call):
        if len(call.prompt) > 4000:
            return faults.HttpStatus(400, "input exceeds the context length of 1400 tokens")
        return GOOD

    with FakeOllama(script) as fake:
        _, meta = backend(fake.url, name).generate(LONG, item=ITEM)
        calls = len(fake.calls)
        backend(fake.url, name).generate(LONG, item=ITEM)
        assert len(fake.calls) == calls + 1
    assert meta["cut_lines"] > 0


def test_the_driver_counts_the_lines_that_a_server_did_not_read():
    name = next(NAMES)
    with FakeOllama(lambda call: Reply(text=GOOD, prompt_eval_count=1024)) as fake:
        driver = backend(fake.url, name, num_ctx=1024, structured=False)
        _, meta = driver.ask(str(LONG))
        assert paths(fake) == ["/api/generate"]
    assert 100 < meta["cut_lines"] < 400


@pytest.mark.parametrize(
    ("code", "least"),
    [
        ("569597845,729597372,\n" * 300, 300 * 20),
        ("5,6,7,8,9,\n" * 300, 300 * 10),
        ("x = 'Δοκιμή'\n" * 300, 300 * 6),
        ("名前と値の表です\n" * 300, 300 * 8),
    ],
    ids=["long numbers", "short numbers", "Greek", "Japanese"],
)
def test_dense_text_is_estimated_token_by_token(code, least):
    assert estimate_tokens(code) >= least
    fitted = fit(prompt_of(code), {"num_ctx": 3072}, 1024)
    assert 0.9 * 2048 <= estimate_tokens(fitted) <= 2048


def test_plain_text_is_estimated_by_its_length():
    assert estimate_tokens("return left + right\n" * 30) == 200
