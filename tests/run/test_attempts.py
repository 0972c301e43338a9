"""One attempt becomes an outcome, whatever came of it."""

import pytest

from llmc.backends.builder import AttemptCascade
from llmc.backends.cascade import BackendCascade
from llmc.errors import BackendError, Usage
from llmc.models import Attempt, Span
from llmc.run.attempts import make_attempt
from llmc.settings.presets import TierPreset
from llmc.testing import BackendConfig, FakeBackend, unusable

ATTEMPT = Attempt(1, "7b", 0)
SPAN = Span(1, "m.py", "python", "add", "function", 3, 4, 0, 9, "sha256:x")
USAGE = Usage("gpt-x", prompt_tokens=900, completion_tokens=70, cut_lines=3)
REFUSED = BackendError(
    "refused", failure_type="parse", failure=("parse", "no JSON", "raw"), usage=USAGE
)


class Builder:
    """Gives every attempt the same cascade."""

    def __init__(self, *backends, selected="gateway"):
        preset = TierPreset("7b", "qwen:7b", None, {"num_ctx": 3072})
        self._built = AttemptCascade(
            BackendCascade(backends), "7b", preset, "attic", None, selected
        )

    def __call__(self, attempt):
        return self._built


class Passing:
    """A gate that takes the first call's error for the one that counts."""

    def __init__(self):
        self._first = None

    def enter(self, step):
        pass

    def leave(self, error, times=None):
        self._first = self._first or error

    def judge(self, error):
        return self._first.after(error.attempts)


def backend(*outcomes, **config):
    return FakeBackend(list(outcomes), BackendConfig(**config))


def test_the_outcome_of_a_refused_reply_tells_its_tokens_its_model_and_the_lines_cut():
    outcome = make_attempt(Builder(backend(REFUSED)), SPAN, "prompt", ATTEMPT)
    assert (outcome.failure_type, outcome.detail, outcome.payload) == ("parse", "refused", "raw")
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (900, 70)
    assert (outcome.model, outcome.cut_lines) == ("gpt-x", 3)


def test_the_refused_reply_that_counts_is_told_of_though_a_later_host_failed():
    builder = Builder(backend(REFUSED, name="cloud"), backend(unusable(), name="spare"))
    outcome = make_attempt(builder, SPAN, "prompt", ATTEMPT, Passing())
    assert (outcome.failure_type, outcome.payload) == ("parse", "raw")
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (900, 70)
    assert (outcome.model, outcome.cut_lines) == ("gpt-x", 3)
    assert [record.backend_name for record in outcome.records] == ["cloud", "spare"]


@pytest.mark.parametrize(("selected", "model"), [("gateway", None), ("ollama", "qwen:7b")])
def test_a_gateway_that_gave_no_answer_has_told_no_model(selected, model):
    builder = Builder(backend(unusable("HTTP 500"), model="qwen:7b"), selected=selected)
    outcome = make_attempt(builder, SPAN, "prompt", ATTEMPT)
    assert (outcome.failure_type, outcome.model) == ("runtime", model)
    assert (outcome.prompt_tokens, outcome.cut_lines) == (None, 0)
