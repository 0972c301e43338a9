"""The bench of planted lies finds claims in docstrings, and lies where it knows that they are."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from llmc.enrichment.grounds import Ground
from llmc.enrichment.verify import judge_claim
from tests.facts.proving import prove

_PATH = Path(__file__).parents[2] / "bench" / "truth.py"

NUMPY = """def f(a, b):
    \"\"\"Return the sum.

    Parameters
    ----------
    a : int
        The left one.
    b : int
        The right one, see `other_name`.

    Raises
    ------
    ValueError
        If a is negative.
    \"\"\"
    if a < 0:
        raise ValueError("negative")
    return a + b
"""


@pytest.fixture(scope="module")
def truth():
    spec = importlib.util.spec_from_file_location("truth", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["truth"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["truth"]


@pytest.fixture
def ground():
    return Ground(prove("a.py", NUMPY), NUMPY, "f", "python", NUMPY)


def test_claims_of_a_docstring_are_found(truth, ground):
    found = {(claim.kind, claim.name) for claim in truth.find_claims(ground)}
    assert {("parameter", "a"), ("parameter", "b"), ("error", "ValueError")} <= found
    assert ("name", "other_name") in found


def test_each_lie_is_refuted_and_no_truth_of_the_code_is(truth, ground):
    chance = random.Random(1)
    for claim in truth.find_claims(ground):
        lie = truth.make_lie(claim, ground, ["left", "right"], chance)
        assert lie is not None
        assert judge_claim(lie.field, lie.text, ground).ruling == "refuted", lie
        if claim.kind != "name":
            assert judge_claim(claim.field, claim.text, ground).ruling != "refuted", claim
