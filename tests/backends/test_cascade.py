"""The cascade: backends in order until one answers, and a record of every try."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from llmc.backends.cascade import AttemptRecord, BackendAdapter, BackendCascade
from llmc.errors import BackendError, HostUnreachableError, Usage
from llmc.testing import BackendConfig, FakeBackend, refused, unusable

ITEM: Mapping[str, Any] = {"path": "a.py", "lines": [1, 2]}


class Bare:
    """A third-party backend: the one method, a config of its own and nothing else."""

    def __init__(self, config: Any, error: Exception | None = None) -> None:
        self.config = config
        self.error = error

    def generate(self, prompt: str, *, item: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self.error:
            raise self.error
        return {"summary_120w": prompt}, {}


def failing(name: str = "bad", error: BackendError | None = None) -> FakeBackend:
    return FakeBackend([error or unusable()], BackendConfig(name=name), host="attic")


def working(name: str = "good", **meta: Any) -> FakeBackend:
    return FakeBackend([{"by": name}], BackendConfig(name=name), meta=meta)


def bare(backend: Bare) -> BackendAdapter:
    return backend  # type: ignore[return-value]  # describe_host may be missing


def asked(*backends: BackendAdapter, start_index: int = 0) -> tuple[Any, Any, list[AttemptRecord]]:
    cascade = BackendCascade(list(backends))
    return cascade.generate_for_span("prompt", item=ITEM, start_index=start_index)


def failure_of(*backends: BackendAdapter, start_index: int = 0) -> BackendError:
    with pytest.raises(BackendError) as caught:
        asked(*backends, start_index=start_index)
    return caught.value


# Order


def test_the_first_backend_that_answers_wins() -> None:
    result, _, records = asked(failing(), working("second"), working("third"))
    assert result == {"by": "second"}
    assert [record.backend_name for record in records] == ["bad", "second"]


def test_a_backend_after_the_winner_is_not_asked() -> None:
    last = working()
    asked(working(), last)
    assert last.calls == ()


def test_each_backend_is_asked_once_with_prompt_and_item() -> None:
    backends = [failing(), failing()]
    failure_of(*backends)
    calls = [[(call.prompt, call.item) for call in backend.calls] for backend in backends]
    assert calls == [[("prompt", ITEM)], [("prompt", ITEM)]]


def test_result_and_meta_come_back_as_the_backend_gave_them() -> None:
    result, meta, _ = asked(working("x", model="m", eval_count=7))
    assert result == {"by": "x"}
    assert meta == {"backend": "fake", "model": "m", "host": None, "eval_count": 7}


def test_start_index_skips_the_backends_before_it() -> None:
    first = working("first")
    result, _, records = asked(first, working("second"), start_index=1)
    assert result == {"by": "second"}
    assert first.calls == ()
    assert len(records) == 1


def test_one_call_leaves_no_trace_in_the_next() -> None:
    cascade = BackendCascade([FakeBackend([unusable(), {}]), working()])
    counts = [len(cascade.generate_for_span("p", item=ITEM)[2]) for _ in range(2)]
    assert counts == [2, 1]


# Records


def test_a_record_has_the_established_fields() -> None:
    assert [field.name for field in dataclasses.fields(AttemptRecord)] == [
        "backend_name",
        "provider",
        "model",
        "duration_sec",
        "success",
        "failure_type",
        "error_message",
        "host",
        "gpu_stats",
    ]


def test_a_record_takes_name_provider_and_model_from_the_config() -> None:
    config = BackendConfig(name="attic-7b", provider="ollama", model="qwen")
    _, _, [record] = asked(bare(Bare(config)))
    assert (record.backend_name, record.provider, record.model) == ("attic-7b", "ollama", "qwen")


def test_the_record_of_a_success_has_no_failure() -> None:
    _, _, [record] = asked(working())
    assert (record.success, record.failure_type, record.error_message) == (True, None, None)


def test_the_record_of_a_failure_says_what_went_wrong() -> None:
    error = refused("parse", "no JSON", "raw")
    _, _, [record, _] = asked(failing(error=error), working())
    assert (record.success, record.failure_type, record.error_message) == (
        False,
        "parse",
        "no JSON",
    )


def test_the_record_of_a_failure_takes_the_host_from_the_backend() -> None:
    assert failure_of(failing()).attempts[0].host == "attic"


@pytest.mark.parametrize("config", [SimpleNamespace(), SimpleNamespace(name=None), None])
def test_a_backend_without_a_name_is_named_by_its_place(config: object) -> None:
    backends = [bare(Bare(config, unusable())) for _ in range(3)]
    names = [record.backend_name for record in failure_of(*backends).attempts]
    assert names == ["backend-0", "backend-1", "backend-2"]


def test_the_place_in_a_name_counts_skipped_backends() -> None:
    nameless = bare(Bare(SimpleNamespace()))
    _, _, [record] = asked(working(), nameless, start_index=1)
    assert record.backend_name == "backend-1"


@pytest.mark.parametrize("config", [SimpleNamespace(), None])
def test_a_config_without_provider_or_model_leaves_both_null(config: object) -> None:
    _, _, [record] = asked(bare(Bare(config)))
    assert (record.provider, record.model) == (None, None)


def test_on_success_the_model_and_host_in_meta_win() -> None:
    backend = FakeBackend(host="attic", meta={"model": "sent", "host": "cellar"})
    _, _, [record] = asked(backend)
    assert (record.model, record.host) == ("sent", "cellar")


def test_a_meta_without_model_or_host_leaves_those_of_the_backend() -> None:
    backend = FakeBackend(
        config=BackendConfig(model="configured"), host="attic", meta={"model": None, "host": None}
    )
    _, _, [record] = asked(backend)
    assert (record.model, record.host) == ("configured", "attic")


@pytest.mark.parametrize("error", [None, unusable()], ids=["success", "failure"])
def test_a_backend_without_describe_host_has_no_host(error: BackendError | None) -> None:
    backend = bare(Bare(BackendConfig(), error))
    records = failure_of(backend).attempts if error else asked(backend)[2]
    assert [record.host for record in records] == [None]


def test_a_record_holds_the_seconds_that_its_backend_took() -> None:
    def slow(call: object) -> None:
        time.sleep(0.05)
        raise unusable()

    _, _, records = asked(failing(), FakeBackend(slow), working())
    first, second, third = (record.duration_sec for record in records)
    assert 0 <= first < 0.05 <= second
    assert 0 <= third < 0.05


# Failure


def test_when_all_fail_the_error_has_every_record_in_order() -> None:
    error = failure_of(failing("one"), failing("two", refused("validation")))
    told = [(record.backend_name, record.failure_type) for record in error.attempts]
    assert told == [("one", "runtime"), ("two", "validation")]


def test_when_all_fail_type_and_failure_are_those_of_the_last() -> None:
    last = refused("truncation", "cut off", '{"a')
    error = failure_of(failing(), failing(error=last))
    assert (error.failure_type, error.failure) == ("truncation", ("truncation", "cut off", '{"a'))


def test_a_runtime_failure_at_the_end_has_no_failure_of_an_earlier_backend() -> None:
    error = failure_of(failing(error=refused("parse")), failing())
    assert (error.failure_type, error.failure) == ("runtime", None)


def test_a_kind_of_backend_error_is_a_failure_like_any_other() -> None:
    unreachable = HostUnreachableError("nobody there", failure_type="runtime")
    result, _, _ = asked(failing(error=unreachable), working())
    assert result == {"by": "good"}


def test_when_all_fail_the_error_keeps_what_is_known_of_the_last_call() -> None:
    usage = Usage("told", prompt_tokens=900, completion_tokens=70, cut_lines=3)
    failure = ("parse", "no JSON", "raw")
    last = BackendError("refused", failure_type="parse", failure=failure, usage=usage)
    error = failure_of(failing(), failing(error=last))
    assert (error.usage, str(error)) == (usage, "refused")


def test_when_all_fail_the_error_is_of_the_last_ones_kind_and_that_one_stays_as_it_was() -> None:
    last = HostUnreachableError("attic: gone", why="connection refused")
    error = failure_of(failing(), failing(error=last))
    assert isinstance(error, HostUnreachableError)
    assert (error.why, len(error.attempts)) == ("connection refused", 2)
    assert error.__cause__ is last
    assert last.attempts == []


def test_a_kind_of_error_with_a_constructor_of_its_own_is_carried_on() -> None:
    class QuotaError(BackendError):
        def __init__(self, spent: int, limit: int) -> None:
            super().__init__(f"{spent} of {limit} spent", failure_type="runtime")
            self.spent = spent

    error = failure_of(failing(error=QuotaError(7, 7)))
    assert isinstance(error, QuotaError)
    assert (str(error), error.spent, len(error.attempts)) == ("7 of 7 spent", 7, 1)


def test_a_model_that_only_the_reply_tells_is_recorded() -> None:
    config = BackendConfig(model="configured")
    told = BackendError("refused", failure_type="parse", usage=Usage(model="told"))
    backends = [FakeBackend([error], config) for error in (told, unusable())]
    assert [record.model for record in failure_of(*backends).attempts] == ["told", "configured"]


def test_without_backends_the_failure_is_a_backend_error() -> None:
    error = failure_of()
    assert (error.failure_type, error.failure, error.attempts) == ("backend_error", None, [])


def test_a_start_index_past_the_end_leaves_no_backends() -> None:
    assert failure_of(working(), start_index=1).failure_type == "backend_error"


@pytest.mark.parametrize("bug", [KeyError("model"), ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_an_exception_that_is_no_backend_error_passes_through_untouched(
    bug: BaseException,
) -> None:
    def broken(call: object) -> None:
        raise bug

    after = working()
    with pytest.raises(type(bug)) as caught:
        asked(FakeBackend(broken), after)
    assert caught.value is bug
    assert after.calls == ()


def test_a_backend_error_keeps_what_it_was_given() -> None:
    record = AttemptRecord("b", None, None, 0.1, success=False)
    failure = ("parse", "why", {"raw": 1})
    error = BackendError("m", failure_type="parse", attempts=[record], failure=failure)
    assert (str(error), error.failure_type, error.attempts, error.failure) == (
        "m",
        "parse",
        [record],
        failure,
    )


def test_a_backend_error_needs_only_a_message() -> None:
    error = BackendError("m")
    assert (error.failure_type, error.failure) == (None, None)
    assert not error.attempts
