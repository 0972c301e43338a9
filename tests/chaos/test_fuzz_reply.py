"""No reply does harm: whatever is said, it is refused with a kind, or accepted as the contract says
and stored as it was accepted.

LLMC_CHAOS=1 takes the long form, a million mutations. A mutation that fails is named by its number;
its reply belongs into tests/replies.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmc.enrichment.reply import read_reply
from llmc.errors import BackendError
from llmc.models import Enrichment
from tests.chaos.reply_contract import FIELDS, Said, breaches, is_deep, reading
from tests.chaos.reply_index import Index
from tests.chaos.reply_mutations import TOKENS, mutation

REPLIES = Path(__file__).parent.parent / "replies"
SEEDS = [path.read_text(encoding="utf-8") for path in sorted(REPLIES.glob("*/*.txt"))]

MUTATIONS = 1_000_000 if os.environ.get("LLMC_CHAOS") == "1" else 20_000
PARTS = 4
BATCH = 500


def outcome_of(said: Said) -> Enrichment | BackendError:
    try:
        return read_reply(
            said.text,
            said.lines,
            done_reason=said.done_reason,
            eval_count=said.eval_count,
            require_summary=said.strict,
        )
    except BackendError as error:
        return error


def problem(said: Said, outcome: Enrichment | BackendError) -> str | None:
    """Say what is wrong with what became of a reply, None if nothing is."""
    kind, fields = reading(said)
    if isinstance(outcome, BackendError):
        refused = outcome.failure or ("", "", "")
        if refused[0] not in ("parse", "truncation", "validation") or not refused[1]:
            return f"refused as {refused[:2]}"
        if (outcome.failure_type, refused[2]) != (refused[0], said.text):
            return "the refusal does not carry the reply"
        refused[1].encode("utf-8")
        if refused[0] != kind and not is_deep(said.text):
            return f"refused as {refused[0]} ({refused[1]}), the contract says {kind}"
        return None
    found = outcome.model_dump()
    if broken := breaches(found, said.lines):
        return f"accepted, but breaks {broken}"
    if is_deep(said.text):
        return None
    if kind != "accepted":
        return f"accepted, the contract says {kind}"
    differing = [name for name in FIELDS if found[name] != fields[name]]
    return f"accepted with other {differing}" if differing else None


def check(numbers: Sequence[int], index: Index) -> Counter[str]:
    """Read and store a batch of mutations; return how many came to what."""
    replies = [mutation(number, SEEDS) for number in numbers]
    outcomes: list[Enrichment | BackendError] = []
    for number, said in zip(numbers, replies, strict=True):
        outcome = outcome_of(said)
        wrong = problem(said, outcome)
        assert wrong is None, f"mutation {number}: {wrong}: {said!r:.3000}"
        outcomes.append(outcome)
    lost = [numbers[position] for position in index.lost(outcomes)]
    assert lost == [], f"mutations {lost} are not read back as they were stored"
    return Counter(
        outcome.failure_type or "" if isinstance(outcome, BackendError) else "accepted"
        for outcome in outcomes
    )


@pytest.mark.parametrize("part", range(PARTS))
def test_every_mutation_of_a_reply_is_refused_or_stored_by_the_contract(
    part: int, tmp_path: Path
) -> None:
    seen: Counter[str] = Counter()
    with Index(tmp_path / "index.db", BATCH) as index:
        for begin in range(part * BATCH, MUTATIONS, PARTS * BATCH):
            seen += check(range(begin, min(begin + BATCH, MUTATIONS)), index)
    assert sorted(seen) == ["accepted", "parse", "truncation", "validation"]
    assert min(seen.values()) > sum(seen.values()) // 100, f"the mutations are one-sided: {seen}"


TEXTS = st.lists(
    st.sampled_from(TOKENS) | st.text(max_size=3) | st.sampled_from(SEEDS), max_size=12
).map("".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        Said,
        TEXTS,
        lines=st.just((10, 20)),
        done_reason=st.sampled_from([None, "stop", "Length", 3]),
        eval_count=st.none() | st.integers(-2, 2) | st.booleans(),
        strict=st.booleans(),
    )
)
def test_any_heap_of_tokens_is_read_by_the_contract(said: Said) -> None:
    assert problem(said, outcome_of(said)) is None


def test_the_same_number_gives_the_same_mutation() -> None:
    assert [mutation(n, SEEDS) for n in range(300)] == [mutation(n, SEEDS) for n in range(300)]


def test_a_result_that_breaks_the_contract_is_told() -> None:
    said = Said('{"summary_120w": "s"}')
    assert problem(said, Enrichment(summary_120w="s")) == "accepted, but breaks ['cited']"
    assert "other ['summary_120w']" in str(problem(said, outcome_of(Said('{"summary_120w": "t"}'))))
    assert "the contract says accepted" in str(problem(said, refused("parse", said.text)))
    assert "refused as ('runtime'" in str(problem(said, refused("runtime", said.text)))
    assert "carry the reply" in str(problem(said, refused("parse", "{")))


def refused(kind: str, text: str) -> BackendError:
    return BackendError("no", failure_type=kind, failure=(kind, "no", text))
