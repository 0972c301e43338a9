"""How long a failed span is left alone by later runs."""

from __future__ import annotations

import pytest

from llmc.store.retries import compute_pause

R, P, T, V = "runtime", "parse", "truncation", "validation"
HOUR, DAY = 3600.0, 86400.0


@pytest.mark.parametrize("kind", [P, T, V])
@pytest.mark.parametrize(
    ("count", "pause"), [(1, HOUR), (2, 2 * HOUR), (8, 128 * HOUR), (9, 7 * DAY), (10, 7 * DAY)]
)
def test_a_refused_span_rests_an_hour_doubling_to_a_week(
    kind: str, count: int, pause: float
) -> None:
    assert compute_pause(kind, count) == pause


@pytest.mark.parametrize("kind", [R, "backend_error", ""])
@pytest.mark.parametrize(
    ("count", "pause"), [(1, 60.0), (2, 120.0), (11, 61_440.0), (12, DAY), (13, DAY)]
)
def test_a_span_without_a_reply_rests_a_minute_doubling_to_a_day(
    kind: str, count: int, pause: float
) -> None:
    assert compute_pause(kind, count) == pause


@pytest.mark.parametrize("count", [-5, 0])
def test_a_count_that_makes_no_sense_rests_as_the_first(count: int) -> None:
    assert compute_pause(P, count) == HOUR


def test_the_pause_has_an_end_whatever_the_count() -> None:
    assert compute_pause(P, 10**9) == 7 * DAY
